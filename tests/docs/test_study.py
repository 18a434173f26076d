"""The study in small, in both backends: end to end, resumable, with splits that share no row and right intervals."""

import argparse
import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import study
import study_jax
import study_report
import study_runs
import study_torch
import study_training
from as_users import settings_of_users  # noqa: F401  (used by every test here)
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score
from study_data import Data, Part, digits, digits_long_tail, three_parts
from study_methods import METHODS, Options, recommended, trials
from study_metrics import METRICS, measure, partial_auc
from study_problems import PROBLEMS
from study_report import compare, gap_closed, paired_difference
from study_runs import BEST, Job, Store, do, do_all, final_jobs, tuning_jobs

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def tiny(monkeypatch):
    """The digits with few steps and few rows."""

    def load(seed):
        return Data(*(Part(part.x[::2], part.y[::2], part.weights[::2]) for part in digits(seed)))

    problem = PROBLEMS["digits"]._replace(load=load, passes=1, batch=30, checks=2, hidden=(4,), queue=32)
    problems = {
        "digits": problem._replace(tuning_seeds=(100,), methods=("weighted",), variations=("recall, mix @live",)),
        "digits, long tail": PROBLEMS["digits, long tail"]._replace(passes=2, batch=30, checks=2, hidden=(4,)),
    }
    for name, value in problems.items():
        monkeypatch.setitem(PROBLEMS, name, value)
    study_runs._load.cache_clear()
    yield problems
    study_runs._load.cache_clear()


def run_study(monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["study.py", "--problems", "digits", "--output", str(folder), *arguments])
    study.main()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_end_to_end_and_resumable(tiny, backend, monkeypatch, tmp_path, capsys):
    arguments = ("--backend", backend, "--trials", "2", "--seeds", "2")
    run_study(monkeypatch, tmp_path, *arguments)
    printed = capsys.readouterr().out
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    rows = Store(tmp_path / "runs.csv").rows()
    assert {row["phase"] for row in rows} == {"tuning", "final"}
    assert all(row["test coverage"] == "nan" for row in rows if row["phase"] == "tuning")
    assert all(0 <= float(row[f"test {name}"]) <= 1 for row in rows if row["phase"] == "final" for name in METRICS)
    for expected in ("weighted", "recall, mix @live", "reference", "95% interval"):
        assert expected in printed
    assert (tmp_path / f"study_digits_{backend}.png").read_bytes().startswith(b"\x89PNG")

    (tmp_path / "runs.csv").write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:20])  # cut off within a line
    calls = []
    monkeypatch.setattr(
        study_runs, "run", lambda *args, **kwargs: calls.append(1) or study_training.run(*args, **kwargs)
    )
    run_study(monkeypatch, tmp_path, *arguments)
    assert len(calls) == 2  # the run whose line was cut, and the last
    again = Store(tmp_path / "runs.csv").rows()
    assert sorted(map(str, again)) == sorted(map(str, rows))


def test_nothing_is_done_twice(tiny, monkeypatch, tmp_path):
    store = Store(tmp_path / "runs.csv")
    job = Job("digits", "jax", "final", "weighted", 0, (0,))
    assert list(do(job, store, 2)) == [0]
    assert store.missing(job) is None
    assert store.missing(job._replace(seeds=(0, 1))).seeds == (1,)
    assert store.missing(job._replace(backend="torch")).seeds == (0,)
    assert store.missing(job._replace(trial=1)).seeds == (0,)


def test_tuning_of_one_backend_serves_the_other(tiny, tmp_path):
    store = Store(tmp_path / "runs.csv")
    jobs = tuning_jobs("digits", ["weighted"], 2, "jax", store)
    assert [(job.trial, job.seeds) for job in jobs] == [(0, (100,)), (1, (100,))]
    for job in jobs:
        do_all(job, store, 2)
    assert tuning_jobs("digits", ["weighted"], 2, "torch", store) == []
    assert len(tuning_jobs("digits", ["weighted"], 3, "torch", store)) == 1


def test_the_best_trial_is_that_of_validation(tmp_path):
    store = Store(tmp_path / "runs.csv")
    with store.path.open("a", newline="") as file:
        for trial, valid in enumerate((0.5, 0.8, 0.7)):
            figures = [valid] * len(METRICS) + [1 - valid] * len(METRICS)
            csv.writer(file, lineterminator="\n").writerow(["digits", "jax", "tuning", "focal", trial, 100, *figures])
    assert store.best_trial("digits", "focal", "coverage") == 1
    assert store.best_trial("digits", "weighted", "coverage") is None
    jobs = final_jobs("digits", ["focal"], 12, "torch", store)
    assert [(job.trial, len(job.seeds)) for job in jobs] == [(1, 10), (1, 2)]


KINDS = {
    "resampled": Options(extra=0.5),
    "focal": Options(alpha=0.75, gamma=2.0, class_weight=0.5),
    "Smooth-AP": Options(ranking="Smooth-AP", queue=40, scale="std"),
    "pairwise": Options(
        ranking="pAUC pairwise",
        queue=40,
        warmup=0.3,
        final=0.5,
        band=3.0,
        numerator="live",
        temperatures=(1.0, 0.5),
        extra=0.2,
    ),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("digits", kind) for kind in ("resampled", "focal", "Smooth-AP", "pairwise")),
        ("digits, long tail", "focal"),
    ],
)
def test_both_backends_train_the_same_network(tiny, name, kind):
    problem = tiny[name]
    data = problem.load(3)
    halves = [
        np.array([score(data.test.x) for score in half.fit(problem, data, KINDS[kind], 3)])
        for half in (study_torch, study_jax)
    ]
    assert len(halves[0]) == len(halves[1]) == problem.checks
    # Rankings do not see the last bias: its gradient is rounding, which Adam enlarges. Another loss would move the
    # scores by 0.1.
    centred = [half - half.mean(axis=1, keepdims=True) for half in halves]
    np.testing.assert_allclose(*centred, rtol=1e-3, atol=3e-3)
    assert np.abs(centred[0][0] - centred[0][1]).max() > 1e-2  # the network of each check is its own


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_trials(method):
    for problem in (PROBLEMS["digits"], PROBLEMS["contested radial"], PROBLEMS["digits, long tail"]):
        drawn = trials(problem, method, 24)
        assert len(set(drawn)) == 24
        assert drawn[0] == recommended(problem, method)
        assert drawn[:3] == trials(problem, method, 3)
        assert {bool(options.ranking) for options in drawn} == {"," in method}


def test_a_variation_changes_one_option():
    problem = PROBLEMS["rare events"]
    (varied,) = trials(problem, "pAUC pairwise, mix @queue 512", 8)
    assert varied == recommended(problem, "pAUC pairwise, mix")._replace(queue=512)
    (varied,) = trials(problem, "Smooth-AP, alone @live", 8)
    assert varied == recommended(problem, "Smooth-AP, alone")._replace(numerator="live")


@pytest.mark.parametrize("seed", [0, 4])
def test_parts_share_no_row(seed):
    _, labels = load_digits(return_X_y=True)
    parts = three_parts(labels, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert np.array_equal(parts[2], three_parts(labels, seed + 1)[2])  # no run of any seed trains on test rows
    assert not np.array_equal(parts[1], three_parts(labels, seed + 1)[1])


def test_the_imbalance_is_as_announced():
    train, valid, test = digits(3)
    assert train.y.mean() == pytest.approx(0.02, abs=0.001)
    for part in (valid, test):
        assert part.weights[part.y == 1].sum() / part.weights.sum() == pytest.approx(train.y.mean(), abs=1e-6)
    assert sorted(np.bincount(digits_long_tail(0).train.y)) == sorted(round(70 * 0.7**k) for k in range(10))


def test_extra_rows_come_from_the_rarer_classes(tiny):
    problem = tiny["digits, long tail"]
    data = problem.load(0)
    plan = study_training.make_plan(problem, data, Options(extra=2.0, class_weight=1.0))
    largest = np.bincount(data.train.y).argmax()
    assert plan.class_weights[largest] == 1
    assert plan.class_weights.max() == pytest.approx(70 / 3)
    for rows in study_training.chunks_of_batches(problem, data, plan, 0):
        assert rows.shape == (plan.chunk, 90)
        assert largest not in data.train.y[rows[:, 30:]]
        assert largest in data.train.y[rows[:, :30]]


def test_metrics_of_a_ranking():
    y = np.array([1] * 3 + [0] * 200)
    scores = np.concatenate([[300.0, 199.5, 5.5], np.arange(200)])
    part = Part(np.zeros((203, 1), np.float32), y, np.ones(203))
    figures = measure(part, scores, budget=0.1)
    assert figures["recall_at_0.5%"] == pytest.approx(2 / 3)
    assert figures["coverage"] == pytest.approx(2 / 3)
    assert figures["partial_auc"] == pytest.approx(2 / 3)
    assert figures["average_precision"] == average_precision_score(y, scores)
    scores[1] = 198.5  # under one negative, which is 0.5% of them
    assert measure(part, scores, budget=0.1)["partial_auc"] == pytest.approx((0.095 * 2 + 0.005) / 0.3)
    assert measure(part, np.full(203, np.nan), budget=0.1)["coverage"] == 0


def test_partial_auc_of_the_whole_range_is_the_area(rng):
    y, scores = rng.random(80) < 0.3, rng.standard_normal(80)
    from sklearn.metrics import roc_curve

    false, found, _ = roc_curve(y, scores)
    assert partial_auc(false, found, 1.0) == pytest.approx(roc_auc_score(y, scores))


def test_paired_interval_of_known_numbers():
    # differences 1, 2, 3, 4: mean 2.5, standard error 0.6455, t(0.975, 3) = 3.1824
    a, b = {0: 2.0, 1: 4.0, 2: 6.0, 3: 8.0, 9: 1.0}, {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 7: 100.0}
    assert paired_difference(a, b) == pytest.approx((2.5, 0.4457, 4.5543), abs=1e-4)
    mean, low, high = paired_difference({0: 1.0}, {0: 0.5})
    assert mean == 0.5
    assert np.isnan(low)
    assert np.isnan(high)


def test_gap_closed_of_known_numbers():
    seeds = range(6)
    reference, best = dict.fromkeys(seeds, 0.6), dict.fromkeys(seeds, 0.9)
    assert gap_closed(dict.fromkeys(seeds, 0.75), reference, best) == pytest.approx((0.5, 0.5, 0.5))
    value, low, high = gap_closed({seed: 0.6 + 0.05 * seed for seed in seeds}, reference, best)
    assert value == pytest.approx(0.125 / 0.3)
    assert 0 < low < value < high < 1


def test_reference_is_chosen_on_validation(tmp_path):
    store = Store(tmp_path / "runs.csv")
    runs = (("focal", 0.9, 0.2), ("weighted", 0.8, 0.7), ("pAUC pairwise, mix", 0.95, 0.6), (BEST, 1.0, 1.0))
    with store.path.open("a", newline="") as file:
        for method, valid, test in runs:
            for seed in range(3):
                figures = [valid] * len(METRICS) + [test + 0.01 * seed] * len(METRICS)
                csv.writer(file, lineterminator="\n").writerow(["digits", "jax", "final", method, 0, seed, *figures])
    found = compare(store, "digits", "jax", "partial_auc")
    assert found.reference.method == "focal"  # though its test figure is the lowest
    assert found.best == pytest.approx(1.01)
    (line,) = (line for line in found.lines if line.method == "pAUC pairwise, mix")
    assert (line.difference, line.low, line.high) == pytest.approx((0.4, 0.4, 0.4))
    assert line.closed == pytest.approx((0.5, 0.5, 0.5))
    assert "gap closed 50%" in study_report.as_text(found)


def test_the_report_of_the_page_is_that_of_its_runs():
    report = (DOCS / "study" / "report.txt").read_text()
    assert study_report.as_report(study_report.comparisons(Store(DOCS / "study" / "runs.csv"))) + "\n" == report
    page = (DOCS / "which_loss.md").read_text().replace("−", "-")
    page = re.sub(r"### The other framework.*?(?=## )", "", page, flags=re.DOTALL)  # differences between the backends
    intervals = set(re.findall(r"\[[+-]0\.\d{3}, [+-]0\.\d{3}\]", page))
    assert len(intervals) > 20
    assert [interval for interval in intervals if interval not in report] == []


@pytest.mark.parametrize("arguments", [["--seeds", "1"], ["--workers", "0"], ["--trials", "25"]])
def test_refuses_bad_options(monkeypatch, capsys, tmp_path, arguments):
    with pytest.raises(SystemExit):
        run_study(monkeypatch, tmp_path, *arguments)
    assert arguments[0] in capsys.readouterr().err


def test_workers_write_to_the_file(tmp_path):
    store = Store(tmp_path / "runs.csv")
    options = argparse.Namespace(workers=2, trials=1)
    study.work_through("best", [Job("published linear", "jax", "final", BEST, 0, (0, 1))], options, store)
    assert [row["seed"] for row in store.rows()] == ["0", "1"]
    assert all(0.9 < float(row["test coverage"]) < 1 for row in store.rows())

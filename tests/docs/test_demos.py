"""Small runs of the demos: both backends agree, tables are printed, plots are drawn, invalid arguments are rejected."""

import contextlib
import importlib
import io
import re
import subprocess
import sys

import demo_common
import demo_data
import numpy as np
import pytest
import run_demos
import train_nnx
from as_users import settings_of_users, steady_adam  # noqa: F401  (used by tests here)

DIGITS = [f"digit {digit}" for digit in range(10)]
EXPECTED = {  # name: (columns of the table, first cells of its rows)
    "toy_demo": (["main weight", "temperature", "average precision"], ["1", "2", "3"]),
    "focal_demo": (["BCE", "weighted BCE", "focal", "focal, no alpha"], ["1", "2", "3"]),
    "compare_demo": (["warm-up only", "AP only", "warm-up + blend"], ["1", "2", "3"]),
    "coverage_at_budget_demo": (
        ["epoch 1", "epoch 3"],
        ["weighted CE", "Smooth-AP preset", "pAUC preset", "warm-up, pairs", "warm-up, trapezoid", "best"],
    ),
    "multiclass_demo": (["cross entropy", "weighted CE", "softmax focal", "Smooth-AP"], [*DIGITS, "macro"]),
    "per_class_logging_demo": (["AP, training", "AP, held out", "valid", "band_neg_count"], DIGITS),
}


@pytest.fixture(params=run_demos.DEMOS)
def name(request):
    return request.param


def test_every_demo_is_run():
    folder = demo_common.OUTPUT.parent
    assert {path.stem for path in folder.glob("*_demo.py")} == run_demos.DEMOS.keys() == EXPECTED.keys()


@pytest.mark.usefixtures("steady_adam")
def test_both_backends_train_alike_and_show_it(name, tmp_path, monkeypatch, capsys):
    demo, trained = importlib.import_module(name), []
    train_all = demo_common.train_all

    def recorded(*arguments, **options):
        trained.append(train_all(*arguments, **options))
        return trained[-1]

    monkeypatch.setattr(demo, "train_all", recorded)
    plot = tmp_path / "new" / "plot.png"
    demo.main([*run_demos.DEMOS[name], "--backend", "both", "--output", str(plot)])
    printed, progress = capsys.readouterr()

    (runs,) = trained
    assert list(runs) == ["torch", "jax"]
    assert list(runs["torch"]) == list(runs["jax"])
    for loss, run in runs["torch"].items():
        assert np.ptp(run.losses) > 0, f"{loss} does not train"
        assert np.any(run.scores[0] != run.scores[-1])
        twin = runs["jax"][loss]
        np.testing.assert_allclose(run.losses, twin.losses, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(run.scores, twin.scores, rtol=1e-3, atol=1e-2)
        assert run.logged.keys() == twin.logged.keys()
        for figure, values in run.logged.items():
            np.testing.assert_allclose(values, twin.logged[figure], rtol=1e-2, atol=1e-2, err_msg=figure)

    columns, rows = EXPECTED[name]
    for backend in ("PyTorch", "JAX"):
        table = printed.split(f"\n{backend}\n")[1].split("\n\n")[0].splitlines()
        assert all(column in table[0] for column in columns)
        assert len(table) == 1 + len(rows)
        assert all(line.startswith(row) for line, row in zip(table[1:], rows, strict=True))
    apart = re.search(r"at most (\S+) in this table", printed)
    assert float(apart.group(1)) < 0.02
    assert str(plot) in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "100%" in progress


def test_per_class_figures_are_logged_from_the_switch_on(tmp_path, monkeypatch):
    demo = importlib.import_module("per_class_logging_demo")
    options = demo_common.parse_options(
        "", "x", [*run_demos.DEMOS["per_class_logging_demo"], "--no-progress"], **demo.DEFAULTS
    )
    problem = demo_data.long_tailed_digits(0)
    run = demo_common.train_all(problem, options, {"torch": demo.losses_in_torch})["torch"]["Smooth-AP"]
    switch = demo_common.steps_per_epoch(problem, options)
    precision, valid = run.logged["average precision"], run.logged["valid"]
    assert precision.shape == valid.shape == (3 * switch, 10)
    assert np.isnan(precision[:switch]).all()
    assert not valid[:switch].any()
    np.testing.assert_array_equal(np.isfinite(precision), valid.astype(bool))
    assert valid[switch:].mean() > 0.5
    assert np.all(run.logged["grad_pos_count"].sum(axis=1) == min(options.batch_size, len(problem.train_y)))


@pytest.mark.parametrize(
    ("demo", "arguments", "message"),
    [
        ("toy_demo", ["--pos-rate", "0.6"], r"--pos-rate must be in \(0, 0\.5\], got 0\.6"),
        ("toy_demo", ["--total-epochs", "4"], "must add up to at most --total-epochs 4, got 3 and 2"),
        ("compare_demo", ["--queue-size", "-1"], "--queue-size must be at least 0, got -1"),
        ("compare_demo", ["--temp-end", "0"], r"--temp-end must be > 0, got 0\.0"),
        ("compare_demo", ["--lr", "nan"], "--lr must be > 0, got nan"),
        ("focal_demo", ["--gamma", "-1"], "--gamma must be at least 0"),
        ("focal_demo", ["--queue-size", "3"], "unrecognized arguments"),
        ("coverage_at_budget_demo", ["--cue", "none"], "--cue: invalid choice"),
        ("multiclass_demo", ["--backend", "mxnet"], "--backend: invalid choice"),
        ("per_class_logging_demo", ["--batch-size", "1"], "--batch-size must be at least 2, got 1"),
    ],
)
def test_bad_options_are_refused(demo, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(demo).main(arguments)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_backend_that_is_not_installed_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(demo_common.importlib.util, "find_spec", lambda name: name == "jax" or None)
    assert demo_common.installed("both") == ["jax"]
    assert "PyTorch is not installed and is left out" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Nothing to run"):
        demo_common.installed("torch")


def test_run_demos_sums_up(tmp_path, capsys, monkeypatch):
    arguments = ["--only", "focal_demo", "--backend", "torch", "--output", str(tmp_path)]
    run_demos.main(arguments)
    assert re.search(r"focal_demo +PyTorch +\S+ +.*focal_demo_torch\.png", capsys.readouterr().out)
    assert "average precision" in (tmp_path / "focal_demo_torch.txt").read_text().lower()

    def broken(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(importlib.import_module("focal_demo"), "main", broken)
    with pytest.raises(SystemExit) as stopped:
        run_demos.main([*arguments, "--no-progress"])
    assert stopped.value.code == 1
    assert "ZeroDivisionError: on purpose" in capsys.readouterr().out


def test_train_nnx(tmp_path, capsys):
    plot = tmp_path / "plot.png"
    train_nnx.main(["--steps", "6", "--output", str(plot)])
    printed = capsys.readouterr().out
    assert re.search(r"^cross entropy +0\.\d{3}\nSmooth-AP +0\.\d{3}$", printed, re.MULTILINE)
    assert plot.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as errors:
        train_nnx.main(["--steps", "0"])
    assert "--steps must be at least 1, got 0" in errors.getvalue()


def test_the_data_are_as_announced():
    problem = demo_data.rare_positives(2000, 0.05, seed=3)
    assert problem.train_y.shape == (1000, 1)
    assert problem.train_y.mean() == problem.test_y.mean() == pytest.approx(0.05, abs=0.005)
    assert f"{int(problem.train_y.sum())} of them positive" in problem.description
    digits = demo_data.long_tailed_digits(0, ratio=30)
    counts = np.bincount(digits.train_y)
    assert np.all(np.diff(counts) < 0)
    assert 25 < counts[0] / counts[-1] < 35
    assert len(digits.test_y) == 899
    assert not {row.tobytes() for row in digits.train_x} & {row.tobytes() for row in digits.test_x}


def test_average_precision_is_macro():
    problem = demo_data.Problem(None, None, None, np.array([0, 1, 1], np.int32), 2, "")
    scores = np.array([[1.0, 0.0], [0.0, 2.0], [2.0, 1.0]])
    assert demo_common.average_precision(problem, scores) == pytest.approx((1 / 2 + 1) / 2)


WITHOUT = """
import sys

class Without:
    def find_spec(name, *_):
        if name.split(".")[0] == sys.argv[2]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without)
__import__(sys.argv[1])
import run_demos
for name in run_demos.DEMOS:
    __import__(name)
print("done")
"""


@pytest.mark.parametrize(("half", "other"), [("demo_jax", "torch"), ("demo_torch", "jax")])
def test_one_framework_is_enough(half, other):
    folder = demo_common.OUTPUT.parent
    done = subprocess.run([sys.executable, "-c", WITHOUT, half, other], cwd=folder, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr

"""Small runs of the quickstart: with the same weights and batches, both halves have the same loss at every step."""

import sys

import numpy as np
import pytest
import quickstart
import quickstart_data
import quickstart_jax
import quickstart_torch
from as_users import settings_of_users, steady_adam  # noqa: F401  (used by tests here)

STEPS = 12


@pytest.fixture(scope="module")
def problem():
    return quickstart_data.imbalanced_digits()


def loss_names():
    return list(quickstart_torch.make_losses(quickstart_data.imbalanced_digits()))


def test_both_halves_have_the_same_losses(problem):
    assert list(quickstart_jax.make_losses(problem)) == loss_names()


@pytest.mark.usefixtures("steady_adam")
@pytest.mark.parametrize("name", loss_names())
def test_same_trajectory(problem, name):
    weights = quickstart_data.starting_weights(name, problem)
    batches = quickstart_data.batch_rows(len(problem.train_y), STEPS)
    results = []
    for half in (quickstart_torch, quickstart_jax):
        loss_fn = half.make_losses(problem)[name]
        results.append(half.train(loss_fn, problem, weights, batches))
    (torch_losses, torch_scores), (jax_losses, jax_scores) = results

    assert torch_losses.shape == (STEPS,)
    assert torch_losses.dtype == np.float32
    assert np.ptp(torch_losses) > 0  # the losses change
    np.testing.assert_allclose(torch_losses, jax_losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(torch_scores, jax_scores, rtol=1e-4, atol=1e-4)


def test_a_start_at_the_prior_changes_the_last_bias_alone(problem):
    plain, prior = (quickstart_data.starting_weights(name, problem) for name in ("BCE", "BCE from the prior"))
    share = 1 / (1 + np.exp(-prior[-1][1]))
    np.testing.assert_allclose(share, problem.train_y.mean(), rtol=1e-5)
    assert prior[-1][1].dtype == np.float32
    for old, new in zip((*plain[0], plain[1][0]), (*prior[0], prior[1][0]), strict=True):
        np.testing.assert_array_equal(old, new)


def test_prints_the_table_and_draws_the_plot(monkeypatch, capsys, tmp_path):
    output = tmp_path / "new" / "plot.png"
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--steps", "2", "--output", str(output)])
    quickstart.main()
    printed = capsys.readouterr().out
    for expected in (*loss_names(), "PyTorch", "JAX", "average precision", "recall at 0.5%", str(output)):
        assert expected in printed
    assert output.read_bytes().startswith(b"\x89PNG")


def test_runs_with_one_framework(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(quickstart.importlib.util, "find_spec", lambda name: name == "torch" or None)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--steps", "1", "--output", str(tmp_path / "plot.png")])
    quickstart.main()
    printed = capsys.readouterr().out
    assert "JAX is not installed" in printed
    assert "between the frameworks" not in printed


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--digit", "10"]])
def test_refuses_bad_options(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["quickstart.py", *arguments])
    with pytest.raises(SystemExit):
        quickstart.main()
    assert arguments[0] in capsys.readouterr().err


def test_the_imbalance_is_as_announced(problem):
    assert problem.train_y.mean() == pytest.approx(0.02, abs=0.001)
    weight = problem.test_weights
    assert weight[problem.test_y == 1].sum() / weight.sum() == pytest.approx(0.02)


def test_recall_at_a_false_positive_rate(problem):
    scores = np.where(problem.test_y == 1, 1.0, 0.0)
    assert quickstart_data.recall_at(problem, scores) == 1
    negatives = np.flatnonzero(problem.test_y == 0)
    scores[negatives[:4]] = 2  # 4 of 812 is below 0.5%
    assert quickstart_data.recall_at(problem, scores) == 1
    scores[negatives[4]] = 2
    assert quickstart_data.recall_at(problem, scores) == 0


def test_batches_pass_over_all_rows():
    rows = quickstart_data.batch_rows(10, steps=5, batch_size=4)
    assert rows.shape == (5, 4)
    assert np.all(np.bincount(rows.ravel(), minlength=10) == 2)

"""The recommended options: their values, that they can be overridden, and that they learn where the defaults do not."""

import inspect

import presets_on_contested_top
import presets_on_digits
import presets_on_wrong_labels
import pytest
import torch
from as_users import settings_of_users  # noqa: F401  (used by every test here)
from sklearn.metrics import average_precision_score
from torch import nn

import imbalanced_jax
from imbalanced_torch import PAUCAtBudgetLoss, SmoothAPLoss


def test_what_partial_auc_is_recommended_with():
    loss_fn = PAUCAtBudgetLoss.recommended(3, 0.01)
    assert (loss_fn.num_classes, loss_fn.alpha, loss_fn.beta) == (3, 0.0, 0.02)
    assert (loss_fn.surrogate, loss_fn.tau_scale, loss_fn.pos_numerator) == ("pairwise", "std", "pool")
    assert loss_fn.temperature == 1.0
    assert loss_fn.queue_size == 1024
    assert PAUCAtBudgetLoss.recommended(1, 0.7).beta == 1.0


def test_what_smooth_ap_is_recommended_with():
    loss_fn = SmoothAPLoss.recommended(3)
    assert (loss_fn.num_classes, loss_fn.temperature_scale, loss_fn.pos_numerator) == (3, "std", "pool")
    assert loss_fn.temperature == pytest.approx(0.2)


def test_options_can_be_overridden():
    loss_fn = PAUCAtBudgetLoss.recommended(1, 0.01, beta=0.1, temperature_scale="iqr", queue_size=0, multilabel=True)
    assert (loss_fn.beta, loss_fn.tau_scale, loss_fn.queue_size, loss_fn.multilabel) == (0.1, "iqr", 0, True)
    loss_fn = SmoothAPLoss.recommended(2, temperature=0.4, queue_size=7)
    assert (float(loss_fn.temperature), loss_fn.queue_size) == (pytest.approx(0.4), 7)


@pytest.mark.parametrize(("base", "arguments"), [(PAUCAtBudgetLoss, (1, 0.1)), (SmoothAPLoss, (1,))])
def test_a_subclass_recommends_itself(base, arguments):
    class Mine(base):
        pass

    assert type(Mine.recommended(*arguments)) is Mine


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5, float("nan"), "0.1", True])
def test_refuses_a_bad_budget(budget):
    with pytest.raises(ValueError, match=r"budget must be a Python number in \(0, 1\), got"):
        PAUCAtBudgetLoss.recommended(1, budget)


def test_the_constructors_keep_their_defaults():
    parameters = inspect.signature(PAUCAtBudgetLoss).parameters
    names = ("alpha", "beta", "surrogate", "n_knots", "tau_scale", "pos_numerator", "budget_basis", "temperature")
    assert [parameters[name].default for name in names] == [0.0, 0.005, None, 2, "iqr", "pool", "fpr", 0.1]
    assert PAUCAtBudgetLoss(1).surrogate == "trapezoid"
    parameters = inspect.signature(SmoothAPLoss).parameters
    assert (parameters["temperature"].default, parameters["temperature_scale"].default) == (0.01, "absolute")


def test_jax_compares_pairs_by_default():
    of_function = inspect.signature(imbalanced_jax.pauc_at_budget_loss).parameters
    assert of_function["surrogate"].default == "pairwise"


def trained_average_precision(loss_fn: nn.Module) -> float:
    """The average precision of a small network on 2% positives that uses the loss from the first step."""
    torch.manual_seed(0)
    x = torch.randn(4000, 6)
    y = (x[:, 0] * x[:, 1] + 0.3 * torch.randn(4000) > 1.9).long()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(150):
        rows = torch.arange(128 * step, 128 * (step + 1)) % len(x)
        optimizer.zero_grad()
        loss_fn(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.inference_mode():
        return average_precision_score(y, model(x)[:, 0])


def test_recommended_options_learn_from_the_first_step_on():
    recommended = trained_average_precision(PAUCAtBudgetLoss.recommended(1, 0.02))
    default = trained_average_precision(PAUCAtBudgetLoss(1, beta=0.02))
    assert recommended > default + 0.3


def test_the_presets_are_compared_on_digits(capsys):
    presets_on_digits.main(["--digits", "9", "--seeds", "2", "--steps", "3"])
    lines = capsys.readouterr().out.splitlines()
    scores, differences = lines[1:6], lines[8:]
    assert [line[:22].rstrip() for line in scores] == presets_on_digits.METHODS
    assert [line[:22].rstrip() for line in differences] == presets_on_digits.METHODS[1:]
    assert all(0 < float(line.split()[-1]) < 1 for line in scores)


def test_the_presets_are_compared_on_wrong_labels(capsys):
    presets_on_wrong_labels.main(["--seeds", "2", "--steps", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:22].rstrip() for line in lines[1:]] == presets_on_wrong_labels.METHODS
    assert all(0 < float(score) < 1 for score in lines[1].split()[2:])


def test_the_presets_are_compared_by_sgd(capsys):
    asked = ["--digits", "9", "--seeds", "2", "--steps", "3", "--sgd"]
    presets_on_digits.main([*asked, "0.1"])
    first = capsys.readouterr().out
    presets_on_digits.main([*asked, "1e30"])  # scores that are not finite count as 0
    second = capsys.readouterr().out
    assert float(first.splitlines()[1].split()[-1]) > 0
    assert float(second.splitlines()[1].split()[-1]) == 0


def test_the_presets_are_compared_on_the_contested_top(monkeypatch, capsys):
    monkeypatch.setattr(presets_on_contested_top, "TEST_ROWS", 20_000)
    presets_on_contested_top.main(["--cues", "radial", "--seeds", "2", "--epochs", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "radial"
    assert [line[:18].rstrip() for line in lines[1:7]] == ["best possible", *presets_on_contested_top.METHODS]
    coverage = [float(line[18:27]) for line in lines[1:7]]
    assert max(coverage[1:]) < coverage[0] < 1
    with pytest.raises(SystemExit):
        presets_on_contested_top.main(["--epochs", "0"])


def pull(preset, scale):
    """Loss and gradient of scores with this standard deviation."""
    z, y = (scale * torch.randn(256, 1)).requires_grad_(), (torch.arange(256) % 10 == 0).long()
    loss = preset(z, y)
    return loss.item(), torch.autograd.grad(loss, z)[0]


def test_the_pull_falls_where_scores_are_far_apart():
    """Otherwise growing scores would make the gradients of the weights grow, and training with SGD would diverge."""
    found = []
    for scale in (0.01, 0.1, 1000.0):
        torch.manual_seed(0)
        found.append(pull(PAUCAtBudgetLoss.recommended(1, 0.01), scale))
    weak, near, far = [gradient.norm().item() for _, gradient in found]
    assert near == pytest.approx(weak, rel=1e-3)
    assert far < 0.02 * near


def test_far_apart_only_the_cross_entropy_of_smooth_ap_pulls():
    """A quarter for all positives together, and for all negatives, at most."""
    loss_fn = SmoothAPLoss.recommended(1, queue_size=0)
    _, far = pull(loss_fn, 1000.0)
    positives = torch.arange(256) % 10 == 0
    assert 0.2 < -far[positives].sum() < 0.251
    assert far[~positives].abs().sum() < 0.251


@pytest.mark.parametrize("arguments", [["--seeds", "1"], ["--steps", "0"]])
@pytest.mark.parametrize("comparison", [presets_on_digits, presets_on_wrong_labels])
def test_a_comparison_needs_two_splits_and_a_step(comparison, arguments, capsys):
    with pytest.raises(SystemExit):
        comparison.main(arguments)
    assert "--seeds must be at least 2 and --steps at least 1" in capsys.readouterr().err

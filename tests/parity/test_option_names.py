"""An error about an option names the option as the caller knows it, in every function and class."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("flax")

import jax.numpy as jnp
import torch

import imbalanced_jax
import imbalanced_torch
from imbalanced_jax import nnx
from imbalanced_torch import functional

COMMON = {
    "temperature": 0.0,
    "reduction": "bogus",
    "ignore_index": 1.5,
    "temperature_scale": "bogus",
    "pos_numerator": "bogus",
    "margin": -1.0,
    "max_pool_size": 1,
}
RANKING = {
    "smooth_ap_loss": ("SmoothAPLoss", {}),
    "recall_at_quantile_loss": ("RecallAtQuantileLoss", {"quantile": 2.0, "quantile_interpolation": "cubic"}),
    "pauc_at_budget_loss": (
        "PAUCAtBudgetLoss",
        {"alpha": -1.0, "beta": 2.0, "surrogate": "bogus", "n_knots": 1, "tau_scale": "bogus"}
        | {"budget_basis": "bogus", "quantile_interpolation": "cubic"},
    ),
}
POINTWISE = {
    "sigmoid_focal_loss": ("SigmoidFocalLoss", {"alpha": 2.0, "gamma": -1.0, "reduction": "bogus"}),
    "softmax_focal_loss": (
        "SoftmaxFocalLoss",
        {"alpha": [1.0, -1.0, 1.0], "gamma": -1.0, "label_smoothing": 2.0, "reduction": "bogus"}
        | {"ignore_index": 1.5, "background_class": -1},
    ),
    "symmetric_cross_entropy_loss": (
        "SymmetricCrossEntropyLoss",
        {"alpha": -1.0, "beta": -1.0, "epsilon": 0.0, "reduction": "mean_positive", "ignore_index": 1.5},
    ),
}
CASES = [
    *((loss, names[0], option, bad) for loss, names in RANKING.items() for option, bad in (COMMON | names[1]).items()),
    *((loss, names[0], option, bad) for loss, names in POINTWISE.items() for option, bad in names[1].items()),
]


@pytest.mark.parametrize(("loss", "module", "option", "bad"), CASES, ids=lambda value: str(value))
def test_errors_name_the_option(loss, module, option, bad):
    targets = [[0, 1, 0], [1, 0, 0]] if loss == "sigmoid_focal_loss" else [0, 1]
    sizes = (3,) if loss in RANKING else ()
    given = {option: bad} | ({"reduction": "mean_positive"} if option == "background_class" else {})
    streams = {"rngs": nnx_streams()} if option == "max_pool_size" else {}
    calls = [
        lambda: getattr(functional, loss)(torch.zeros(2, 3), torch.tensor(targets), **given),
        lambda: getattr(imbalanced_jax, loss)(jnp.zeros((2, 3)), jnp.array(targets), **given),
        lambda: getattr(imbalanced_torch, module)(*sizes, **given),
        lambda: getattr(nnx, module)(*sizes, **given, **streams),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=rf"^{option} must be"):
            call()


def nnx_streams():
    from flax import nnx as flax_nnx

    return flax_nnx.Rngs(0)

"""Torch modules and JAX functions agree with the float64 reference in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch
from losses import IGNORED, POINTWISE, each

import imbalanced_jax
import imbalanced_torch

ALPHA = [0.5, 2.0, 1.0, 0.25]
# name, torch module, JAX function, definition, kind of target, options for all of them
LOSSES = [
    ("SigmoidFocalLoss", "sigmoid_focal_loss", "sigmoid_focal", "binary", {}),
    ("SigmoidFocalLoss", "sigmoid_focal_loss", "sigmoid_focal", "unit", {"gamma": 0.5, "alpha": None}),
    ("SigmoidFocalLoss", "sigmoid_focal_loss", "sigmoid_focal", "unit", {"gamma": 0.0, "alpha": 0.6}),
    ("SoftmaxFocalLoss", "softmax_focal_loss", "softmax_focal", "ids", {}),
    ("SoftmaxFocalLoss", "softmax_focal_loss", "softmax_focal", "ids", {"gamma": 0.5, "alpha": ALPHA}),
    ("SoftmaxFocalLoss", "softmax_focal_loss", "softmax_focal", "ids", {"gamma": 0.0, "label_smoothing": 0.1}),
    ("SoftmaxFocalLoss", "softmax_focal_loss", "softmax_focal", "probabilities", {"gamma": 1.5, "alpha": ALPHA}),
    ("SymmetricCrossEntropyLoss", "symmetric_cross_entropy_loss", "symmetric_cross_entropy", "ids", {"beta": 0.3}),
    ("SymmetricCrossEntropyLoss", "symmetric_cross_entropy_loss", "symmetric_cross_entropy", "probabilities", {}),
]


def draw(kind, dtype):
    rng = np.random.default_rng(1)
    logits = (3 * rng.standard_normal((9, 4))).astype(dtype)
    targets = {
        "binary": lambda: (rng.random((9, 4)) < 0.3).astype(dtype),
        "unit": lambda: rng.random((9, 4)).astype(dtype),
        "ids": lambda: rng.integers(0, 4, 9),
        "probabilities": lambda: rng.dirichlet(np.full(4, 0.3), 9).astype(dtype),
    }[kind]()
    shape = logits.shape if kind in ("binary", "unit") else (9,)
    return logits, targets, rng.random(shape).astype(dtype)


@pytest.mark.parametrize(("reduction", "dtype"), [("mean", np.float64), ("none", np.float32)])
@pytest.mark.parametrize(("name", "function", "definition", "kind", "options"), LOSSES)
def test_values_and_gradients(name, function, definition, kind, options, reduction, dtype):
    logits, targets, weights = draw(kind, dtype)
    x = torch.tensor(logits, requires_grad=True)
    module = getattr(imbalanced_torch, name)(reduction=reduction, **options)
    of_torch = module(x, torch.tensor(targets), sample_weight=torch.tensor(weights))
    of_torch.sum().backward()

    def objective(x):
        loss = getattr(imbalanced_jax, function)(
            x, jnp.asarray(targets), sample_weight=jnp.asarray(weights), reduction=reduction, **options
        )
        return jnp.sum(loss), loss

    gradient, of_jax = jax.grad(objective, has_aux=True)(jnp.asarray(logits))

    def weighted(x):
        losses = getattr(reference, definition)(x, targets.astype(np.float64), **options) * weights.astype(np.float64)
        return losses if reduction == "none" else losses.sum() / weights.astype(np.float64).sum()

    expected = weighted(logits.astype(np.float64))
    slope = reference.gradient(lambda x: np.sum(weighted(x)), logits)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    near = {"rtol": tolerance, "atol": tolerance * np.abs(slope).max()}
    assert of_jax.dtype == dtype
    assert of_torch.detach().numpy().dtype == dtype
    tiny = tolerance * 1e-6  # a loss near 1e-7 has more rounding error, from the power of a difference
    np.testing.assert_allclose(of_torch.detach(), expected, rtol=tolerance, atol=tiny)
    np.testing.assert_allclose(of_jax, expected, rtol=tolerance, atol=tiny)
    np.testing.assert_allclose(x.grad, slope, **near)
    np.testing.assert_allclose(gradient, slope, **near)


@each(POINTWISE)
def test_reductions_over_what_is_not_ignored(case):
    logits, targets = case.batch(0, dtype=np.float64)
    targets[[2, 5]] = IGNORED
    weights = np.linspace(0.1, 2.0, len(logits))

    @jax.jit
    def of_jax(x, y, w):
        return [case.in_jax(reduction=reduction)(x, y, sample_weight=w) for reduction in case.reductions]

    arrays = [torch.from_numpy(array) for array in (logits, targets, weights)]
    of_torch = [
        case.in_torch(reduction=reduction)(*arrays[:2], sample_weight=arrays[2]) for reduction in case.reductions
    ]
    np.testing.assert_allclose(of_jax(*map(jnp.asarray, (logits, targets, weights))), of_torch, rtol=1e-12)


@pytest.mark.parametrize("scheme", ["inverse", "balanced", "effective"])
def test_class_weights(scheme):
    counts = [1000, 30, 7, 0]
    of_torch = imbalanced_torch.class_weights(torch.tensor(counts, dtype=torch.float64), scheme=scheme)
    of_jax = imbalanced_jax.class_weights(jnp.asarray(counts, dtype=jnp.float64), scheme=scheme)
    np.testing.assert_allclose(of_torch, of_jax, rtol=1e-12)

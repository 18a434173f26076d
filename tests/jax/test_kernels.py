"""The optimised program of a step: its number of kernels, compiled as for an accelerator, and its rounding."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import imbalanced_jax
from imbalanced_core.pairwise import counts

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
LOSSES = {
    "smooth AP": imbalanced_jax.smooth_ap_loss,
    "recall": imbalanced_jax.recall_at_quantile_loss,
    "pAUC": imbalanced_jax.pauc_at_budget_loss,
    "AUC": imbalanced_jax.auc_loss,
}


def kernels_of(text):
    """The top-level operations of the program.

    `reduce-window` is left out: it is a stage of a long reduction on the CPU, which a GPU does at once.
    """
    entry = text[text.index("\nENTRY") :]
    found = re.findall(r"%(\S+) = .*?\s([a-z][\w-]*)\(", entry)
    return [name for name, operation in found if operation not in FREE and "reduce-window" not in name]


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("name", LOSSES)
def test_a_default_step_is_forty_kernels(name, monkeypatch):
    """Loss, gradient and queue; unused results cost nothing."""
    monkeypatch.setattr(counts, "_PAIRS_JAX_CPU", counts._PAIRS_JAX_ACCELERATOR)

    def loss_fn(logits, targets, queue):
        loss, aux = LOSSES[name](logits, targets, queue)
        return loss, aux.queue

    arrays = jnp.zeros((32, 1), jnp.float32), jnp.zeros(32, jnp.int32), imbalanced_jax.init_queue(1024, 1)
    compiled = jax.jit(jax.value_and_grad(loss_fn, has_aux=True)).lower(*arrays).compile()
    assert 10 < len(kernels_of(compiled.as_text())) <= 40


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("start", [0, 28])
def test_a_far_item_has_its_gradient_to_rounding(start, monkeypatch):
    """Its pair with itself, 10¹¹ times as large, cancels exactly although XLA fuses a product and a difference."""
    monkeypatch.setattr(counts, "_PAIRS_KEPT", 0)
    rng = np.random.default_rng(0)
    scores, weights, cotangent = (rng.random(shape, np.float32) for shape in ((4, 30), (4, 1, 30), (4, 1, 30)))
    scores[:, -1] = -25.0

    def total(scores, weights, cotangent):
        requested = jnp.ones(scores.shape, dtype=bool)
        tau = jnp.ones_like(scores[:, 0])
        return (counts.soft_counts_at(scores, weights, tau, requested, start=start).above * cotangent).sum()

    gradient = jax.jit(jax.grad(total))(*map(jnp.asarray, (scores, weights, cotangent)))
    x = scores[:, :-1] + 25.0
    w, c = weights[:, 0], cotangent[:, 0]
    expected = ((w[:, -1:] * c[:, :-1] - c[:, -1:] * w[:, :-1]) * np.exp(-np.float64(x))).sum(axis=1)
    np.testing.assert_allclose(gradient[:, -1], expected, rtol=1e-5)

"""Torch modules and JAX functions: the same losses, gradients and queues, step after step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from replay import TASKS

import imbalanced_jax
import imbalanced_torch

STEPS = 50
ROWS = (12, 7)  # batches take turns, so the queue is cut at changing places
LOSSES = {
    "smooth_ap": (imbalanced_torch.SmoothAPLoss, imbalanced_jax.smooth_ap_loss, {"temperature_scale": "iqr"}),
    "recall": (
        imbalanced_torch.RecallAtQuantileLoss,
        imbalanced_jax.recall_at_quantile_loss,
        {"quantile": 0.2, "pos_numerator": "live"},
    ),
    "pauc": (
        imbalanced_torch.PAUCAtBudgetLoss,
        imbalanced_jax.pauc_at_budget_loss,
        {"beta": 0.3, "surrogate": "pairwise"},
    ),
}
CASES = [
    ("smooth_ap", "classes", np.float32),
    ("smooth_ap", "binary", np.float64),
    ("recall", "multilabel", np.float32),
    ("recall", "classes", np.float64),
    ("pauc", "binary", np.float32),
    ("pauc", "multilabel", np.float64),
]


def batch(step, task, dtype):
    """A batch with ignored rows; every seventh has a row of NaN, or one with an infinite logit."""
    num_classes, multilabel = TASKS[task]
    rng, rows = np.random.default_rng(step), ROWS[step % 2]
    logits = rng.standard_normal((rows, num_classes)).astype(dtype)
    targets = rng.integers(0, max(num_classes, 2), (rows, num_classes) if multilabel else rows)
    if multilabel:
        targets = np.minimum(targets, 1)
    targets[rng.random(targets.shape) < 0.15] = -100
    if step % 7 == 3:
        logits[2, 0] = np.nan if step % 2 else np.inf
    weights = rng.random(rows).astype(dtype)
    return logits, targets, weights, rng.random(rows) < 0.8


@pytest.mark.parametrize(("loss", "task", "dtype"), CASES)
def test_fifty_steps_are_the_same(loss, task, dtype):
    num_classes, multilabel = TASKS[task]
    module, function, options = LOSSES[loss]
    loss_fn = module(num_classes, queue_size=20, multilabel=multilabel, **options).to(torch.from_numpy(dtype(())).dtype)
    queue = imbalanced_jax.init_queue(20, num_classes, multilabel=multilabel, dtype=dtype)

    @jax.jit
    def jax_step(logits, targets, queue, temperature, weights, iid):
        def objective(x):
            return function(
                x,
                targets,
                queue,
                temperature=temperature,
                multilabel=multilabel,
                sample_weight=weights,
                iid_mask=iid,
                **options,
            )

        return jax.value_and_grad(objective, has_aux=True)(logits)

    tolerance = {"rtol": 2e-4, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-11}
    finite = 0
    for step in range(STEPS):
        arrays = batch(step, task, dtype)
        temperature = 0.5 * 0.96**step
        loss_fn.temperature = temperature
        logits, targets, weights, iid = map(torch.from_numpy, arrays)
        logits.requires_grad_()
        value, per_class, valid = loss_fn(logits, targets, iid, True, sample_weight=weights)
        (gradient,) = torch.autograd.grad(value, logits)
        x, y, w, m = map(jnp.asarray, arrays)
        (jax_value, aux), jax_gradient = jax_step(x, y, queue, temperature, w, m)
        queue = aux.queue
        np.testing.assert_allclose(value.detach(), jax_value, **tolerance, err_msg=f"step {step}")
        np.testing.assert_allclose(per_class.detach(), aux.per_class, **tolerance)
        np.testing.assert_array_equal(valid, aux.valid)
        np.testing.assert_allclose(gradient, jax_gradient, **tolerance, err_msg=f"step {step}")
        for name, torch_array, jax_array in zip(queue._fields, loss_fn.queue, queue, strict=True):
            np.testing.assert_array_equal(torch_array, jax_array, err_msg=f"{name}, step {step}")
        finite += bool(value.isfinite())
    assert finite >= STEPS - STEPS // 14 - 1  # only steps with NaN are NaN
    assert np.isfinite(queue.logits).all()
    assert 0 < (np.asarray(queue.targets) == -100).mean() < 0.5

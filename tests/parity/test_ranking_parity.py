"""Torch modules and JAX functions have the same losses, gradients and queues at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from losses import RANKING
from reference import QUEUE_IGNORED
from replay import TASKS, draw_batch

import imbalanced_jax

STEPS = 50
ROWS = (12, 7)  # batch sizes alternate, so the queue wraps around at different slots
CASES = [
    (case, task, dtype)
    for i, case in enumerate(RANKING)
    for task, dtype in list(zip(np.roll(list(TASKS), i), (np.float32, np.float64), strict=False))[
        : 1 if case.like else 2
    ]
]


def batch(step, task, dtype):
    """A batch with ignored rows; every seventh batch has a NaN or an infinite logit."""
    arrays = draw_batch(np.random.default_rng(step), task, rows=ROWS[step % 2], dtype=dtype)
    if step % 7 == 3:
        arrays[0][2, 0] = np.nan if step % 2 else np.inf
    return arrays


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(("case", "task", "dtype"), CASES, ids=lambda x: getattr(x, "name", None))
def test_fifty_steps_are_the_same(case, task, dtype):
    num_classes, multilabel = TASKS[task]
    loss_fn = case.in_torch(num_classes, queue_size=20, multilabel=multilabel)
    loss_fn = loss_fn.to(torch.from_numpy(dtype(())).dtype)
    function = case.in_jax(multilabel=multilabel)
    queue = imbalanced_jax.init_queue(20, num_classes, multilabel=multilabel, dtype=dtype)

    @jax.jit
    def jax_step(logits, targets, queue, temperature, weights, iid):
        def objective(x):
            return function(x, targets, queue, temperature=temperature, sample_weight=weights, iid_mask=iid)

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
    assert finite >= STEPS - STEPS // 14 - 1  # only steps with a NaN are NaN
    assert np.isfinite(queue.logits).all()
    assert 0 < (np.asarray(queue.targets) == QUEUE_IGNORED).mean() < 0.5

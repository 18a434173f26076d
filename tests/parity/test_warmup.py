"""A run in torch and in JAX has the same weight, temperature and loss at every step, and the same queue."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

from imbalanced_jax.pooled import init_queue
from imbalanced_jax.ranking import smooth_ap_loss
from imbalanced_jax.warmup import blend_schedule, temperature_schedule, warmup_blend
from imbalanced_torch.ranking import SmoothAPLoss
from imbalanced_torch.warmup import LossWarmupWrapper

STEPS, QUEUE, LEARNING_RATE = 18, 20, 0.3
DECAY = {"temp_start": 0.5, "temp_end": 0.05, "temp_decay_steps": 7}
PLANS = {
    "blend": {"warmup_steps": 4, "blend_steps": 5},
    "hard": {"warmup_steps": 6, "blend_steps": 0},
    "mix": {"warmup_steps": 3, "blend_steps": 2, "final_main_weight": 0.7},
    "none": {"warmup_steps": 0, "blend_steps": 0},
}


def batch(step, dtype):
    rng = np.random.default_rng(step)
    inputs = rng.normal(size=(10, 4)).astype(dtype)
    return inputs, (inputs[:, :1] > 0.7).astype(dtype)


def start(dtype):
    return np.linspace(-0.4, 0.6, 4, dtype=dtype)[:, None]


def run_torch(plan, dtype):
    weight = torch.from_numpy(start(dtype)).requires_grad_()
    loss_fn = LossWarmupWrapper(
        nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=QUEUE).to(weight.dtype), **plan, **DECAY
    )
    optimizer = torch.optim.SGD([weight], lr=LEARNING_RATE)
    trace = []
    for step in range(STEPS):
        inputs, targets = (torch.from_numpy(array) for array in batch(step, dtype))
        loss_fn.on_train_batch_start(step)
        optimizer.zero_grad()
        loss = loss_fn(inputs @ weight, targets)
        loss.backward()
        optimizer.step()
        trace.append((loss_fn.main_weight, loss_fn.current_temperature, loss.item()))
    return np.array(trace), [np.asarray(part) for part in loss_fn.main_loss.queue]


def run_jax(plan, dtype):
    weight_at = blend_schedule(**plan)
    temperature_at = temperature_schedule(**DECAY, warmup_steps=plan["warmup_steps"])

    @jax.jit
    def train_step(weight, step, queue, inputs, targets):
        def loss_fn(weight):
            logits = inputs @ weight
            return warmup_blend(
                step,
                lambda: optax.sigmoid_binary_cross_entropy(logits, targets).mean(),
                lambda queue, tau: smooth_ap_loss(logits, targets, queue, temperature=tau),
                queue,
                **plan,
                **DECAY,
            )

        (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(weight)
        return weight - LEARNING_RATE * gradient, aux.queue, (weight_at(step), temperature_at(step), loss)

    weight, queue = jnp.asarray(start(dtype)), init_queue(QUEUE, 1, dtype=dtype)
    trace = []
    for step in range(STEPS):
        inputs, targets = map(jnp.asarray, batch(step, dtype))
        weight, queue, row = train_step(weight, jnp.asarray(step, jnp.int32), queue, inputs, targets)
        trace.append([float(x) for x in row])
    return np.array(trace), [np.asarray(part) for part in queue]


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-4), (np.float64, 1e-10)], ids=["float32", "float64"])
def test_the_same_run(plan, dtype, tolerance):
    torch_trace, torch_queue = run_torch(plan, dtype)
    jax_trace, jax_queue = run_jax(plan, dtype)
    np.testing.assert_allclose(torch_trace[:, :2], jax_trace[:, :2], rtol=1e-12)  # x64 is on: float64 in both
    np.testing.assert_allclose(torch_trace[:, 2], jax_trace[:, 2], rtol=tolerance)
    for ours, theirs in zip(torch_queue, jax_queue, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_schedules_agree_in_float32():
    """Without x64, JAX computes the schedules in float32."""
    weight_at, temperature_at = blend_schedule(1000, 500, 0.9), temperature_schedule(0.5, 0.005, 10_000, 1000)
    loss_fn = LossWarmupWrapper(
        nn.MSELoss(),
        SmoothAPLoss(1, queue_size=0),
        warmup_steps=1000,
        blend_steps=500,
        final_main_weight=0.9,
        temp_start=0.5,
        temp_end=0.005,
        temp_decay_steps=10_000,
    )
    steps = [0, 999, 1000, 1001, 1250, 1499, 1500, 7777, 10_999, 11_000, 2**31 - 1]
    with jax.enable_x64(False):
        counts = jnp.asarray(steps, jnp.int32)
        weights, temperatures = jax.jit(weight_at)(counts), jax.jit(temperature_at)(counts)
    assert weights.dtype == temperatures.dtype == jnp.float32
    for step, weight, temperature in zip(steps, weights, temperatures, strict=True):
        loss_fn.on_train_batch_start(step)
        np.testing.assert_allclose(weight, loss_fn.main_weight, rtol=3e-7)
        np.testing.assert_allclose(temperature, loss_fn.current_temperature, rtol=3e-6)

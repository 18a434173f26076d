"""JAX on an accelerator: every loss and option, the queue, no transfers within a step, bounded memory."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from losses import LOSSES, RANKING, each
from on_device import (
    BYTES_PER_SCORE,
    CLASSES,
    DEVICE,
    VARIANTS,
    assert_close,
    batch_of,
    expected,
    module_of,
    skip_without,
)

import imbalanced_jax
from imbalanced_core.pairwise import counts
from imbalanced_jax import presets

# asked only where JAX may use a device: other tests would fork a process whose backend was started at collection
skip_without(os.environ.get("JAX_PLATFORMS") != "cpu" and jax.default_backend() != "cpu")


def value_and_gradient(function, logits, targets):
    return jax.jit(jax.value_and_grad(function))(logits, targets)


@each(VARIANTS)
def test_value_and_gradient(case):
    logits, targets = batch_of(case)
    found = value_and_gradient(case.value_in_jax(), jnp.asarray(logits), jnp.asarray(targets))
    assert_close(found, expected(module_of(case), logits, targets), "float32")


@each(LOSSES)
def test_value_and_gradient_in_float64(case):
    logits, targets = batch_of(case, dtype=np.float64)
    found = value_and_gradient(case.value_in_jax(), jnp.asarray(logits), jnp.asarray(targets))
    assert_close(found, expected(module_of(case), logits, targets), "float64")


@each(RANKING)
def test_long_rows(case, monkeypatch):
    """Computed in blocks, as for rows above the limit of pairs."""
    for limit in ("_PAIRS_JAX_ACCELERATOR", "_PAIRS_JAX_CPU"):
        monkeypatch.setattr(counts, limit, 0)
    logits, targets = batch_of(case, rows=1000)
    found = value_and_gradient(case.value_in_jax(), jnp.asarray(logits), jnp.asarray(targets))
    monkeypatch.undo()
    assert_close(found, expected(module_of(case), logits, targets), "float32")


def ranking_step(case):
    function = case.in_jax()
    return imbalanced_jax.init_queue(150, CLASSES), lambda x, y, queue: _with(function(x, y, queue))


def _with(result):
    loss, aux = result
    return loss, aux.queue


def preset_step(function, **options):
    def loss_fn(x, y, state):
        loss, (state, _) = function(x, y, state, **options)
        return loss, state

    return presets.init_state(CLASSES, queue_size=150), loss_fn


def pointwise_step(case):
    function = case.value_in_jax()
    return (), lambda x, y, state: (function(x, y), state)


STEPS = {case.name: (case, ranking_step if case.ranks else pointwise_step) for case in LOSSES}
STEPS = {name: (case, lambda case=case, make=make: make(case)) for name, (case, make) in STEPS.items()} | {
    "smooth AP recommended": (RANKING[0], lambda: preset_step(presets.smooth_ap)),
    "pAUC recommended": (RANKING[0], lambda: preset_step(presets.pauc_at_budget, budget=0.1)),
}


@pytest.mark.parametrize("name", STEPS)
def test_twenty_steps_without_a_transfer(name):
    """A model, its update, and the state of the loss; for ranking losses, the queue is compared with the CPU's."""
    case, make = STEPS[name]
    state, loss_fn = make()

    @jax.jit
    def step(bias, state, x, y):
        (loss, state), slope = jax.value_and_grad(lambda b: loss_fn(x + b, y, state), has_aux=True)(bias)
        return bias - 0.1 * slope, state, loss

    bias = jnp.zeros(CLASSES, jnp.float32)
    batches = [tuple(map(jnp.asarray, batch_of(case, seed, rows=32))) for seed in range(20)]
    jax.block_until_ready(step(bias, state, *batches[0]))  # compiles
    biases, losses = [], []
    with jax.transfer_guard("disallow"):
        for x, y in batches:
            biases.append(bias)
            bias, state, loss = step(bias, state, x, y)
            losses.append(loss)
        jax.block_until_ready(losses)
    assert np.isfinite(losses).all()
    if name != case.name or not case.ranks:
        return
    twin = module_of(case, queue_size=150)
    for b, (x, y), loss in zip(biases, batches, losses, strict=True):
        logits = torch.from_numpy(np.array(x + b))
        assert float(loss) == pytest.approx(float(twin(logits, torch.from_numpy(np.array(y)))), rel=2e-4, abs=1e-5)
    np.testing.assert_allclose(state.logits, twin.queue.logits, rtol=1e-6, atol=1e-6)
    for mine, other in zip(state[1:], twin.queue[1:], strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.usefixtures("optimised")
@each(RANKING[:1])
def test_memory_of_a_long_row(case):
    n = 2**20 if DEVICE != "cpu" else 2**14
    scores, targets = jnp.zeros((n, 1), jnp.float32), jnp.zeros(n, jnp.int32)
    compiled = jax.jit(jax.value_and_grad(case.value_in_jax())).lower(scores, targets).compile()
    memory = compiled.memory_analysis()
    assert 0 < memory.temp_size_in_bytes + memory.output_size_in_bytes <= BYTES_PER_SCORE * n

"""Gated losses: the presets of PyTorch, JAX and nnx against the formula of `imbalanced_core.losses.gated` in numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch
from flax import nnx

import imbalanced_jax.nnx
import imbalanced_torch
from imbalanced_jax import presets

CLASSES, QUEUE, STEPS, BUDGET, LOW, HIGH = 3, 20, 5, 0.2, 0.3, 0.6  # the last two: the limits of the gate
PAUC = {"beta": 2 * BUDGET, "surrogate": "pairwise", "temperature_scale": "std"}
PRESETS = {  # class, function, arguments, definition, its temperature
    "smooth AP": ("SmoothAPLoss", presets.smooth_ap, {}, partial(reference.smooth_ap, temperature_scale="std"), 0.2),
    "pAUC": (
        "PAUCAtBudgetLoss",
        presets.pauc_at_budget,
        {"budget": BUDGET},
        partial(reference.partial_auc, **PAUC),
        1.0,
    ),
}


class Formula:
    """A gated loss of the batch and the queue, step by step, in float64."""

    def __init__(self, definition, temperature, reached):
        self.definition, self.temperature, self.reached = definition, temperature, reached.copy()
        self.queue, self.queue_ids = np.zeros((0, CLASSES)), np.zeros(0, int)

    def step(self, logits, ids):
        """The mean loss of the valid classes and its gradient."""
        columns = [self._class(c, logits.astype(np.float64), ids) for c in range(CLASSES)]
        self.queue = np.concatenate([self.queue, logits])[-QUEUE:]
        self.queue_ids = np.concatenate([self.queue_ids, ids])[-QUEUE:]
        losses, gradients, valid = zip(*columns, strict=True)
        return np.sum(losses) / np.sum(valid), np.stack(gradients, axis=1) / np.sum(valid)

    def _class(self, c, logits, ids):
        z, y = logits[:, c], ids == c
        s, p = np.append(self.queue[:, c], z), np.append(self.queue_ids == c, y)
        missed, valid, slopes, *_ = self.definition(s, p, temperature=self.temperature)
        w, scale = 0.75, 1  # of an average precision
        if self.definition.func is reference.partial_auc:
            sharply_missed, *_ = self.definition(s, p, temperature=self.temperature / 50)
            self.reached[c] += 0.04 * ((1 - sharply_missed if valid else LOW) - self.reached[c])
            w, scale = 0.1 + 0.9 * np.clip((self.reached[c] - LOW) / (HIGH - LOW), 0, 1), 0.25
        contrast, slopes_of_contrast = reference.contrast(z, y)
        pull = 4 * min(self.temperature * np.std(s[~p]), 1)  # of the gradient alone
        gradient = (1 - w) * slopes_of_contrast + w * pull * slopes[-len(z) :]
        return 0.25 * contrast + 0.75 * missed, scale * gradient, valid


def draw(step, dtype=np.float32):
    """The first batch lacks the last class; the ranking improves at each step, so that the gate changes its weight."""
    rng = np.random.default_rng(step)
    ids = rng.integers(0, CLASSES - (step == 0), 12)
    ids[: CLASSES - (step == 0)] = np.arange(CLASSES - (step == 0))
    return (rng.standard_normal((12, CLASSES)) + 3 * step * np.eye(CLASSES)[ids]).astype(dtype), ids


@pytest.mark.parametrize("queue_size", [0, QUEUE])
@pytest.mark.parametrize("name", PRESETS)
def test_an_empty_batch_has_no_loss(name, queue_size):
    module, function, arguments, *_ = PRESETS[name]
    of_torch = getattr(imbalanced_torch, module).recommended(CLASSES, queue_size=queue_size, **arguments)
    x = torch.zeros(0, CLASSES, requires_grad=True)
    loss = of_torch(x, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0

    state = presets.init_state(CLASSES, queue_size=queue_size)
    loss, _ = jax.jit(partial(function, **arguments))(jnp.zeros((0, CLASSES)), jnp.zeros(0, int), state)
    assert loss == 0


@pytest.mark.parametrize("name", PRESETS)
def test_scores_that_only_shrink_have_no_lower_loss(name):
    """Else early stopping would choose an untrained model."""
    module, function, arguments, *_ = PRESETS[name]
    x, ids = draw(2)
    for loss_of in (
        lambda x: getattr(imbalanced_torch, module).recommended(CLASSES, **arguments)(x, torch.from_numpy(ids)),
        lambda x: function(jnp.asarray(x), ids, presets.init_state(CLASSES), **arguments)[0],
    ):
        losses = [float(loss_of(torch.from_numpy(x) * scale)) for scale in (1.0, 0.1, 0.001)]
        assert losses == sorted(losses)
        assert losses[1] > 1.1 * losses[0]


def test_pairs_begin_with_all_the_weight():
    """They keep it until some steps have shown that the ranking does not succeed."""
    name, function, arguments, *_ = PRESETS["pAUC"]
    of_torch = getattr(imbalanced_torch, name).recommended(CLASSES, queue_size=QUEUE, **arguments)
    state, weights = presets.init_state(CLASSES, queue_size=QUEUE), []
    step = jax.jit(partial(function, **arguments))
    for number in range(100):
        rng = np.random.default_rng(number)
        x, y = np.float32(rng.standard_normal((12, CLASSES))), np.arange(12) % CLASSES  # uninformative logits
        _, (state, aux) = step(x, y, state)
        _, figures = of_torch(torch.from_numpy(x), torch.from_numpy(y), return_diagnostics=True)
        weights.append(np.asarray(aux.diagnostics.ranking_weight))
        np.testing.assert_allclose(figures["ranking_weight"], weights[-1], rtol=1e-4)
    assert (weights[0] == 1).all()
    assert (weights[10] == 1).all()
    assert (weights[-1] < 0.8).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_five_steps_are_the_same_everywhere(preset):
    name, function, arguments, definition, temperature = PRESETS[preset]
    start = np.full(CLASSES, LOW - 0.005)  # so near the limit that a few steps of the slow running mean cross it
    formula = Formula(definition, temperature, start)
    of_torch = getattr(imbalanced_torch, name).recommended(CLASSES, queue_size=QUEUE, **arguments)
    of_nnx = getattr(imbalanced_jax.nnx, name).recommended(CLASSES, queue_size=QUEUE, **arguments)
    state = presets.init_state(CLASSES, queue_size=QUEUE)
    jax_step = jax.jit(jax.value_and_grad(partial(function, **arguments), has_aux=True))
    nnx_step = nnx.jit(nnx.value_and_grad(lambda loss_fn, x, y: loss_fn(x, y), argnums=1))
    of_torch.gate.reached.copy_(torch.from_numpy(start))
    of_nnx.gate_reached[...] = jnp.asarray(start, jnp.float32)
    state = state._replace(gate=state.gate._replace(reached=jnp.asarray(start, jnp.float32)))
    for step in range(STEPS):
        x, y = draw(step)
        logits = torch.from_numpy(x).requires_grad_()
        value = of_torch(logits, torch.from_numpy(y))
        (gradient,) = torch.autograd.grad(value, logits)
        (jax_value, (state, aux)), jax_gradient = jax_step(jnp.asarray(x), jnp.asarray(y), state)
        nnx_value, nnx_gradient = nnx_step(of_nnx, jnp.asarray(x), jnp.asarray(y))
        expected, expected_gradient = formula.step(x, y)
        for way, v, g, gate in (
            ("torch", value.detach(), gradient, of_torch.gate),
            ("jax", jax_value, jax_gradient, state.gate),
            ("nnx", nnx_value, nnx_gradient, of_nnx.gate),
        ):
            told = f"{way}, step {step}"
            np.testing.assert_allclose(v, expected, rtol=2e-5, err_msg=told)
            np.testing.assert_allclose(g, expected_gradient, rtol=2e-4, atol=2e-6, err_msg=told)
            np.testing.assert_allclose(gate.reached, formula.reached, rtol=2e-5, err_msg=told)
        assert v.dtype == jnp.float32
    weight = np.asarray(aux.diagnostics.ranking_weight)
    assert ((weight > 0.11) & (weight < 1)).all()  # strictly between the limits, so the comparison tests the weight

"""Gated losses: the presets of PyTorch, JAX and nnx against the formula of `imbalanced_core.losses.gated` in numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch
from flax import nnx
from reference import sigmoid

import imbalanced_jax.nnx
import imbalanced_torch
from imbalanced_jax import presets

CLASSES, QUEUE, STEPS, BUDGET = 3, 20, 5, 0.2
PAUC = {"beta": 2 * BUDGET, "surrogate": "pairwise", "temperature_scale": "std"}
PRESETS = {  # class, function, arguments, definition, its temperature, limits of the gate
    "smooth AP": ("SmoothAPLoss", presets.smooth_ap, {}, reference.smooth_ap, 0.2, (0.05, 0.3)),
    "pAUC": (
        *("PAUCAtBudgetLoss", presets.pauc_at_budget, {"budget": BUDGET}),
        *(partial(reference.partial_auc, **PAUC), 1.0, (0.3, 0.6)),
    ),
}


class Formula:
    """A gated loss of the batch and the queue, step by step, in float64."""

    def __init__(self, definition, temperature, limits, positive_rate):
        self.definition, self.temperature = definition, temperature
        self.subtracts_chance = definition is reference.smooth_ap
        self.limits, self.positive_rate = limits, positive_rate
        self.reached, self.positives, self.negatives = np.zeros((3, CLASSES))
        self.queue, self.queue_ids = np.zeros((0, CLASSES)), np.zeros(0, int)

    def step(self, logits, ids):
        """The mean loss of the classes and its gradient."""
        columns = [self._class(c, logits.astype(np.float64), ids) for c in range(CLASSES)]
        self.queue = np.concatenate([self.queue, logits])[-QUEUE:]
        self.queue_ids = np.concatenate([self.queue_ids, ids])[-QUEUE:]
        losses, gradients = zip(*columns, strict=True)
        return np.mean(losses), np.stack(gradients, axis=1) / CLASSES

    def _class(self, c, logits, ids):
        z, y = logits[:, c], ids == c
        s, p = np.append(self.queue[:, c], z), np.append(self.queue_ids == c, y)
        scale = {"temperature_scale": "std"} if self.subtracts_chance else {}
        missed, valid, slopes, *_ = self.definition(s, p, temperature=self.temperature, **scale)
        sharply_missed, *_ = self.definition(s, p, temperature=self.temperature / 50, **scale)
        reached, chance = 1 - sharply_missed, p.mean()
        if self.subtracts_chance:
            reached = (reached - chance) / max(1 - chance, 0.5)
        if valid:
            self.reached[c] += 0.02 * (reached - self.reached[c])
        self.positives[c] += y.sum()
        self.negatives[c] += (~y).sum()
        low, high = self.limits
        w = 0.25 + 0.75 * np.clip((self.reached[c] - low) / (high - low), 0, 1)
        odds = max(self.positives[c], 1) / max(self.negatives[c], 1)
        if self.positive_rate is not None:  # counts as 100 more rows
            expected = 100 * self.positive_rate
            odds = (self.positives[c] + expected) / (self.negatives[c] + 100 - expected)
        shifted = z + 1.5 * np.log(odds)
        cross_entropy = np.mean(np.logaddexp(0, np.where(y, -shifted, shifted))) / odds
        slopes_of_cross_entropy = (sigmoid(shifted) - y) / (odds * len(z))
        unit = 4 * min(self.temperature * np.std(s[~p]), 1) * w
        loss = (1 - w) * cross_entropy + unit * missed
        return loss, (1 - w) * slopes_of_cross_entropy + unit * slopes[-len(z) :]


def draw(step, dtype=np.float32):
    """The first batch lacks the last class; the ranking improves at each step, so that the gate changes its weight."""
    rng = np.random.default_rng(step)
    ids = rng.integers(0, CLASSES - (step == 0), 12)
    ids[: CLASSES - (step == 0)] = np.arange(CLASSES - (step == 0))
    return (rng.standard_normal((12, CLASSES)) + 3 * step * np.eye(CLASSES)[ids]).astype(dtype), ids


@pytest.mark.parametrize("preset", PRESETS)
def test_the_ranking_loss_begins_with_all_the_weight(preset):
    """It keeps the full weight until some tens of steps have shown that the ranking does not succeed."""
    name, function, arguments, *_ = PRESETS[preset]
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


@pytest.mark.parametrize("positive_rate", [None, 0.25])
@pytest.mark.parametrize("preset", PRESETS)
def test_five_steps_are_the_same_everywhere(preset, positive_rate):
    name, function, arguments, definition, temperature, limits = PRESETS[preset]
    arguments = arguments | {"positive_rate": positive_rate}
    formula = Formula(definition, temperature, limits, positive_rate)
    of_torch = getattr(imbalanced_torch, name).recommended(CLASSES, queue_size=QUEUE, **arguments)
    of_nnx = getattr(imbalanced_jax.nnx, name).recommended(CLASSES, queue_size=QUEUE, **arguments)
    state = presets.init_state(CLASSES, queue_size=QUEUE)
    jax_step = jax.jit(jax.value_and_grad(partial(function, **arguments), has_aux=True))
    nnx_step = nnx.jit(nnx.value_and_grad(lambda loss_fn, x, y: loss_fn(x, y), argnums=1))
    # so near the limit that a few steps of the slow running mean cross it
    start = np.full(CLASSES, limits[0] - 0.005)
    formula.reached = start.copy()
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
            np.testing.assert_array_equal(gate.positives, formula.positives, err_msg=told)
            np.testing.assert_array_equal(gate.negatives, formula.negatives, err_msg=told)
        assert v.dtype == jnp.float32
    weight = np.asarray(aux.diagnostics.ranking_weight)
    assert ((weight > 0.26) & (weight < 1)).all()  # strictly between the limits, so the comparison tests the weight

"""The losses of the study, as functions of logits, targets and a state."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from imbalanced_jax import pauc_at_budget_loss, presets, smooth_ap_loss
from imbalanced_jax.presets import PresetState


class State(NamedTuple):
    """The state of a loss."""

    preset: PresetState  # queue and gate
    seen: jax.Array  # numbers of negatives and positives so far, [2]


Loss = Callable[..., tuple[jax.Array, State]]  # (logits [N, 1], targets [N], state, budget=...) -> (loss, state)


def initial_state(queue_size: int) -> State:
    return State(presets.init_state(1, queue_size=queue_size), jnp.zeros(2))


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    state: State,
    *,
    budget: float,  # noqa: ARG001 - every loss is told
    exponent: float = 0.0,
    shift: float = 0.0,
    hard: float = 1.0,
) -> tuple[jax.Array, State]:
    """Binary cross entropy (BCE), with n₋ and n₊ the numbers of negatives and positives seen so far.

    Args:
        logits: logits of the batch, [N, 1].
        targets: 0 or 1, [N].
        state: state of the previous step.
        budget: not used.
        exponent: positives are weighted by (n₋/n₊)^exponent.
        shift: logits start from shift · log(n₊/n₋): at 1 as if the last bias began with the prior.
        hard: the 2% of the batch's negatives with the highest scores are weighted by this.
    """
    y, scores = targets == 1, logits[:, 0]
    seen = state.seen + jnp.stack([jnp.sum(~y), jnp.sum(y)])
    odds = jnp.maximum(seen[1], 1.0) / jnp.maximum(seen[0], 1.0)
    weights = jnp.where(y, odds**-exponent, 1.0)
    if hard != 1.0:
        ordered = -jnp.sort(jnp.where(y, jnp.inf, -jax.lax.stop_gradient(scores)))  # negatives first, descending
        last = jnp.ceil(0.02 * jnp.sum(~y)).astype(int) - 1
        weights = jnp.where(~y & (scores >= ordered[jnp.maximum(last, 0)]), hard, weights)
    losses = optax.sigmoid_binary_cross_entropy(scores + shift * jnp.log(odds), y.astype(scores.dtype))
    return jnp.mean(weights * losses), state._replace(seen=seen)


def pairs(
    logits: jax.Array,
    targets: jax.Array,
    state: State,
    *,
    budget: float,
    band: float = 2.0,
    temperature: float = 1.0,
    margin: float = 0.0,
) -> tuple[jax.Array, State]:
    """Pairwise partial AUC up to `band` budgets; by default as in the preset but without its gate."""
    options = {"beta": min(1.0, band * budget), "tau_scale": "std", "temperature": temperature, "margin": margin}
    loss, aux = pauc_at_budget_loss(logits, targets, state.preset.queue, **options)
    return loss, state._replace(preset=PresetState(aux.queue, state.preset.gate))


def smooth_ap(
    logits: jax.Array,
    targets: jax.Array,
    state: State,
    *,
    budget: float,  # noqa: ARG001 - every loss is told
) -> tuple[jax.Array, State]:
    """Smooth-AP as in the preset but without its gate."""
    options = {"temperature_scale": "std", "temperature": 0.2}
    loss, aux = smooth_ap_loss(logits, targets, state.preset.queue, **options)
    return loss, state._replace(preset=PresetState(aux.queue, state.preset.gate))


def mix(logits: jax.Array, targets: jax.Array, state: State, *, budget: float, ranking: Loss) -> tuple:
    """Half a ranking loss, half weighted cross entropy."""
    ranked, state = ranking(logits, targets, state, budget=budget)
    pointwise, state = cross_entropy(logits, targets, state, budget=budget, exponent=1.0)
    return (ranked + pointwise) / 2, state


def pauc_preset(
    logits: jax.Array, targets: jax.Array, state: State, *, budget: float, **options: float
) -> tuple[jax.Array, State]:
    loss, (new, _) = presets.pauc_at_budget(logits, targets, state.preset, budget=budget, **options)
    return loss, state._replace(preset=new)


def ap_preset(
    logits: jax.Array,
    targets: jax.Array,
    state: State,
    *,
    budget: float,  # noqa: ARG001 - every loss is told
) -> tuple[jax.Array, State]:
    loss, (new, _) = presets.smooth_ap(logits, targets, state.preset)
    return loss, state._replace(preset=new)


POINTWISE: dict[str, Loss] = {
    "BCE": cross_entropy,
    "weighted BCE": partial(cross_entropy, exponent=1.0),
    "√-weighted BCE": partial(cross_entropy, exponent=0.5),
    "BCE from the prior": partial(cross_entropy, shift=1.0),
    "BCE, hard negatives": partial(cross_entropy, hard=10.0),
}
RANKING: dict[str, Loss] = {
    "pairs alone": pairs,
    "weighted BCE + pairs": partial(mix, ranking=pairs),
    "weighted BCE + Smooth-AP": partial(mix, ranking=smooth_ap),
    "pAUC preset": pauc_preset,
    "Smooth-AP preset": ap_preset,
}
SHARP = "pAUC preset, 0.3 std"  # with a temperature of 0.3 in place of 1 standard deviation
LOSSES = POINTWISE | RANKING | {SHARP: partial(pauc_preset, temperature=0.3)}
TREES = "boosted trees"  # scikit-learn's implementation, for context
TORCH = "pAUC preset, PyTorch"  # as "pAUC preset", with the same weights and batches
METHODS = (*POINTWISE, *RANKING, TREES)
NAMED = (SHARP, TORCH)  # run only if they are named
PRESETS = ("pAUC preset", "Smooth-AP preset")

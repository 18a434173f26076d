"""The recommended losses, all options set: ranking losses blended with a contrastive cross entropy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from imbalanced_core.losses.gated import Gate
from imbalanced_core.options import SMOOTH_AP_PRESET, pauc_preset
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult
from imbalanced_jax import validation
from imbalanced_jax.pooled import init_gate, init_queue
from imbalanced_jax.ranking import pauc_at_budget_loss, smooth_ap_loss


class PresetState(NamedTuple):
    """The state of a preset between steps, a pytree: the queue of earlier rows and the gate.

    Convert a state restored as dicts by `PresetState(Queue(**restored["queue"]), Gate(**restored["gate"]))`.
    """

    queue: Queue
    gate: Gate


def init_state(
    num_classes: int, *, queue_size: int = 1024, multilabel: bool = False, dtype: Any = jnp.float32
) -> PresetState:
    """The state before the first step; arguments as for `init_queue`, with `queue_size` rows."""
    queue = init_queue(queue_size, num_classes, multilabel=multilabel, dtype=dtype)
    return PresetState(queue, init_gate(num_classes))


def pauc_at_budget(
    logits: Array, targets: Array, state: PresetState, *, budget: float, **overrides: Any
) -> tuple[Array, tuple[PresetState, PooledResult]]:
    """The preset for a budget of false positives: `imbalanced_torch.PAUCAtBudgetLoss.recommended` as a function.

    `pauc_at_budget_loss` of pairs in a band of twice the budget, at a temperature of one standard deviation, gated: a
    contrastive cross entropy is blended in where the ranking fails. Use it as the only loss, from the first step, and
    compare it with binary cross entropy: on clean labels it can underfit (docs/which_loss.md).

    Args:
        logits: floating point [N, C]; C = 1 is binary.
        targets: as for `pauc_at_budget_loss`.
        state: from `init_state` or the previous step.
        budget: the acceptable false-positive rate, a Python number in (0, 1); 1% is 0.01.
        **overrides: options of `pauc_at_budget_loss`, except `gate`, which take precedence.

    Returns:
        (loss, (state, aux)), for `jax.value_and_grad(..., has_aux=True)`: the loss >= 0, the next state, and the aux of
        `pauc_at_budget_loss`, with its errors.
    """
    validation.check_static(budget=budget)
    return _step(pauc_at_budget_loss, logits, targets, state, pauc_preset(budget) | overrides)


def smooth_ap(
    logits: Array, targets: Array, state: PresetState, **overrides: Any
) -> tuple[Array, tuple[PresetState, PooledResult]]:
    """The preset for average precision: `imbalanced_torch.SmoothAPLoss.recommended` as a function.

    Three quarters of `smooth_ap_loss` at a temperature of 0.2 standard deviations, one of a contrastive cross entropy.
    All else as for `pauc_at_budget`, without a budget.
    """
    return _step(smooth_ap_loss, logits, targets, state, SMOOTH_AP_PRESET | overrides)


def _step(
    function: Callable[..., Any], logits: Array, targets: Array, state: PresetState, options: dict[str, Any]
) -> tuple[Array, tuple[PresetState, PooledResult]]:
    if not isinstance(state, PresetState):
        rule = "a PresetState, from init_state or the step before (from dicts: PresetState(Queue(**q), Gate(**g)))"
        raise TypeError(f"state must be {rule}, got {type(state).__name__}")
    if state.gate is None:  # else the ranking loss alone would be computed
        raise TypeError("state.gate must be a Gate, from init_gate or the step before, got None")
    for name in ("queue", "gate"):
        if name in options:
            raise TypeError(f"{name} must be part of the state, PresetState(queue, gate), got it as an option")
    if options.get("class_parallel"):
        instead = "smooth_ap_loss and pauc_at_budget_loss can be class-parallel, without a gate"
        raise ValueError(f"class_parallel must be False in a preset: {instead}")
    loss, aux = function(logits, targets, state.queue, **{"gate": state.gate, **options})
    return loss, (PresetState(aux.queue, aux.gate), aux)

"""A ranking loss that loses weight to a cross entropy where it does not succeed.

With noisy labels and rare positives, a ranking loss alone can be minimal for a model whose scores are all equal
(docs/collapse.md). A cross entropy of the same scores cannot, and finds the features that the ranking loss then
refines. With clean labels a ranking loss needs no such help, and a cross entropy of few positives can mislead it: so
the ranking loss starts with all the weight, and loses it if the scores do not rank after some tens of steps.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.losses.ranking import average_precision, prevalence
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.items import Items, count_of, weight_of

LEAST_WEIGHT = 0.25  # of the ranking loss, however badly the scores rank
LIMITS = 0.3, 0.6  # of `reached`: where the weight begins to grow, and where it is 1
LIFTED_LIMITS = 0.05, 0.3  # the same for an average precision, with chance subtracted
SHARPNESS = 50.0  # `reached` is measured at a temperature this many times smaller
MEMORY = 0.02  # weight of a step in the running mean `reached`
LARGEST_UNIT = 1.0  # τ, in logits, up to which the ranking loss has the gradient scale of a cross entropy
EXPECTED_ROWS = 100.0  # rows that `positive_rate` counts for: batches that differ soon outweigh it
PRIOR_POWER = 1.5  # power of the odds of a positive from which the logits of the cross entropy start


class Gate(NamedTuple):
    """The state of a gated loss for each class, [C] each."""

    reached: Array  # running mean, starting at 1, of 1 − the ranking loss at a sharp temperature
    positives: Array  # number of rows of the class seen
    negatives: Array  # number of other rows seen


OPEN = Gate(reached=1.0, positives=0.0, negatives=0.0)  # of each class before the first step


def opened(num_classes: int, *, xp: ModuleType, device: Any = None) -> Gate:
    """The gate before the first step, when the ranking loss has all the weight."""
    checks.at_least("num_classes", num_classes, 1)
    return Gate(*(xp.full((num_classes,), start, dtype=xp.float32, device=device) for start in OPEN))


def check_gate(gate: Any, num_classes: int) -> None:
    """The state is None or a gate of `num_classes` classes: another size might broadcast."""
    if gate is not None and not isinstance(gate, Gate):
        raise TypeError(f"gate must be a Gate, from init_gate or aux.gate, or None, got {type(gate).__name__}")
    for name, array in zip(Gate._fields, gate or (), strict=False):
        checks.shaped(f"gate.{name}", array, (num_classes,), "[classes]")


def with_gate(
    ranking: Callable[..., tuple], gate: Gate | None, *, temperature: Array, positive_rate: float | None = None
) -> Callable[..., tuple]:
    """The objective of a step: the ranking loss alone or, with a gate, `gated`."""
    if positive_rate is not None:
        checks.require(gate is not None, "positive_rate", "None unless there is a gate", positive_rate)
        checks.python_number("positive_rate", positive_rate, "(0, 1)")
    if gate is None:
        return partial(ranking, temperature=temperature)
    return partial(gated, ranking=ranking, gate=gate, temperature=temperature, positive_rate=positive_rate)


def gated(
    items: Items,
    *,
    ranking: Callable[..., tuple],
    gate: Gate,
    temperature: Array,
    positive_rate: float | None = None,
    diagnostics: bool = False,
) -> tuple[Array, Array, dict[str, Any]]:
    """The objective of the presets: a blend of a cross entropy and a ranking loss, whose weight w follows its success.

    For each class, with n₊ and n₋ the numbers of positives and negatives seen, z the scores of the batch, τ the
    temperature in units of the scores, and m the running mean of 1 − the ranking loss at a temperature 50 times smaller
    (for an average precision, (m − chance)/(1 − chance) and the limits 0.05 and 0.3):

        cross entropy = n₋/n₊ · mean BCE(z + 1.5 log(n₊/n₋), y),
        w = ¼ + ¾ · clip((m − 0.3) / 0.3, 0, 1),
        loss = (1 − w) · cross entropy + w · 4 min(τ, 1) · ranking loss.

    The cross entropy is weighted as usual, n₋/n₊ for a positive, but by one factor for all rows, and the logits start
    below the prior: so the first steps train the features, not an intercept. 4τ makes the gradient of the
    ranking loss by one score as large as that of a cross entropy, however close the scores are. Where they are far
    apart, τ > 1, it falls as 1/τ: otherwise growing scores would grow ever faster, and training could diverge. τ, w, n₊
    and n₋ are constants in differentiation.

    The items are of shape [C, M], with `live`; `ranking` is an objective that takes `temperature`, `gate` the state
    before the step, and `positive_rate` the expected share of positives in the batches, in (0, 1), which counts as 100
    rows seen.

    Returns:
        (loss [C] >= 0, valid bool [C], figures). A class is valid with a row in the batch. figures["gate"] is the state
        after the step; with `diagnostics` those of the ranking loss, and "reached" and "ranking_weight".
    """
    xp = array_namespace(items.scores)
    missed, ranks, figures = ranking(items, temperature=temperature, diagnostics=diagnostics)
    constants = ops.replaced(items, scores=ops.stop_gradient(items.scores))
    sharply_missed, _, _ = ranking(constants, temperature=temperature / SHARPNESS)
    kept = Gate(*(ops.astype(array, items.scores.dtype) for array in gate))
    reached, (low, high) = 1.0 - sharply_missed, LIMITS
    if getattr(ranking, "func", ranking) is average_precision:
        chance = prevalence(items)
        reached, (low, high) = (reached - chance) / xp.clip(1.0 - chance, min=0.5), LIFTED_LIMITS
    is_positive = items.positives & items.live
    weights = weight_of(items.negatives & items.live, items)
    positives, negatives = count_of(is_positive, items), xp.sum(weights, axis=-1)
    new = Gate(
        reached=ops.where(ranks, kept.reached + MEMORY * (reached - kept.reached), kept.reached),
        positives=kept.positives + positives,
        negatives=kept.negatives + negatives,
    )
    w = LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * xp.clip((new.reached - low) / (high - low), min=0.0, max=1.0)
    seen, odds = positives + negatives, _odds(new, positive_rate)
    total = _cross_entropy(items, ops.where(is_positive, items.numerator, weights), odds)
    pointwise, is_seen = total / (xp.clip(seen, min=1.0) * odds), seen > 0
    unit = xp.clip(ops.stop_gradient(figures["tau_eff"]), max=LARGEST_UNIT)
    loss = (1.0 - w) * pointwise + w * (4.0 * unit) * missed
    # also for a gate that was cast to half precision, whose counts would stop at 256
    gate = Gate(*(ops.astype(ops.stop_gradient(x), ops.widen(old).dtype) for x, old in zip(new, gate, strict=True)))
    if not diagnostics:
        return loss, is_seen, {"gate": gate}
    return loss, is_seen, figures | {"gate": gate, "reached": new.reached, "ranking_weight": w}


def _odds(gate: Gate, positive_rate: float | None) -> Array:
    """n₊/n₋ of each class, [C]; without `positive_rate`, 0 counts as 1."""
    if positive_rate is None:
        xp = array_namespace(gate.positives)
        return xp.clip(gate.positives, min=1.0) / xp.clip(gate.negatives, min=1.0)
    expected = EXPECTED_ROWS * positive_rate
    return (gate.positives + expected) / (gate.negatives + (EXPECTED_ROWS - expected))


def _cross_entropy(items: Items, weights: Array, odds: Array) -> Array:
    """The sum of the weighted cross entropies of each class, [C], whose logits start below the prior."""
    xp = array_namespace(items.scores)
    logits = items.scores + PRIOR_POWER * xp.log(odds)[:, None]
    return xp.sum(weights * ops.softplus(logits * ops.where(items.positives, -1.0, xp.ones_like(logits))), axis=-1)

"""A ranking loss blended with a contrastive cross entropy, which gains weight where the ranking does not succeed.

With noisy labels and rare positives, a partial AUC alone can be minimal for a model whose scores are all equal
(docs/collapse.md). The contrastive cross entropy of the same scores cannot, and finds the features that the ranking
loss then refines. Where the ranking is learnable, partial AUC finds more if it comes first: it starts with all the
weight, and loses it if the scores do not rank after some steps. Smooth-AP has no such optimum and needs no gate.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.losses.ranking import average_precision
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.items import Items, count_of, numerator_mean

LEAST_WEIGHT = 0.1  # of the ranking loss, however badly the scores rank
LIMITS = 0.3, 0.6  # of `reached`: where the weight begins to grow, and where it is 1
AP_WEIGHT = 0.75  # of an average precision, always; and of any ranking loss in the value
SHARPNESS = 50.0  # `reached` is measured at a temperature this many times smaller
MEMORY = 0.04  # weight of a step in the running mean `reached`
LARGEST_UNIT = 1.0  # τ, in logits, up to which the ranking loss has the gradient scale of a cross entropy
SCALE = 0.25  # of the gradient, except for an average precision: at 1, SGD with momentum diverges where pairs fail


class Gate(NamedTuple):
    """The state of a gated loss."""

    reached: Array  # [C], running mean, from 1 on, of 1 − the ranking loss at a sharp temperature, 0.3 where invalid


def opened(num_classes: int, *, xp: ModuleType, device: Any = None) -> Gate:
    """The gate before the first step, when the ranking loss has all the weight."""
    checks.at_least("num_classes", num_classes, 1)
    return Gate(xp.ones((num_classes,), dtype=xp.float32, device=device))


def check_gate(gate: Any, num_classes: int) -> None:
    """The state is None or a gate of `num_classes` classes: another size might broadcast."""
    if gate is None:
        return
    if not isinstance(gate, Gate):
        raise TypeError(f"gate must be a Gate, from init_gate or aux.gate, or None, got {type(gate).__name__}")
    if tuple(gate.reached.shape) != (num_classes,):
        hint = f"; use init_gate, or init_state of the presets, with num_classes={num_classes}"
        checks.shaped("gate.reached", gate.reached, (num_classes,), "[classes]", hint)


def with_gate(ranking: Callable[..., tuple], gate: Gate | None, *, temperature: Array) -> Callable[..., tuple]:
    """The objective of a step: the ranking loss alone or, with a gate, `gated`."""
    if gate is None:
        return partial(ranking, temperature=temperature)
    return partial(gated, ranking=ranking, gate=gate, temperature=temperature)


def gated(
    items: Items, *, ranking: Callable[..., tuple], gate: Gate, temperature: Array, diagnostics: bool = False
) -> tuple[Array, Array, dict[str, Any]]:
    """The objective of the presets: a blend of a contrastive cross entropy and a ranking loss.

    For each class, with τ the temperature in units of the scores and m the running mean of 1 − the ranking loss at a
    temperature 50 times smaller, or of 0.3 in steps where the class has no ranking loss:

        loss = ¼ contrast + ¾ ranking loss,
        its gradient = ¼ ((1 − w) · that of contrast + w · 4 min(τ, 1) · that of the ranking loss),
        w = 0.1 + 0.9 · clip((m − 0.3) / 0.3, 0, 1),

    and for an average precision, with w = ¾, the gradient is four times that. 4τ makes the gradient of the ranking loss
    by one score as large as that of a cross entropy, however close the scores are. Where they are far apart, τ > 1, it
    falls as 1/τ: otherwise growing scores would grow ever faster, and training could diverge. The value lacks these
    weights, so that it can be compared between steps: with them it would fall when the scores shrink.

    The items are of shape [C, M], with `live`; `ranking` is an objective that takes `temperature`, and `gate` the state
    before the step.

    Returns:
        (loss [C] >= 0, valid bool [C], figures). A class is valid if it is for the ranking loss, or has a positive and
        a negative in the batch. figures["gate"] is the state after the step; with `diagnostics` those of the ranking
        loss, "ranking_weight" and, except for an average precision, "reached".
    """
    missed, ranks, figures = ranking(items, temperature=temperature, diagnostics=diagnostics)
    contrasted, contrasts = contrast(items)
    xp, reached, w, progress = array_namespace(missed), gate.reached, AP_WEIGHT, {}
    of_contrast, of_ranking = 1.0 - AP_WEIGHT, 4.0 * AP_WEIGHT
    if getattr(ranking, "func", ranking) is not average_precision:
        constants = ops.replaced(items, scores=ops.stop_gradient(items.scores))
        sharply_missed, _, _ = ranking(constants, temperature=temperature / SHARPNESS)
        reached = ops.astype(reached, missed.dtype)
        # Without pairs to measure it moves too: otherwise rare positives would train on noise for hundreds of steps.
        found = ops.where(ranks, 1.0 - sharply_missed, LIMITS[0])
        moved = ops.stop_gradient(reached + MEMORY * (found - reached))
        is_bad = items.has_nan | xp.isnan(moved)  # of scores, or of the temperature: the state stays as it was
        reached = ops.where(is_bad, reached, moved)
        slope = (1.0 - LEAST_WEIGHT) / (LIMITS[1] - LIMITS[0])
        w = xp.clip(slope * reached + (LEAST_WEIGHT - slope * LIMITS[0]), min=LEAST_WEIGHT, max=1.0)
        of_contrast, of_ranking = SCALE - SCALE * w, w  # as 4 SCALE = 1
        progress = {"reached": reached}
    unit = xp.clip(ops.stop_gradient(figures["tau_eff"]), max=LARGEST_UNIT)
    # the gradient of one expression, the value of another
    pull = of_contrast * contrasted + (of_ranking * unit) * missed
    loss = pull + ops.stop_gradient((1.0 - AP_WEIGHT) * contrasted + AP_WEIGHT * missed - pull)
    # at least float32, also for a gate that was cast to half precision: small changes would round to none
    new = {"gate": Gate(ops.astype(reached, ops.widen(gate.reached).dtype))}
    if diagnostics:
        new |= figures | progress | {"ranking_weight": w + xp.zeros_like(missed)}
    return loss, ranks | contrasts, new


def contrast(items: Items) -> tuple[Array, Array]:
    """The contrastive cross entropy (InfoNCE) of the positives of the batch, each against all its negatives.

    With z the scores, and n₊ positives and the negatives N in the batch:

        contrast = (weighted) mean over the positives of log(1 + Σ_{j∈N} exp(z_j) / (n₊ exp(z_i))).

    It is small only if the positives outscore the highest negatives, and depends on differences of scores alone: so a
    step trains features and not an intercept, however rare the positives are.

    Returns:
        (loss [C] >= 0, valid bool [C]): without a positive or a negative in the batch 0, with zero gradient.

    References:
        van den Oord et al. 2018, "Representation learning with contrastive predictive coding", arXiv:1807.03748.
    """
    xp, z = array_namespace(items.scores), items.scores
    negatives, positives = items.negatives & items.live, items.positives & items.live
    lowest = float(xp.finfo(z.dtype).min) / 2  # below all scores; without a negative the loss is softplus(−∞) = 0
    masked = ops.where(negatives, z, lowest)
    highest = ops.stop_gradient(xp.max(masked, axis=-1, keepdims=True))
    shares = xp.exp(masked - highest)
    shares = shares if items.multiplicity is None else shares * items.multiplicity
    ratio = (
        xp.clip(xp.sum(shares, axis=-1, keepdims=True), min=1e-30)
        / xp.clip(count_of(positives, items), min=1.0)[..., None]
    )
    each = ops.softplus(highest + xp.log(ratio) - z)
    loss, has_positive = numerator_mean(each, ops.where(positives, items.numerator, 0.0))
    return loss, has_positive & (highest > lowest)[..., 0]

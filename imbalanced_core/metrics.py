"""Exact ranking metrics of rows of scores, which the ranking losses smooth; ties and weights as in scikit-learn.

One implementation for numpy, torch and JAX arrays: static shapes, no host sync, no gradient.

Every function takes scores, floating point [..., n], positives, bool [..., n], `where`, the mask of the items that
count (None: all; masked items may hold anything), and `weights` >= 0 of the items (None: all 1; weight 0 is masked,
except in `recall_at_quantile`), both broadcastable to the scores.
It returns one value in [0, 1] per row, [...], in the dtype of the scores, half precision in float32: NaN where
undefined, where an unmasked score is NaN, and where a weight is negative or not finite. ±inf are ordinary scores. Cost:
two sorts of each row, O(n log n) time and O(n) memory, unless stated otherwise.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.labels import check_logits, one_vs_rest, read_labels
from imbalanced_core.quantile import level_below, masked_quantile
from imbalanced_core.reductions import ROUNDING, safe_divide


def average_precision(
    scores: Array, positives: Array, *, where: Array | None = None, weights: Array | None = None
) -> Array:
    """Average precision: Σ_k (R_k − R_{k−1}) P_k over the distinct scores in descending order.

    R_k and P_k are recall and precision of the items that score at least the k-th of them: tied items count together.
    This is scikit-learn's `average_precision_score`, and for distinct scores the limit of `smooth_ap` as τ → 0. It is
    > 0, NaN without a positive and 1 without a negative.
    """
    curve = _curve_of(scores, positives, where, weights)
    precision = safe_divide(curve.positives, curve.positives + curve.negatives)[..., 1:]
    found = _steps(curve.positives) * precision
    return _ratio(array_namespace(scores).sum(found, axis=-1), curve.positives[..., -1])


def roc_auc(scores: Array, positives: Array, *, where: Array | None = None, weights: Array | None = None) -> Array:
    """Area under the ROC curve: the weighted share of pairs with the positive above the negative, ties count ½.

    Equal to scikit-learn's `roc_auc_score`; NaN without a positive or without a negative.
    """
    return partial_auc(scores, positives, beta=1.0, where=where, weights=weights)


def tied_pairs(scores: Array, positives: Array, *, where: Array | None = None, weights: Array | None = None) -> Array:
    """The weighted share of positive–negative pairs with equal scores: 1 for a constant model; NaN without a pair."""
    curve = _curve_of(scores, positives, where, weights)
    tied = array_namespace(scores).sum(_steps(curve.positives) * _steps(curve.negatives), axis=-1)
    return _ratio(tied, curve.positives[..., -1] * curve.negatives[..., -1])


def partial_auc(
    scores: Array,
    positives: Array,
    *,
    beta: float,
    alpha: float = 0.0,
    where: Array | None = None,
    weights: Array | None = None,
) -> Array:
    """The mean true-positive rate over a band of false-positive rates: ∫_α^β TPR(f) df / (β − α).

    TPR(f) interpolates the points of the ROC curve, one per distinct score, linearly. At α = 0 this is scikit-learn's
    area for `max_fpr=β` before standardisation, divided by β. A random model has (α + β) / 2. NaN without a positive or
    without a negative.

    Raises:
        ValueError: unless 0 <= alpha < beta <= 1, Python numbers.

    References:
        McClish, Analyzing a Portion of the ROC Curve, Medical Decision Making 1989
    """
    checks.band(alpha, beta)
    xp = array_namespace(scores)
    curve = _curve_of(scores, positives, where, weights)
    fpr = _ratio(curve.negatives, curve.negatives[..., -1:])
    tpr = _ratio(curve.positives, curve.positives[..., -1:])
    inside = xp.clip(fpr, min=alpha, max=beta)
    middle = (inside[..., :-1] + inside[..., 1:]) / 2.0
    height = tpr[..., :-1] + _steps(tpr) * safe_divide(middle - fpr[..., :-1], _steps(fpr))
    return xp.clip(xp.sum(_steps(inside) * height, axis=-1) / (beta - alpha), max=1.0)


def coverage_at_budget(
    scores: Array, positives: Array, *, budget: float, where: Array | None = None, weights: Array | None = None
) -> Array:
    """The highest recall of a threshold whose false-positive rate is at most the budget.

    Tied items pass a threshold together, so a tie that exceeds the budget is not found at all. NaN without a positive
    or without a negative.

    Raises:
        ValueError: if the budget is not a Python number in [0, 1].
    """
    checks.python_number("budget", budget)
    xp = array_namespace(scores)
    curve = _curve_of(scores, positives, where, weights)
    total = curve.negatives[..., -1:]
    is_within = curve.negatives <= budget * (1.0 + ROUNDING) * total
    found = xp.max(xp.where(is_within, curve.positives, 0.0), axis=-1)
    return xp.where(total[..., 0] > 0, _ratio(found, curve.positives[..., -1]), xp.nan)


def recall_at_quantile(
    scores: Array,
    positives: Array,
    *,
    quantile: float,
    interpolation: str = "higher",
    where: Array | None = None,
    weights: Array | None = None,
) -> Array:
    """The weighted share of positives among the top share of all items: Σ_{i∈P} w_i [s_i >= θ] / Σ_{i∈P} w_i.

    θ is the quantile of all unmasked items at level 1 − `quantile`, as in the loss of this name, with the
    `interpolation` of `masked_quantile`. Weights do not move it: an item of weight 0 still counts, unless it is NaN.
    Items tied with θ are above it. NaN without a positive.

    Raises:
        ValueError: if the quantile is not a Python number in [0, 1], or for an unknown interpolation.

    Cost: one sort.
    """
    checks.python_number("quantile", quantile)
    scores, positives, weight, where = _read_rows(scores, positives, where, weights)
    xp = array_namespace(scores)
    threshold = masked_quantile(scores, (level_below(quantile),), where=where, interpolation=interpolation)
    weight = xp.where(positives, xp.astype(weight, scores.dtype), 0.0)
    found = xp.sum(xp.where(scores >= threshold, weight, 0.0), axis=-1)
    return xp.where(xp.isnan(threshold[..., 0]), xp.nan, _ratio(found, xp.sum(weight, axis=-1)))


def precision_at_k(
    scores: Array, positives: Array, *, k: int, where: Array | None = None, weights: Array | None = None
) -> Array:
    """The weighted share of positives among the k highest-scoring items, or among all if there are fewer.

    Items tied at rank k count by the share that still fits, which is the expectation over random orders of the tie.
    Ranks count items of weight > 0, whatever the weight. NaN without a positive.

    Raises:
        ValueError: if k is not a Python integer of at least 1.
    """
    checks.at_least("k", k, 1)
    xp = array_namespace(scores)
    curve = _curve_of(scores, positives, where, weights)
    fits = xp.clip(safe_divide(k - curve.items[..., :-1], _steps(curve.items)), min=0.0, max=1.0)
    found = xp.sum(_steps(curve.positives) * fits, axis=-1)
    wrong = xp.sum(_steps(curve.negatives) * fits, axis=-1)
    return xp.where(curve.positives[..., -1] > 0, safe_divide(found, found + wrong), xp.nan)


def of_classes(
    metric: Callable[..., Array],
    logits: Array,
    targets: Array,
    *,
    average: str = "macro",
    multilabel: bool = False,
    ignore_index: int = -100,
    where: Array | None = None,
    weights: Array | None = None,
) -> Array:
    """A metric of each class against the rest, or its mean.

    Args:
        metric: one of the functions above with its options, such as `functools.partial(partial_auc, beta=0.01)`.
        logits: floating point [N, C]; C = 1 is binary.
        targets: class ids [N] or [N, 1], 0 or 1 where C = 1; with `multilabel` 0/1 per class, [N, C].
        average: "macro", the mean over the classes where the metric is defined, or "none".
        multilabel: whether a row has a label per class.
        ignore_index: the target of rows, or with `multilabel` of single labels, that are masked.
        where: bool [N]; False masks a row. None: all True.
        weights: >= 0, [N]. None: all 1.

    Returns:
        0-d for "macro", else [C]. NaN where undefined, and where a target is not a class or an unmasked logit is NaN;
        such a class makes the mean NaN.

    Raises:
        ValueError: on a wrong shape or option, and, naming values, if an unmasked target of numpy or of an eager CPU
            tensor is not a class. Elsewhere (JAX arrays, `torch.compile`, an accelerator) it makes the values NaN.
    """
    checks.one_of("average", average, ("macro", "none"))
    checks.floating("logits", logits, "; pass logits * 1.0")
    check_logits(logits)
    xp = array_namespace(logits, targets)
    rows, classes = logits.shape
    for name, array in (("where", where), ("weights", weights)):
        if array is not None:
            checks.shaped(name, array, (rows,), "[rows]")
    checks.boolean("where", where)
    logits, targets, where, weights = ops.replicate((logits, targets, where, weights))
    options: dict[str, Any] = {"ignore_index": ignore_index, "multilabel": multilabel}
    labels, is_bad = read_labels(targets, rows=rows, num_classes=classes, **options)
    counts, scores = xp.matrix_transpose(labels >= 0) if multilabel else labels >= 0, xp.matrix_transpose(logits)
    if is_bad is not None:
        counts, scores = counts | is_bad, xp.where(is_bad, xp.nan, scores)
        is_seen = is_bad if where is None else is_bad & where
        seen = ops.readable(is_seen if weights is None else is_seen & (weights != 0))
        if seen is not None:
            seen = seen.reshape(rows, *(1,) * (targets.ndim - 1))
            checks.are_targets(ops.readable(targets), num_classes=classes, where=seen, **options)
    counts = counts if where is None else counts & where
    values = metric(scores, one_vs_rest(labels, classes), where=counts, weights=weights)
    if average == "none":
        return values
    is_broken = xp.isnan(scores)
    if weights is not None:
        is_broken = (weights != 0) & (is_broken | ~((weights >= 0) & (weights < xp.inf)))
    defined = ~xp.isnan(values)
    mean = _ratio(xp.sum(xp.where(defined, values, 0.0)), xp.sum(xp.astype(defined, values.dtype)))
    return xp.where(xp.any(counts & is_broken), xp.nan, mean)


def options_of(metric: Callable[..., Array]) -> tuple[str, ...]:
    """The names of a metric's own options, such as ("beta", "alpha")."""
    names = inspect.signature(metric).parameters
    return tuple(name for name in names if name not in ("scores", "positives", "where", "weights"))


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole, at most 1, NaN where the whole is 0 or NaN, without numpy's warning."""
    xp = array_namespace(part, whole)
    return xp.where(whole > 0, xp.clip(part / xp.where(whole > 0, whole, 1.0), max=1.0), xp.nan)


class _Curve(NamedTuple):
    """Totals at or above each threshold, [..., n + 1]: 0, then for each distinct score, descending, then repeats."""

    positives: Array  # weight
    negatives: Array  # weight
    items: Array  # number


def _read_rows(
    scores: Array, positives: Array, where: Array | None, weights: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Scores that are NaN where invalid and −inf where masked, positives, weights that are 0 where masked, the mask.

    The mask excludes NaN scores of weight 0, but includes other scores of weight 0.
    """
    checks.floating("scores", scores, "; pass scores * 1.0 (scores come first, the reverse of scikit-learn)")
    checks.boolean("positives", positives, " (scores come first, the reverse of scikit-learn)")
    checks.same_shape("positives", positives, "scores", scores)
    checks.boolean("where", where)
    checks.broadcastable("where", where, "scores", scores)
    checks.broadcastable("weights", weights, "scores", scores)
    xp = array_namespace(scores, positives, where, weights)
    scores, positives, where, weights = ops.replicate((scores, positives, where, weights), automatic=False)
    scores = ops.widen(ops.stop_gradient(scores))
    where = xp.ones_like(positives) if where is None else xp.broadcast_to(where, scores.shape)
    weight = xp.astype(where, xp.int32)  # integers are summed exactly
    if weights is not None:
        checks.real("weights", weights)
        weights = xp.astype(ops.stop_gradient(weights), scores.dtype)
        is_weight = (weights >= 0) & (weights < xp.inf)
        weight = xp.where(where, xp.where(is_weight, weights, xp.nan), 0.0)
        where = where & ((weight != 0) | ~xp.isnan(scores))
        scores = xp.where(xp.isnan(weight), xp.nan, scores)
    return xp.where(where, scores, -xp.inf), positives, weight, where


def _curve_of(scores: Array, positives: Array, where: Array | None, weights: Array | None) -> _Curve:
    """The curve at the last item of each distinct score, descending, padded with repeats."""
    scores, positives, weight, where = _read_rows(scores, positives, where, weights)
    xp = array_namespace(scores)
    n, dtype = scores.shape[-1], scores.dtype
    if n == 0:
        nothing = xp.broadcast_to(xp.sum(scores, axis=-1, keepdims=True), (*scores.shape[:-1], 2))
        return _Curve(nothing, nothing, nothing)
    descending, order = ops.sort_with_order(-scores)
    place = ops.arange(n, like=scores)
    is_last = xp.concat([descending[..., 1:] != descending[..., :-1], xp.ones_like(positives[..., :1])], axis=-1)
    last = xp.astype(xp.sort(xp.where(is_last, place, n - 1), axis=-1), order.dtype)
    is_broken = xp.isnan(descending[..., -1:])
    if weights is not None and ops.has_exact_float64(scores):  # sums of a million weights would lose digits
        weight = xp.astype(weight, xp.float64)

    def above(x: Array) -> Array:
        total = xp.astype(ops.gather(xp.cumulative_sum(ops.gather(x, order), axis=-1), last), dtype)
        total = xp.where(is_broken, xp.nan, total)
        return xp.concat([xp.zeros_like(total[..., :1]), total], axis=-1)

    nothing = xp.zeros_like(weight)
    found, wrong = xp.where(positives, weight, nothing), xp.where(positives, nothing, weight)
    return _Curve(above(found), above(wrong), above(xp.astype(weight != 0, xp.int32)))


def _steps(x: Array) -> Array:
    """The increment at each threshold."""
    return x[..., 1:] - x[..., :-1]

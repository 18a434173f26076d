"""Totals above each threshold of a row of scores: the curve that all ranking metrics are computed from."""

from typing import NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace


class Curve(NamedTuple):
    """Totals at or above each threshold, [..., n + 1]: 0, then for each distinct score, descending, then repeats."""

    positives: Array  # weight
    negatives: Array  # weight
    items: Array  # number


def read_rows(
    scores: Array, positives: Array, where: Array | None, weights: Array | None
) -> tuple[Array, Array, Array]:
    """Scores that are NaN where invalid and −inf where masked, weights that are 0 where masked, and the mask.

    The mask excludes NaN scores of weight 0, but includes other scores of weight 0.
    """
    checks.floating("scores", scores)
    checks.boolean("positives", positives)
    checks.same_shape("positives", positives, "scores", scores)
    checks.boolean("where", where)
    checks.broadcastable("where", where, "scores", scores)
    checks.broadcastable("weights", weights, "scores", scores)
    xp = array_namespace(scores, positives, where, weights)
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
    return xp.where(where, scores, -xp.inf), weight, where


def curve_of(scores: Array, positives: Array, where: Array | None, weights: Array | None) -> Curve:
    """The curve at the last item of each distinct score, descending, padded with repeats."""
    scores, weight, where = read_rows(scores, positives, where, weights)
    xp = array_namespace(scores)
    n, dtype = scores.shape[-1], scores.dtype
    if n == 0:
        nothing = xp.broadcast_to(xp.sum(scores, axis=-1, keepdims=True), (*scores.shape[:-1], 2))
        return Curve(nothing, nothing, nothing)
    descending, order = ops.sort_with_order(-scores)
    place = ops.arange(n, like=scores)
    is_last = xp.concat([descending[..., 1:] != descending[..., :-1], xp.ones_like(positives[..., :1])], axis=-1)
    last = xp.astype(xp.sort(xp.where(is_last, place, n - 1), axis=-1), order.dtype)
    is_broken = xp.isnan(descending[..., -1:])

    def above(x: Array) -> Array:
        total = xp.astype(ops.rearrange(xp.cumulative_sum(ops.rearrange(x, order), axis=-1), last), dtype)
        total = xp.where(is_broken, xp.nan, total)
        return xp.concat([xp.zeros_like(total[..., :1]), total], axis=-1)

    nothing = xp.zeros_like(weight)
    found, wrong = xp.where(positives, weight, nothing), xp.where(positives, nothing, weight)
    return Curve(above(found), above(wrong), above(xp.astype(weight != 0, xp.int32)))


def steps(x: Array) -> Array:
    """The increment at each threshold."""
    return x[..., 1:] - x[..., :-1]

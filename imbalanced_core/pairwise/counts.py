"""Exact pairwise sigmoid sums over a row of scores in O(n log n) time and O(n) memory.

Every ranking loss here stands on one operator,

    count[k, i] = Σ_j weights[k, j] · σ((s_j − s_i) / τ),

how much weight ranks softly above item i. Its textbook form visits all n² pairs; here is how to do without.

For x >= 0 put t = exp(−x), which lies in (0, 1]. Then σ(−x) = t / (1 + t) and σ(x) = 1 − t / (1 + t), and on [0, 1]
t / (1 + t) is a polynomial Σ_p c_p t^p up to rounding. For a pair of items, t^p = exp(−p |s_i − s_j| / τ) *factorises
along the sorted scores*: what a block of neighbours adds to any item above it is one number per power, its "moment"
Σ_j w_j exp(−p (high − s_j) / τ) at its highest score, times exp(−p · distance / τ). So the scores are sorted and cut
into blocks of a few neighbours. Pairs within a block are visited one by one; pairs of different blocks meet through
the moments, which travel from block to block in a tree. The derivative σ'(x) = t / (1 + t)² has the same form with
other coefficients, so the gradient is the same sum again, with the cotangents as weights.

In place of the powers t^p stand the differences t^p − t, for p > 1: the same polynomials, but tied scores, where all
powers are 1, keep their digits.

Every decay is taken from a true distance, so nothing overflows whatever the range of the scores, and nothing drifts
when a million scores lie within a thousandth of τ.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise import expansions, few
from imbalanced_core.pairwise.kernels import LOGISTIC, LOGISTIC_SLOPE

_CHEAP_PAIRS, _PAIRS_PER_ITEM = 300_000, 15  # so many pairs cost less than the calls, and the moments of an item
_FEW = 0.25  # of the items: so many are expanded one by one for less than all


class Counts(NamedTuple):
    """Soft counts of some of the items, in an order of their own."""

    above: Array  # [..., k, m], Σ_j weights[k, j] · σ((s_j − s_i)/τ)
    weights: Array  # [..., k, m], the items' own
    indices: Array  # integers [..., m], where the items are among those that were given


def soft_counts_above(scores: Array, weights: Array, temperature: Array) -> Array:
    """How much weight ranks softly above each item: Σ_j weights[k, j] · σ((s_j − s_i) / τ).

    The sum runs over all j; j = i itself adds weights[k, i] / 2.

    Args:
        scores: float32 or float64 [..., n], in any order. ±inf counts as the largest number of its sign.
        weights: [..., k, n], for k separate sums over the same scores; of any sign. Items of weight 0 take no part, but
            their scores must be numbers.
        temperature: τ > 0, in the units of the scores: a number, a 0-d array, or an array [...] with one τ per row.

    Returns:
        [..., k, n] in the dtype of `scores`, within rounding of the sum over all pairs. Differentiable in scores,
        weights and temperature, more than once. A NaN score, or a temperature that is not > 0, makes its row NaN.

    Cost: one sort, then O(n) time and memory for each of the k sums.

    References:
        Greengard & Strain, `The fast Gauss transform <https://doi.org/10.1137/0912004>`_, 1991, for the idea that sums
        over pairs cost O(n) once the kernel separates.
    """
    xp = array_namespace(scores, weights)
    if scores.shape[-1] == 0:
        return _of_nothing(scores, weights)
    scores, temperature = _within_range(scores, temperature)
    scores, order = ops.sort_with_order(scores)
    counts = _at_all(scores, of_each_sum(xp.astype(weights, scores.dtype), order), temperature)
    return of_each_sum(counts, ops.inverse_permutation(order))


def soft_counts_at(scores: Array, weights: Array, temperature: Array, at: Array) -> Counts:
    """The counts of `soft_counts_above` for some of the items, at less cost where few are asked for.

    In eager PyTorch on the CPU, where values can be looked at for nothing, counts that nobody asks for are left out;
    elsewhere shapes must not hang on values, and all are computed.

    Args:
        scores: float32 or float64 [..., n], in any order. ±inf counts as the largest number of its sign.
        weights: [..., k, n], of any sign; constants in differentiation.
        temperature: τ > 0, in the units of the scores: a number, a 0-d array, or an array [...] with one τ per row.
        at: bool [..., n]; the items whose counts are wanted.

    Returns:
        Counts, in an order of their own. Each item asked for is there once; what else is there must be given no
        cotangent. Differentiable in scores and temperature, more than once. A NaN score, or a temperature that is not
        > 0, makes its row NaN.

    Cost: O(n) time and memory for each of the k sums and, unless very few items are asked for, a sort.
    """
    xp = array_namespace(scores, weights)
    if scores.shape[-1] == 0:
        return Counts(_of_nothing(scores, weights), weights, xp.astype(at, xp.int64))
    scores, temperature = _within_range(scores, temperature)
    weights = ops.stop_gradient(xp.astype(weights, scores.dtype))
    if ops.prefers_opaque(scores):
        places = xp.broadcast_to(xp.arange(scores.shape[-1], device=scores.device), scores.shape)
        return Counts(ops.opaque_soft_counts(scores, weights, temperature, at), weights, places)
    if (places := very_few_places(at)) is not None:
        counts = _pair_by_pair(scores, weights, temperature, places)
        return Counts(counts, of_each_sum(weights, places), places)
    scores, order = sorted_participants(scores, weights, at)
    weights = of_each_sum(weights, order)
    if (places := few_places(at, order)) is None:
        return Counts(_at_all(scores, weights, temperature), weights, order)
    counts = _at_few(scores, weights, temperature, places)
    return Counts(counts, of_each_sum(weights, places), ops.rearrange(order, places))


def _of_nothing(scores: Array, weights: Array) -> Array:
    """The counts of rows without items, [..., k, 0]; differentiable like any."""
    xp = array_namespace(scores)
    return xp.astype(weights, scores.dtype) + xp.sum(scores, axis=-1)[..., None, None]


def sorted_participants(scores: Array, weights: Array, at: Array) -> tuple[Array, Array]:
    """Scores in ascending order and their places, [..., m]; who neither counts nor is asked for may be missing."""
    xp = array_namespace(scores)
    taking_part = participants(weights, at)
    count = ops.greatest_count(taking_part)
    if count is None or count == scores.shape[-1]:
        return ops.sort_with_order(scores)
    _, order = ops.sort_with_order(xp.where(taking_part, ops.stop_gradient(scores), xp.nan))  # NaN comes last
    order = order[..., : max(1, count)]
    return in_order(scores, taking_part, order), order


def participants(weights: Array, at: Array) -> Array:
    """The items that count or are asked for, bool [..., n]."""
    return at | array_namespace(weights).any(weights != 0, axis=-2)


def in_order(scores: Array, taking_part: Array, order: Array) -> Array:
    """The scores [..., m] in an ascending order, of all items or of those that take part.

    Among the latter, rows of fewer end in copies of their greatest score, in place of others that would not ascend.
    """
    if order.shape[-1] == scores.shape[-1]:
        return ops.rearrange(scores, order)
    xp = array_namespace(scores)
    greatest = xp.max(xp.where(taking_part, ops.stop_gradient(scores), -xp.inf), axis=-1, keepdims=True)
    greatest = xp.where(greatest == -xp.inf, 0.0, greatest)
    return xp.where(ops.rearrange(taking_part, order), ops.rearrange(scores, order), greatest)


def very_few_places(at: Array) -> Array | None:
    """Where the items are that are asked for, or None where it is better to sort first."""
    wanted = ops.greatest_count(at)
    if wanted is None or (wanted - _PAIRS_PER_ITEM) * math.prod(at.shape) > _CHEAP_PAIRS:
        return None
    return ops.places(at, max(1, wanted))


def few_places(at: Array, order: Array) -> Array | None:
    """Where in this order the items are that are asked for, or None where it is better to expand all."""
    wanted = ops.greatest_count(at)
    if wanted is None or wanted > _FEW * order.shape[-1]:
        return None
    return ops.places(ops.rearrange(at, order), max(1, wanted))


def of_each_sum(weights: Array, places: Array) -> Array:
    """The weights [..., k, m] at places [..., m]."""
    xp = array_namespace(places)
    return ops.rearrange(weights, xp.broadcast_to(places[..., None, :], (*weights.shape[:-1], places.shape[-1])))


def _within_range(scores: Array, temperature: Array) -> tuple[Array, Array]:
    """Scores whose differences are finite, and one τ for each row; NaN where it is not > 0."""
    xp = array_namespace(scores)
    if isinstance(temperature, (int, float)):
        temperature = ops.constant(float(temperature), like=scores, dtype=scores.dtype)
    temperature = xp.broadcast_to(xp.astype(temperature, scores.dtype), scores.shape[:-1])
    largest = float(xp.finfo(scores.dtype).max) / 4.0
    temperature = xp.where(temperature > 0, xp.clip(temperature, min=100.0 / largest), xp.nan)
    return xp.clip(scores, min=-largest, max=largest), temperature


def counts_of_all(scores: Array, weights: Array, temperature: Array) -> tuple[Array, Array]:
    """The counts, and what arrived at each block, which serves their derivative as well."""
    kernel = LOGISTIC[array_namespace(scores).finfo(scores.dtype).bits]
    blocks = _blocks.cut(scores, weights, temperature, _blocks.block_size(scores.shape[-1]))
    arrived = _blocks.between_blocks(blocks, kernel, _blocks.moments(blocks, kernel))
    counts = _blocks.sums_over_pairs(blocks, kernel, arrived, _counts_in_block)
    return _blocks.in_rows(counts, blocks, scores.shape), arrived


def slopes_of_all(cotangent: Array, arrived: Array, scores: Array, weights: Array, temperature: Array) -> Array:
    """The gradient of Σ_ki c_ki · count_ki by the scores, with c the cotangent, see `_vjp_of_all`."""
    xp = array_namespace(scores)
    kernel = LOGISTIC_SLOPE[xp.finfo(scores.dtype).bits]
    both = xp.concat([weights, cotangent], axis=-2)
    blocks = _blocks.cut(scores, both, temperature, _blocks.block_size(scores.shape[-1]))
    of_cotangents = blocks._replace(w=blocks.w[:, weights.shape[-2] :, :])
    of_cotangents = _blocks.between_blocks(blocks, kernel, _blocks.moments(of_cotangents, kernel))
    both_arrived = xp.concat([arrived[:, :, :, 1:, :], of_cotangents], axis=1)
    slopes = _blocks.sums_over_pairs(blocks, kernel, both_arrived, _slopes_in_block)
    return _blocks.in_rows(slopes, blocks, scores.shape)[..., 0, :] / temperature[..., None]


def _vjp_of_all(cotangent: Array, arrived: Array, scores: Array, weights: Array, temperature: Array) -> tuple:
    """Gradients of Σ_ki c_ki · count_ki with c the cotangent. With σ'_mj = σ'((s_m − s_j)/τ), an even function,

    s̄_m = (1/τ) Σ_kj (w_km c_kj − c_km w_kj) σ'_mj,  τ̄ = −(1/τ) Σ_m s_m s̄_m,
    w̄_kj = Σ_i c_ki σ((s_j − s_i)/τ) = Σ_i c_ki − Σ_i c_ki σ((s_i − s_j)/τ).
    """
    xp = array_namespace(scores)

    def of_scores() -> Array:
        return slopes_of_all(cotangent, arrived, scores, weights, temperature)

    def of_weights() -> Array:
        return xp.sum(cotangent, axis=-1, keepdims=True) - counts_of_all(scores, cotangent, temperature)[0]

    def of_temperature() -> Array:
        return slope_by_temperature(of_scores(), scores, temperature)

    return of_scores, of_weights, of_temperature


def slope_by_temperature(of_scores: Array, scores: Array, temperature: Array) -> Array:
    """The gradient by τ [...] from that by the scores, both [..., n]: counts depend on s/τ alone."""
    return -array_namespace(scores).sum(scores * of_scores, axis=-1) / temperature


def _few_vjp(slopes: Callable[..., Array]) -> Callable[..., tuple]:
    """The derivative of counts at some of the items, where `slopes` gives the gradient by the scores."""

    def vjp(cotangent: Array, *inputs: Array) -> tuple:
        scores, _, temperature, _ = inputs[-4:]

        def of_scores() -> Array:
            return slopes(cotangent, *inputs)

        def of_temperature() -> Array:
            return slope_by_temperature(of_scores(), scores, temperature)

        return of_scores, None, of_temperature, None

    return vjp


_at_all = ops.with_vjp(counts_of_all, _vjp_of_all, keeps=True)
_at_few = ops.with_vjp(few.counts_at, _few_vjp(few.slopes_at), keeps=True)
_pair_by_pair = ops.with_vjp(few.counts_pair_by_pair, _few_vjp(few.slopes_pair_by_pair))


def _counts_in_block(w: Array, x: Array, from_others: Array) -> Array:
    """Σ_j w_kj σ((s_j − s_i)/τ), [block, k, item i]."""
    return expansions.weighted_sums(ops.sigmoid, x, w) + from_others


def _slopes_in_block(both: Array, x: Array, from_others: Array) -> Array:
    """Σ_kj (w_km c_kj − c_km w_kj) σ'((s_m − s_j)/τ), [block, 1, item m], for w and c in one array.

    An item's own terms cancel; in this form they do so exactly. Rounded, they would bury those of its far neighbours.
    """
    xp = array_namespace(both)
    k = both.shape[1] // 2

    def of_pair(x: Array, at_m: list[Array], at_j: list[Array]) -> Array:
        p = ops.sigmoid(-xp.abs(x))
        return sum(at_m[i] * at_j[k + i] - at_m[k + i] * at_j[i] for i in range(k)) * (p * (1.0 - p))

    inside = expansions.sums_over_pairs(of_pair, x, both)
    outside = (both[:, i] * from_others[:, k + i] - both[:, k + i] * from_others[:, i] for i in range(k))
    return sum(outside, start=inside)[:, None, :]

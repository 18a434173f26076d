"""Exact pairwise sigmoid sums over a row of scores in O(n log n) time and O(n) memory.

Every ranking loss here is built on one operator,

    count[k, i] = Σ_j weights[k, j] · σ((s_j − s_i) / τ),

the weight that ranks softly above item i. Its textbook form visits all n² pairs; the method here does not.

For x >= 0 put t = exp(−x), which lies in (0, 1]. Then σ(−x) = t / (1 + t) and σ(x) = 1 − t / (1 + t), and on [0, 1]
t / (1 + t) is a polynomial Σ_p c_p t^p up to rounding. For a pair of items, t^p = exp(−p |s_i − s_j| / τ) *factorises
along the sorted scores*: what a block of neighbours adds to any item above it is one number per power, its "moment"
Σ_j w_j exp(−p (high − s_j) / τ) at its highest score, times exp(−p · distance / τ). So the scores are sorted and cut
into blocks of a few neighbours. Pairs within a block are visited one by one; pairs of different blocks interact through
the moments, which are translated from block to block in a tree. The derivative σ'(x) = t / (1 + t)² has the same form
with other coefficients, so the gradient is the same sum again, with the cotangents as weights.

For p > 1, the powers t^p are replaced by the differences t^p − t: the same polynomials, but tied scores, where all
powers are 1, lose no precision.

Every decay is computed from an actual distance, so nothing overflows whatever the range of the scores, and errors do
not accumulate when a million scores lie within a thousandth of τ.
"""

import math
from functools import partial
from typing import NamedTuple

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace, library_of
from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise import dense, few
from imbalanced_core.pairwise.dense import by_temperature, of_each_sum, with_constant_weights
from imbalanced_core.pairwise.kernels import LOGISTIC, LOGISTIC_DERIVATIVE

# Up to this many pairs, over all rows, one matrix costs less than a sort and the calls of the blocks.
_PAIRS_EAGER_CPU = 400_000
_NEWEST, _PAIRS_OF_ROW = 64, 400_000  # the newest items, and their pairs, of one row at a time
_PAIRS_PER_ITEM = 45  # plus this many per item, for its moments
_DEAR_ITEMS = 2**14  # 2.4 times as many for the first items
_PAIRS_TRACED_CPU = 2**16  # compiled: all pairs are one fused loop; beyond, `ops.untraced` reads what is requested
_PAIRS_TRACED_GRADIENT = 2**19  # of the newest items: the operator would repeat the counts for the gradient
PAIRS_COMPILED_CPU = 2**22  # beyond, modules leave the graph: in eager mode, forward keeps what backward needs
_PAIRS_CPU = 2**22  # compiled under a transform, where that cannot be called
_PAIRS_JAX_CPU = 2**16  # 256 items: a third of the time of blocks; 512: four times; 1536: 18 times
_PAIRS_ACCELERATOR, _PAIRS_JAX_ACCELERATOR = 2**24, 2**22  # measured on an H200, see docs/speed.md
_PAIRS_KEPT = 2**21  # from forward to backward, which then takes fewer calls; unmeasured
_PAIRS_TO_KEEP, _FEW_PARTICIPANTS = 2**16, 0.5  # fewer pairs, or more participants: nothing to gain
_FEW = 0.25  # share of the items up to which expanding them one by one costs less than all


class Counts(NamedTuple):
    """Soft counts of the requested items, possibly among others."""

    above: Array  # [..., k, m], Σ_j weights[k, j] · σ((s_j − s_i)/τ)
    indices: Array | None  # integers [..., m], the items' indices; None: all items, in the order of the input


def of_counted(x: Array, counts: Counts) -> Array:
    """The entries of x [..., n] that belong to the counts, [..., m]."""
    return x if counts.indices is None else ops.gather(x, counts.indices)


def soft_counts_above(scores: Array, weights: Array, temperature: Array) -> Array:
    """The weight that ranks softly above each item: Σ_j weights[k, j] · σ((s_j − s_i) / τ).

    The sum runs over all j; j = i itself adds weights[k, i] / 2.

    Args:
        scores: float32 or float64 [..., n], in any order. ±inf counts as the largest number of its sign.
        weights: [..., k, n], for k separate sums over the same scores; of any sign. Items of weight 0 are ignored, but
            their scores must not be NaN.
        temperature: τ > 0, in the units of the scores: a number, a 0-d array, or an array [...] with one τ per row.

    Returns:
        [..., k, n] in the dtype of `scores`, within rounding of the sum over all pairs. Differentiable in scores,
        weights and temperature, more than once. A NaN score, or a temperature that is not > 0, makes its row NaN.

    Cost: all pairs of a small pool; for longer rows one sort, then O(n) time and memory for each of the k sums.

    References:
        Greengard & Strain, `The fast Gauss transform <https://doi.org/10.1137/0912004>`_, 1991, for the idea that sums
        over pairs cost O(n) once the kernel separates.
    """
    xp = array_namespace(scores, weights)
    scores, temperature = _within_range(scores, temperature)
    weights = xp.astype(weights, scores.dtype)
    if is_small(scores):
        return _dense(scores, weights, temperature)
    scores, order = ops.sort_with_order(scores)
    counts = _at_all(scores, of_each_sum(weights, order), temperature)
    return of_each_sum(counts, ops.inverse_permutation(order))


def soft_counts_at(scores: Array, weights: Array, temperature: Array, at: Array, *, start: int = 0) -> Counts:
    """The counts of `soft_counts_above` for the requested items, cheaper where these are few.

    In eager PyTorch on the CPU, where reading values is free, unrequested counts are skipped; elsewhere shapes must not
    depend on values, and all are computed.

    Args:
        scores: float32 or float64 [..., n], in any order; finite, with finite differences.
        weights: [..., k, n], of any sign; constants in differentiation.
        temperature: τ, [...] in the dtype of `scores`; > 0 or NaN.
        at: bool [..., n], the requested items.
        start: the scores before this index are constants in differentiation; their gradient may be 0.

    Returns:
        Counts. Every requested item occurs once; any other must get no cotangent. Differentiable in scores and
        temperature, more than once. A NaN score with a weight, or temperature, makes its row NaN.

    Cost: the pairs of the requested items where these are few, and all pairs of a small pool; else a sort and O(n) time
    and memory for each of the k sums.
    """
    weights = ops.stop_gradient(weights)
    if weights.dtype != scores.dtype:
        weights = array_namespace(scores).astype(weights, scores.dtype)
    if _pairs(scores) > _PAIRS_TRACED_CPU and ops.prefers_untraced(scores):
        start = start if _pairs(scores, start) <= _PAIRS_TRACED_GRADIENT else 0
        return Counts(_at_untraced(scores, weights, temperature, at, start=start), None)
    return _counts_at(scores, weights, temperature, at, start)


def _counts_at(scores: Array, weights: Array, temperature: Array, at: Array, start: int = 0) -> Counts:
    """`soft_counts_at` by the cheapest algorithm."""
    requested = ops.greatest_count(at)
    if requested is not None and (kept := _participants(requested, weights, at)) is not None:
        counts = _counts_at(*_only(kept, scores, weights, temperature, at))
        return Counts(counts.above, of_counted(kept, counts))
    newest = scores.shape[-1] - start
    if requested is not None and _are_few(requested, at, newest):
        indices = ops.indices_of(at, max(1, requested))
        start = start if 2 * newest < requested else 0
        if start or dense.is_long(scores, indices):
            return Counts(_dense_in_parts(scores, weights, temperature, indices, start=start), indices)
        return Counts(_dense(scores, weights, temperature, indices), indices)
    if requested is None and is_small(scores) and not (start and _pairs(scores) > _PAIRS_KEPT):
        return Counts(_dense(scores, weights, temperature), None)
    if start and is_small(scores, start):
        return Counts(_at_newest(scores, weights, temperature, at, start=start), None)
    return _in_blocks(scores, weights, temperature, at, requested)


def _participants(requested: int, weights: Array, at: Array) -> Array | None:
    """The indices [..., m] of the requested items and of those with a weight, where the other items cost much."""
    n = at.shape[-1]
    if requested * math.prod(at.shape) <= _PAIRS_TO_KEEP * weights.shape[-2]:  # with two kinds few weigh 0
        return None
    participates = at | array_namespace(weights).any(weights != 0, axis=-2)
    count = ops.greatest_count(participates)
    return None if count is None or count > _FEW_PARTICIPANTS * n else ops.indices_of(participates, max(1, count))


def _only(kept: Array, scores: Array, weights: Array, temperature: Array, at: Array) -> tuple[Array, ...]:
    """The arguments of `soft_counts_at` for the items at some indices."""
    return ops.gather(scores, kept), of_each_sum(weights, kept), temperature, ops.gather(at, kept)


def _are_few(requested: int, at: Array, newest: int) -> bool:
    """Whether the pairs of this many items per row cost less than blocks, in eager mode on the CPU; measured."""
    items, rows = math.prod(at.shape), math.prod(at.shape[:-1])
    pairs = requested * (items + rows * requested)  # pairs of two requested items take longer
    if 2 * newest < requested:
        pairs = items * (0.65 * requested + newest)
    return pairs <= _PAIRS_EAGER_CPU + _PAIRS_PER_ITEM * (items + 1.4 * min(items, _DEAR_ITEMS))


def is_small(scores: Array, start: int = 0) -> bool:
    """Whether the pairs of the items from `start` on with all are visited as one matrix; affects only speed."""
    on_cpu, on_accelerator = _PAIRS_CPU, _PAIRS_ACCELERATOR
    if library_of(scores) == "jax":
        on_cpu, on_accelerator = _PAIRS_JAX_CPU, _PAIRS_JAX_ACCELERATOR
    elif ops.is_eager_cpu(scores):
        if start:
            newest = scores.shape[-1] - start
            return newest <= _NEWEST and newest * scores.shape[-1] <= _PAIRS_OF_ROW
        on_cpu = _PAIRS_EAGER_CPU
    return _pairs(scores, start) <= (on_accelerator if ops.is_on_accelerator(scores) else on_cpu)


def _pairs(scores: Array, start: int = 0) -> int:
    return math.prod(scores.shape) * (scores.shape[-1] - start)


def _within_range(scores: Array, temperature: Array) -> tuple[Array, Array]:
    """Scores whose differences are finite, and one τ per row, NaN where not > 0."""
    xp = array_namespace(scores)
    if isinstance(temperature, (int, float)):
        temperature = ops.constant(float(temperature), like=scores, dtype=scores.dtype)
    temperature = xp.broadcast_to(xp.astype(temperature, scores.dtype), scores.shape[:-1])
    largest = float(xp.finfo(scores.dtype).max) / 4.0
    temperature = xp.where(temperature > 0, xp.clip(temperature, min=100.0 / largest), xp.nan)
    return xp.clip(scores, min=-largest, max=largest), temperature


def _in_blocks(scores: Array, weights: Array, temperature: Array, at: Array, requested: int | None) -> Counts:
    """The counts of the requested items of long rows, at most this many per row."""
    scores, order = ops.sort_with_order(scores)
    weights = of_each_sum(weights, order)
    if requested is None or requested > _FEW * order.shape[-1]:
        return Counts(_at_all(scores, weights, temperature), order)
    indices = ops.indices_of(ops.gather(at, order), max(1, requested))
    return Counts(_at_few(scores, weights, temperature, indices), ops.gather(order, indices))


def counts_of_all(scores: Array, weights: Array, temperature: Array) -> tuple[Array, Array]:
    """The counts, and the moments that arrived at each block, which the derivative reuses."""
    kernel = LOGISTIC[array_namespace(scores).finfo(scores.dtype).bits]
    blocks = _blocks.cut(scores, weights, temperature, _blocks.block_size(scores.shape[-1]))
    arrived = _blocks.between_blocks(blocks, kernel, _blocks.moments(blocks, kernel))
    counts = _blocks.sums_over_pairs(blocks, kernel, arrived, _counts_in_block)
    return _blocks.in_rows(counts, blocks, scores.shape), arrived


def gradient_of_all(cotangent: Array, arrived: Array, scores: Array, weights: Array, temperature: Array) -> Array:
    """The gradient of Σ_ki c_ki · count_ki by the scores, with c the cotangent; see `_vjp_of_all`."""
    xp = array_namespace(scores)
    kernel = LOGISTIC_DERIVATIVE[xp.finfo(scores.dtype).bits]
    both = xp.concat([weights, cotangent], axis=-2)
    blocks = _blocks.cut(scores, both, temperature, _blocks.block_size(scores.shape[-1]))
    of_cotangents = ops.replaced(blocks, w=blocks.w[:, weights.shape[-2] :, :])
    of_cotangents = _blocks.between_blocks(blocks, kernel, _blocks.moments(of_cotangents, kernel))
    both_arrived = xp.concat([arrived[:, :, :, 1:, :], of_cotangents], axis=1)
    gradient = _blocks.sums_over_pairs(blocks, kernel, both_arrived, _gradient_in_block)
    return _blocks.in_rows(gradient, blocks, scores.shape)[..., 0, :] / temperature[..., None]


def _vjp_of_all(cotangent: Array, arrived: Array, scores: Array, weights: Array, temperature: Array) -> tuple:
    """Gradients of Σ_ki c_ki · count_ki with c the cotangent.

    With σ'_mj = σ'((s_m − s_j)/τ), an even function,

    s̄_m = (1/τ) Σ_kj (w_km c_kj − c_km w_kj) σ'_mj,  τ̄ = −(1/τ) Σ_m s_m s̄_m,
    w̄_kj = Σ_i c_ki σ((s_j − s_i)/τ) = Σ_i c_ki − Σ_i c_ki σ((s_i − s_j)/τ).
    """
    xp = array_namespace(scores)
    by_scores = partial(gradient_of_all, cotangent, arrived, scores, weights, temperature)

    def by_weights() -> Array:
        return xp.sum(cotangent, axis=-1, keepdims=True) - counts_of_all(scores, cotangent, temperature)[0]

    return by_scores, by_weights, by_temperature(by_scores, scores, temperature)


def _counts_everywhere(scores: Array, weights: Array, temperature: Array, at: Array) -> Array:
    """The counts of the requested items, [..., k, n]; those of others are not used."""
    xp = array_namespace(scores)
    above, indices = _counts_at(scores, weights, temperature, at)
    if indices is None:
        return above
    if indices.shape == scores.shape:
        return of_each_sum(above, ops.inverse_permutation(indices))
    return ops.scatter(xp.zeros_like(weights), xp.broadcast_to(indices[..., None, :], above.shape), above, reuse=True)


def _gradient_everywhere(cotangent: Array, scores: Array, weights: Array, temperature: Array, at: Array) -> Array:
    """The gradient of Σ_ki cotangent_ki · count_ki by the scores; repeats some of what forward computed."""
    xp = array_namespace(scores)
    requested = ops.greatest_count(at)
    if requested is not None and (kept := _participants(requested, weights, at)) is not None:
        gradient = _gradient_everywhere(of_each_sum(cotangent, kept), *_only(kept, scores, weights, temperature, at))
        return ops.scatter(xp.zeros_like(scores), kept, gradient, reuse=True)
    if requested is not None and _are_few(requested, at, at.shape[-1]):
        indices = ops.indices_of(at, max(1, requested))
        return dense.gradient_in_parts(of_each_sum(cotangent, indices), scores, weights, temperature, indices)
    ascending, order = ops.sort_with_order(scores)
    weights, cotangent = of_each_sum(weights, order), of_each_sum(cotangent, order)
    arrived = counts_of_all(ascending, weights, temperature)[1]
    gradient = gradient_of_all(cotangent, arrived, ascending, weights, temperature)
    return ops.gather(gradient, ops.inverse_permutation(order))


_dense = ops.with_vjp(dense.counts, dense.vjp, keeps=True)
_dense_in_parts = ops.with_vjp(dense.counts_in_parts, with_constant_weights(dense.gradient_in_parts))
_at_all = ops.with_vjp(counts_of_all, _vjp_of_all, keeps=True)
_at_few = ops.with_vjp(few.counts_at, with_constant_weights(few.gradient_at), keeps=True)
_untraced_gradient = ops.untraced(_gradient_everywhere, like=1)
_at_newest = ops.with_vjp(_counts_everywhere, with_constant_weights(_gradient_everywhere))
_at_untraced = ops.with_vjp(ops.untraced(_counts_everywhere, like=1), with_constant_weights(_untraced_gradient))


def _counts_in_block(w: Array, x: Array, from_others: Array) -> Array:
    """Σ_j w_kj σ((s_j − s_i)/τ), [block, k, item i]."""
    return ops.matmul(w, ops.sigmoid(x, reuse=True, absolute=True)) + from_others


def _gradient_in_block(both: Array, x: Array, from_others: Array) -> Array:
    """Σ_kj (w_km c_kj − c_km w_kj) σ'((s_m − s_j)/τ), [block, 1, item m], for w and c in one array.

    An item's own terms cancel, in this form exactly; their rounding would swamp the terms of its far neighbours.
    """
    xp = array_namespace(both)
    k = both.shape[1] // 2
    w, c = both[:, :k, :], both[:, k:, :]
    d = ops.matmul(c.mT, w)
    inside = xp.sum(ops.times_logistic_derivative(d - d.mT, x, reuse=True, reuse_at=True), axis=1)
    outside = xp.sum(w * from_others[:, k:, :] - c * from_others[:, :k, :], axis=1)
    return (inside + outside)[:, None, :]

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

Every decay is taken from a true distance, so nothing overflows whatever the range of the scores, and nothing drifts
when a million scores lie within a thousandth of τ.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from imbalanced_core import _block_sums, ops
from imbalanced_core._namespace import Array, array_namespace

_BLOCK, _LARGE_BLOCK = 16, 32  # items per block: all pairs inside one are visited
_FEW_BLOCKS = 33  # so many meet pair by pair, more are first joined two by two: longer sums would lose digits
_SMALL_ROW = _FEW_BLOCKS * _LARGE_BLOCK  # no joins with large blocks; a batch of 32 beside a queue of 1024 is as long


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
    sorted_scores, order = ops.sort_with_order(scores)
    order = xp.broadcast_to(order[..., None, :], weights.shape)
    counts = sorted_soft_counts_above(sorted_scores, ops.rearrange(weights, order), temperature)
    return ops.rearrange(counts, ops.inverse_permutation(order))


def sorted_soft_counts_above(scores: Array, weights: Array, temperature: Array) -> Array:
    """`soft_counts_above` for scores that already ascend along the last axis, weights in the same order."""
    xp = array_namespace(scores, weights)
    if isinstance(temperature, (int, float)):
        temperature = ops.constant(float(temperature), like=scores, dtype=scores.dtype)
    temperature = xp.broadcast_to(xp.astype(temperature, scores.dtype), scores.shape[:-1])
    largest = float(xp.finfo(scores.dtype).max) / 4.0  # so that differences are finite
    temperature = xp.where(temperature > 0, xp.clip(temperature, min=100.0 / largest), xp.nan)
    scores = xp.clip(scores, min=-largest, max=largest)
    return _differentiable_counts(scores, xp.astype(weights, scores.dtype), temperature)


def _counts(scores: Array, weights: Array, temperature: Array) -> Array:
    kernel = _LOGISTIC[array_namespace(scores).finfo(scores.dtype).bits]
    return _sum_over_pairs(scores, weights, temperature, kernel, _counts_in_block)


def _counts_vjp(cotangent: Array, scores: Array, weights: Array, temperature: Array) -> tuple:
    """Gradients of Σ_ki c_ki · count_ki with c the cotangent. With σ'_mj = σ'((s_m − s_j)/τ), an even function,

    s̄_m = (1/τ) Σ_kj (w_km c_kj − c_km w_kj) σ'_mj,  τ̄ = −(1/τ) Σ_m s_m s̄_m,
    w̄_kj = Σ_i c_ki σ((s_j − s_i)/τ) = Σ_i c_ki − Σ_i c_ki σ((s_i − s_j)/τ).
    """
    xp = array_namespace(scores)

    def of_scores() -> Array:
        kernel = _LOGISTIC_SLOPE[xp.finfo(scores.dtype).bits]
        both = xp.concat([weights, cotangent], axis=-2)
        slopes = _sum_over_pairs(scores, both, temperature, kernel, _slopes_in_block)
        return slopes[..., 0, :] / temperature[..., None]

    def of_weights() -> Array:
        return xp.sum(cotangent, axis=-1, keepdims=True) - _counts(scores, cotangent, temperature)

    def of_temperature() -> Array:
        return -xp.sum(scores * of_scores(), axis=-1) / temperature

    return of_scores, of_weights, of_temperature


_differentiable_counts = ops.with_vjp(_counts, _counts_vjp)


class _Kernel(NamedTuple):
    """A function of x = (s_j − s_i)/τ expanded in powers p of t = exp(−|x|)."""

    powers: tuple[int, ...]  # consecutive
    coefficients: tuple[tuple[float, ...], tuple[float, ...]]  # where j is below i, and where it is above


def _sum_over_pairs(
    scores: Array, weights: Array, temperature: Array, kernel: _Kernel, in_block: Callable[..., Array]
) -> Array:
    """Sums over all pairs of items, from pairs in the same block and pairs of different blocks.

    Args:
        scores: [..., n], ascending.
        weights: [..., k, n].
        temperature: τ, [...].
        kernel: the function of a pair that is summed.
        in_block: gives the sums, [block, item, m], from the weights [block, item, k], the differences (s_j − s_i)/τ
            inside each block [block, i, j], and Σ_j weights[k, j] · kernel((s_j − s_i)/τ) over the items j of all other
            blocks, [block, item, k].

    Returns:
        [..., m, n].
    """
    xp = array_namespace(scores)
    rows, n, k = scores.shape[:-1], scores.shape[-1], weights.shape[-2]
    if n == 0:
        return xp.zeros_like(weights)
    size = _LARGE_BLOCK if n <= _SMALL_ROW else _BLOCK
    s = _cut(scores[..., None], size, padding=scores[..., -1:, None])[..., 0]  # [..., block, item]
    w = _cut(weights.mT, size, padding=xp.zeros_like(weights[..., :1].mT))  # [..., block, item, k]
    powers = ops.constant(kernel.powers, like=scores, dtype=scores.dtype)
    rates = -powers / temperature[..., None]  # distances times this cannot become NaN
    low, high, blocks = s[..., 0], s[..., -1], s.shape[-2]
    # inside a block nothing is known of the others, so those of all rows lie on one axis
    s, w = xp.reshape(s, (-1, size)), xp.reshape(w, (-1, size, k))
    items = s, w, _for_each(blocks, rates)
    numbers = 2 * len(kernel.powers) * size  # that one block needs at a time
    moments = ops.in_pieces(_moments, items, size=numbers)
    moments = xp.reshape(moments, (*rows, blocks, *moments.shape[1:]))
    arriving = xp.stack(_between_blocks(low, high, moments[..., 0, :, :], moments[..., 1, :, :], rates), axis=-3)
    arriving = xp.reshape(arriving, (-1, *arriving.shape[-3:]))
    sums = ops.in_pieces(
        partial(_sums_of_items, kernel, in_block),
        (*items, arriving, _for_each(blocks, temperature[..., None])),
        size=numbers,
    )
    return xp.reshape(sums, (*rows, blocks * size, -1))[..., :n, :].mT


def _moments(s: Array, w: Array, rates: Array) -> Array:
    """What each block sends to others, Σ_j w_jk t_j^p with t_j taken at each end: [block, end, power, k]."""
    distance = array_namespace(s).abs(s[:, None, :] - _ends(s)[:, :, None])
    return _block_sums.moments(distance, rates, w)


def _sums_of_items(
    kernel: _Kernel, in_block: Callable[..., Array], s: Array, w: Array, rates: Array, arriving: Array, tau: Array
) -> Array:
    """The sums of the items of each block, as `in_block` has it; `arriving` is [block, end, power, k]."""
    distance = array_namespace(s).abs(s[:, :, None] - _ends(s)[:, None, :])
    coefficients = ops.constant(kernel.coefficients, like=s, dtype=s.dtype)[..., None]
    from_others = _block_sums.polynomials(distance, rates, arriving * coefficients, kernel.powers[0])
    # scores are subtracted before they are scaled: the other order loses a digit
    x = (s[:, None, :] - s[:, :, None]) / tau[:, :, None]
    return in_block(w, x, from_others)


def _ends(s: Array) -> Array:
    """The lowest and the highest score of each block, [block, 2]."""
    return s[:, :: s.shape[1] - 1]


def _counts_in_block(w: Array, x: Array, from_others: Array) -> Array:
    """Σ_j w_jk σ((s_j − s_i)/τ), [block, item i, k]."""
    return _block_sums.weighted_sums(ops.sigmoid, x, w) + from_others


def _slopes_in_block(both: Array, x: Array, from_others: Array) -> Array:
    """Σ_jk (w_mk c_jk − c_mk w_jk) σ'((s_m − s_j)/τ), [block, item m, 1], for w and c in one array.

    An item's own terms cancel; in this form they do so exactly. Rounded, they would bury those of its far neighbours.
    """
    xp = array_namespace(both)
    k = both.shape[-1] // 2

    def of_pair(x: Array, at_m: list[Array], at_j: list[Array]) -> Array:
        p = ops.sigmoid(-xp.abs(x))
        return sum(at_m[i] * at_j[k + i] - at_m[k + i] * at_j[i] for i in range(k)) * (p * (1.0 - p))

    inside = _block_sums.sums_over_pairs(of_pair, x, both)
    outside = (both[..., i] * from_others[..., k + i] - both[..., k + i] * from_others[..., i] for i in range(k))
    return sum(outside, start=inside)[..., None]


def _between_blocks(low: Array, high: Array, at_low: Array, at_high: Array, rates: Array) -> tuple[Array, Array]:
    """What arrives at each block from all others, by a walk up and down a tree of blocks.

    Args:
        low: the lowest score of each block, [..., block]; blocks ascend.
        high: the highest score of each block, [..., block].
        at_low: what each block sends to those below it, taken at its low end, [..., block, power, k].
        at_high: what each block sends to those above it, taken at its high end, [..., block, power, k].
        rates: −p/τ, [..., power].

    Returns:
        Σ_a at_high_a · exp(−p (low_b − high_a)/τ) over the blocks a below b, and
        Σ_a at_low_a · exp(−p (low_a − high_b)/τ) over the blocks a above b; both [..., block b, power, k].
    """
    blocks = low.shape[-1]
    if blocks <= _FEW_BLOCKS:
        return _between_few_blocks(low, high, at_low, at_high, rates)
    xp = array_namespace(low)
    if blocks % 2:  # an empty block above all others
        low, high = (xp.concat([x, high[..., -1:]], axis=-1) for x in (low, high))
        at_low, at_high = (xp.concat([x, xp.zeros_like(x[..., :1, :, :])], axis=-3) for x in (at_low, at_high))
    (low_0, low_1), (high_0, high_1) = _halves(low, axis=-1), _halves(high, axis=-1)
    (at_low_0, at_low_1), (at_high_0, at_high_1) = _halves(at_low, axis=-3), _halves(at_high, axis=-3)
    over_0, over_1, gap = (
        xp.exp(distance[..., None] * rates[..., None, :])[..., None]
        for distance in (low_1 - low_0, high_1 - high_0, low_1 - high_0)
    )
    from_below, from_above = _between_blocks(
        low_0, high_1, at_low_0 + at_low_1 * over_0, at_high_1 + at_high_0 * over_1, rates
    )
    pairs = (from_below, from_below * over_0 + at_high_0 * gap), (from_above * over_1 + at_low_1 * gap, from_above)
    shape = (*at_low.shape[:-3], -1, *at_low.shape[-2:])
    from_below, from_above = (xp.reshape(xp.stack(pair, axis=-3), shape)[..., :blocks, :, :] for pair in pairs)
    return from_below, from_above


def _between_few_blocks(low: Array, high: Array, at_low: Array, at_high: Array, rates: Array) -> tuple[Array, Array]:
    """`_between_blocks`, visiting every pair of blocks."""
    xp = array_namespace(low)
    distance = xp.abs(low[..., :, None] - high[..., None, :])  # of b from the a below it, [..., b, a]
    decays = xp.exp(distance[..., None, :, :] * rates[..., :, None, None])
    decays = xp.tril(decays, k=-1)  # [..., power, b, a]
    return _swap(decays @ _swap(at_high)), _swap(decays.mT @ _swap(at_low))


def _for_each(blocks: int, x: Array) -> Array:
    """One copy of x [..., m] for each block, [all blocks, m]."""
    xp = array_namespace(x)
    return xp.reshape(xp.broadcast_to(x[..., None, :], (*x.shape[:-1], blocks, x.shape[-1])), (-1, x.shape[-1]))


def _halves(x: Array, axis: int) -> tuple[Array, Array]:
    """The entries at even and at odd places of an axis, counted from the end."""
    rest = (slice(None),) * (-1 - axis)
    return x[(..., slice(0, None, 2), *rest)], x[(..., slice(1, None, 2), *rest)]


def _swap(x: Array) -> Array:
    """The last three axes with the first two of them exchanged."""
    first = x.ndim - 3
    return array_namespace(x).permute_dims(x, (*range(first), first + 1, first, first + 2))


def _cut(x: Array, size: int, padding: Array) -> Array:
    """[..., n, m] to blocks of so many items, [..., block, item, m], filled up with `padding` [..., 1, m]."""
    xp = array_namespace(x)
    missing = -x.shape[-2] % size
    if missing:
        x = xp.concat([x, xp.broadcast_to(padding, (*x.shape[:-2], missing, x.shape[-1]))], axis=-2)
    return xp.reshape(x, (*x.shape[:-2], -1, size, x.shape[-1]))


def _power_coefficients(function: Callable, order: int) -> tuple[float, ...]:
    """c_1 ... c_order with t · function(t) = Σ_p c_p t^p on [0, 1].

    Interpolates `function` at Chebyshev nodes, so that the error is relative to t: far pairs keep their digits. It
    falls like 5.83^(−order), because the functions here have their pole at t = −1.
    """
    series = np.polynomial.Chebyshev.interpolate(function, order - 1, domain=[0, 1])
    return tuple(map(float, series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef))


def _logistic(order: int) -> _Kernel:
    c = _power_coefficients(lambda t: 1 / (1 + t), order)
    return _Kernel(tuple(range(order + 1)), ((0.0, *c), (1.0, *(-x for x in c))))


def _logistic_slope(order: int) -> _Kernel:
    c = _power_coefficients(lambda t: 1 / (1 + t) ** 2, order)
    return _Kernel(tuple(range(1, order + 1)), (c, c))


# By bits of the dtype. A higher order would not help: its larger coefficients make more of the rounding.
_LOGISTIC = {32: _logistic(10), 64: _logistic(21)}
_LOGISTIC_SLOPE = {32: _logistic_slope(10), 64: _logistic_slope(21)}

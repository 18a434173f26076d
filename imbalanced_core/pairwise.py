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
from typing import NamedTuple

import numpy as np

from imbalanced_core import ops
from imbalanced_core._namespace import Array, array_namespace

_BLOCK = 16  # items per block: all pairs inside one are visited
_FEW_BLOCKS = 64  # so many blocks meet pair by pair; more are first joined two by two
_GONE = 1e4  # exp(-_GONE) is 0 in every dtype, and 0 * _GONE is 0


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
    counts = sorted_soft_counts_above(sorted_scores, xp.take_along_axis(weights, order, axis=-1), temperature)
    return xp.take_along_axis(counts, ops.inverse_permutation(order), axis=-1)


def sorted_soft_counts_above(scores: Array, weights: Array, temperature: Array) -> Array:
    """`soft_counts_above` for scores that already ascend along the last axis, weights in the same order."""
    xp = array_namespace(scores, weights)
    if isinstance(temperature, (int, float)):
        temperature = ops.constant(float(temperature), like=scores, dtype=scores.dtype)
    temperature = xp.broadcast_to(xp.astype(temperature, scores.dtype), scores.shape[:-1])
    temperature = xp.where(temperature > 0, temperature, xp.nan)
    largest = float(xp.finfo(scores.dtype).max) / 4.0  # so that differences are finite
    scores = xp.clip(scores, min=-largest, max=largest)
    return _differentiable_counts(scores, xp.astype(weights, scores.dtype), temperature)


def _counts(scores: Array, weights: Array, temperature: Array) -> Array:
    xp = array_namespace(scores)
    return _sum_over_pairs(scores, weights, temperature, _LOGISTIC[xp.finfo(scores.dtype).bits])


def _counts_vjp(cotangent: Array, scores: Array, weights: Array, temperature: Array) -> tuple:
    """Gradients of Σ_ki c_ki · count_ki with c the cotangent. With σ'_mj = σ'((s_m − s_j)/τ), an even function,

    s̄_m = (1/τ) Σ_k [w_km Σ_i c_ki σ'_mi − c_km Σ_j w_kj σ'_mj],  τ̄ = −(1/τ) Σ_m s_m s̄_m,
    w̄_kj = Σ_i c_ki σ((s_j − s_i)/τ) = Σ_i c_ki − Σ_i c_ki σ((s_i − s_j)/τ).
    """
    xp = array_namespace(scores)

    def of_scores() -> Array:
        channels = xp.concat([weights, cotangent], axis=-2)
        slopes = _sum_over_pairs(scores, channels, temperature, _LOGISTIC_SLOPE[xp.finfo(scores.dtype).bits])
        k = weights.shape[-2]
        terms = weights * slopes[..., k:, :] - cotangent * slopes[..., :k, :]
        return xp.sum(terms, axis=-2) / temperature[..., None]

    def of_weights() -> Array:
        return xp.sum(cotangent, axis=-1, keepdims=True) - _counts(scores, cotangent, temperature)

    def of_temperature() -> Array:
        return -xp.sum(scores * of_scores(), axis=-1) / temperature

    return of_scores, of_weights, of_temperature


_differentiable_counts = ops.with_vjp(_counts, _counts_vjp)


class _Kernel(NamedTuple):
    """A function of x = (s_j − s_i)/τ: itself, and expanded in powers 0, 1, 2, ... of t = exp(−|x|)."""

    within: Callable[[Array, Array], Array]  # of all x within each block, from scores [..., item] and 1/τ
    lower: tuple[float, ...]  # coefficients where j is below i, the one of power 0 being 0
    higher: tuple[float, ...]  # coefficients where j is above i


def _sum_over_pairs(scores: Array, weights: Array, temperature: Array, kernel: _Kernel) -> Array:
    """Σ_j weights[k, j] · kernel((s_j − s_i)/τ) for scores [..., n] in ascending order; gives [..., k, n]."""
    xp = array_namespace(scores)
    n = scores.shape[-1]
    if n == 0:
        return xp.zeros_like(weights)
    s = _cut(scores, padding=scores[..., -1:])  # [..., block, item]
    w = _transpose(_cut(weights, padding=xp.zeros_like(weights[..., -1:])), (1, 0, 2))  # [..., block, k, item]
    rate = 1.0 / temperature[..., None, None]
    within = xp.matmul(w, kernel.within(s, rate[..., None]))
    sums = _transpose(within + _between_blocks(s, w, rate, kernel), (1, 0, 2))  # [..., k, block, item]
    return xp.reshape(sums, (*weights.shape[:-1], -1))[..., :n]


def _between_blocks(s: Array, w: Array, rate: Array, kernel: _Kernel) -> Array:
    """The part of `_sum_over_pairs` that comes from other blocks than the item's own.

    Args:
        s: scores, [..., block, item].
        w: weights, [..., block, k, item].
        rate: 1/τ, [..., 1, 1].
        kernel: what is summed.

    Returns:
        [..., block, k, item].
    """
    # The large arrays, of one number per item and power, enter every product as they lie: transposed they would be
    # copied.
    xp = array_namespace(s)
    low, high = s[..., 0], s[..., -1]
    powers = ops.constant(tuple(range(len(kernel.lower))), like=s, dtype=s.dtype)
    from_low = _decays_of_items(s - low[..., None], rate, powers[1:])  # [..., block, power, item]
    from_high = _decays_of_items(high[..., None] - s, rate, powers[1:])
    by_item = xp.matrix_transpose(w)
    weight = xp.sum(by_item, axis=-2, keepdims=True)  # the moment of power 0
    at_low, at_high = (
        xp.concat([weight, xp.matmul(decays, by_item)], axis=-2)  # moments, [..., block, power, k]
        for decays in (from_low, from_high)
    )
    # the way down is the way up of the mirrored scores, so one walk over the tree serves both
    arriving = _from_lower_blocks(
        xp.stack([low, -xp.flip(high, axis=-1)]),
        xp.stack([high, -xp.flip(low, axis=-1)]),
        xp.stack([at_high, xp.flip(at_low, axis=-3)]),
        rate[..., 0],
        powers,
    )
    lower = arriving[0, ...] * ops.constant(kernel.lower, like=s, dtype=s.dtype)[:, None]
    higher = xp.flip(arriving[1, ...], axis=-3) * ops.constant(kernel.higher, like=s, dtype=s.dtype)[:, None]
    lower, higher = xp.matrix_transpose(lower), xp.matrix_transpose(higher)  # [..., block, k, power]
    sums = xp.matmul(lower[..., 1:], from_low) + xp.matmul(higher[..., 1:], from_high)
    return sums + higher[..., :1] if kernel.higher[0] else sums


def _from_lower_blocks(low: Array, high: Array, moments: Array, rate: Array, powers: Array) -> Array:
    """What all lower blocks together send to the low end of each block: Σ_a moments_a · exp(−p (low_b − high_a) / τ).

    Args:
        low: the lowest score of each block, [..., block]; blocks ascend.
        high: the highest score of each block, [..., block].
        moments: what each block sends, taken at its high end, [..., block, power, k].
        rate: 1/τ, [..., 1].
        powers: the p, [power].

    Returns:
        [..., block, power, k].
    """
    xp = array_namespace(low)
    blocks = low.shape[-1]
    if blocks <= _FEW_BLOCKS:
        return _from_few_lower_blocks(low, high, moments, rate, powers)
    if blocks % 2:  # an empty block above all others
        low, high = (xp.concat([x, high[..., -1:]], axis=-1) for x in (low, high))
        moments = xp.concat([moments, xp.zeros_like(moments[..., :1, :, :])], axis=-3)
    low_0, low_1 = low[..., ::2], low[..., 1::2]
    high_0, high_1 = high[..., ::2], high[..., 1::2]
    moments_0, moments_1 = moments[..., ::2, :, :], moments[..., 1::2, :, :]
    joined = moments_1 + moments_0 * _decays(high_1 - high_0, rate, powers)[..., None]
    to_0 = _from_lower_blocks(low_0, high_1, joined, rate, powers)
    to_1 = to_0 * _decays(low_1 - low_0, rate, powers)[..., None]
    to_1 = to_1 + moments_0 * _decays(low_1 - high_0, rate, powers)[..., None]
    both = xp.stack([to_0, to_1], axis=-3)
    return xp.reshape(both, (*moments.shape[:-3], -1, *moments.shape[-2:]))[..., :blocks, :, :]


def _from_few_lower_blocks(low: Array, high: Array, moments: Array, rate: Array, powers: Array) -> Array:
    """`_from_lower_blocks`, visiting every pair of blocks."""
    xp = array_namespace(low)
    place = ops.constant(tuple(range(low.shape[-1])), like=low, dtype=low.dtype)
    is_lower = place < place[:, None]  # [b, a]
    distance = xp.where(is_lower, low[..., :, None] - high[..., None, :], 0.0)
    exponent = xp.clip(distance * rate[..., None], max=_GONE)[..., None, :, :]
    decays = xp.where(is_lower, xp.exp(-exponent * powers[:, None, None]), 0.0)  # [..., power, b, a]
    return _transpose(xp.matmul(decays, _transpose(moments, (1, 0, 2))), (1, 0, 2))


def _decays(distance: Array, rate: Array, powers: Array) -> Array:
    """exp(−p · distance / τ) for every power p, on a new last axis."""
    xp = array_namespace(distance)
    return xp.exp(-xp.clip(distance * rate, max=_GONE)[..., None] * powers)


def _decays_of_items(distance: Array, rate: Array, powers: Array) -> Array:
    """The same for the items of blocks, with the powers before the items: [..., block, power, item]."""
    xp = array_namespace(distance)
    return xp.exp(-xp.clip(distance * rate, max=_GONE)[..., None, :] * powers[:, None])


def _transpose(x: Array, last_three: tuple[int, int, int]) -> Array:
    """The last three axes in another order."""
    leading = x.ndim - 3
    return array_namespace(x).permute_dims(x, (*range(leading), *(leading + axis for axis in last_three)))


def _cut(x: Array, padding: Array) -> Array:
    """[..., n] to [..., block, item], filled up with `padding` [..., 1]."""
    xp = array_namespace(x)
    missing = -x.shape[-1] % _BLOCK
    if missing:
        x = xp.concat([x, xp.broadcast_to(padding, (*x.shape[:-1], missing))], axis=-1)
    return xp.reshape(x, (*x.shape[:-1], -1, _BLOCK))


def _logistic_within(s: Array, rate: Array) -> Array:
    """σ((s_j − s_i)/τ), [..., j, i]."""
    # scores are subtracted before they are scaled: the other order loses a digit
    return ops.sigmoid((s[..., :, None] - s[..., None, :]) * rate)


def _logistic_slope_within(s: Array, rate: Array) -> Array:
    """σ'(x_ij) = σ(x_ij) σ(x_ji), and 0 for an item with itself, [..., j, i].

    An item's own terms cancel in the gradient; left in, their rounding would bury those of its far neighbours.
    """
    xp = array_namespace(s)
    p = _logistic_within(s, rate)
    place = ops.constant(tuple(range(_BLOCK)), like=s, dtype=s.dtype)
    return xp.where(place[:, None] == place, 0.0, p * xp.matrix_transpose(p))


def _power_coefficients(function: Callable, order: int) -> tuple[float, ...]:
    """c_1 ... c_order with t · function(t) = Σ_p c_p t^p on [0, 1].

    Interpolates `function` at Chebyshev nodes, so that the error is relative to t: far pairs keep their digits. It
    falls like 5.83^(−order), because the functions here have their pole at t = −1.
    """
    series = np.polynomial.Chebyshev.interpolate(function, order - 1, domain=[0, 1])
    return tuple(map(float, series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef))


def _logistic(order: int) -> _Kernel:
    c = _power_coefficients(lambda t: 1 / (1 + t), order)
    return _Kernel(_logistic_within, (0.0, *c), (1.0, *(-x for x in c)))


def _logistic_slope(order: int) -> _Kernel:
    c = _power_coefficients(lambda t: 1 / (1 + t) ** 2, order)
    return _Kernel(_logistic_slope_within, (0.0, *c), (0.0, *c))


# By bits of the dtype. A higher order would not help: its larger coefficients make more of the rounding.
_LOGISTIC = {32: _logistic(10), 64: _logistic(21)}
_LOGISTIC_SLOPE = {32: _logistic_slope(10), 64: _logistic_slope(21)}

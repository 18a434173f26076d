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

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from imbalanced_core import _block_sums, _block_tree, ops
from imbalanced_core._namespace import Array, array_namespace

_BLOCK, _LARGE_BLOCK = 16, 32  # items per block: all pairs inside one are visited
_SMALL_ROW = _block_tree.FEW_BLOCKS * _LARGE_BLOCK  # no joins with large blocks: fewer calls


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
    """A function of x = (s_j − s_i)/τ, expanded in t = exp(−|x|)."""

    powers: tuple[int, ...]  # from 0 on where a constant is needed, else from 1 on
    matrices: tuple  # [end, power, power]: times the moments of others they give coefficients of `basis`


def _sum_over_pairs(
    scores: Array, weights: Array, temperature: Array, kernel: _Kernel, in_block: Callable[..., Array]
) -> Array:
    """Sums over all pairs of items, from pairs in the same block and pairs of different blocks.

    Args:
        scores: [..., n], ascending.
        weights: [..., k, n].
        temperature: τ, [...].
        kernel: the function of a pair that is summed.
        in_block: gives the sums, [block, m, item], from the weights [block, k, item], the differences (s_j − s_i)/τ
            inside each block [block, j, i], and Σ_j weights[k, j] · kernel((s_j − s_i)/τ) over the items j of all other
            blocks, [block, k, item].

    Returns:
        [..., m, n].
    """
    xp = array_namespace(scores)
    rows, n, k = scores.shape[:-1], scores.shape[-1], weights.shape[-2]
    if n == 0:
        return xp.zeros_like(weights)
    size = _LARGE_BLOCK if n <= _SMALL_ROW else _BLOCK
    multiple = size * 2 ** _block_tree.levels(-(-n // size))
    s = _filled(scores, multiple, scores[..., -1:])
    w = _filled(weights, multiple, xp.zeros_like(weights[..., :1]))
    blocks = s.shape[-1] // size
    # inside a block nothing is known of the others, so those of all rows lie on one axis
    s = xp.reshape(s, (-1, size))
    w = xp.reshape(xp.permute_dims(xp.reshape(w, (-1, k, blocks, size)), (0, 2, 1, 3)), (-1, k, size))
    powers = ops.constant(kernel.powers, like=scores, dtype=scores.dtype)
    tau = xp.reshape(temperature, (-1, 1))
    rates = -powers / tau  # distances times this cannot become NaN
    items = s, w, _for_each_block(rates, blocks)
    numbers = 2 * len(kernel.powers) * size  # that one block needs at a time
    moments = ops.in_pieces(partial(_moments, kernel), items, size=numbers)
    at_ends = _halves(xp.reshape(moments, (-1, blocks, k, 2 * len(kernel.powers))))
    # a copy, in which blocks are next to one another
    moments = xp.stack([xp.permute_dims(x, (0, 2, 3, 1)) for x in at_ends], axis=2)
    ends = xp.permute_dims(xp.reshape(_ends(s), (-1, blocks, 2)), (0, 2, 1))
    arriving = _block_tree.between_blocks(ends, moments, rates, kernel.powers[0])
    coefficients = ops.constant(kernel.matrices, like=scores, dtype=scores.dtype) @ arriving
    coefficients = xp.reshape(xp.permute_dims(coefficients, (0, 4, 1, 2, 3)), (-1, k, 2 * len(kernel.powers)))
    of_items = partial(_sums_of_items, kernel, in_block)
    sums = ops.in_pieces(of_items, (*items, coefficients, _for_each_block(tau, blocks)), size=numbers)
    sums = xp.permute_dims(xp.reshape(sums, (-1, blocks, *sums.shape[1:])), (0, 2, 1, 3))
    return xp.reshape(sums, (*rows, sums.shape[1], blocks * size))[..., :n]


def _moments(kernel: _Kernel, s: Array, w: Array, rates: Array) -> Array:
    """What each block sends to others, its moments about each end: [block, k, end · power]."""
    return _block_sums.moments(_distances_to_ends(s), rates, w, kernel.powers[0])


def _sums_of_items(
    kernel: _Kernel, in_block: Callable[..., Array], s: Array, w: Array, rates: Array, coefficients: Array, tau: Array
) -> Array:
    """The sums of the items of each block, as `in_block` has it; the coefficients are [block, k, end · power]."""
    from_others = _block_sums.expansions(_distances_to_ends(s), rates, coefficients, kernel.powers[0])
    # scores are subtracted before they are scaled: the other order loses a digit
    x = (s[:, :, None] - s[:, None, :]) / tau[:, :, None]
    return in_block(w, x, from_others)


def _distances_to_ends(s: Array) -> Array:
    """How far the items of a block are from its lowest and from its highest score, [block, end, item]."""
    return array_namespace(s).abs(s[:, None, :] - _ends(s)[:, :, None])


def _ends(s: Array) -> Array:
    """The lowest and the highest score of each block, [block, end]."""
    return s[:, :: s.shape[1] - 1]


def _for_each_block(x: Array, blocks: int) -> Array:
    """One copy of each row of x for each of its blocks: [row · block, m] from [row, m]."""
    xp = array_namespace(x)
    return xp.reshape(xp.broadcast_to(x[:, None, :], (x.shape[0], blocks, x.shape[1])), (-1, x.shape[1]))


def _halves(x: Array) -> tuple[Array, Array]:
    """The first and the second half of the last axis."""
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _filled(x: Array, multiple: int, padding: Array) -> Array:
    """[..., n] with as many copies of `padding` [..., 1] behind as make n a multiple of a number."""
    xp = array_namespace(x)
    missing = -x.shape[-1] % multiple
    return xp.concat([x, xp.broadcast_to(padding, (*x.shape[:-1], missing))], axis=-1) if missing else x


def _counts_in_block(w: Array, x: Array, from_others: Array) -> Array:
    """Σ_j w_kj σ((s_j − s_i)/τ), [block, k, item i]."""
    return _block_sums.weighted_sums(ops.sigmoid, x, w) + from_others


def _slopes_in_block(both: Array, x: Array, from_others: Array) -> Array:
    """Σ_kj (w_km c_kj − c_km w_kj) σ'((s_m − s_j)/τ), [block, 1, item m], for w and c in one array.

    An item's own terms cancel; in this form they do so exactly. Rounded, they would bury those of its far neighbours.
    """
    xp = array_namespace(both)
    k = both.shape[1] // 2

    def of_pair(x: Array, at_m: list[Array], at_j: list[Array]) -> Array:
        p = ops.sigmoid(-xp.abs(x))
        return sum(at_m[i] * at_j[k + i] - at_m[k + i] * at_j[i] for i in range(k)) * (p * (1.0 - p))

    inside = _block_sums.sums_over_pairs(of_pair, x, both)
    outside = (both[:, i] * from_others[:, k + i] - both[:, k + i] * from_others[:, i] for i in range(k))
    return sum(outside, start=inside)[:, None, :]


def _power_coefficients(function: Callable, order: int) -> np.ndarray:
    """c_1 ... c_order with t · function(t) = Σ_p c_p t^p on [0, 1], exactly at t = 1, where tied scores are.

    Interpolates `function` at Chebyshev nodes, so that the error is relative to t: far pairs keep their digits. It
    falls like 5.83^(−order), because the functions here have their pole at t = −1.
    """
    series = np.polynomial.Chebyshev.interpolate(function, order - 1, domain=[0, 1])
    c = series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef
    c[0] += function(1.0) - c.sum()
    return c


def _logistic(order: int) -> _Kernel:
    """σ(x): t/(1 + t) of an item below, 1 − t/(1 + t) of one above."""
    c = _power_coefficients(lambda t: 1 / (1 + t), order)
    return _Kernel(tuple(range(order + 1)), (_nested(_matrix(0.0, c)), _nested(_matrix(1.0, -c))))


def _logistic_slope(order: int) -> _Kernel:
    """σ'(x) = t/(1 + t)², an even function."""
    matrix = _matrix(0.0, _power_coefficients(lambda t: 1 / (1 + t) ** 2, order))
    without_constant = _nested(matrix[1:, 1:])
    return _Kernel(tuple(range(1, order + 1)), (without_constant, without_constant))


def _matrix(constant: float, c: np.ndarray) -> np.ndarray:
    """M with constant + Σ_p c_p (t u)^p = Σ_pq M_pq b_p(t) b_q(u) for the functions b of `basis`, powers from 0 on.

    It follows from (t u)^p = (t^p − t + t)(u^p − u + u).
    """
    matrix = np.diag([constant, *c])
    matrix[1, 2:] = matrix[2:, 1] = c[1:]
    matrix[1, 1] = c.sum()
    return matrix


def _nested(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)


# By bits of the dtype. A higher order would not help: its larger coefficients make more of the rounding.
_LOGISTIC = {32: _logistic(10), 64: _logistic(21)}
_LOGISTIC_SLOPE = {32: _logistic_slope(10), 64: _logistic_slope(21)}

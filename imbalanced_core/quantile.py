"""Quantiles of the unmasked entries of each row: any number of rows and levels in one sort, at exact positions."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace

INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")
BLENDS = ("linear", "midpoint")  # of two values

_MOST_TABULATED = 2**16  # longest row whose positions are tabulated for every count of unmasked entries
_MOST_VALUES = 2**14  # values whose positions are tabulated where there is no float64
_DIGIT, _DIGITS = 11, 3  # bits per digit, and digits of larger positions there
_FRACTION, _FINE = 22, 6  # bits of a fraction there, and extra bits of its parts


def level_below(share: float) -> float:
    """The level 1 − share, exact for short decimals: in binary, 1 − 0.9 is less than 0.1.

    At that level, the "lower" of 11 values would be a different one.
    """
    share = float(share)  # float32 would round the difference
    level = round(1.0 - share, 12)
    return level if abs(1.0 - level - share) < 2.0**-52 else 1.0 - share  # such as 1/3


def masked_quantile(
    values: Array,
    levels: Sequence[float],
    *,
    where: Array | None = None,
    multiplicity: Array | None = None,
    interpolation: str = "higher",
) -> Array:
    """Quantiles of the unmasked values of each row, as constants: no gradient flows through them.

    The quantile at level q of n sorted values is the value at position q·(n−1), counted from 0. Between two positions,
    `interpolation` takes the "lower" or the "higher" value, the "nearest" (half to even, as numpy and torch do),
    their "midpoint", or the "linear" blend. The position is q·(n−1) evaluated in float64, as in numpy, whatever the
    dtype of the values. Where there is no float64 (JAX by default, mps), that holds up to 16384 values, and without
    `multiplicity` up to 65536 entries; beyond, positions (below 2²⁸) are rounded to multiples of 2⁻²².

    With `multiplicity` m the row stands for N = Σm values, rounded to the nearest integer and at least 1: each value
    fills m consecutive positions, and position p holds the first value whose cumulative m reaches p + ½. For integer m
    that is exactly the quantile of the row with each value repeated m times.

    Args:
        values: floats [..., n]. ±inf are ordinary values; masked entries may hold anything.
        levels: L Python numbers in [0, 1], fixed at compile time.
        where: bool, broadcastable to values; False masks an entry. None: all True.
        multiplicity: numbers >= 0, broadcastable to values; how many values each entry stands for. None: 1.
        interpolation: "linear", "lower", "higher", "nearest" or "midpoint".

    Returns:
        [..., L], in the dtype of values. NaN where all values are masked or an unmasked value is NaN.
        Between −inf and any higher value, "linear" and "midpoint" are −inf.

    Raises:
        ValueError: if a level is not in [0, 1], for an unknown interpolation, or shapes that do not fit.
        TypeError: if values are not floats or where is not bool.

    Cost: one sort of each row, O(n log n); with multiplicity also O(n·L) time and memory.
    """
    checks.floating("values", values)
    checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    for level in levels:
        checks.python_number("levels", level)
    checks.boolean("where", where)
    checks.broadcastable("where", where, "values", values)
    checks.broadcastable("multiplicity", multiplicity, "values", values)
    xp = array_namespace(values, where, multiplicity)
    values = ops.stop_gradient(values)
    if values.shape[-1] == 0:
        nothing = xp.sum(values, axis=-1, keepdims=True) + xp.nan
        return xp.broadcast_to(nothing, (*values.shape[:-1], len(levels)))
    if multiplicity is not None:
        return _with_multiplicity(values, levels, where, multiplicity, interpolation)
    if where is None:
        in_order, count = ops.sort(values), None
    else:
        where = xp.broadcast_to(where, values.shape)
        in_order, count = ops.sort(ops.where(where, values, xp.nan)), xp.count_nonzero(where, axis=-1)
    indices, fraction = _indices(tuple(map(float, levels)), values, count, interpolation)
    return _interpolated(ops.gather(in_order, indices), fraction, interpolation)


def _indices(
    levels: tuple[float, ...], values: Array, count: Array | None, interpolation: str
) -> tuple[Array, Array | float]:
    """The `positions` in the sorted values, masked ones last, and the index of the last unmasked value.

    NaN sorts last, so that value is NaN where any unmasked value is NaN and where all are masked.
    """
    xp, n = array_namespace(values), values.shape[-1]
    if count is None:
        return _looked_up(levels, interpolation, (n, n), None, values)
    if n <= _MOST_TABULATED and ops.prefers_tables(values):
        return _looked_up(levels, interpolation, (0, 2 ** n.bit_length()), count, values)  # one table serves many n
    last = xp.clip(count - 1, min=0)
    indices, fraction = positions(levels, last, interpolation, values)
    return xp.concat([indices, ops.astype(last, indices.dtype)[..., None]], axis=-1), fraction


def _looked_up(
    levels: tuple[float, ...], interpolation: str, counts: tuple[int, int], count: Array | None, values: Array
) -> tuple[Array, Array | float]:
    """`_indices` from tables for all counts in a range; None: the first, in every row of the values."""
    xp = array_namespace(values)

    def from_table(of: str, width: int, dtype: Any) -> Array:  # the compiler knows the width, but not a table's shape
        table = ops.tabulated(_table, of, levels, interpolation, *counts, like=values, dtype=dtype)
        if count is None:
            return xp.broadcast_to(table, (*values.shape[:-1], width))
        return xp.reshape(xp.take(table, xp.reshape(count, (-1,)), axis=0), (*count.shape, width))

    indices = from_table("indices", 1 + len(levels) * (2 if interpolation in BLENDS else 1), None)
    return indices, from_table("fraction", len(levels), values.dtype) if interpolation == "linear" else 0.5


def _table(of: str, *key: Any) -> np.ndarray:
    return _tables(*key)[of]


@functools.lru_cache(maxsize=64)
def _tables(levels: tuple[float, ...], interpolation: str, least: int, most: int) -> dict[str, np.ndarray]:
    """`_indices` for every count from `least` to `most`: int32 [count, m + 1], and float64 [count, levels]."""
    last = np.maximum(np.arange(least, most + 1) - 1, 0)[:, None]
    place = last * np.array(levels)
    fraction = place - np.floor(place)
    indices = rounded(np.floor(place), fraction, interpolation)
    return {"indices": np.concatenate([indices, last], axis=-1).astype(np.int32), "fraction": fraction}


def positions(levels: tuple[float, ...], last: Array, interpolation: str, values: Array) -> tuple[Array, Array | float]:
    """The positions level·last as `rounded`, for integers last [...] in [0, 2³¹), as in numpy where the device allows.

    And the part of each after the point, [..., levels] in the dtype of the values, or any number if it is not used.
    """
    xp = array_namespace(last)
    if ops.has_exact_float64(last):
        place = xp.astype(last, xp.float64)[..., None] * ops.constant(levels, like=last, dtype=xp.float64)
        fraction = place - xp.floor(place)
        indices = rounded(xp.floor(place), fraction, interpolation)
        return xp.astype(indices, last.dtype), xp.astype(fraction, values.dtype)
    lower, fraction = positions_in_integers(levels, last)
    count = xp.clip(last, max=_MOST_VALUES) + 1
    indices, exact_fraction = _looked_up(levels, interpolation, (0, _MOST_VALUES + 1), count, values)
    is_exact = (last <= _MOST_VALUES)[..., None]
    indices = xp.where(is_exact, indices[..., :-1], rounded(lower, fraction, interpolation))
    return indices, xp.where(is_exact, exact_fraction, ops.astype(fraction, values.dtype))


def rounded(lower: Array, fraction: Array, interpolation: str) -> Array:
    """The positions lower + fraction [..., levels] as the interpolation rounds them: [..., m], for blends both ways."""
    xp = array_namespace(lower)
    if interpolation == "lower":
        return lower
    is_up = fraction > 0
    if interpolation == "nearest":
        is_up = (fraction > 0.5) | ((fraction == 0.5) & (lower % 2 == 1))
    upper = lower + xp.astype(is_up, lower.dtype)
    return xp.concat([lower, upper], axis=-1) if interpolation in BLENDS else upper


def _interpolated(found: Array, fraction: Array | float, interpolation: str) -> Array:
    """The quantiles [..., levels] from the values at the indices of `_indices`."""
    xp = array_namespace(found)
    found, last = found[..., :-1], found[..., -1:]
    if interpolation not in BLENDS:
        return ops.where(xp.isnan(last), xp.nan, found)
    levels = found.shape[-1] // 2
    lower, upper = found[..., :levels], found[..., levels:]
    blend = 0.5 if interpolation == "midpoint" else fraction
    # equal neighbours give their value exactly, so the spread of constant values is exactly 0; inf - inf is never used
    is_end = (lower == upper) | xp.isinf(lower)
    start, stop = ops.where(is_end, 0.0, lower), ops.where(is_end, 0.0, upper)
    result = xp.where(is_end, lower, start + blend * (stop - start))
    return ops.where(xp.isnan(last), xp.nan, result)


def _with_multiplicity(
    values: Array, levels: Sequence[float], where: Array | None, multiplicity: Array, interpolation: str
) -> Array:
    """`masked_quantile` with multiplicities, whose integer parts are summed separately, exactly."""
    xp = array_namespace(values)
    repeats = xp.broadcast_to(ops.stop_gradient(ops.astype(multiplicity, values.dtype)), values.shape)
    is_nan = xp.isnan(values) if where is None else xp.isnan(values) & where
    if where is not None:
        values, repeats = ops.where(where, values, xp.inf), ops.where(where, repeats, 0.0)
    in_order, order = ops.sort_with_order(values)
    repeats = ops.gather(repeats, order)
    whole = xp.cumulative_sum(xp.astype(xp.floor(repeats), xp.int32), axis=-1)
    part = xp.cumulative_sum(repeats - xp.floor(repeats), axis=-1)
    total = whole[..., -1] + xp.astype(xp.floor(part[..., -1] + 0.5), whole.dtype)
    is_bad = xp.any(is_nan, axis=-1) | ((whole[..., -1] == 0) & (part[..., -1] == 0))
    at, fraction = positions(tuple(map(float, levels)), xp.where(total > 1, total - 1, 0), interpolation, values)
    reached = xp.astype(whole[..., None, :] - at[..., None], part.dtype) + part[..., None, :]
    before = reached < xp.clip(reached[..., -1:], max=0.5)  # never past the last value of multiplicity > 0
    found = ops.gather(in_order, xp.sum(xp.astype(before, xp.int32), axis=-1, dtype=order.dtype))
    return _interpolated(
        xp.concat([found, ops.where(is_bad, xp.nan, found[..., 0])[..., None]], axis=-1), fraction, interpolation
    )


def positions_in_integers(levels: tuple[float, ...], last: Array) -> tuple[Array, Array]:
    """The positions level·last, rounded to multiples of 2⁻²², as integers and exact fractions, without float64.

    A table holds the product of each digit of `last` with the levels: an integer and a fixed-point fraction.
    """
    xp = array_namespace(last)
    whole = fraction = 0
    for digit in range(_DIGITS):
        value = xp.reshape((last >> (_DIGIT * digit)) & (2**_DIGIT - 1), (-1,))
        table = ops.tabulated(_digit_products, levels, digit, like=last, dtype=xp.int32)
        products = xp.reshape(xp.take(table, value, axis=0), (*last.shape, 2, len(levels)))
        whole, fraction = whole + products[..., 0, :], fraction + products[..., 1, :]
    fraction = (fraction + 2 ** (_FINE - 1)) >> _FINE  # to multiples coarser than the rounding of the sum
    whole, fraction = whole + (fraction >> _FRACTION), fraction & (2**_FRACTION - 1)
    return xp.astype(whole, last.dtype), xp.astype(fraction, xp.float32) * 2.0**-_FRACTION


def _digit_products(levels: tuple[float, ...], digit: int) -> np.ndarray:
    """level·value·2048^digit for every value of a digit: int32 [value, whole or fraction, level]."""
    products = np.arange(2**_DIGIT)[:, None] * 2.0 ** (_DIGIT * digit) * np.array(levels)
    products = np.minimum(products, 2.0**31 - 1)  # positions do not reach it
    whole = np.floor(products)
    return np.stack([whole, np.rint((products - whole) * 2 ** (_FRACTION + _FINE))], axis=1).astype(np.int32)

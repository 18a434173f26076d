"""Quantiles of the participating entries of each row: any number of rows and levels in one sort, at exact positions."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace

INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")

_BITS = 24  # of one limb: the sum of 31 of them fits an int32, and each is exact in a float32
_LAST_BITS = 31  # of the largest place, n - 1
_LEAST_LEVEL = 2.0**-80  # places of smaller levels are as little above 0


class Position(NamedTuple):
    """The places q·(n−1), counted from 0, that the quantiles of n sorted values lie at; all [..., levels]."""

    lower: Array  # int, the place rounded down
    upper: Array  # int, rounded up
    nearest: Array  # int, rounded half to even
    fraction: Array  # float, place - lower


def masked_quantile(
    values: Array,
    levels: Sequence[float],
    *,
    where: Array | None = None,
    multiplicity: Array | None = None,
    interpolation: str = "higher",
) -> Array:
    """Quantiles of the participating values of each row, as constants: no gradient flows through them.

    The quantile at level q of n sorted values is the value at place q·(n−1), counted from 0. Between two places,
    `interpolation` takes the "lower" or the "higher" value, the "nearest" (half to even, as numpy and torch do),
    their "midpoint", or the "linear" blend. The place is what float64 makes of q·(n−1), as in numpy, whatever the
    dtype of the values and on devices without float64, for every n below 2³¹.

    With `multiplicity` m the row stands for N = Σm values, rounded to the nearest integer and at least 1: each value
    fills m consecutive places, and place p holds the first value whose cumulative m reaches p + ½. For whole m that
    is exactly the quantile of the row with each value repeated m times.

    Args:
        values: floats [..., n]. ±inf are values like any other; what a masked entry holds does not matter.
        levels: L numbers in [0, 1]; Python numbers, fixed when the function is compiled.
        where: bool, broadcastable to values; the entries that take part. None: all.
        multiplicity: numbers >= 0, broadcastable to values; how many values each entry stands for. None: 1.
        interpolation: "linear", "lower", "higher", "nearest" or "midpoint".

    Returns:
        [..., L], in the dtype of values. NaN where nothing takes part, and where a participating value is NaN.
        Between −inf and any higher value, "linear" and "midpoint" are −inf.

    Raises:
        ValueError: if a level is not in [0, 1], for an unknown interpolation, or shapes that do not fit.
        TypeError: if values are not floats or where is not bool.

    Cost: one sort of each row, O(n log n); with multiplicity also O(n·L) time and memory.
    """
    checks.floating("values", values)
    checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    for level in levels:
        checks.require(isinstance(level, (int, float)) and 0 <= level <= 1, "levels", "Python numbers in [0, 1]", level)
    checks.boolean("where", where)
    checks.broadcastable("where", where, "values", values)
    checks.broadcastable("multiplicity", multiplicity, "values", values)
    xp = array_namespace(values, where, multiplicity)
    values = ops.stop_gradient(values)
    if values.shape[-1] == 0:
        nothing = xp.sum(values, axis=-1, keepdims=True) + xp.nan
        return xp.broadcast_to(nothing, (*values.shape[:-1], len(levels)))
    if where is not None:
        # masked entries sort after every value but NaN, and a NaN is looked for at the very end
        values = xp.where(where, values, xp.inf)
    if multiplicity is None:
        in_order, place_to_index, position, is_empty = _by_count(values, levels, where)
    else:
        in_order, place_to_index, position, is_empty = _by_multiplicity(values, levels, where, multiplicity)

    def value_at(place: Array) -> Array:
        return xp.take_along_axis(in_order, place_to_index(place), axis=-1)

    result = _interpolate(value_at, position, interpolation)
    return xp.where(is_empty | xp.isnan(in_order[..., -1:]), xp.nan, result)


def positions(levels: Sequence[float], last: Array, dtype: Any) -> Position:
    """The places level·last, rounded as float64 multiplication rounds them.

    Args:
        levels: L Python numbers in [0, 1].
        last: integers [...] in [0, 2³¹), the place of each row's last value.
        dtype: of the fractions.
    """
    if ops.has_exact_float64(last):
        xp = array_namespace(last)
        place = xp.stack([xp.astype(last, xp.float64) * float(level) for level in levels], axis=-1)
        lower = xp.floor(place)
        whole = xp.astype(lower, last.dtype)
        return _round(whole, place - lower, place - lower - 0.5, dtype)
    return positions_in_integers(levels, last, dtype)


def positions_in_integers(levels: Sequence[float], last: Array, dtype: Any) -> Position:
    """`positions` by 32-bit integer arithmetic alone, for devices whose float64 is missing or inexact.

    A place is held as a whole number and a fraction in limbs of 24 bits. Both are sums over the bits of `last` of
    tabulated multiples of the level; then the fraction is rounded, half to even, where a float64 would end.
    """
    xp = array_namespace(last)
    levels = tuple(max(level, _LEAST_LEVEL) if level > 0 else 0.0 for level in map(float, levels))
    exponents = [level.as_integer_ratio()[1].bit_length() - 1 for level in levels]
    size = max(1, ceil(max(exponents) / _BITS))
    bits = (xp.astype(last, xp.int32)[..., None] >> _int32(tuple(range(_LAST_BITS)), last)) & 1
    multiples = _int32(tuple(_multiples(level, size) for level in levels), last)  # [levels, bits, 1 + size]
    sums = xp.sum(bits[..., None, :, None] * multiples, axis=-2, dtype=xp.int32)
    whole, *limbs = _carry([sums[..., k] for k in range(1 + size)])

    powers = _int32(tuple(2**k for k in range(_LAST_BITS)), last)
    one_half = _int32(2 ** (_BITS - 1), last)
    starts = xp.astype((whole > 0) | (limbs[0] >= one_half), xp.int32)
    significant = starts + xp.sum(xp.astype(whole[..., None] >= powers, xp.int32), axis=-1, dtype=xp.int32)
    below_half, odd_bit, kept = (_int32(table, last)[significant] for table in _rounding_tables(size))
    fraction = xp.stack(limbs, axis=-1)
    is_odd = xp.astype(xp.any((fraction & odd_bit) != 0, axis=-1), xp.int32)
    rounded = fraction + below_half
    whole, *limbs = _carry([whole, *(rounded[..., k] for k in range(size - 1)), rounded[..., -1] + is_odd])
    limbs = [limb & kept[..., k] for k, limb in enumerate(limbs)]

    first, *rest = [xp.astype(limb, dtype) * 2.0 ** (-_BITS * (k + 1)) for k, limb in enumerate(limbs)]
    # from the first limb on: then the difference from ½ is exact until its sign is certain
    return _round(xp.astype(whole, last.dtype), sum(rest, first), sum(rest, first - 0.5), dtype)


def _int32(numbers: tuple | int, like: Array) -> Array:
    return array_namespace(like).astype(ops.constant(numbers, like=like), array_namespace(like).int32)


def _carry(limbs: list[Array]) -> list[Array]:
    """The same number with every limb but the first below 2²⁴."""
    limbs = list(limbs)
    for k in range(len(limbs) - 1, 0, -1):
        limbs[k - 1] = limbs[k - 1] + (limbs[k] >> _BITS)
        limbs[k] = limbs[k] & (2**_BITS - 1)
    return limbs


def _multiples(level: float, size: int) -> tuple[tuple[int, ...], ...]:
    """level·2ᵇ for every bit b of a place: the whole part, then `size` limbs of the fraction."""
    numerator, denominator = level.as_integer_ratio()
    unit = 2 ** (_BITS * size)
    parts = [divmod((numerator << b) * unit // denominator, unit) for b in range(_LAST_BITS)]
    return tuple((whole, *_limbs(fraction, size)) for whole, fraction in parts)


def _rounding_tables(size: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Row s, for a number whose bits before the point, and the first after it, hold s significant bits: what to add
    (half a unit in the 53rd significant bit, less the smallest), that bit itself, and the mask of the bits up to it.
    Row 0 rounds nothing: below ½ a float64 has more bits than are needed to tell the place from 0 and from ½.
    """
    total = _BITS * size
    rows = []
    for significant in range(_LAST_BITS + 2):
        dropped = total - (54 - significant)
        if significant == 0 or dropped <= 0:
            rows.append((0, 0, 2**total - 1))
        else:
            rows.append((2 ** (dropped - 1) - 1, 2**dropped, 2**total - 2**dropped))
    return tuple(tuple(_limbs(number, size) for number in column) for column in zip(*rows, strict=True))


def _limbs(number: int, size: int) -> tuple[int, ...]:
    return tuple((number >> (_BITS * k)) % 2**_BITS for k in reversed(range(size)))


def _round(lower: Array, fraction: Array, past_half: Array, dtype: Any) -> Position:
    """`past_half` = fraction − ½ is given apart, because in float32 a fraction near ½ may round to ½."""
    xp = array_namespace(lower)
    rounds_up = (past_half > 0) | ((past_half == 0) & (lower % 2 == 1))
    upper = lower + xp.astype(fraction > 0, lower.dtype)
    return Position(lower, upper, lower + xp.astype(rounds_up, lower.dtype), xp.astype(fraction, dtype))


def _by_count(values: Array, levels: Sequence[float], where: Array | None) -> tuple[Array, Callable, Position, Array]:
    """Values in order, the index in them of a place, the places of the levels, and whether nothing takes part."""
    xp = array_namespace(values)
    shape = (*values.shape[:-1], len(levels))
    if where is None:
        count = ops.constant(values.shape[-1], like=values)
    else:
        count = xp.sum(xp.astype(xp.broadcast_to(where, values.shape), xp.int32), axis=-1)
    position = positions(levels, xp.where(count > 0, count - 1, 0), values.dtype)
    return ops.sort(values), lambda place: xp.broadcast_to(place, shape), position, (count == 0)[..., None]


def _by_multiplicity(
    values: Array, levels: Sequence[float], where: Array | None, multiplicity: Array
) -> tuple[Array, Callable, Position, Array]:
    """`_by_count` for values that stand for several; the whole parts of those numbers are summed apart, exactly."""
    xp = array_namespace(values)
    repeats = xp.broadcast_to(ops.stop_gradient(xp.astype(multiplicity, values.dtype)), values.shape)
    if where is not None:
        repeats = xp.where(where, repeats, 0.0)
    in_order, order = ops.sort_with_order(values)
    repeats = xp.take_along_axis(repeats, order, axis=-1)
    whole = ops.cumulative_sum(xp.astype(xp.floor(repeats), xp.int32))
    part = ops.cumulative_sum(repeats - xp.floor(repeats))
    total = whole[..., -1] + xp.astype(xp.floor(part[..., -1] + 0.5), whole.dtype)

    def place_to_index(place: Array) -> Array:
        reached = xp.astype(whole[..., None, :] - place[..., None], part.dtype) + part[..., None, :]
        before = reached < xp.clip(reached[..., -1:], max=0.5)  # never past the last value with any multiplicity
        return xp.sum(xp.astype(before, xp.int32), axis=-1)

    is_empty = (whole[..., -1:] == 0) & (part[..., -1:] == 0)
    return in_order, place_to_index, positions(levels, xp.where(total > 1, total - 1, 0), values.dtype), is_empty


def _interpolate(value_at: Callable[[Array], Array], position: Position, interpolation: str) -> Array:
    if interpolation == "lower":
        return value_at(position.lower)
    if interpolation == "higher":
        return value_at(position.upper)
    if interpolation == "nearest":
        return value_at(position.nearest)
    lower, upper = value_at(position.lower), value_at(position.upper)
    xp = array_namespace(lower)
    blend = 0.5 if interpolation == "midpoint" else position.fraction
    # equal neighbours give their value exactly, so the spread of constant values is exactly 0; inf - inf is never used
    is_end = (lower == upper) | xp.isinf(lower)
    start, stop = xp.where(is_end, 0.0, lower), xp.where(is_end, 0.0, upper)
    return xp.where(is_end, lower, start + blend * (stop - start))

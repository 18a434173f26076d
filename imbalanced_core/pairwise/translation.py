"""Translation of moments between the blocks of the pairwise engine, up and down a tree of blocks.

What a block of sorted items adds to any item outside it is a function of its moments about the nearer end, sums over
`blocks.basis`. Moments are translated to another point by a product with a number per power, and moments about the
same point add up.
"""

from typing import TypeAlias

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace

FEW_BLOCKS = 64  # this many interact pair by pair; more are first joined in pairs: longer sums lose precision
_Shift: TypeAlias = tuple[Array, Array]


def levels(blocks: int) -> int:
    """How often this many blocks are joined in pairs; `between_blocks` needs a multiple of 2^levels blocks."""
    return max(0, (-(-blocks // FEW_BLOCKS) - 1).bit_length())


def between_blocks(ends: Array, moments: Array, rates: Array, first: int) -> Array:
    """The moments that arrive at each block from all others of its row.

    They are those of all blocks below about the low end of each block, and of all blocks above about its high end.
    Both they and the moments of each block about its ends are [row, k, end, power, block], `ends` are the lowest and
    the highest score of each block, [row, end, block], ascending, `rates` −p/τ, [row, power], from the power `first`.
    """
    if ends.shape[-1] <= FEW_BLOCKS:
        return _between_few_blocks(ends, moments, rates, first)
    xp = array_namespace(ends)
    ends, moments = (xp.reshape(x, (*x.shape[:-1], -1, 2)) for x in (ends, moments))  # [..., pair, block]
    outer_ends = xp.stack([ends[:, 0, :, 0], ends[:, 1, :, 1]], axis=1)
    # across the lower block of each pair (low end to low end), across the upper block (high end to high end), and from
    # the lower to the upper block
    distances = xp.concat([ends[..., 1] - ends[..., 0], ends[:, :1, :, 1] - ends[:, 1:, :, 0]], axis=1)
    powers, differences = _shift(distances[:, :, None, :], rates, first)
    shifts = [(powers[:, None, i, ...], differences[:, None, i, ...]) for i in range(3)]
    arriving = between_blocks(outer_ends, _joined(moments, shifts, first), rates, first)
    arriving = _parted(moments, arriving, shifts, first)
    return xp.reshape(arriving, (*arriving.shape[:-2], -1))


def _joined(moments: Array, shifts: list[_Shift], first: int) -> Array:
    """The moments of pairs of neighbouring blocks about the ends of the pair, [row, k, end, power, pair]."""
    at_low, at_high = moments[:, :, 0, ...], moments[:, :, 1, ...]
    at_low = _plus_shifted(at_low[..., 0], at_low[..., 1], shifts[0], first)
    at_high = _plus_shifted(at_high[..., 1], at_high[..., 0], shifts[1], first)
    return array_namespace(moments).stack([at_low, at_high], axis=2)


def _parted(moments: Array, arriving: Array, shifts: list[_Shift], first: int) -> Array:
    """The moments that arrive at each block of a pair from all others, [row, k, end, power, pair, block].

    They follow from the moments of the blocks, of that shape, which the other block of the pair receives, and those
    arriving at the pairs, [row, k, end, power, pair].
    """
    xp = array_namespace(moments)
    from_below, from_above = arriving[:, :, 0, ...], arriving[:, :, 1, ...]
    over_lower, over_upper, gap = shifts
    upper_from_below = _plus_shifted(None, from_below, over_lower, first)
    upper_from_below = _plus_shifted(upper_from_below, moments[:, :, 1, ..., 0], gap, first)
    lower_from_above = _plus_shifted(None, from_above, over_upper, first)
    lower_from_above = _plus_shifted(lower_from_above, moments[:, :, 0, ..., 1], gap, first)
    pairs = (from_below, upper_from_below), (lower_from_above, from_above)
    return xp.stack([xp.stack(pair, axis=-1) for pair in pairs], axis=2)


def _between_few_blocks(ends: Array, moments: Array, rates: Array, first: int) -> Array:
    """`between_blocks`, visiting every pair of blocks."""
    xp = array_namespace(ends)
    blocks = ends.shape[-1]
    distance = xp.abs(ends[:, 0, None, :] - ends[:, 1, :, None])  # from a up to b, [row, a, b]
    shift = _shift(xp.reshape(distance, (-1, 1, 1, blocks**2)), rates, first)
    powers, differences = (xp.triu(xp.reshape(x, (-1, x.shape[2], blocks, blocks)), k=1) for x in shift)

    def arriving(moments: Array, powers: Array, differences: Array) -> Array:
        moments = xp.permute_dims(moments, (0, 2, 1, 3))  # [row, power, k, block]
        sums = ops.matmul(moments, powers) + ops.matmul(moments[:, 1 - first : 2 - first, ...], differences)
        return xp.permute_dims(sums, (0, 2, 1, 3))

    from_below = arriving(moments[:, :, 1, ...], powers, differences)
    from_above = arriving(moments[:, :, 0, ...], powers.mT, differences.mT)
    return xp.stack([from_below, from_above], axis=2)


def _shift(distance: Array, rates: Array, first: int) -> _Shift:
    """u^p for every power p, and u^p − u for p >= 2, else 0, where u = exp(−distance/τ).

    They translate moments by distances [row, i, 1, m] >= 0, since (t u)^p − t u = (t^p − t) u^p + t (u^p − u), and have
    the shape [row, i, power, m]. The difference is computed by `expm1`, because rounding accumulates along the tree.
    """
    xp = array_namespace(distance)
    rates = rates[:, None, :, None]
    excess = xp.clip(rates - _first_power(rates, first), max=0.0)  # −(p − 1)/τ, and 0 for p = 0
    powers = ops.decay(distance * rates)
    return powers, _first_power(powers, first) * xp.expm1(distance * excess)


def _plus_shifted(x: Array | None, moments: Array, shift: _Shift, first: int) -> Array:
    """x, or 0, plus moments [row, k, power, m] about points a `_shift` away."""
    powers, differences = shift
    x = moments * powers if x is None else ops.add_product(x, moments, powers)
    return ops.add_product(x, _first_power(moments, first), differences)


def _first_power(x: Array, first: int) -> Array:
    """Power 1 of x [..., power, m], whose powers start at `first`: [..., 1, m]."""
    return x[..., 1 - first : 2 - first, :]

"""How the blocks of the pairwise engine hear of each other: moments travel up and down a tree of blocks.

What a block of sorted items adds to any item outside it is a function of its moments about the nearer end, numbers that
`_block_sums.moments` defines. Moments about one point become moments about another by a product with a number per
power, and moments about the same point add up.

Only what travels upwards, from lower blocks to higher ones, is written down here. What travels downwards does the same
in the mirrored row, whose scores are negated and whose blocks stand in the opposite order; the two ways are an axis.
"""

from typing import TypeAlias

from imbalanced_core._namespace import Array, array_namespace

FEW_BLOCKS = 64  # so many meet pair by pair, more are first joined two by two: longer sums would lose digits
_Shift: TypeAlias = tuple[Array, Array]


def levels(blocks: int) -> int:
    """How often so many blocks are joined two by two; `between_blocks` needs a multiple of 2^levels of them."""
    return max(0, (-(-blocks // FEW_BLOCKS) - 1).bit_length())


def both_ways(upwards: Array, downwards: Array, *, axis: int) -> Array:
    """The two stacked on a new axis, the one for the way down with its blocks, on the last axis, reversed."""
    xp = array_namespace(upwards)
    return xp.stack([upwards, xp.flip(downwards, axis=-1)], axis=axis)


def between_blocks(lows: Array, highs: Array, moments: Array, rates: Array, first: int) -> Array:
    """What arrives at each block from all lower ones.

    Args:
        lows: the lowest score of each block, [row, way, block]; blocks ascend.
        highs: the highest ones.
        moments: of each block about its highest score, [row, k, way, power, block].
        rates: −p/τ, [row, power].
        first: the first power, 0 or 1.

    Returns:
        The moments of all lower blocks about the lowest score of each block, [row, k, way, power, block].
    """
    if lows.shape[-1] <= FEW_BLOCKS:
        return _between_few_blocks(lows, highs, moments, rates, first)
    xp = array_namespace(lows)
    low, high, lower, higher = (
        lows[..., ::2],
        highs[..., ::2],
        lows[..., 1::2],
        highs[..., 1::2],
    )  # of the two of a pair
    # over the upper block, over the lower one, and between the two
    distances = xp.stack([higher - high, lower - low, lower - high])[:, :, None, :, None, :]
    powers, differences = _shift(distances, rates[:, None, None, :, None], first)
    over_upper, over_lower, gap = ((powers[i, ...], differences[i, ...]) for i in range(3))
    joined = moments[..., 1::2] + _shifted(moments[..., ::2], over_upper, first)
    arriving = between_blocks(low, higher, joined, rates, first)
    at_upper = _shifted(arriving, over_lower, first) + _shifted(moments[..., ::2], gap, first)
    pairs = xp.stack([arriving, at_upper], axis=-1)
    return xp.reshape(pairs, moments.shape)


def _between_few_blocks(lows: Array, highs: Array, moments: Array, rates: Array, first: int) -> Array:
    """`between_blocks`, visiting every pair of blocks."""
    xp = array_namespace(lows)
    blocks = lows.shape[-1]
    distance = xp.abs(lows[:, 0, None, :] - highs[:, 0, :, None])  # from a up to b, [row, a, b]
    shift = _shift(xp.reshape(distance, (-1, 1, blocks**2)), rates[:, :, None], first)
    powers, differences = (xp.triu(xp.reshape(x, (*x.shape[:2], blocks, blocks)), k=1) for x in shift)

    def arriving(moments: Array, powers: Array, differences: Array) -> Array:
        moments = xp.permute_dims(moments, (0, 2, 1, 3))  # [row, power, k, block]
        sums = moments @ powers + moments[:, 1 - first : 2 - first, ...] @ differences
        return xp.permute_dims(sums, (0, 2, 1, 3))

    upwards = arriving(moments[:, :, 0, ...], powers, differences)
    downwards = arriving(xp.flip(moments[:, :, 1, ...], axis=-1), powers.mT, differences.mT)
    return both_ways(upwards, downwards, axis=2)


def _shift(distance: Array, rates: Array, first: int) -> _Shift:
    """u^p for every power p, and u^p − u for those from 2 on, else 0, where u = exp(−distance/τ).

    They refer moments to a point that is so far away, since (t u)^p − t u = (t^p − t) u^p + t (u^p − u). The difference
    comes from `expm1`, because rounding adds up along the tree.

    Args:
        distance: numbers >= 0, [..., 1, m].
        rates: −p/τ for every power, [..., power, 1].
        first: the first power.

    Returns:
        [..., power, m], twice.
    """
    xp = array_namespace(distance)
    excess = xp.clip(rates - rates[..., 1 - first : 2 - first, :], max=0.0)  # −(p − 1)/τ, and 0 for p = 0
    powers = xp.exp(distance * rates)
    return powers, powers[..., 1 - first : 2 - first, :] * xp.expm1(distance * excess)


def _shifted(moments: Array, shift: _Shift, first: int) -> Array:
    """Moments [..., power, m] about points a `_shift` away."""
    powers, differences = shift
    return moments * powers + moments[..., 1 - first : 2 - first, :] * differences

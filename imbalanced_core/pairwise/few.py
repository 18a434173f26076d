"""The engine's sums for a few of the items, where their number is known: positives are rare.

Weights may lie on all items; what differs from `blocks` is that few ask. Two ways: with very few items every pair is
visited, and no sort is needed; with more of them the moments of all blocks are formed as ever, but expanded at these
items alone, each of which then visits the pairs of its own block. In the gradient the two sides change places.
"""

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise import expansions
from imbalanced_core.pairwise.kernels import LOGISTIC, LOGISTIC_SLOPE

_PART = 4096  # items of a row whose pairs are visited at once
_BLOCK, _LARGE_BLOCK = 32, 64  # larger than in `blocks`: a block's own pairs are visited by the few alone
_VERY_FEW = 0.1  # of the items: then large blocks pay


def counts_pair_by_pair(scores: Array, weights: Array, temperature: Array, places: Array) -> Array:
    """Σ_j weights_kj σ((s_j − s_i)/τ) at the items i of `places`, visiting every pair.

    Args:
        scores: [..., n], in any order.
        weights: [..., k, n].
        temperature: τ, [...].
        places: integers [..., m], no two of a row alike.

    Returns:
        [..., k, m].
    """
    xp = array_namespace(scores)
    parts = _blocks.cut(scores, weights, temperature, min(scores.shape[-1], _PART))
    at = _blocks.for_each_block(ops.rearrange(scores, places), parts)

    def of_part(s: Array, w: Array, tau: Array, at: Array) -> Array:
        return w @ ops.sigmoid(_differences(s, at, tau)).mT

    arrays = parts.s, parts.w, _blocks.tau_of_blocks(parts), at
    counts = ops.in_pieces(of_part, arrays, size=at.shape[-1] * parts.s.shape[-1])
    counts = xp.sum(xp.reshape(counts, (-1, parts.per_row, *counts.shape[1:])), axis=1)
    return xp.reshape(counts, (*weights.shape[:-1], places.shape[-1]))


def slopes_pair_by_pair(cotangent: Array, scores: Array, weights: Array, temperature: Array, places: Array) -> Array:
    """The gradient of Σ_ki cotangent_ki · count_ki by the scores, [..., n], for the counts at the items of `places`.

    Args:
        cotangent: [..., k, m].
        scores: as for `counts_pair_by_pair`, and so are the others.
        weights: [..., k, n].
        temperature: τ, [...].
        places: integers [..., m].
    """
    xp = array_namespace(scores)
    k, n, m = weights.shape[-2], weights.shape[-1], places.shape[-1]
    in_channels = xp.broadcast_to(places[..., None, :], (*weights.shape[:-1], m))
    # pairs of two of the items are left for later, where those of an item with itself cancel exactly
    others = ops.put_along(weights, in_channels, 0.0)
    parts = _blocks.cut(scores, others, temperature, min(n, _PART))
    at = ops.rearrange(scores, places)
    rows, cotangents = xp.reshape(at, (-1, m)), xp.reshape(cotangent, (-1, k * m))

    def of_part(s: Array, w: Array, tau: Array, at: Array, c: Array) -> Array:
        slopes = _slopes(s, at, tau) * (xp.reshape(c, (-1, k, m)).mT @ w)
        return xp.concat([xp.sum(slopes, axis=1), -xp.sum(slopes, axis=2)], axis=-1)

    arrays = (
        parts.s,
        parts.w,
        _blocks.tau_of_blocks(parts),
        _blocks.for_each_block(rows, parts),
        _blocks.for_each_block(cotangents, parts),
    )
    sums = ops.in_pieces(of_part, arrays, size=m * parts.s.shape[-1])
    of_all = xp.reshape(sums[:, :-m], (*scores.shape[:-1], -1))[..., :n]
    of_few = xp.sum(xp.reshape(sums[:, -m:], (-1, parts.per_row, m)), axis=1)
    product = xp.reshape(cotangents, (-1, k, m)).mT @ xp.reshape(ops.rearrange(weights, in_channels), (-1, k, m))
    among = _slopes(rows, rows, parts.tau) * (product - product.mT)
    of_few = xp.reshape(of_few + xp.sum(among, axis=1), at.shape)
    return ops.put_along(of_all, places, of_few) / temperature[..., None]


def counts_at(scores: Array, weights: Array, temperature: Array, places: Array) -> tuple[Array, Array]:
    """`counts_pair_by_pair` for ascending scores, by blocks; and what arrived at each block."""
    xp = array_namespace(scores)
    kernel = LOGISTIC[xp.finfo(scores.dtype).bits]
    blocks = _blocks.cut(scores, weights, temperature, block_size(scores.shape[-1], places.shape[-1]))
    arrived = _blocks.between_blocks(blocks, kernel, _blocks.moments(blocks, kernel))
    coefficients = _blocks.coefficients(kernel, arrived)
    tau = _blocks.tau_of_blocks(blocks)
    at = xp.reshape(ops.rearrange(scores, places), (-1, 1))

    def of_items(at: Array, block: Array) -> Array:
        s, of_block = ops.take_rows(blocks.s, block), ops.take_rows(tau, block)
        from_others = _blocks.expanded(at, s, of_block, kernel, ops.take_rows(coefficients, block))
        inside = ops.sigmoid(_differences(s, at, of_block))
        return ops.take_rows(blocks.w, block) @ inside.mT + from_others

    block = _block_of(places, blocks)
    counts = ops.in_pieces(of_items, (at, block), size=_temporaries(blocks, coefficients))
    k, m = weights.shape[-2], places.shape[-1]
    counts = xp.permute_dims(xp.reshape(counts, (-1, m, k)), (0, 2, 1))
    return xp.reshape(counts, (*weights.shape[:-1], m)), arrived


def slopes_at(
    cotangent: Array, arrived: Array, scores: Array, weights: Array, temperature: Array, places: Array
) -> Array:
    """`slopes_pair_by_pair` for ascending scores, by blocks, with what arrived at each for the counts."""
    xp = array_namespace(scores)
    kernel = LOGISTIC_SLOPE[xp.finfo(scores.dtype).bits]
    blocks = _blocks.cut(scores, weights, temperature, block_size(scores.shape[-1], places.shape[-1]))
    k, m, size = weights.shape[-2], places.shape[-1], blocks.s.shape[-1]
    tau = _blocks.tau_of_blocks(blocks)
    at, block = xp.reshape(ops.rearrange(scores, places), (-1, 1)), _block_of(places, blocks)
    c = xp.reshape(xp.permute_dims(xp.reshape(cotangent, (-1, k, m)), (0, 2, 1)), (-1, k, 1))
    of_weights = _blocks.coefficients(kernel, arrived)

    def moments_of_item(at: Array, block: Array, c: Array) -> Array:
        distances = _blocks.distances(at, ops.take_rows(blocks.s, block))
        return expansions.moments(distances, ops.take_rows(tau, block), c, kernel)

    numbers = _temporaries(blocks, of_weights)
    of_cotangents = ops.in_pieces(moments_of_item, (at, block, c), size=numbers)
    of_cotangents = ops.add_rows(xp.zeros_like(of_weights), block, of_cotangents)
    of_cotangents = _blocks.coefficients(kernel, _blocks.between_blocks(blocks, kernel, of_cotangents))

    def of_items(at: Array, block: Array, own: Array, c: Array) -> Array:
        s, w, of_block = ops.take_rows(blocks.s, block), ops.take_rows(blocks.w, block), ops.take_rows(tau, block)
        from_others = _blocks.expanded(at, s, of_block, kernel, ops.take_rows(of_weights, block))
        inside = _slopes(s, at, of_block)[:, 0, :] * xp.sum(c * w, axis=1)
        inside = ops.put_along(inside, own, 0.0)  # of an item with itself: the two sides would not cancel exactly
        by_item = xp.sum(inside, axis=-1, keepdims=True) + xp.sum(c * from_others, axis=1)
        return xp.concat([inside, -by_item], axis=-1)

    own = xp.reshape(places % size, (-1, 1))
    inside = ops.in_pieces(of_items, (at, block, own, c), size=numbers)

    def of_all(s: Array, w: Array, tau: Array, coefficients: Array) -> Array:
        return xp.sum(w * _blocks.expanded(s, s, tau, kernel, coefficients), axis=1)

    arrays = blocks.s, blocks.w, tau, of_cotangents
    slopes = ops.in_pieces(of_all, arrays, size=_blocks.temporaries(blocks, kernel))
    slopes = ops.add_rows(slopes, block, inside[:, :-1])
    slopes = ops.add_rows(xp.reshape(slopes, (-1,)), block * size + own[:, 0], inside[:, -1])
    return _blocks.in_rows(xp.reshape(slopes, (-1, 1, size)), blocks, scores.shape)[..., 0, :] / temperature[..., None]


def block_size(n: int, m: int) -> int:
    """The size of the blocks of a row of n items where m of them ask."""
    return _LARGE_BLOCK if m <= _VERY_FEW * n else _BLOCK


def _differences(s: Array, at: Array, tau: Array) -> Array:
    """(s_j − at_i)/τ, [block, i, j], for s [block, item], at [block, m] and τ [block, 1]."""
    return (s[:, None, :] - at[:, :, None]) / tau[:, :, None]


def _slopes(s: Array, at: Array, tau: Array) -> Array:
    """σ'((s_j − at_i)/τ), [block, i, j]."""
    p = ops.sigmoid(array_namespace(s).abs(s[:, None, :] - at[:, :, None]) / -tau[:, :, None])
    return p * (1.0 - p)


def _block_of(places: Array, blocks: _blocks.Blocks) -> Array:
    """The block that each of the places is in, [row · m]."""
    xp = array_namespace(places)
    places = xp.reshape(places, (blocks.tau.shape[0], -1))
    first = xp.arange(blocks.tau.shape[0], dtype=places.dtype, device=places.device) * blocks.per_row
    return xp.reshape(first[:, None] + places // blocks.s.shape[-1], (-1,))


def _temporaries(blocks: _blocks.Blocks, coefficients: Array) -> int:
    """How many numbers one item takes with it: the scores, weights and coefficients of its block."""
    return blocks.s.shape[-1] * (1 + blocks.w.shape[1]) + coefficients.shape[1] * coefficients.shape[2]

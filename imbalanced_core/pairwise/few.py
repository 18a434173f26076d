"""The block algorithm for a known, small number of requested items in a long row, such as rare positives.

The moments of all blocks are formed as in `blocks`, but the local expansions are evaluated only at the requested items,
each of which then visits its near field, the pairs of its own block. In the gradient the two sides swap indices.
"""

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise.kernels import LOGISTIC, LOGISTIC_DERIVATIVE

_BLOCK, _LARGE_BLOCK = 32, 64  # larger than in `blocks`: only the requested items visit their block
_VERY_FEW = 0.1  # share of the items up to which large blocks are faster


def counts_at(scores: Array, weights: Array, temperature: Array, indices: Array) -> tuple[Array, Array]:
    """Σ_j weights_kj σ((s_j − s_i)/τ) at a few items i, and the moments that arrived at each block, for the gradient.

    Scores are [..., n], ascending, weights [..., k, n], τ [...] and the indices of the items [..., m], distinct.
    """
    xp = array_namespace(scores)
    kernel = LOGISTIC[xp.finfo(scores.dtype).bits]
    blocks = _blocks.cut(scores, weights, temperature, block_size(scores.shape[-1], indices.shape[-1]))
    arrived = _blocks.between_blocks(blocks, kernel, _blocks.moments(blocks, kernel))
    coefficients = _blocks.coefficients(kernel, arrived)
    tau = _blocks.tau_of_blocks(blocks)
    at = xp.reshape(ops.gather(scores, indices), (-1, 1))

    def of_items(at: Array, block: Array) -> Array:
        s, of_block = xp.take(blocks.s, block, axis=0), xp.take(tau, block, axis=0)
        from_others = _blocks.expanded(at, s, of_block, kernel, xp.take(coefficients, block, axis=0))
        inside = ops.sigmoid(ops.differences(s, at, of_block[:, 0]), reuse=True, absolute=True)
        return ops.matmul(xp.take(blocks.w, block, axis=0), inside.mT) + from_others

    block = _block_of(indices, blocks)
    counts = ops.in_pieces(of_items, (at, block), size=_temporaries(blocks, coefficients))
    k, m = weights.shape[-2], indices.shape[-1]
    counts = xp.permute_dims(xp.reshape(counts, (-1, m, k)), (0, 2, 1))
    return xp.reshape(counts, (*weights.shape[:-1], m)), arrived


def gradient_at(
    cotangent: Array, arrived: Array, scores: Array, weights: Array, temperature: Array, indices: Array
) -> Array:
    """The gradient of Σ_ki cotangent_ki · count_ki by the scores, [..., n], for the arguments of `counts_at`."""
    xp = array_namespace(scores)
    kernel = LOGISTIC_DERIVATIVE[xp.finfo(scores.dtype).bits]
    blocks = _blocks.cut(scores, weights, temperature, block_size(scores.shape[-1], indices.shape[-1]))
    k, m, size = weights.shape[-2], indices.shape[-1], blocks.s.shape[-1]
    tau = _blocks.tau_of_blocks(blocks)
    at, block = xp.reshape(ops.gather(scores, indices), (-1, 1)), _block_of(indices, blocks)
    c = xp.reshape(xp.permute_dims(xp.reshape(cotangent, (-1, k, m)), (0, 2, 1)), (-1, k, 1))
    of_weights = _blocks.coefficients(kernel, arrived)

    def moments_of_item(at: Array, block: Array, c: Array) -> Array:
        s, of_block = xp.take(blocks.s, block, axis=0), xp.take(tau, block, axis=0)
        return ops.matmul(c, _blocks.basis(at, s, of_block, kernel).mT)

    numbers = _temporaries(blocks, of_weights)
    of_cotangents = ops.in_pieces(moments_of_item, (at, block, c), size=numbers)
    of_cotangents = ops.add_rows(xp.zeros_like(of_weights), block, of_cotangents)
    of_cotangents = _blocks.coefficients(kernel, _blocks.between_blocks(blocks, kernel, of_cotangents))

    def of_items(at: Array, block: Array, own: Array, c: Array) -> Array:
        s, w, of_block = xp.take(blocks.s, block, axis=0), xp.take(blocks.w, block, axis=0), xp.take(tau, block, axis=0)
        from_others = _blocks.expanded(at, s, of_block, kernel, xp.take(of_weights, block, axis=0))
        x = ops.differences(s, at, of_block[:, 0])[:, 0, :]
        inside = ops.times_logistic_derivative(xp.sum(c * w, axis=1), x, reuse=True, reuse_at=True)
        # the pair of an item with itself: the two sides would not cancel exactly
        inside = ops.scatter(inside, own, 0.0, reuse=True)
        by_item = xp.sum(inside, axis=-1, keepdims=True) + xp.sum(c * from_others, axis=1)
        return xp.concat([inside, -by_item], axis=-1)

    own = xp.reshape(indices % size, (-1, 1))
    inside = ops.in_pieces(of_items, (at, block, own, c), size=numbers)

    def of_all(s: Array, w: Array, tau: Array, coefficients: Array) -> Array:
        return xp.sum(w * _blocks.expanded(s, s, tau, kernel, coefficients), axis=1)

    arrays = blocks.s, blocks.w, tau, of_cotangents
    gradient = ops.in_pieces(of_all, arrays, size=_blocks.temporaries(blocks, kernel))
    gradient = ops.add_rows(gradient, block, inside[:, :-1])
    gradient = ops.add_rows(xp.reshape(gradient, (-1,)), block * size + own[:, 0], inside[:, -1])
    gradient = _blocks.in_rows(xp.reshape(gradient, (-1, 1, size)), blocks, scores.shape)[..., 0, :]
    return gradient / temperature[..., None]


def block_size(n: int, m: int) -> int:
    """The block size for a row of n items, m of them requested."""
    return _LARGE_BLOCK if m <= _VERY_FEW * n else _BLOCK


def _block_of(indices: Array, blocks: _blocks.Blocks) -> Array:
    """The block of each item, [row · m]."""
    xp = array_namespace(indices)
    indices = xp.reshape(indices, (blocks.tau.shape[0], -1))
    first = xp.arange(blocks.tau.shape[0], dtype=indices.dtype, device=indices.device) * blocks.per_row
    return xp.reshape(first[:, None] + indices // blocks.s.shape[-1], (-1,))


def _temporaries(blocks: _blocks.Blocks, coefficients: Array) -> int:
    """The number of values gathered per item: the scores, weights and coefficients of its block."""
    return blocks.s.shape[-1] * (1 + blocks.w.shape[1]) + coefficients.shape[1] * coefficients.shape[2]

"""Sums over all pairs of a sorted row, block by block: the algorithm explained in `counts`."""

from collections.abc import Callable
from typing import NamedTuple

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import translation
from imbalanced_core.pairwise.kernels import Kernel

_BLOCK, _LARGE_BLOCK = 16, 32  # items per block; all pairs within a block are visited
_SMALL_ROW = translation.FEW_BLOCKS * _LARGE_BLOCK  # with large blocks, no joins: fewer calls


class Blocks(NamedTuple):
    """Rows of ascending scores, cut into blocks of equal size; the blocks of all rows share one axis."""

    s: Array  # scores, [row · block, item]; each row is padded with copies of its greatest
    w: Array  # weights, [row · block, k, item]; 0 in the padding
    tau: Array  # τ of each row, [row, 1]

    @property
    def per_row(self) -> int:
        """The number of blocks of each row."""
        return self.s.shape[0] // self.tau.shape[0]


def block_size(n: int) -> int:
    """The block size where pairs within a block are visited for every item."""
    return _LARGE_BLOCK if n <= _SMALL_ROW else _BLOCK


def cut(scores: Array, weights: Array, temperature: Array, size: int) -> Blocks:
    """Scores [..., n], ascending, weights [..., k, n] and τ [...] in blocks of `size` items; n > 0."""
    xp = array_namespace(scores)
    n, k = scores.shape[-1], weights.shape[-2]
    blocks = -(-n // size)
    blocks += -blocks % 2 ** translation.levels(blocks)  # the last ones may hold only padding
    s = _filled(scores, size * blocks, scores[..., -1:])
    w = _filled(weights, size * blocks, xp.zeros_like(weights[..., :1]))
    w = xp.reshape(xp.permute_dims(xp.reshape(w, (-1, k, blocks, size)), (0, 2, 1, 3)), (-1, k, size))
    return Blocks(xp.reshape(s, (-1, size)), w, xp.reshape(temperature, (-1, 1)))


def sums_over_pairs(blocks: Blocks, kernel: Kernel, arrived: Array, in_block: Callable[..., Array]) -> Array:
    """Sums over all pairs of items, within blocks and, from what `arrived` by `between_blocks`, between them.

    `in_block` returns the sums, [block, m, item], from the weights [block, k, item], the differences (s_j − s_i)/τ
    within each block [block, j, i], and Σ_j weights[k, j] · kernel((s_j − s_i)/τ) over the items j of all other blocks,
    [block, k, item].
    """

    def of_items(s: Array, w: Array, tau: Array, coefficients: Array) -> Array:
        from_others = expanded(s, s, tau, kernel, coefficients)
        # scores are subtracted before they are scaled: the other order loses a digit
        x = (s[:, :, None] - s[:, None, :]) / tau[:, :, None]
        return in_block(w, x, from_others)

    arrays = blocks.s, blocks.w, tau_of_blocks(blocks), coefficients(kernel, arrived)
    return ops.in_pieces(of_items, arrays, size=temporaries(blocks, kernel))


def moments(blocks: Blocks, kernel: Kernel) -> Array:
    """The moments of each block about each of its ends: [block, k, end · power]."""

    def of_block(s: Array, w: Array, tau: Array) -> Array:
        return ops.matmul(w, basis(s, s, tau, kernel).mT)

    return ops.in_pieces(of_block, (blocks.s, blocks.w, tau_of_blocks(blocks)), size=temporaries(blocks, kernel))


def between_blocks(blocks: Blocks, kernel: Kernel, moments: Array) -> Array:
    """The moments that arrive at each block from all others, about its ends: [row, k, end, power, block of the row].

    `moments` are those of each block, [block, k, end · power]; only the powers of the kernel are used.
    """
    xp = array_namespace(moments)
    k, powers = moments.shape[1], kernel.size
    moments = xp.reshape(moments, (-1, blocks.per_row, k, 2 * powers))
    # a copy, contiguous along the blocks
    at_ends = moments[..., :powers], moments[..., powers:]
    moments = xp.stack([xp.permute_dims(x, (0, 2, 3, 1)) for x in at_ends], axis=2)
    ends = xp.permute_dims(xp.reshape(ends_of(blocks.s), (-1, blocks.per_row, 2)), (0, 2, 1))
    # distances times these cannot become NaN
    rates = ops.constant(kernel.negative_powers, like=ends, dtype=ends.dtype)[None, :] / blocks.tau
    return translation.between_blocks(ends, moments, rates, kernel.first)


def coefficients(kernel: Kernel, arrived: Array) -> Array:
    """Coefficients of the sums from all other blocks in the basis of each block: [block, k, end · power].

    They follow from `between_blocks`, whose moments may include power 0 even if the kernel does not.
    """
    xp = array_namespace(arrived)
    if arrived.shape[3] > kernel.size:  # `is_grads_batched` lacks a slice of everything
        arrived = arrived[:, :, :, arrived.shape[3] - kernel.size :, :]
    made = ops.matmul(ops.constant(kernel.matrices, like=arrived, dtype=arrived.dtype), arrived)
    return xp.reshape(xp.permute_dims(made, (0, 4, 1, 2, 3)), (-1, arrived.shape[1], 2 * kernel.size))


def expanded(scores: Array, s: Array, tau: Array, kernel: Kernel, coefficients: Array) -> Array:
    """The sums from other blocks at scores [block, m] within the block of scores s [block, item]: [block, k, m]."""
    return ops.matmul(coefficients, basis(scores, s, tau, kernel))


def basis(scores: Array, s: Array, tau: Array, kernel: Kernel) -> Array:
    """The basis of the kernel expansions at scores [block, m] within the block of scores s: [block, end · power, m].

    With t = exp(−distance/τ) for the distance from an end of the block, it is t, t² − t, t³ − t ..., after 1 if the
    kernel needs a constant. Plain powers of t span the same space, but at distances far below τ all are nearly 1, and
    sums that nearly cancel accumulate the rounding of each. This basis is nearly 0 there, and far away it decays at
    least as fast as t. It is formed as t (t − 1) (1 + t + t² + ...), with one exponential for all and without
    cancellation.
    """
    xp = array_namespace(s)
    x = xp.abs(scores[:, None, :] - ends_of(s)[:, :, None]) / -tau[:, :, None]
    t, excess = ops.decay(x), xp.expm1(x)
    rows = [xp.ones_like(t), t] if kernel.first == 0 else [t]
    values = ops.rows_and_geometric_sums(rows, t * excess, t, kernel.last - 1)
    return xp.reshape(values, (values.shape[0], -1, values.shape[3]))


def in_rows(sums: Array, blocks: Blocks, shape: tuple[int, ...]) -> Array:
    """Sums of the items of all blocks, [block, m, item], in rows of the given shape: [..., m, n]."""
    xp = array_namespace(sums)
    sums = xp.permute_dims(xp.reshape(sums, (-1, blocks.per_row, *sums.shape[1:])), (0, 2, 1, 3))
    sums = xp.reshape(sums, (*shape[:-1], sums.shape[1], -1))
    return sums if sums.shape[-1] == shape[-1] else sums[..., : shape[-1]]  # `is_grads_batched` lacks a whole slice


def temporaries(blocks: Blocks, kernel: Kernel) -> int:
    """The size of the basis of one block, in numbers."""
    return 2 * kernel.size * blocks.s.shape[1]


def tau_of_blocks(blocks: Blocks) -> Array:
    """The τ of every block, [row · block, 1]."""
    xp = array_namespace(blocks.tau)
    return xp.reshape(xp.broadcast_to(blocks.tau, (blocks.tau.shape[0], blocks.per_row)), (-1, 1))


def ends_of(s: Array) -> Array:
    """The lowest and the highest score of each block, [block, end]."""
    return s[:, :: s.shape[1] - 1]


def _filled(x: Array, n: int, padding: Array) -> Array:
    """x padded with copies of `padding` [..., 1] to length n on the last axis."""
    xp = array_namespace(x)
    missing = n - x.shape[-1]
    return xp.concat([x, xp.broadcast_to(padding, (*x.shape[:-1], missing))], axis=-1) if missing else x

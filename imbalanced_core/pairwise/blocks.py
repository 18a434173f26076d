"""Sums over all pairs of a sorted row, block by block: the walk that `pairwise` explains."""

from collections.abc import Callable
from typing import NamedTuple

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import expansions, translation
from imbalanced_core.pairwise.kernels import Kernel

_BLOCK, _LARGE_BLOCK = 16, 32  # items per block: all pairs inside one are visited
_SMALL_ROW = translation.FEW_BLOCKS * _LARGE_BLOCK  # no joins with large blocks: fewer calls


class Blocks(NamedTuple):
    """Rows of ascending scores, cut into blocks of equal size; those of all rows lie on one axis."""

    s: Array  # scores, [row · block, item]; copies of the greatest behind the last item of a row
    w: Array  # weights, [row · block, k, item]; 0 there
    tau: Array  # τ of each row, [row, 1]

    @property
    def per_row(self) -> int:
        """The number of blocks of each row."""
        return self.s.shape[0] // self.tau.shape[0]


def block_size(n: int) -> int:
    """The size of the blocks where pairs inside a block are visited for every item."""
    return _LARGE_BLOCK if n <= _SMALL_ROW else _BLOCK


def cut(scores: Array, weights: Array, temperature: Array, size: int) -> Blocks:
    """Scores [..., n], ascending, weights [..., k, n] and τ [...] in blocks of so many items; n > 0."""
    xp = array_namespace(scores)
    n, k = scores.shape[-1], weights.shape[-2]
    blocks = -(-n // size)
    blocks += -blocks % 2 ** translation.levels(blocks)  # the last ones may hold copies of the greatest score alone
    s = _filled(scores, size * blocks, scores[..., -1:])
    w = _filled(weights, size * blocks, xp.zeros_like(weights[..., :1]))
    w = xp.reshape(xp.permute_dims(xp.reshape(w, (-1, k, blocks, size)), (0, 2, 1, 3)), (-1, k, size))
    return Blocks(xp.reshape(s, (-1, size)), w, xp.reshape(temperature, (-1, 1)))


def sums_over_pairs(blocks: Blocks, kernel: Kernel, arrived: Array, in_block: Callable[..., Array]) -> Array:
    """Sums over all pairs of items, from pairs in the same block and pairs of different blocks.

    Args:
        blocks: the rows.
        kernel: the function of a pair that is summed.
        arrived: the moments of all others at each block, as `between_blocks` gives them.
        in_block: gives the sums, [block, m, item], from the weights [block, k, item], the differences (s_j − s_i)/τ
            inside each block [block, j, i], and Σ_j weights[k, j] · kernel((s_j − s_i)/τ) over the items j of all other
            blocks, [block, k, item].

    Returns:
        [block, m, item].
    """

    def of_items(s: Array, w: Array, tau: Array, coefficients: Array) -> Array:
        from_others = expanded(s, s, tau, kernel, coefficients)
        # scores are subtracted before they are scaled: the other order loses a digit
        x = (s[:, :, None] - s[:, None, :]) / tau[:, :, None]
        return in_block(w, x, from_others)

    arrays = blocks.s, blocks.w, tau_of_blocks(blocks), coefficients(kernel, arrived)
    return ops.in_pieces(of_items, arrays, size=temporaries(blocks, kernel))


def moments(blocks: Blocks, kernel: Kernel) -> Array:
    """What each block sends to others, its moments about each end: [block, k, end · power]."""

    def of_block(s: Array, w: Array, tau: Array) -> Array:
        return expansions.moments(distances(s, s), tau, w, kernel)

    return ops.in_pieces(of_block, (blocks.s, blocks.w, tau_of_blocks(blocks)), size=temporaries(blocks, kernel))


def between_blocks(blocks: Blocks, kernel: Kernel, moments: Array) -> Array:
    """What arrives at each block from all others of its row, as moments about its ends.

    Args:
        blocks: the rows.
        kernel: the function of a pair that is summed; of it, only the powers matter.
        moments: of each block, [block, k, end · power].

    Returns:
        [row, k, end, power, block of the row].
    """
    xp = array_namespace(moments)
    k, powers = moments.shape[1], kernel.size
    moments = xp.reshape(moments, (-1, blocks.per_row, k, 2 * powers))
    # a copy, in which blocks are next to one another
    at_ends = moments[..., :powers], moments[..., powers:]
    moments = xp.stack([xp.permute_dims(x, (0, 2, 3, 1)) for x in at_ends], axis=2)
    ends = xp.permute_dims(xp.reshape(ends_of(blocks.s), (-1, blocks.per_row, 2)), (0, 2, 1))
    # distances times these cannot become NaN
    rates = ops.constant(kernel.negative_powers, like=ends, dtype=ends.dtype)[None, :] / blocks.tau
    return translation.between_blocks(ends, moments, rates, kernel.first)


def coefficients(kernel: Kernel, arrived: Array) -> Array:
    """The basis of a block times these is what its items receive from all others: [block, k, end · power].

    Args:
        kernel: the function of a pair that is summed.
        arrived: moments as `between_blocks` gives them; those of power 0 may be there though the kernel has none.
    """
    xp = array_namespace(arrived)
    arrived = arrived[:, :, :, arrived.shape[3] - kernel.size :, :]
    made = ops.matmul(ops.constant(kernel.matrices, like=arrived, dtype=arrived.dtype), arrived)
    return xp.reshape(xp.permute_dims(made, (0, 4, 1, 2, 3)), (-1, arrived.shape[1], 2 * kernel.size))


def expanded(scores: Array, s: Array, tau: Array, kernel: Kernel, coefficients: Array) -> Array:
    """What arrives at scores [block, m] inside of the block with the scores s [block, item]: [block, k, m]."""
    return expansions.expansions(distances(scores, s), tau, coefficients, kernel)


def in_rows(sums: Array, blocks: Blocks, shape: tuple[int, ...]) -> Array:
    """Sums of the items of all blocks, [block, m, item], as those of rows of the given shape: [..., m, n]."""
    xp = array_namespace(sums)
    sums = xp.permute_dims(xp.reshape(sums, (-1, blocks.per_row, *sums.shape[1:])), (0, 2, 1, 3))
    return xp.reshape(sums, (*shape[:-1], sums.shape[1], -1))[..., : shape[-1]]


def temporaries(blocks: Blocks, kernel: Kernel) -> int:
    """How many numbers the basis of one block holds."""
    return 2 * kernel.size * blocks.s.shape[1]


def tau_of_blocks(blocks: Blocks) -> Array:
    """The τ of every block, [row · block, 1]."""
    xp = array_namespace(blocks.tau)
    return xp.reshape(xp.broadcast_to(blocks.tau, (blocks.tau.shape[0], blocks.per_row)), (-1, 1))


def ends_of(s: Array) -> Array:
    """The lowest and the highest score of each block, [block, end]."""
    return s[:, :: s.shape[1] - 1]


def distances(scores: Array, s: Array) -> Array:
    """How far scores are from the lowest and from the highest one of their block, [block, end, m]."""
    return array_namespace(s).abs(scores[:, None, :] - ends_of(s)[:, :, None])


def _filled(x: Array, n: int, padding: Array) -> Array:
    """x with as many copies of `padding` [..., 1] behind as make its last axis n long."""
    xp = array_namespace(x)
    missing = n - x.shape[-1]
    return xp.concat([x, xp.broadcast_to(padding, (*x.shape[:-1], missing))], axis=-1) if missing else x

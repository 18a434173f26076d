"""Sums over the items of one block, for the pairwise engine, some in two forms of one formula.

Where every call is a pass over memory, a product of matrices does most in one call. The compiler of torch does better
with formulas that are elementwise to the end, items and powers written out: it makes one loop of them that stores no
intermediate result, while the operands of a product are stored, and are many times larger than its result. (XLA gains
little by it, and second derivatives of the long form keep it compiling for minutes.)
"""

from collections.abc import Callable, Iterable

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise.kernels import Kernel


def basis(distance: Array, tau: Array, kernel: Kernel) -> Array:
    """Functions of t = exp(−distance/τ) that the engine expands its kernels in: 1, t, t² − t, t³ − t ...

    Plain powers of t span the same, but where scores lie far inside τ all of them are nearly 1, and sums that nearly
    cancel keep the rounding of each. These are nearly 0 there, and far away they fade at least as fast as t. They are
    formed as t (t − 1) (1 + t + t² + ...), one exponential for all, where nothing cancels.

    Args:
        distance: numbers >= 0, [block, end, m].
        tau: τ, [block, 1].
        kernel: whose powers; from 0 or, to leave out the constant, from 1.

    Returns:
        [block, end · power, m].
    """
    xp = array_namespace(distance)
    t, excess = _decay(distance, tau)
    rows = [xp.ones_like(t), t] if kernel.first == 0 else [t]
    values = ops.rows_and_geometric_sums(rows, t * excess, t, kernel.last - 1)
    return xp.reshape(values, (values.shape[0], -1, values.shape[3]))


def moments(distance: Array, tau: Array, weights: Array, kernel: Kernel) -> Array:
    """Σ_j weights_kj · basis_p(distance_j) at each end of a block.

    Args:
        distance: numbers >= 0, [block, end, item].
        tau: τ, [block, 1].
        weights: [block, k, item].
        kernel: as in `basis`.

    Returns:
        [block, k, end · power].
    """
    return weights @ basis(distance, tau, kernel).mT


def expansions(distance: Array, tau: Array, coefficients: Array, kernel: Kernel) -> Array:
    """Σ_end Σ_p coefficients_kp · basis_p(distance).

    Args:
        distance: numbers >= 0, [block, end, item].
        tau: τ, [block, 1].
        coefficients: [block, k, end · power].
        kernel: as in `basis`.

    Returns:
        [block, k, item].
    """
    if not ops.is_compiled(distance):
        return coefficients @ basis(distance, tau, kernel)
    t, excess = _decay(distance, tau)
    size = kernel.size
    return _total(
        _expansion(
            t[:, None, end, :],
            excess[:, None, end, :],
            [coefficients[:, :, i, None] for i in range(end * size, (end + 1) * size)],
            kernel.first,
        )
        for end in range(2)
    )


def _decay(distance: Array, tau: Array) -> tuple[Array, Array]:
    """The numbers t = exp(−distance/τ), and t − 1 with all its digits."""
    xp = array_namespace(distance)
    x = distance / -tau[:, :, None]
    return xp.exp(x), xp.expm1(x)


def _expansion(t: Array, excess: Array, coefficients: list[Array], first: int) -> Array:
    """Σ_p coefficients_p · basis_p by Horner's rule: Σ_p c_p (t^p − t) = t (t − 1) Σ_r t^r Σ_(p > r + 1) c_p."""
    *differences, last = coefficients[2 - first :]
    quotient = remaining = last
    for coefficient in reversed(differences):
        remaining = remaining + coefficient
        quotient = quotient * t + remaining
    sums = (quotient * excess + coefficients[1 - first]) * t
    return sums if first else sums + coefficients[0]


def weighted_sums(function: Callable[[Array], Array], x: Array, weights: Array) -> Array:
    """Σ_j weights_kj function(x_ji) for an elementwise function: [block, k, i] from [block, j, i] and [block, k, j]."""
    xp = array_namespace(x, weights)
    if ops.is_compiled(x):
        values = [function(x[:, j, :]) for j in range(x.shape[1])]
        sums = (
            _total(weights[:, k, j, None] * value for j, value in enumerate(values)) for k in range(weights.shape[1])
        )
        return xp.stack(list(sums), axis=1)
    return weights @ function(x)


def sums_over_pairs(function: Callable[..., Array], x: Array, channels: Array) -> Array:
    """Σ_j function(x_ji, channels of i, channels of j): [block, i] from [block, j, i] and [block, k, item].

    The function is elementwise; it is given its channels as a list.
    """
    xp = array_namespace(x, channels)
    listed = [channels[:, k, :] for k in range(channels.shape[1])]
    if ops.is_compiled(x):
        return _total(function(x[:, j, :], listed, [u[:, j, None] for u in listed]) for j in range(x.shape[1]))
    return xp.sum(function(x, [u[:, None, :] for u in listed], [u[:, :, None] for u in listed]), axis=1)


def _total(terms: Iterable[Array]) -> Array:
    first, *rest = terms
    return sum(rest, start=first)

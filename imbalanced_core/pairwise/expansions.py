"""Moments and local expansions of one block, for the pairwise engine."""

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise.kernels import Kernel


def basis(distance: Array, tau: Array, kernel: Kernel) -> Array:
    """The basis of the kernel expansions, functions of t = exp(−distance/τ): 1, t, t² − t, t³ − t ...

    Plain powers of t span the same space, but at distances far below τ all are nearly 1, and sums that nearly cancel
    accumulate the rounding of each. This basis is nearly 0 there, and far away it decays at least as fast as t. It is
    formed as t (t − 1) (1 + t + t² + ...), with one exponential for all and without cancellation.

    Args:
        distance: numbers >= 0, [block, end, m].
        tau: τ, [block, 1].
        kernel: gives the powers, from 0 or, without the constant, from 1.

    Returns:
        [block, end · power, m].
    """
    xp = array_namespace(distance)
    x = distance / -tau[:, :, None]
    t, excess = ops.decay(x), xp.expm1(x)
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
    return ops.matmul(weights, basis(distance, tau, kernel).mT)


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
    return ops.matmul(coefficients, basis(distance, tau, kernel))

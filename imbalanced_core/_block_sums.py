"""Sums over the items of one block, for the pairwise engine, some in two forms of one formula.

Where every call is a pass over memory, a product of matrices does most in one call. The compiler of torch does better
with formulas that are elementwise to the end, items and powers written out: it makes one loop of them that stores no
intermediate result, while the operands of a product are stored, and are many times larger than its result. (XLA gains
little by it, and second derivatives of the long form keep it compiling for minutes.)
"""

from collections.abc import Callable, Iterable

from imbalanced_core import ops
from imbalanced_core._namespace import Array, array_namespace


def basis(distance: Array, rates: Array, first: int) -> Array:
    """Functions of t = exp(−distance/τ) that the engine expands its kernels in: 1, t, t² − t, t³ − t ...

    Plain powers of t span the same, but where scores lie far inside τ all of them are nearly 1, and sums that nearly
    cancel keep the rounding of each. These are nearly 0 there, and far away they fade at least as fast as t.

    Args:
        distance: numbers >= 0, [..., 1, m].
        rates: −p/τ for consecutive powers p, [..., power, 1].
        first: the first power: 0, or 1 to leave out the constant.

    Returns:
        [..., power, m].
    """
    return ops.less_row(ops.exp_of_product(distance, rates), 1 - first)


def moments(distance: Array, rates: Array, weights: Array, first: int) -> Array:
    """Σ_j weights_kj · basis_p(distance_j) at each end of a block.

    Args:
        distance: numbers >= 0, [block, end, item].
        rates: −p/τ, [block, power].
        weights: [block, k, item].
        first: the first power.

    Returns:
        [block, k, end · power].
    """
    return weights @ _of_ends(distance, rates, first).mT


def expansions(distance: Array, rates: Array, coefficients: Array, first: int) -> Array:
    """Σ_end Σ_p coefficients_kp · basis_p(distance).

    Args:
        distance: numbers >= 0, [block, end, item].
        rates: −p/τ, [block, power].
        coefficients: [block, k, end · power].
        first: the first power.

    Returns:
        [block, k, item].
    """
    xp = array_namespace(distance, coefficients)
    if not ops.is_compiled(distance):
        return coefficients @ _of_ends(distance, rates, first)
    t = xp.exp(distance * rates[:, 1 - first, None, None])
    powers = rates.shape[1]
    return _total(
        _expansion(
            t[:, None, end, :], [coefficients[:, :, i, None] for i in range(end * powers, (end + 1) * powers)], first
        )
        for end in range(2)
    )


def _expansion(t: Array, coefficients: list[Array], first: int) -> Array:
    """Σ_p coefficients_p · basis_p by Horner's rule: Σ_p c_p (t^p − t) = t (t − 1) Σ_r t^r Σ_(p > r + 1) c_p."""
    *differences, last = coefficients[2 - first :]
    quotient = remaining = last
    for coefficient in reversed(differences):
        remaining = remaining + coefficient
        quotient = quotient * t + remaining
    sums = (quotient * (t - 1.0) + coefficients[1 - first]) * t
    return sums if first else sums + coefficients[0]


def _of_ends(distance: Array, rates: Array, first: int) -> Array:
    """The basis at the distances from both ends, [block, end · power, item]."""
    values = basis(distance[:, :, None, :], rates[:, None, :, None], first)
    return array_namespace(distance).reshape(values, (values.shape[0], -1, values.shape[3]))


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

"""Sums over the items of one block, for the pairwise engine, some in two forms of one formula.

Where every call is a pass over memory, a product of matrices does most in one call. The compiler of torch does better
with formulas that are elementwise to the end, items and powers written out: it makes one loop of them that stores no
intermediate result, while the operands of a product are stored, and are many times larger than its result. (XLA gains
little by it, and second derivatives of the long form keep it compiling for minutes.)
"""

from collections.abc import Callable, Iterable

from imbalanced_core import ops
from imbalanced_core._namespace import Array, array_namespace


def moments(distance: Array, rates: Array, weights: Array) -> Array:
    """Σ_j weights_jk · exp(rate_p · distance_j) for every power p.

    Args:
        distance: numbers >= 0, [block, end, item].
        rates: −p/τ, [block, power].
        weights: [block, item, k].

    Returns:
        [block, end, power, k].
    """
    xp = array_namespace(distance, weights)
    decays = xp.exp(distance[:, :, None, :] * rates[:, None, :, None])
    products = xp.reshape(decays, (distance.shape[0], -1, distance.shape[2])) @ weights
    return xp.reshape(products, (*decays.shape[:3], weights.shape[2]))


def polynomials(distance: Array, rates: Array, coefficients: Array, first: int) -> Array:
    """Σ_end Σ_p coefficients_p · exp(rate_p · distance).

    Args:
        distance: numbers >= 0, [block, item, end].
        rates: −p/τ for consecutive powers p, [block, power].
        coefficients: [block, end, power, k].
        first: the first power, 0 or 1.

    Returns:
        [block, item, k].
    """
    xp = array_namespace(distance, coefficients)
    if ops.is_compiled(distance):
        t = xp.exp(distance * rates[:, None, 1 - first, None])
        of_ends = []
        for end in range(t.shape[2]):
            *lower, polynomial = (coefficients[:, end, None, i, :] for i in range(rates.shape[1]))
            for coefficient in reversed(lower):
                polynomial = polynomial * t[:, :, end, None] + coefficient
            of_ends.append(polynomial * t[:, :, end, None] if first else polynomial)
        return _total(of_ends)
    decays = xp.exp(distance[..., None] * rates[:, None, None, :])
    shape = (distance.shape[0], -1, coefficients.shape[3])
    return xp.reshape(decays, (*distance.shape[:2], -1)) @ xp.reshape(coefficients, shape)


def weighted_sums(function: Callable[[Array], Array], x: Array, weights: Array) -> Array:
    """Σ_j function(x_ij) weights_jk for an elementwise function: [block, i, k] from [block, i, j] and [block, j, k]."""
    xp = array_namespace(x, weights)
    if ops.is_compiled(x):
        values = [function(x[:, :, j]) for j in range(x.shape[2])]
        return xp.stack(
            [_total(value * weights[:, j, None, k] for j, value in enumerate(values)) for k in range(weights.shape[2])],
            axis=-1,
        )
    return function(x) @ weights


def sums_over_pairs(function: Callable[..., Array], x: Array, channels: Array) -> Array:
    """Σ_j function(x_ij, channels of i, channels of j): [block, i] from [block, i, j] and [block, item, k].

    The function is elementwise; it is given its channels as a list.
    """
    xp = array_namespace(x, channels)
    listed = [channels[..., k] for k in range(channels.shape[-1])]
    if ops.is_compiled(x):
        return _total(function(x[:, :, j], listed, [u[:, j, None] for u in listed]) for j in range(x.shape[2]))
    return xp.sum(function(x, [u[:, :, None] for u in listed], [u[:, None, :] for u in listed]), axis=-1)


def _total(terms: Iterable[Array]) -> Array:
    first, *rest = terms
    return sum(rest, start=first)

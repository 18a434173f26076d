"""Elementwise functions, and reductions made of them, without overflow or loss of precision."""

from collections.abc import Sequence

from imbalanced_core.ops.dispatch import backend
from imbalanced_core.ops.namespace import Array


def differences(x: Array, y: Array, unit: Array) -> Array:
    """(x_j − y_i) / unit, [..., i, j], for x [..., j], y [..., i] and unit [...].

    Scores are subtracted before they are scaled: the other order loses a digit.
    """
    return backend(x).differences(x, y, unit)


def decay(x: Array) -> Array:
    """exp(x), elementwise, for x <= 0; subnormal results may be flushed to 0."""
    return backend(x).decay(x)


def sigmoid(x: Array, *, reuse: bool = False, absolute: bool = False) -> Array:
    """1 / (1 + exp(-x)), elementwise.

    With `reuse`, x is a temporary that may be overwritten; with `absolute`, errors of 1e-34 are allowed, so that the
    result need not be 0 where x is far below 0.
    """
    return backend(x).sigmoid(x, reuse=reuse, absolute=absolute)


def times_logistic_derivative(x: Array, at: Array, *, reuse: bool = False, reuse_at: bool = False) -> Array:
    """x · σ'(at), elementwise; the derivative keeps its relative precision at both ends.

    With `reuse`, x is a temporary that may be overwritten; with `reuse_at`, so is `at`.
    """
    return backend(x).times_logistic_derivative(x, at, reuse=reuse, reuse_at=reuse_at)


def rows_and_geometric_sums(rows: Sequence[Array], start: Array, ratio: Array, count: int) -> Array:
    """The given rows, then start · (1 + ratio + ... + ratio^i) for i < count, on a new axis before the last.

    Args:
        rows: any number of arrays [..., m].
        start: [..., m].
        ratio: [..., m].
        count: at least 1.

    Returns:
        [..., len(rows) + count, m].
    """
    return backend(start).rows_and_geometric_sums(rows, start, ratio, count)


def lerp(a: Array | float, b: Array | float, weight: Array) -> Array:
    """a (1 − weight) + b weight, elementwise; for arrays, exactly a at weight 0 and b at weight 1."""
    return backend(weight).lerp(a, b, weight)


def add_product(x: Array, a: Array, b: Array, factor: Array | float = 1.0) -> Array:
    """x + factor · a · b, elementwise, in one call where possible."""
    return backend(x).add_product(x, a, b, factor)


def times_unit(x: Array, y: Array) -> Array:
    """x · y, elementwise, NaN where y lies outside [0, 1]."""
    return backend(x).times_unit(x, y)


def logaddexp(a: Array, b: Array, p: Array, q: Array) -> Array:
    """log(exp(a) + exp(b)), elementwise, given p = σ(a − b) and q = σ(b − a)."""
    return backend(a).logaddexp(a, b, p, q)


def divide(a: Array, b: Array) -> Array:
    """a / b, elementwise, for |a| <= b, with finite derivatives even where b² underflows."""
    return backend(a).divide(a, b)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), elementwise, without overflow."""
    return backend(x).softplus(x)


def zero_below(x: Array, least: float) -> Array:
    """x where it is greater than `least`, else 0, elementwise."""
    return backend(x).zero_below(x, least)


def probabilities(x: Array, *, axis: int) -> tuple[Array, Array, Array]:
    """(p, 1 − p, −log p) for the softmax p along one axis, each finite and accurate where it is small; 1 − p > 0."""
    return backend(x).probabilities(x, axis=axis)


def odds_of_others(
    x: Array, ids: Array, *, axis: int, may_underflow: bool, reuse: bool = False
) -> tuple[Array, Array | float, Array, Array]:
    """Softmax over the classes other than one id per position, in two parts, and their log odds.

    Args:
        x: class logits.
        ids: one for each position, in range.
        axis: the class axis.
        may_underflow: whether the softmax may be 0 where all others underflow relative to x_id; faster on the CPU.
        reuse: whether x may be overwritten.

    Returns:
        (others, total, n, own): others / total is the softmax along `axis` over the classes other than `ids`, 0 at
        `ids`, and others may be overwritten; n = log Σ_{c≠id} exp(x_c) − x_id; own = x_id. Only others has the axis.
    """
    return backend(x).odds_of_others(x, ids, axis=axis, may_underflow=may_underflow, reuse=reuse)


def where(condition: Array, x: Array | float, y: Array | float) -> Array:
    """x where the condition holds, else y, in one call; one of them may be a number."""
    return backend(condition).where(condition, x, y)


def clear(x: Array, where: Array, largest: float) -> tuple[Array, Array]:
    """Scores that are safe to compute with, and which rows have NaN.

    Args:
        x: floats [..., n].
        where: bool, broadcastable to x.
        largest: the bound of the result.

    Returns:
        x clipped to [−largest, largest], 0 where masked or NaN; and bool [...], whether an unmasked entry is NaN.
        The derivative is that of the identity where `where` holds, and 0 elsewhere.
    """
    return backend(x).clear(x, where, largest)


def logistic(x: Array) -> Array:
    """1 / (1 + exp(−x)), whose derivative keeps its relative precision at both ends.

    The libraries' own derivative, σ (1 − σ), is 0 long before exp(−|x|) is.
    """
    return backend(x).logistic(x)

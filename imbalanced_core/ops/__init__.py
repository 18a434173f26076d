"""Operations that the array-API standard lacks; a call to `ops.` marks where the core leaves the standard.

Every function works on numpy, torch and JAX arrays. `generic` defines them; `on_torch` and `on_jax`, imported only when
such an array is seen, hold faster or differentiable versions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from imbalanced_core.ops.derivatives import (
    in_pieces,
    prefers_untraced,
    stop_gradient,
    untraced,
    with_class_derivative,
    with_partials,
    with_vjp,
)
from imbalanced_core.ops.dispatch import backend
from imbalanced_core.ops.generic import Table, table
from imbalanced_core.ops.namespace import Array, array_namespace

# ------------------------------------------------------------------- sorting, indexing, dtypes, devices and constants


def replicate(arrays: tuple, *, automatic: bool = True) -> Any:
    """Arrays of JAX split over a mesh, in full on every device; None and others unchanged.

    With `automatic` also on a mesh whose shardings the compiler chooses.
    """
    return backend(arrays[0]).replicate(arrays, automatic=automatic)


def sort_with_order(x: Array) -> tuple[Array, Array]:
    """The last axis in ascending order, NaN last (differentiable), and its argsort."""
    return backend(x).sort_with_order(x)


def sort(x: Array) -> Array:
    """The last axis in ascending order, NaN last; a constant in differentiation."""
    return backend(x).sort(x)


def gather(x: Array, order: Array) -> Array:
    """x gathered at the indices `order` of the last axis, which must be in range."""
    return backend(x).gather(x, order)


def inverse_permutation(order: Array) -> Array:
    """The permutation that undoes `order` on the last axis: argsort(order), in linear time."""
    return backend(order).inverse_permutation(order)


def is_eager_cpu(x: Array) -> bool:
    """Whether x is a torch CPU tensor outside the compiler and transforms, so that reading its values is free."""
    return backend(x).is_eager_cpu(x)


def is_on_accelerator(x: Array) -> bool:
    """Whether operations on x run on an accelerator, as far as is known; affects only speed."""
    return backend(x).is_on_accelerator(x)


def matmul(a: Array, b: Array) -> Array:
    """a @ b in full precision, where an accelerator would round float32 factors to half of their digits."""
    return backend(a).matmul(a, b)


def constant(numbers: Any, *, like: Array, dtype: Any) -> Array:
    """A number, nested tuples of numbers or a table as an array, in the library and on the device of `like`."""
    return backend(like).constant(numbers, like, dtype)


def tabulated(function: Callable[..., np.ndarray], *arguments: Any, like: Array, dtype: Any = None) -> Array:
    """The array function(*arguments), for hashable arguments, in the library and on the device of `like`; cached.

    Without a dtype it must be integer, and gets the dtype of indices.
    """
    return backend(like).tabulated(function, arguments, like, dtype)


def for_each_row(number: Array, x: Array) -> Array:
    """A 0-d array broadcast to the rows [...] of x [..., n], n > 0, varying over a device mesh as x does."""
    return backend(x).for_each_row(number, x)


def prefers_tables(x: Array) -> bool:
    """Whether a table lookup is faster than evaluating the formula: not where a compiler fuses the formula."""
    return backend(x).prefers_tables(x)


def has_exact_float64(x: Array) -> bool:
    """Whether the device of x has float64 arithmetic that follows IEEE 754."""
    return backend(x).has_exact_float64(x)


def are_binary(x: Array) -> bool:
    """Whether all entries are known to be 0 or 1; False where reading is slow or breaks a trace."""
    return backend(x).are_binary(x)


def known_within(x: Array, least: float, greatest: float) -> bool:
    """Whether all entries are known to lie in [least, greatest]; False where reading is slow or breaks a trace."""
    return backend(x).known_within(x, least, greatest)


def readable(x: Array) -> np.ndarray | None:
    """The values, if x is a numpy array or an `is_eager_cpu` tensor, for the checks of values; else None."""
    return backend(x).readable(x)


def greatest_count(mask: Array) -> int | None:
    """The greatest number of True in a row (last axis); None where reading is slow or breaks a trace."""
    return backend(mask).greatest_count(mask)


def indices_of(mask: Array, count: int) -> Array:
    """The indices [..., count] of the at most `count` > 0 True in each row of a mask, in any order, padded with others.

    This and the next two functions are for arrays whose `greatest_count` is not None.
    """
    return backend(mask).indices_of(mask, count)


def scatter(x: Array, indices: Array, values: Array | float, *, reuse: bool = False) -> Array:
    """x [..., n] with the entries at indices [..., m] replaced; with `reuse`, x may be overwritten."""
    return backend(x).scatter(x, indices, values, reuse=reuse)


def zero_diagonal(x: Array, offset: int) -> Array:
    """x [..., m, n] with 0 at [..., i, i + offset]; x may be overwritten."""
    return backend(x).zero_diagonal(x, offset)


def add_rows(x: Array, index: Array, rows: Array) -> Array:
    """x [m, ...] with rows [q, ...] added at index [q], which may have duplicates."""
    return backend(x).add_rows(x, index, rows)


def count(mask: Array, dtype: Any) -> Array:
    """The number of True, 0-d, exact below 2³¹: in the given dtype, or an integer that divides it without a cast."""
    return backend(mask).count(mask, dtype)


def scatter_ids(x: Array, ids: Array, values: Array | float, *, axis: int, reuse: bool = False) -> Array:
    """x with the entry at index `ids`, in range, along one axis replaced; with `reuse`, x may be overwritten."""
    return backend(x).scatter_ids(x, ids, values, axis=axis, reuse=reuse)


def of_ids(x: Array, ids: Array) -> Array:
    """The entries of x [C] at ids of any shape, in range."""
    return backend(x).of_ids(x, ids)


def arange(n: int, *, like: Array) -> Array:
    """The int32 numbers 0 ... n − 1, on the device of `like`."""
    return backend(like).arange(n, like)


def astype(x: Array, dtype: Any) -> Array:
    """x cast to a dtype; x itself if it already has it, where the standard's function copies."""
    return x if x.dtype == dtype else array_namespace(x).astype(x, dtype)


def widen(x: Array) -> Array:
    """Half-precision floats cast to float32, other floats unchanged: the dtype every loss is computed in."""
    xp = array_namespace(x)
    return xp.astype(x, xp.float32) if xp.finfo(x.dtype).bits < 32 else x


# The compiler of torch 2.8 traces neither `_replace` nor `_asdict` of a named tuple.
def replaced(record: Any, **fields: Any) -> Any:
    """A named tuple with some fields replaced."""
    return type(record)(*(fields.get(name, value) for name, value in zip(type(record)._fields, record, strict=True)))


def present(record: Any) -> dict[str, Any]:
    """The fields of a named tuple that are not None, by name."""
    return {name: value for name, value in zip(type(record)._fields, record, strict=True) if value is not None}


# ------------------------------------- elementwise functions and their sums, without overflow or loss of precision


def differences(x: Array, y: Array, unit: Array) -> Array:
    """(x_j − y_i) / unit, [..., i, j], for x [..., j], y [..., i] and unit [...].

    Scores are subtracted before they are scaled: the other order loses a digit.
    """
    return backend(x).differences(x, y, unit)


def decay(x: Array) -> Array:
    """exp(x), elementwise, for x <= 0; subnormal results may be flushed to 0."""
    return backend(x).decay(x)


def sigmoid(x: Array, *, reuse: bool = False, absolute: bool = False) -> Array:
    """1 / (1 + exp(-x)), elementwise; `reuse`: x may be overwritten; `absolute`: errors of 1e-34 are allowed."""
    return backend(x).sigmoid(x, reuse=reuse, absolute=absolute)


def times_logistic_derivative(x: Array, at: Array, *, reuse: bool = False, reuse_at: bool = False) -> Array:
    """x · σ'(at), elementwise, precise at both ends; `reuse`: x may be overwritten, `reuse_at`: `at` may."""
    return backend(x).times_logistic_derivative(x, at, reuse=reuse, reuse_at=reuse_at)


def rows_and_geometric_sums(rows: Sequence[Array], start: Array, ratio: Array, count: int) -> Array:
    """The rows [..., m], then start · (1 + ratio + ... + ratio^i) for i < count, on a new axis before the last."""
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
    """Softmax over the classes other than one id, in range, per position, in two parts, and their log odds.

    Returns (others, total, n, own): others / total is the softmax along `axis` over the classes other than `ids`, 0 at
    `ids`, and others may be overwritten; n = log Σ_{c≠id} exp(x_c) − x_id; own = x_id. Only others has the axis.
    `may_underflow`: the softmax may be 0 where all others underflow relative to x_id, which is faster on the CPU;
    `reuse`: x may be overwritten.
    """
    return backend(x).odds_of_others(x, ids, axis=axis, may_underflow=may_underflow, reuse=reuse)


def where(condition: Array, x: Array | float, y: Array | float) -> Array:
    """x where the condition holds, else y, in one call; one of them may be a number."""
    return backend(condition).where(condition, x, y)


def clear(x: Array, where: Array, largest: float) -> tuple[Array, Array]:
    """x [..., n] clipped to [−largest, largest], 0 where masked or NaN; and bool [...], whether an unmasked one is NaN.

    The derivative is that of the identity where `where`, bool and broadcastable to x, holds, and 0 elsewhere.
    """
    return backend(x).clear(x, where, largest)


def logistic(x: Array) -> Array:
    """1 / (1 + exp(−x)), whose derivative keeps its relative precision at both ends.

    The libraries' own derivative, σ (1 − σ), is 0 long before exp(−|x|) is.
    """
    return backend(x).logistic(x)

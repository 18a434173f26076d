"""Sorting, indexing, dtypes, devices and constants."""

from collections.abc import Callable
from typing import Any

import numpy as np

from imbalanced_core.ops.dispatch import backend
from imbalanced_core.ops.generic import Table
from imbalanced_core.ops.namespace import Array, array_namespace


def sort_with_order(x: Array) -> tuple[Array, Array]:
    """The last axis in ascending order, NaN last (differentiable), and its argsort."""
    return backend(x).sort_with_order(x)


def sort(x: Array) -> Array:
    """The last axis in ascending order, NaN last; a constant in differentiation."""
    return backend(x).sort(x)


def rearrange(x: Array, order: Array) -> Array:
    """x gathered at the indices `order` of the last axis, which must be in range."""
    return backend(x).rearrange(x, order)


def inverse_permutation(order: Array) -> Array:
    """The permutation that undoes `order` on the last axis: argsort(order), in linear time."""
    return backend(order).inverse_permutation(order)


def cumulative_sum(x: Array) -> Array:
    """Σ_{j <= i} x_j along the last axis."""
    return backend(x).cumulative_sum(x)


def is_eager_cpu(x: Array) -> bool:
    """Whether x is a torch CPU tensor outside the compiler and transforms, so that reading its values is free."""
    return backend(x).is_eager_cpu(x)


def is_on_accelerator(x: Array) -> bool:
    """Whether operations on x run on an accelerator, as far as is known; affects only speed."""
    return backend(x).is_on_accelerator(x)


def row_by_row(x: Array) -> Array:
    """x in a contiguous layout, the last axis innermost, where that matters."""
    return backend(x).row_by_row(x)


def in_memory(x: Array) -> Array:
    """x, materialised: PyTorch's compiler would otherwise recompute it for each entry it is broadcast to."""
    return backend(x).in_memory(x)


def matmul(a: Array, b: Array) -> Array:
    """a @ b in full precision, where an accelerator would round float32 factors to half of their digits."""
    return backend(a).matmul(a, b)


def table(numbers: Any) -> Table:
    """Nested numbers for `constant`, to be stored at module level.

    `torch.compile` guards on module globals at every call: hundreds of floats are as slow as hundreds of options, while
    a table is one comparison.
    """
    array = np.asarray(numbers, dtype=np.float64)
    return Table(" ".join(map(str, array.flat)), array.shape)


def constant(numbers: Any, *, like: Array, dtype: Any = None) -> Array:
    """A number, nested tuples of numbers or a table as an array, in the library and on the device of `like`."""
    return backend(like).constant(numbers, like, dtype)


def tabulated(table: Callable[..., np.ndarray], *arguments: Any, like: Array, dtype: Any = None) -> Array:
    """The array table(*arguments), for hashable arguments, in the library and on the device of `like`; cached.

    Without a dtype it must be integer, and gets the dtype of indices.
    """
    return backend(like).tabulated(table, arguments, like, dtype)


def for_each_row(number: Array, x: Array) -> Array:
    """A 0-d array broadcast to the rows [...] of x [..., n], varying over a device mesh as x does."""
    return backend(x).for_each_row(number, x)


def prefers_tables(x: Array) -> bool:
    """Whether a table lookup is faster than evaluating the formula: not where a compiler fuses the formula."""
    return backend(x).prefers_tables(x)


def has_exact_float64(x: Array) -> bool:
    """Whether the device of x has float64 arithmetic that follows IEEE 754."""
    return backend(x).has_exact_float64(x)


def any_in_row(mask: Array) -> Array:
    """Whether each row (last axis) has a True: bool [...]."""
    return backend(mask).any_in_row(mask)


def count_in_row(mask: Array) -> Array:
    """The number of True in each row (last axis): integers [...]."""
    return backend(mask).count_in_row(mask)


def known_within(x: Array, least: float, greatest: float) -> bool:
    """Whether all entries are known to lie in [least, greatest]; False where reading is slow or breaks a trace."""
    return backend(x).known_within(x, least, greatest)


def greatest_count(mask: Array) -> int | None:
    """The greatest number of True in a row (last axis); None where reading is slow or breaks a trace."""
    return backend(mask).greatest_count(mask)


def places(mask: Array, count: int) -> Array:
    """The indices of all True in each row of a mask [..., n], padded to `count` with other, distinct indices.

    Args:
        mask: bool [..., n], with at most `count` True in a row.
        count: a Python int in [1, n], so that shapes do not depend on values.

    Returns:
        Integers [..., count], in any order.
    """
    return backend(mask).places(mask, count)


def few_places(mask: Array, *, share: float = 0.25) -> Array | None:
    """The `places` of all True, [..., m > 0], if values can be read and m is at most this share of a row; else None."""
    count = greatest_count(mask)
    return None if count is None or count > share * mask.shape[-1] else places(mask, max(1, count))


def put_along(x: Array, places: Array, values: Array | float, *, reuse: bool = False) -> Array:
    """x [..., n] with the entries at `places` [..., m] of the last axis replaced by values [..., m] or a number.

    With `reuse`, x may be overwritten, as for `put`.
    """
    return backend(x).put_along(x, places, values, reuse=reuse)


def take_rows(x: Array, index: Array) -> Array:
    """The rows of x [m, ...] at index [q]: [q, ...]."""
    return backend(x).take_rows(x, index)


def add_rows(x: Array, index: Array, rows: Array) -> Array:
    """x [m, ...] with rows [q, ...] added at index [q], which may have duplicates."""
    return backend(x).add_rows(x, index, rows)


def count(mask: Array, dtype: Any) -> Array:
    """The number of True, 0-d, exact below 2³¹: in the given dtype, or an integer that divides it without a cast."""
    return backend(mask).count(mask, dtype)


def put(x: Array, ids: Array, values: Array | float, *, axis: int, reuse: bool = False) -> Array:
    """x with the entry at index `ids` along one axis replaced; `ids` must be in range.

    With `reuse`, x is a temporary that may be overwritten.
    """
    return backend(x).put(x, ids, values, axis=axis, reuse=reuse)


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

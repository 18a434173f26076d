"""What the array-API standard lacks. A call of `ops.` marks where the core leaves the standard.

Every function works on numpy, torch and JAX arrays; `generic.py` is the definition, and the framework files are
imported only when one of their arrays is seen.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from imbalanced_core.ops import generic
from imbalanced_core.ops.generic import Table
from imbalanced_core.ops.namespace import Array, array_namespace, common_library, library_of


def _backend(*arrays: Array) -> ModuleType:
    library = common_library(*arrays)
    if library == "torch":
        from imbalanced_core.ops import on_torch

        return on_torch
    if library == "jax":
        from imbalanced_core.ops import on_jax

        return on_jax
    return generic


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), elementwise."""
    return _backend(x).sigmoid(x)


def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)), elementwise, without overflow."""
    return _backend(x).log_sigmoid(x)


def log_softmax(x: Array, *, axis: int) -> Array:
    """X - log(sum(exp(x))) along one axis, without overflow."""
    return _backend(x).log_softmax(x, axis=axis)


def softmax(x: Array, *, axis: int) -> Array:
    """exp(x) / Σ exp(x) along one axis, without overflow; 0 or NaN where all x are −∞."""
    return _backend(x).softmax(x, axis=axis)


def where(condition: Array, x: Array, y: Array | float) -> Array:
    """X where `condition` holds, else y, which may be a number."""
    return _backend(condition, x).where(condition, x, y)


def stop_gradient(x: Array) -> Array:
    """x, seen as a constant by differentiation."""
    return _backend(x).stop_gradient(x)


def sort_with_order(x: Array) -> tuple[Array, Array]:
    """The last axis in ascending order, NaN last (differentiable), and the indices that sort it."""
    return _backend(x).sort_with_order(x)


def sort(x: Array) -> Array:
    """The last axis in ascending order, NaN last; a constant in differentiation."""
    return _backend(x).sort(x)


def rearrange(x: Array, order: Array) -> Array:
    """The entries of the last axis at the places `order`, which are in range and of the shape of x."""
    return _backend(x, order).rearrange(x, order)


def inverse_permutation(order: Array) -> Array:
    """The permutation that undoes `order` on the last axis: argsort(order), in linear time."""
    return _backend(order).inverse_permutation(order)


def cumulative_sum(x: Array) -> Array:
    """Σ_{j <= i} x_j along the last axis."""
    return _backend(x).cumulative_sum(x)


def with_vjp(primal: Callable[..., Any], vjp: Callable[..., tuple], *, keeps: bool = False) -> Callable[..., Array]:
    """`primal` with a hand-written derivative.

    Args:
        primal: `primal(*arrays, **static) -> array`; `static` are hashable Python values.
        vjp: `vjp(cotangent, *arrays, **static)` -> one gradient per array: an array, a function without arguments
            that is called only if this gradient is needed, or None where there is none.
        keeps: `primal` returns a second array, which the derivative can use: `vjp(cotangent, kept, *arrays, **static)`.

    Returns:
        A function of the same signature. Differentiating it twice differentiates `vjp` itself, which therefore must
        be made of differentiable operations of its own inputs.
    """

    def function(*arrays: Array, **static: Any) -> Array:
        return _backend(*arrays).with_vjp(primal, vjp, keeps)(*arrays, **static)

    return function


def is_compiled(x: Array) -> bool:
    """Whether `torch.compile` sees the operations on x. XLA gains little from formulas made for it."""
    return _backend(x).is_compiled(x)


def row_by_row(x: Array) -> Array:
    """X, laid out in memory so that entries of a row, the last axis, are neighbours, where that makes a difference."""
    return _backend(x).row_by_row(x)


def in_pieces(function: Callable[..., Array], arrays: tuple[Array, ...], *, size: int) -> Array:
    """`function(*arrays)`, evaluated piece by piece along the first axis where that is faster or saves memory.

    Args:
        function: each entry of its result depends only on the entries of the arrays at the same place of the first
            axis.
        arrays: of equal first axes.
        size: how many numbers the function's temporaries hold for one place of that axis.
    """
    return _backend(*arrays).in_pieces(function, arrays, size)


def table(numbers: Any) -> Table:
    """Nested numbers for `constant`, to be kept in a module.

    `torch.compile` compares at every call what it saw in modules, hundreds of floats as slowly as hundreds of options;
    a table it compares at once.
    """
    array = np.asarray(numbers, dtype=np.float64)
    return Table(" ".join(map(str, array.flat)), array.shape)


def constant(numbers: Any, *, like: Array, dtype: Any = None) -> Array:
    """A number, nested tuples of them or a table, as an array of the library and on the device of `like`."""
    return _backend(like).constant(numbers, like, dtype)


def has_exact_float64(x: Array) -> bool:
    """Whether float64 arithmetic on the device of x is there and follows IEEE 754."""
    return _backend(x).has_exact_float64(x)


def with_partials(
    function: Callable[..., Array],
    partials: tuple[Callable[..., Array] | None, ...],
    with_slope: Callable[..., tuple[Array, Array]],
) -> Callable[..., Array]:
    """An elementwise function with hand-written derivatives.

    Args:
        function: `function(*arrays) -> array`; every entry of the result depends only on the entries of the arrays
            at the same place. The first array has the shape of the result; each other one has that shape, is 0-d or
            is a Python number.
        partials: for each argument `partial(*arrays)`, the derivative by it at every entry, or None for an argument
            that carries no gradient. Only the partials that are needed are evaluated.
        with_slope: `with_slope(*arrays)`, the function and its first partial, for less than the two cost apart.

    Returns:
        A function of the same signature. Differentiating it again differentiates the partials themselves.
    """

    def differentiable(*arrays: Array) -> Array:
        return _backend(*arrays).with_partials(function, partials, with_slope)(*arrays)

    return differentiable


def with_class_slope(
    function: Callable[..., tuple[Array, Array, Array]],
    by_targets: Callable[..., Array] | None,
    by_numbers: Callable[..., tuple[Array, ...]],
) -> Callable[..., Array]:
    """A function of the class logits of every position, with a hand-written derivative.

    Args:
        function: `function(logits, targets, where, valid, *numbers, axis=axis)` with classes on `axis`; targets are
            ids, one per position, or an array in the shape of `logits`; `where` and `valid` are masks of the positions
            or None; numbers are Python numbers or 0-d. Returns one value per position, and its derivatives by the
            logits of that position as a product: a factor per position, and an array in the shape of `logits`.
        by_targets: with the same arguments the derivatives by the targets, in their shape; None for ids.
        by_numbers: with the same arguments one derivative per number, in the shape of the positions.

    Returns:
        A function of the same arguments, the values alone. Differentiating them again differentiates the derivatives.
    """

    def differentiable(logits: Array, targets: Array, *others: Any, axis: int) -> Array:
        made = _backend(logits, targets).with_class_slope(function, by_targets, by_numbers)
        return made(logits, targets, *others, axis=axis)

    return differentiable


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
    return _backend(start, ratio).rows_and_geometric_sums(rows, start, ratio, count)


def known_within(x: Array, least: int, greatest: int) -> bool:
    """Whether all entries are seen to lie in [least, greatest]; False where looking would cost or break a trace."""
    return _backend(x).known_within(x, least, greatest)


def greatest_count(mask: Array) -> int | None:
    """The most True in a row, the last axis; None where looking would cost or break a trace."""
    return _backend(mask).greatest_count(mask)


def places(mask: Array, count: int) -> Array:
    """The indices of all True in each row of a mask [..., n], filled up with others to `count`; each occurs once.

    Args:
        mask: bool [..., n], with at most `count` True in a row.
        count: a Python int in [1, n], so that shapes do not hang on values.

    Returns:
        Integers [..., count], in any order.
    """
    return _backend(mask).places(mask, count)


def few_places(mask: Array, *, share: float = 0.25) -> Array | None:
    """The places of all True, [..., m] with m > 0, if one can look and they are at most so many of a row; else None."""
    count = greatest_count(mask)
    return None if count is None or count > share * mask.shape[-1] else places(mask, max(1, count))


def put_along(x: Array, places: Array, values: Array | float) -> Array:
    """X [..., n] with the entries at `places` [..., m] of the last axis replaced by values [..., m] or a number."""
    return _backend(x, places).put_along(x, places, values)


def take_rows(x: Array, index: Array) -> Array:
    """The rows of x [m, ...] at index [q]: [q, ...]."""
    return _backend(x, index).take_rows(x, index)


def add_rows(x: Array, index: Array, rows: Array) -> Array:
    """X [m, ...], with rows [q, ...] added to those at index [q], which may name one more than once."""
    return _backend(x, index).add_rows(x, index, rows)


def prefers_opaque(scores: Array) -> bool:
    """Whether a compiler had better not look into the soft counts of these scores, and call `opaque_soft_counts`."""
    return _backend(scores).prefers_opaque(scores)


def opaque_soft_counts(scores: Array, weights: Array, temperature: Array, at: Array) -> Array:
    """`pairwise.soft_counts_at` as one operator: [..., k, n] in the order of the scores; see `_ops_torch_opaque.py`."""
    return _backend(scores).opaque_soft_counts(scores, weights, temperature, at)


def lerp(a: Array | float, b: Array | float, weight: Array) -> Array:
    """Mixture a (1 − weight) + b weight, elementwise; of arrays exactly a for weight 0 and b for weight 1."""
    return _backend(a, b, weight).lerp(a, b, weight)


def add_product(x: Array, a: Array, b: Array, factor: Array | float = 1.0) -> Array:
    """X + factor · a · b, elementwise, in one call where there is one."""
    return _backend(x, a, b).add_product(x, a, b, factor)


def times_unit(x: Array, y: Array) -> Array:
    """X · y, elementwise, NaN where y lies outside [0, 1]."""
    return _backend(x, y).times_unit(x, y)


def logaddexp(a: Array, b: Array, p: Array, q: Array) -> Array:
    """log(exp(a) + exp(b)), elementwise, for p = σ(a − b) and q = σ(b − a) that are known."""
    return _backend(a, b).logaddexp(a, b, p, q)


def count(mask: Array, dtype: Any) -> Array:
    """The number of True, 0-d, exact below 2³¹: in the given dtype, or an integer that divides such numbers."""
    return _backend(mask).count(mask, dtype)


def divide(a: Array, b: Array) -> Array:
    """A / b, elementwise, for |a| <= b, with finite derivatives also where b² underflows."""
    return _backend(a, b).divide(a, b)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), elementwise, without overflow."""
    return _backend(x).softplus(x)


def zero_below(x: Array, least: float) -> Array:
    """X where it is greater than `least`, else 0, elementwise."""
    return _backend(x).zero_below(x, least)


def probabilities(x: Array, *, axis: int) -> tuple[Array, Array, Array]:
    """(p, 1 − p, −log p) for the softmax p along one axis, each accurate where it is small and finite; 1 − p > 0."""
    return _backend(x).probabilities(x, axis=axis)


def softmax_parts(x: Array, *, axis: int) -> tuple[Array, Array, Array]:
    """The softmax along one axis, the greatest x, and the log of its share, without that axis; not all x are −∞."""
    return _backend(x).softmax_parts(x, axis=axis)


def pick(x: Array, ids: Array, *, axis: int) -> Array:
    """The entry of x at index `ids` along one axis, which the result lacks; `ids` must be in range."""
    return _backend(x, ids).pick(x, ids, axis=axis)


def put(x: Array, ids: Array, values: Array | float, *, axis: int, reuse: bool = False) -> Array:
    """X with the entry at index `ids` along one axis replaced; `ids` must be in range.

    With `reuse`, x is a temporary that nobody else needs and may be overwritten.
    """
    return _backend(x, ids).put(x, ids, values, axis=axis, reuse=reuse)


def arange(n: int, *, like: Array) -> Array:
    """The int32 numbers 0 ... n − 1, on the device of `like`."""
    xp = array_namespace(like)
    # A JAX array's `device` can be a sharding of some other shape, and a traced one has none.
    device = None if library_of(like) == "jax" else like.device
    return xp.arange(n, dtype=xp.int32, device=device)


def widen(x: Array) -> Array:
    """Half-precision floats as float32, other floats as they are: the type every loss is computed in."""
    xp = array_namespace(x)
    return xp.astype(x, xp.float32) if xp.finfo(x.dtype).bits < 32 else x

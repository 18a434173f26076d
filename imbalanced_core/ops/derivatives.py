"""Hand-written derivatives, and how functions are evaluated."""

from collections.abc import Callable
from typing import Any

from imbalanced_core.ops.dispatch import backend
from imbalanced_core.ops.generic import UNTRACED
from imbalanced_core.ops.namespace import Array


def stop_gradient(x: Array) -> Array:
    """x as a constant in differentiation."""
    return backend(x).stop_gradient(x)


def with_vjp(primal: Callable[..., Any], vjp: Callable[..., tuple], *, keeps: bool = False) -> Callable[..., Array]:
    """The function `primal(*arrays) -> array` with a hand-written derivative, as function(*arrays, **static).

    `vjp(cotangent, *arrays, **static)` returns one gradient per array: an array, a function without arguments that is
    called only if the gradient is needed, or None. With `keeps`, `primal` returns a second array for the derivative:
    `vjp(cotangent, kept, *arrays, **static)`; `static`, further arguments of `vjp`, are hashable. The second derivative
    differentiates `vjp`, which must therefore be made of differentiable operations of its inputs.
    """

    def function(*arrays: Array, **static: Any) -> Array:
        return backend(arrays[0]).with_vjp(primal, vjp, keeps)(*arrays, **static)

    return function


def untraced(function: Callable[..., Array], *, like: int) -> Callable[..., Array]:
    """`function` of arrays as one operator without derivative, which compiled code calls in eager mode.

    It may read values. The result has the shape and dtype of the array with index `like`.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    UNTRACED[name] = function

    def call(*arrays: Array) -> Array:
        return backend(arrays[0]).untraced(name, arrays, like)

    return call


def prefers_untraced(x: Array) -> bool:
    """Whether `untraced` functions are faster: if `torch.compile` compiles for the CPU, without a transform."""
    return backend(x).prefers_untraced(x)


def in_pieces(function: Callable[..., Array], arrays: tuple[Array, ...], *, size: int) -> Array:
    """`function(*arrays)`, evaluated piece by piece along the first axis where that is faster or saves memory.

    Entries of the result may depend only on those at the same index of that axis, which all arrays share. `size` is the
    size of the function's temporaries, in numbers per index.
    """
    return backend(arrays[0]).in_pieces(function, arrays, size)


def with_partials(
    function: Callable[..., Array],
    with_derivative: Callable[..., tuple[Array, Array]],
    *by_others: Callable[..., Array],
) -> Callable[..., Array]:
    """The elementwise `function(*arrays)` with hand-written derivatives; the second derivative differentiates them.

    The first array has the shape of the result; the others have that shape, are 0-d or are Python numbers.
    `with_derivative(*arrays)` is the function and its derivative by the first array at every entry, for less than the
    cost of both; `by_others` are, for each other argument, `by(*arrays)`, the derivative by it.
    """

    def by_first(*arrays: Array) -> Array:
        return with_derivative(*arrays)[1]

    partials = (by_first, *by_others)

    def differentiable(*arrays: Array) -> Array:
        return backend(arrays[0]).with_partials(function, partials, with_derivative)(*arrays)

    return differentiable


def with_class_derivative(
    function: Callable[..., tuple[Array, Array, Array]],
    by_targets: Callable[..., Array] | None,
    by_numbers: Callable[..., tuple[Array, ...]],
    *,
    in_blocks: bool = True,
) -> Callable[..., Array]:
    """A function of the class logits of every position, with a hand-written derivative, which is differentiated again.

    `function(logits, targets, where, valid, *numbers, axis=axis)` has the classes on `axis`; targets are ids, one per
    position, or an array in the shape of `logits`; `where` and `valid` are masks of the positions or None; numbers are
    Python numbers or 0-d. It returns one value per position, and its derivatives by the logits of that position as a
    product: a factor per position, and an array in the shape of `logits`. From the same arguments, `by_targets` returns
    the derivatives by the targets, in their shape (None for ids), and `by_numbers` one derivative per number, in the
    shape of the positions. `in_blocks`: the function has so many temporaries that they should stay in the CPU cache.
    """

    def differentiable(logits: Array, targets: Array, *others: Any, axis: int) -> Array:
        made = backend(logits).with_class_derivative(function, by_targets, by_numbers, in_blocks)
        return made(logits, targets, *others, axis=axis)

    return differentiable

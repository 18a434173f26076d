"""Derivatives by hand, and how a function is evaluated."""

from collections.abc import Callable
from typing import Any

from imbalanced_core.ops.dispatch import backend
from imbalanced_core.ops.namespace import Array


def stop_gradient(x: Array) -> Array:
    """x, seen as a constant by differentiation."""
    return backend(x).stop_gradient(x)


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
        return backend(arrays[0]).with_vjp(primal, vjp, keeps)(*arrays, **static)

    return function


def outside_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, called eagerly from what `torch.compile` compiles for the CPU, where that may break its graph."""

    def call(*arrays: Array) -> Any:
        return backend(arrays[0]).outside_compiler(function, arrays)

    return call


def in_pieces(function: Callable[..., Array], arrays: tuple[Array, ...], *, size: int) -> Array:
    """`function(*arrays)`, evaluated piece by piece along the first axis where that is faster or saves memory.

    Args:
        function: each entry of its result depends only on the entries of the arrays at the same place of the first
            axis.
        arrays: of equal first axes.
        size: how many numbers the function's temporaries hold for one place of that axis.
    """
    return backend(arrays[0]).in_pieces(function, arrays, size)


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
        return backend(arrays[0]).with_partials(function, partials, with_slope)(*arrays)

    return differentiable


def with_class_slope(
    function: Callable[..., tuple[Array, Array, Array]],
    by_targets: Callable[..., Array] | None,
    by_numbers: Callable[..., tuple[Array, ...]],
    *,
    in_blocks: bool = True,
) -> Callable[..., Array]:
    """A function of the class logits of every position, with a hand-written derivative.

    Args:
        function: `function(logits, targets, where, valid, *numbers, axis=axis)` with classes on `axis`; targets are
            ids, one per position, or an array in the shape of `logits`; `where` and `valid` are masks of the positions
            or None; numbers are Python numbers or 0-d. Returns one value per position, and its derivatives by the
            logits of that position as a product: a factor per position, and an array in the shape of `logits`.
        by_targets: with the same arguments the derivatives by the targets, in their shape; None for ids.
        by_numbers: with the same arguments one derivative per number, in the shape of the positions.
        in_blocks: whether the function has so many temporaries that the processor's cache should hold them.

    Returns:
        A function of the same arguments, the values alone. Differentiating them again differentiates the derivatives.
    """

    def differentiable(logits: Array, targets: Array, *others: Any, axis: int) -> Array:
        made = backend(logits).with_class_slope(function, by_targets, by_numbers, in_blocks)
        return made(logits, targets, *others, axis=axis)

    return differentiable

"""The operations of `ops` with hand-written derivatives, on torch tensors."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from imbalanced_core.ops.generic import evaluate
from imbalanced_core.ops.on_torch.compiler import lean_in_eager_mode, without_autocast
from imbalanced_core.ops.on_torch.pieces import in_blocks, is_eager


class _WithVjp(torch.autograd.Function):
    """`primal` with the derivative `vjp`; one class for all functions, so the compiler sees only one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(primal: Callable, vjp: Callable, static: dict, keeps: bool, *arrays: Any) -> Any:
        with _without_autocast(arrays):
            return primal(*arrays)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.primal, ctx.vjp, ctx.static, ctx.keeps, *arrays = inputs
        if ctx.keeps:
            arrays = [output[1], *arrays]
            ctx.mark_non_differentiable(output[1])
            ctx.set_materialize_grads(False)  # zeros for the kept array may be large
        _save(ctx, arrays)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor | None, *_: None) -> tuple:
        if cotangent is None:
            return (None,) * len(ctx.needs_input_grad)
        arrays = _saved(ctx)
        with _without_autocast(arrays):
            if ctx.keeps and torch.is_grad_enabled() and not torch.compiler.is_compiling():  # double backward
                arrays[0] = ctx.primal(*arrays[1:])[1]
            gradients = ctx.vjp(cotangent, *arrays, **ctx.static)
            needed = ctx.needs_input_grad[4:]
            # no generator: the compiler of torch 2.15 fails to close it
            computed = [evaluate(g) if need else None for g, need in zip(gradients, needed, strict=True)]
            return None, None, None, None, *computed


def _without_autocast(arrays: Sequence) -> contextlib.AbstractContextManager:
    """`without_autocast` for the device of the arrays; also needed in backward, which may run under autocast."""
    return without_autocast(next(array.device.type for array in arrays if isinstance(array, torch.Tensor)))


def with_vjp(primal: Callable, vjp: Callable, keeps: bool) -> Callable:
    def function(*arrays: Any, **static: Any) -> torch.Tensor:
        if _is_without_gradient(arrays):
            with _without_autocast(arrays):
                result = primal(*arrays)
        else:
            result = _with_vjp(primal, vjp, static, keeps, *arrays)
        return result[0] if keeps else result

    return function


def with_partials(function: Callable, partials: tuple, with_derivative: Callable) -> Callable:
    def value(*arrays: Any) -> torch.Tensor:
        return _elementwise(function, arrays)

    def vjp(cotangent: torch.Tensor, *arrays: Any) -> tuple:
        def product(by: Callable, like: Any) -> Callable:
            def of_part(cotangent: torch.Tensor, *arrays: Any) -> torch.Tensor:
                return cotangent * by(*arrays)

            return lambda: _elementwise(of_part, (cotangent, *arrays)).sum_to_size(like.shape)

        return tuple(product(by, like) for by, like in zip(partials, arrays, strict=True))

    general = with_vjp(value, vjp, keeps=False)

    def differentiable(*arrays: Any) -> torch.Tensor:
        if _only_first_needs_gradient(arrays):
            return _WithDerivative.apply(partial(_elementwise, with_derivative), torch.mul, *arrays)
        return general(*arrays)

    return differentiable


def with_class_derivative(
    function: Callable, by_targets: Callable | None, by_numbers: Callable, blocks: bool
) -> Callable:
    def of_matrix(*arrays: Any) -> tuple:
        return _of_matrix(function, arrays)

    def value_and_derivative(arrays: Sequence) -> tuple:
        return in_blocks(of_matrix, arrays) if blocks else of_matrix(*arrays)

    def value(*arrays: Any) -> torch.Tensor:
        return in_blocks(lambda *part: of_matrix(*part)[0], arrays)

    def vjp(cotangent: torch.Tensor, *arrays: Any) -> tuple:
        def by_logits() -> torch.Tensor:
            return _of_each_class(cotangent, *of_matrix(*arrays)[1:])

        def by_all_targets() -> torch.Tensor:
            return cotangent.unsqueeze(1) * by_targets(*arrays, axis=1)  # type: ignore[misc]

        def by_number(i: int) -> Callable:
            return lambda: (cotangent * by_numbers(*arrays, axis=1)[i]).sum_to_size(arrays[4 + i].shape)

        return by_logits, by_targets and by_all_targets, None, None, *map(by_number, range(len(arrays) - 4))

    general = with_vjp(value, vjp, keeps=False)

    def differentiable(x: torch.Tensor, *others: Any, axis: int) -> torch.Tensor:
        positions = x.shape[:axis] + x.shape[axis + 1 :]
        before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])

        def flat(array: Any) -> Any:  # the compiler of torch 2.8 evaluates annotations and does not support `|`
            if array is None:
                return None
            return array.reshape(before, *((x.shape[axis],) if array.ndim == x.ndim else ()), after)

        arrays = [*map(flat, (x, *others[:3])), *others[3:]]
        if _only_first_needs_gradient(arrays):
            return _shaped(_WithDerivative.apply(value_and_derivative, _of_each_class, *arrays), positions)
        return _shaped(general(*arrays), positions)

    return differentiable


def _of_matrix(function: Callable, arrays: Sequence) -> tuple:
    """`function` of arrays [before, classes, after] and [before, after]."""
    if arrays[0].shape[2] > 1:
        return function(*arrays, axis=1)
    # reductions over the last axis are faster
    part = [x.squeeze(-1) if isinstance(x, torch.Tensor) and x.ndim else x for x in arrays]
    return tuple(_shaped(result, (*result.shape, 1)) for result in function(*part, axis=1))


def _is_without_gradient(arrays: tuple) -> bool:
    """Whether no gradient is recorded; compiled then, torch 2.13 calls `forward(..., *arrays)` wrongly."""
    if not torch.is_grad_enabled():
        return True
    return torch.compiler.is_compiling() and not any(isinstance(x, torch.Tensor) and x.requires_grad for x in arrays)


def _only_first_needs_gradient(arrays: Sequence) -> bool:
    """Whether to evaluate the derivative by the first array in forward; not under the compiler or transforms."""
    tensors = [x for x in arrays if isinstance(x, torch.Tensor)]
    return (
        torch.is_grad_enabled()
        and all(map(is_eager, tensors))
        and tensors[0].requires_grad
        and not any(x.requires_grad for x in tensors[1:])
    )


class _WithDerivative(torch.autograd.Function):
    """A function in eager mode if only the first array needs a gradient: one evaluation gives value and derivative.

    `function(arrays)` returns the value and what `product(cotangent, ...)` multiplies the cotangent by.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable, product: Callable, *arrays: Any) -> torch.Tensor:
        value, *derivative = function(arrays)
        ctx.function, ctx.product = function, product
        _save(ctx, [*arrays, *derivative])
        return value

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple:
        saved, number = _saved(ctx), len(ctx.needs_input_grad) - 2
        # in double backward, the derivative depends on the arrays
        derivative = ctx.function(saved[:number])[1:] if torch.is_grad_enabled() else saved[number:]
        return (None, None, ctx.product(cotangent, *derivative), *[None] * (number - 1))


def _of_each_class(cotangent: torch.Tensor, scale: torch.Tensor, derivative: torch.Tensor) -> torch.Tensor:
    return (cotangent * scale).unsqueeze(1) * derivative


def _elementwise(function: Callable, arrays: Sequence) -> Any:
    shape = next(x.shape for x in arrays if isinstance(x, torch.Tensor))
    flat = [x.reshape(-1) if isinstance(x, torch.Tensor) and x.ndim else x for x in arrays]
    result = in_blocks(function, flat) if len(shape) else function(*arrays)
    return tuple(_shaped(x, shape) for x in result) if isinstance(result, tuple) else _shaped(result, shape)


def _shaped(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A new tensor in another shape, but no view, which users could not change in place where a function returns it."""
    return x if x.shape == shape else torch.ops.aten._unsafe_view(x, shape)


def _save(ctx: Any, arrays: list) -> None:
    ctx.numbers = [None if isinstance(x, torch.Tensor) else x for x in arrays]
    ctx.save_for_backward(*(x if isinstance(x, torch.Tensor) else None for x in arrays))


def _saved(ctx: Any) -> list:
    return [number if x is None else x for x, number in zip(ctx.saved_tensors, ctx.numbers, strict=True)]


_with_vjp = lean_in_eager_mode(_WithVjp)

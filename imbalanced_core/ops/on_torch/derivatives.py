"""The operations of `ops` with hand-written derivatives, on torch tensors."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from imbalanced_core.ops.generic import evaluate
from imbalanced_core.ops.on_torch.compiler import without_autocast
from imbalanced_core.ops.on_torch.functions import lean_in_eager_mode
from imbalanced_core.ops.on_torch.pieces import in_blocks, is_eager


class _WithVjp(torch.autograd.Function):
    """`primal` with the derivative `vjp`; one class for all functions, so the compiler sees only one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(primal: Callable, vjp: Callable, static: dict, *arrays: Any) -> torch.Tensor:
        with _without_autocast(arrays):
            return primal(*arrays, **static)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        _, ctx.vjp, ctx.static, *arrays = inputs
        _save(ctx, arrays)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple:
        arrays = _saved(ctx)
        with _without_autocast(arrays):
            return _gradients(ctx, ctx.vjp(cotangent, *arrays, **ctx.static))


class _WithKept(torch.autograd.Function):
    """`_WithVjp` for a `primal` that returns a second array for the derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(primal: Callable, vjp: Callable, static: dict, *arrays: torch.Tensor) -> tuple:
        with _without_autocast(arrays):
            return primal(*arrays, **static)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.primal, ctx.vjp, ctx.static, *arrays = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # zeros for the kept array may be large
        ctx.save_for_backward(output[1], *arrays)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor | None, _: None) -> tuple:
        if cotangent is None:
            return (None,) * len(ctx.needs_input_grad)
        kept, *arrays = ctx.saved_tensors
        with _without_autocast(arrays):
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # double backward
                kept = ctx.primal(*arrays, **ctx.static)[1]
            return _gradients(ctx, ctx.vjp(cotangent, kept, *arrays, **ctx.static))


def _gradients(ctx: Any, gradients: tuple) -> tuple:
    """The requested gradients of the arrays, preceded by None for three arguments without gradient."""
    needed = ctx.needs_input_grad[3:]
    return None, None, None, *(evaluate(g) if need else None for g, need in zip(gradients, needed, strict=True))


def _without_autocast(arrays: Sequence) -> contextlib.AbstractContextManager:
    """`without_autocast` for the device of the arrays; also needed in backward, which may run under autocast."""
    return without_autocast(next(array.device.type for array in arrays if isinstance(array, torch.Tensor)))


def with_vjp(primal: Callable, vjp: Callable, keeps: bool) -> Callable:
    def function(*arrays: Any, **static: Any) -> torch.Tensor:
        if _is_without_gradient(arrays):
            with _without_autocast(arrays):
                return primal(*arrays, **static)[0] if keeps else primal(*arrays, **static)
        if keeps:
            return _with_kept(primal, vjp, static, *arrays)[0]
        return _with_vjp(primal, vjp, static, *arrays)

    return function


def with_partials(function: Callable, partials: tuple, with_slope: Callable) -> Callable:
    def differentiable(*arrays: Any) -> torch.Tensor:
        if _is_without_gradient(arrays):
            return _elementwise(function, arrays)
        if _only_first_needs_gradient(arrays):
            return _WithSlope.apply(with_slope, *arrays)
        return _with_partials(function, partials, *arrays)

    return differentiable


def with_class_slope(function: Callable, by_targets: Callable | None, by_numbers: Callable, blocks: bool) -> Callable:
    def of_matrix(*arrays: Any) -> tuple:
        return _of_matrix(function, arrays)

    def value_and_slope(*arrays: Any) -> tuple:
        return in_blocks(of_matrix, arrays) if blocks else of_matrix(*arrays)

    def value(*arrays: Any) -> torch.Tensor:
        return in_blocks(lambda *part: of_matrix(*part)[0], arrays)

    def vjp(cotangent: torch.Tensor, *arrays: Any) -> tuple:
        def by_logits() -> torch.Tensor:
            _, scale, slope = of_matrix(*arrays)
            return (cotangent * scale).unsqueeze(1) * slope

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
            return _WithClassSlope.apply(value_and_slope, *arrays).reshape(positions)
        return general(*arrays).reshape(positions)

    return differentiable


def _of_matrix(function: Callable, arrays: Sequence) -> tuple:
    """`function` of arrays [before, classes, after] and [before, after]."""
    if arrays[0].shape[2] > 1:
        return function(*arrays, axis=1)
    # reductions over the last axis are faster
    part = [x.squeeze(-1) if isinstance(x, torch.Tensor) and x.ndim else x for x in arrays]
    return tuple(result.unsqueeze(-1) for result in function(*part, axis=1))


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


class _WithPartials(torch.autograd.Function):
    """An elementwise `function` with its `partials`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(function: Callable, partials: tuple, *arrays: Any) -> torch.Tensor:
        return _elementwise(function, arrays)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        _, ctx.partials, *arrays = inputs
        _save(ctx, arrays)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple:
        arrays = _saved(ctx)

        def gradient(by: Any, needed: bool, like: torch.Tensor) -> Any:  # see `flat`
            if by is None or not needed:
                return None
            return _elementwise(lambda c, *a: c * by(*a), (cotangent, *arrays)).sum_to_size(like.shape)

        needed = ctx.needs_input_grad[2:]
        return (None, None, *(gradient(*each) for each in zip(ctx.partials, needed, arrays, strict=True)))


class _WithSlope(torch.autograd.Function):
    """`_WithPartials` in eager mode if only the first array needs a gradient: one evaluation gives value and slope."""

    @staticmethod
    def forward(ctx: Any, with_slope: Callable, *arrays: Any) -> torch.Tensor:
        value, slope = _elementwise(with_slope, arrays)
        ctx.with_slope = with_slope
        _save(ctx, [*arrays, slope])
        return value

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple:
        *arrays, slope = _saved(ctx)
        if torch.is_grad_enabled():  # double backward
            slope = ctx.with_slope(*arrays)[1]
        return (None, cotangent * slope, *(None for _ in arrays[1:]))


class _WithClassSlope(torch.autograd.Function):
    """`with_class_slope` in eager mode if only the logits need a gradient: backward evaluates nothing."""

    @staticmethod
    def forward(ctx: Any, function: Callable, *arrays: Any) -> torch.Tensor:
        value, scale, slope = function(*arrays)
        ctx.function = function
        _save(ctx, [*arrays, scale, slope])
        return value

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple:
        *arrays, scale, slope = _saved(ctx)
        if torch.is_grad_enabled():  # double backward
            _, scale, slope = ctx.function(*arrays)
        return (None, (cotangent * scale).unsqueeze(1) * slope, *(None for _ in arrays[1:]))


def _elementwise(function: Callable, arrays: tuple) -> Any:
    shape = next(x.shape for x in arrays if isinstance(x, torch.Tensor))
    flat = [x.reshape(-1) if isinstance(x, torch.Tensor) and x.ndim else x for x in arrays]
    result = in_blocks(function, flat) if len(shape) else function(*arrays)
    return tuple(x.view(shape) for x in result) if isinstance(result, tuple) else result.view(shape)


def _save(ctx: Any, arrays: list) -> None:
    ctx.numbers = [None if isinstance(x, torch.Tensor) else x for x in arrays]
    ctx.save_for_backward(*(x if isinstance(x, torch.Tensor) else None for x in arrays))


def _saved(ctx: Any) -> list:
    return [number if x is None else x for x, number in zip(ctx.saved_tensors, ctx.numbers, strict=True)]


_with_vjp, _with_kept, _with_partials = map(lean_in_eager_mode, (_WithVjp, _WithKept, _WithPartials))

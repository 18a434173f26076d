"""The operations of `ops` on torch tensors."""

from collections.abc import Callable
from typing import Any

import torch

sigmoid = torch.sigmoid
log_sigmoid = torch.nn.functional.logsigmoid


def log_softmax(x: torch.Tensor, *, axis: int) -> torch.Tensor:
    return torch.log_softmax(x, dim=axis)


def stop_gradient(x: torch.Tensor) -> torch.Tensor:
    return x.detach()


def sort_with_order(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values, order = torch.sort(x, dim=-1)
    return values, order


def inverse_permutation(order: torch.Tensor) -> torch.Tensor:
    places = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
    return torch.scatter(torch.zeros_like(order), -1, order, places)


class _WithVjp(torch.autograd.Function):
    """`primal` with the derivative `vjp`; one class serves every function, so the compiler sees one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(primal: Callable, vjp: Callable, static: dict, *arrays: Any) -> torch.Tensor:
        return primal(*arrays, **static)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        _, ctx.vjp, ctx.static, *arrays = inputs
        ctx.is_tensor = [isinstance(array, torch.Tensor) for array in arrays]
        ctx.numbers = [None if isinstance(array, torch.Tensor) else array for array in arrays]
        ctx.save_for_backward(*(array for array in arrays if isinstance(array, torch.Tensor)))

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple:
        tensors = iter(ctx.saved_tensors)
        pairs = zip(ctx.is_tensor, ctx.numbers, strict=True)
        arrays = [next(tensors) if is_tensor else number for is_tensor, number in pairs]
        gradients = ctx.vjp(cotangent, *arrays, **ctx.static)
        return (
            None,
            None,
            None,
            *(g if is_tensor else None for g, is_tensor in zip(gradients, ctx.is_tensor, strict=True)),
        )


def with_vjp(primal: Callable, vjp: Callable) -> Callable:
    return lambda *arrays, **static: _WithVjp.apply(primal, vjp, static, *arrays)

"""Gradients of values that collectives made."""

from typing import Any

import torch
from torch import Tensor


class LocalSlice(torch.autograd.Function):
    """The gathered rows; backward returns the local slice of the cotangent, times `scale`."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, gathered: Tensor, start: int, scale: int) -> Tensor:
        ctx.start, ctx.rows, ctx.scale = start, local.shape[0], scale
        return gathered.view_as(gathered)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        return cotangents[0].narrow(0, ctx.start, ctx.rows) * ctx.scale, None, None, None


class ValueWithGradient(torch.autograd.Function):
    """`value`, whose derivative by `total` is `factor`. Mixing the two by + and − would round, or make NaN."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, value: Tensor, factor: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(factor)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        (factor,) = ctx.saved_tensors
        return cotangents[0] * factor, None, None

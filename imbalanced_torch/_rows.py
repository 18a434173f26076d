"""Gathering rows of several tensors as bytes in one collective, and gradients of collective results."""

from typing import Any

import torch
from torch import Tensor

from imbalanced_torch import _header


def gather_constants(tensors: list[Tensor], *, rows: list[int], process_group: Any) -> list[Tensor]:
    """Gathers tensors [n, ...] to [Σ n, ...] without gradient, in one collective; `rows` holds the n of every rank."""
    payload = torch.cat([_row_matrix(tensor.detach()).view(torch.uint8) for tensor in tensors], dim=1)  # [n, bytes]
    widths = [tensor.shape[1:].numel() * tensor.element_size() for tensor in tensors]
    return [
        part.clone(memory_format=torch.contiguous_format).view(tensor.dtype).reshape(-1, *tensor.shape[1:])
        for part, tensor in zip(_gather_padded(payload, rows, process_group).split(widths, dim=1), tensors, strict=True)
    ]


def _row_matrix(tensor: Tensor) -> Tensor:
    # A copy: `contiguous()` keeps any strides of a dimension of length 1, and a view as bytes may reject those.
    matrix = tensor.reshape(tensor.shape[0], tensor.shape[1:].numel())
    return matrix.clone(memory_format=torch.contiguous_format)


def _gather_padded(payload: Tensor, rows: list[int], process_group: Any) -> Tensor:
    longest = max(rows)
    if longest == 0:  # known to every rank
        return payload
    padded = payload
    if payload.shape[0] < longest:
        padded = payload.new_zeros(longest, payload.shape[1])
        padded[: payload.shape[0]] = payload
    gathered = payload.new_empty(longest * len(rows), payload.shape[1])
    _header.all_gather(gathered, padded, process_group)
    if min(rows) == longest:
        return gathered
    return torch.cat([block[:n] for block, n in zip(gathered.split(longest), rows, strict=True)])


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
    """`value` with derivative `factor` with respect to `total`; combining them by + and − would round or give NaN."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, value: Tensor, factor: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(factor)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        (factor,) = ctx.saved_tensors
        return cotangents[0] * factor, None, None

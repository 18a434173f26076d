"""The array-API namespace of torch tensors: array-api-compat, except for what is slow or cannot be traced."""

from typing import Any

import torch
from array_api_compat import torch as _standard
from array_api_compat.torch import *  # noqa: F403

# `vmap` has no rule for `torch.moveaxis`; that of `is_grads_batched` has none for `torch.concat` and `broadcast_to`
moveaxis = torch.movedim


def isdtype(dtype: torch.dtype, kind: Any, /) -> bool:
    """Whether a dtype is of a kind, such as "bool"; array-api-compat's takes several times as long."""
    return dtype.is_floating_point if kind == "real floating" else _standard.isdtype(dtype, kind)


def broadcast_to(x: torch.Tensor, /, shape: tuple[int, ...]) -> torch.Tensor:
    """x, expanded to a shape."""
    return x.expand(shape)


def concat(arrays: Any, /, *, axis: int = 0) -> torch.Tensor:
    """The arrays joined along an axis."""
    return torch.cat(arrays, axis)


def clip(x: torch.Tensor, /, min: Any = None, max: Any = None) -> torch.Tensor:  # noqa: A002
    """x clipped to two numbers; array-api-compat's also takes tensors, with types that stop the torch 2.8 compiler."""
    return torch.clamp(x, min, max)


def cumulative_sum(x: torch.Tensor, /, *, axis: int) -> torch.Tensor:
    """Σ_{j <= i} x_j along an axis; array-api-compat's cannot be traced."""
    return torch.cumsum(x, dim=axis)


def count_nonzero(x: torch.Tensor, /, *, axis: int) -> torch.Tensor:
    """The number of True along an axis; torch's own has no `vmap` rule before 2.9."""
    return x.sum(dim=axis)


def take(x: torch.Tensor, indices: torch.Tensor, /, *, axis: int) -> torch.Tensor:
    """The entries at indices [q] along an axis; array-api-compat's also allows negative ones, in three more calls."""
    return torch.index_select(x, axis, indices)

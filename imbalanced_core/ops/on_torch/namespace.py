"""The array-API namespace of torch tensors: array-api-compat, except for what compilers cannot trace."""

from typing import Any

import torch
from array_api_compat.torch import *  # noqa: F403

moveaxis = torch.movedim  # `vmap` has no rule for `torch.moveaxis`


def clip(x: torch.Tensor, /, min: Any = None, max: Any = None) -> torch.Tensor:  # noqa: A002
    """x clipped to two numbers; array-api-compat's also takes tensors, with types that stop the torch 2.8 compiler."""
    return torch.clamp(x, min, max)

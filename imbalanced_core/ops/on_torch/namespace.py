"""The array-API namespace of torch tensors: that of array-api-compat but for what compilers cannot trace."""

from typing import Any

import torch
from array_api_compat.torch import *  # noqa: F403


def clip(x: torch.Tensor, /, min: Any = None, max: Any = None) -> torch.Tensor:  # noqa: A002
    """Between two numbers. That of array-api-compat takes tensors too; the compiler of torch 2.8 stops at its types."""
    return torch.clamp(x, min, max)

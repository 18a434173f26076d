"""Cached constants on the device: a Python number in `torch.where` costs a call at every step."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from imbalanced_core.ops import generic

_FAKE = torch._C._TorchDispatchModeKey.FAKE


def makes_ordinary_tensors() -> bool:
    """Whether new tensors may be kept for later calls; those of a transform or of `FakeTensorMode` must not."""
    return not torch._C._are_functorch_transforms_active() and torch._C._get_dispatch_mode(_FAKE) is None


def constant(numbers: Any, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(numbers, (int, float)):  # filled on the device: a copy from the host would sync
        return torch.full((), numbers, dtype=dtype, device=like.device)
    if not torch.compiler.is_compiling():
        return kept(generic.as_numpy, (numbers,), dtype, like.device)
    if isinstance(numbers, generic.Table):  # numpy would break the graph
        flat = torch.tensor([float(x) for x in numbers.text.split()], dtype=dtype, device=like.device)
        return flat.reshape(numbers.shape)
    return torch.tensor(numbers, dtype=dtype, device=like.device)


@torch.compiler.assume_constant_result
def kept(function: Callable, arguments: tuple, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The numpy array function(*arguments) as a tensor: a copy at every call would stall an accelerator."""
    make = _kept if makes_ordinary_tensors() else _kept.__wrapped__
    made = make(function, arguments, dtype, device)
    if _is_captured(device):
        _CAPTURED.append(made)
    return made


@functools.lru_cache(maxsize=256)  # an annealed quantile makes new tables at every step
def _kept(function: Callable, arguments: tuple, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # else a later training step could not save it
        return torch.from_numpy(function(*arguments)).to(dtype).to(device)


def where(condition: torch.Tensor, x: Any, y: Any) -> torch.Tensor:
    if torch.compiler.is_compiling():
        return torch.where(condition, x, y)
    if not isinstance(x, torch.Tensor):
        x = scalar(float(x), y.dtype, y.device)
    elif not isinstance(y, torch.Tensor):
        y = scalar(float(y), x.dtype, x.device)
    return torch.where(condition, x, y)


def arange(n: int, like: torch.Tensor) -> torch.Tensor:
    if torch.compiler.is_compiling() or not makes_ordinary_tensors() or _is_captured(like.device):
        return torch.arange(n, dtype=torch.int32, device=like.device)
    return _arange(n, like.device)


def scalar(value: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A cached 0-d constant: `torch.where` with a number fills a new tensor at every call."""
    if torch.compiler.is_compiling() or not makes_ordinary_tensors():
        return torch.full((), value, dtype=dtype, device=device)
    key = repr(value), dtype, device
    if key not in _SCALARS:
        with torch.inference_mode(False):
            made = torch.full((), value, dtype=dtype, device=device)
        if _is_captured(device):
            return made  # its memory belongs to the graph
        _SCALARS[key] = made
    return _SCALARS[key]


def _is_captured(device: torch.device) -> bool:
    """Whether calls are recorded in a CUDA graph, which reads the same memory at every replay."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


_SCALARS: dict[tuple, torch.Tensor] = {}
_CAPTURED: list[torch.Tensor] = []  # what graphs read, even after it has left the cache


@functools.lru_cache(maxsize=64)
def _arange(n: int, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.arange(n, dtype=torch.int32, device=device)

"""Functions of tensors evaluated in pieces whose temporaries stay in the CPU cache.

In eager mode every operation is a pass over memory, and a formula has dozens of them. In pieces that fit in the CPU
cache, a pass costs a fraction, and no temporary is as large as the input.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

_TRACING = torch._C._TorchDispatchModeKey.PROXY
_NUMBERS_PER_THREAD = 2**17  # half a MiB of float32: smaller pieces cost more than the cache saves
_NUMBERS_PER_PIECE = 2**19  # per thread, for functions of many calls that each touch part of their numbers


def is_eager(x: torch.Tensor) -> bool:
    """Whether x is an ordinary tensor, outside the compiler, `vmap` and other transforms, and `make_fx`."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in (torch.Tensor, torch.nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._functorch.is_legacy_batchedtensor(x)  # of `torch.autograd.functional` and `is_grads_batched`
        and torch._C._get_dispatch_mode(_TRACING) is None
    )


def is_eager_cpu(x: torch.Tensor) -> bool:
    """`is_eager` on the CPU, where reading values is cheap."""
    return x.is_cpu and is_eager(x)


def may_overwrite(x: torch.Tensor) -> bool:
    """Whether a temporary may be overwritten; allocating a large one at every call costs more than a pass."""
    return is_eager(x) and not torch.is_grad_enabled()


def in_blocks(function: Callable, arrays: Sequence) -> Any:
    """`function(*arrays)`, one or several tensors, evaluated in blocks of the first or last axis where that is faster.

    Its entries may depend only on those of the arrays at the same indices of these axes, which all arrays share, except
    0-d tensors and numbers.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return function(*arrays)
    large = max((x for x in arrays if isinstance(x, torch.Tensor)), key=torch.numel)
    limit = _NUMBERS_PER_THREAD * torch.get_num_threads()
    if large.numel() <= limit or not all(is_eager_cpu(x) for x in arrays if isinstance(x, torch.Tensor)):
        return function(*arrays)
    axis = 0 if large.numel() <= limit * large.shape[0] else -1
    return _along(axis, function, arrays, max(1, limit * large.shape[axis] // large.numel()))


def in_pieces(function: Callable[..., torch.Tensor], arrays: tuple, size: int) -> torch.Tensor:
    """`ops.in_pieces` on tensors."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return function(*arrays)
    step = max(1, _NUMBERS_PER_PIECE * torch.get_num_threads() // size)
    if len(arrays[0]) <= step or not all(map(is_eager_cpu, arrays)):
        return function(*arrays)
    # products of transposed matrices are slow
    return _along(0, lambda *parts: function(*(x.contiguous() for x in parts)), arrays, step)


def _along(axis: int, function: Callable, arrays: Sequence, step: int) -> Any:
    """`function(*arrays)`, evaluated in pieces of `step` indices of an axis, the first or the last."""
    length = next(x.shape[axis] for x in arrays if isinstance(x, torch.Tensor) and x.ndim)
    if length <= step:
        return function(*arrays)
    results: list[torch.Tensor] = []
    for start in range(0, length, step):
        piece = function(*(_cut(x, axis, start, step) for x in arrays))
        parts = piece if isinstance(piece, tuple) else (piece,)
        if not results:
            results = [x.new_empty((length, *x.shape[1:]) if axis == 0 else (*x.shape[:-1], length)) for x in parts]
        for whole, part in zip(results, parts, strict=True):
            _cut(whole, axis, start, step).copy_(part)
    return tuple(results) if isinstance(piece, tuple) else results[0]


def _cut(x: Any, axis: int, start: int, step: int) -> Any:
    if not isinstance(x, torch.Tensor) or x.ndim == 0:
        return x
    return x.narrow(axis, start, min(step, x.shape[axis] - start))

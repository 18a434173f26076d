"""Sorting, gathering and scattering: operations of `ops` on torch tensors."""

import numpy as np
import torch

from imbalanced_core.ops.on_torch.constants import arange
from imbalanced_core.ops.on_torch.pieces import is_eager_cpu, may_overwrite

_KEY_OF_LEAST = -0x7F800001 << 32  # of −∞; below it are negative NaN, which must sort last


def sort_with_order(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if is_eager_cpu(x):  # numpy sorts several times as fast
        order = torch.from_numpy(_order(x.detach().numpy()))
        return torch.gather(x, -1, order), order
    values, order = torch.sort(x, dim=-1)
    return values, order


def _order(x: np.ndarray) -> np.ndarray:
    """Argsort of the last axis; stable for float32."""
    if x.dtype != np.float32 or x.size == 0:
        return np.argsort(x, axis=-1)
    # twice as fast as argsort: integers in the order of the floats, each with its index in the lower half
    bits = x.view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    keys <<= 32
    keys |= np.arange(x.shape[-1])
    keys.sort(axis=-1)
    if keys[..., 0].min() < _KEY_OF_LEAST:
        return np.argsort(x, axis=-1)
    keys &= 0xFFFFFFFF
    return keys


def sort(x: torch.Tensor) -> torch.Tensor:
    if is_eager_cpu(x):  # ten times as fast, without the order
        return torch.from_numpy(np.sort(x.detach().numpy(), axis=-1))
    return torch.sort(x.detach(), dim=-1).values


def gather(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return torch.gather(x, -1, order)  # the compatibility layer's function first checks for negative indices


def inverse_permutation(order: torch.Tensor) -> torch.Tensor:
    indices = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
    return torch.scatter(torch.zeros_like(order), -1, order, indices)


def are_binary(x: torch.Tensor) -> bool:
    return is_eager_cpu(x) and not torch.addcmul(x, x, x, value=-1.0).any()


def known_within(x: torch.Tensor, least: float, greatest: float) -> bool:
    if not is_eager_cpu(x):
        return False
    if x.numel() == 0:
        return True
    low, high = x.detach().aminmax()
    return low.item() >= least and high.item() <= greatest


def readable(x: torch.Tensor | None) -> np.ndarray | None:
    """The values if they can be read without cost, else None, which the checks of `imbalanced_core` skip."""
    return values_of(x) if x is not None and is_eager_cpu(x) else None


def values_of(x: torch.Tensor) -> np.ndarray:
    """The values as a numpy array, without a copy on the CPU; bfloat16, which numpy lacks, as float32."""
    with torch._C._DisableFuncTorch():  # inside `grad` or `vmap` even `detach` returns a tensor without storage
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)


def greatest_count(mask: torch.Tensor) -> int | None:
    if not is_eager_cpu(mask) or mask.numel() == 0:
        return None
    if mask.numel() == mask.shape[-1]:  # numpy takes a fraction of the time, but longer for several rows
        return int(np.count_nonzero(mask.numpy()))
    return int(torch.count_nonzero(mask, dim=-1).max())


def indices_of(mask: torch.Tensor, count: int) -> torch.Tensor:
    if mask.ndim == 2 and mask.shape[0] == 1 and is_eager_cpu(mask):  # takes a tenth of the time
        found = torch.from_numpy(np.flatnonzero(mask.numpy()))
        if found.shape[0] == count:
            return found[None, :]
    return mask.to(torch.uint8).topk(count, dim=-1, sorted=False).indices


def scatter(
    x: torch.Tensor, indices: torch.Tensor, values: torch.Tensor | float, *, reuse: bool = False
) -> torch.Tensor:
    reuse = reuse and may_overwrite(x) and (not isinstance(values, torch.Tensor) or may_overwrite(values))
    return x.scatter_(-1, indices, values) if reuse else torch.scatter(x, -1, indices, values)


def zero_diagonal(x: torch.Tensor, offset: int) -> torch.Tensor:
    if may_overwrite(x):
        x.diagonal(offset, -2, -1).zero_()
        return x
    columns = arange(x.shape[-1], like=x)
    return torch.where(columns == columns[offset : offset + x.shape[-2], None], 0.0, x)


def add_rows(x: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.index_add(x, 0, index, rows)

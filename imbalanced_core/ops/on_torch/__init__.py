"""The operations of `ops` on torch tensors."""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from imbalanced_core.ops import generic
from imbalanced_core.ops.on_torch.compiler import outside_compiler
from imbalanced_core.ops.on_torch.constants import arange, constant, where
from imbalanced_core.ops.on_torch.derivatives import clear, logistic, with_class_slope, with_partials, with_vjp
from imbalanced_core.ops.on_torch.order import (
    add_rows,
    cumulative_sum,
    greatest_count,
    inverse_permutation,
    places,
    put_along,
    rearrange,
    sort,
    sort_with_order,
    take_rows,
)
from imbalanced_core.ops.on_torch.pieces import in_pieces, is_eager_cpu

__all__ = [
    "add_rows",
    "arange",
    "clear",
    "constant",
    "cumulative_sum",
    "greatest_count",
    "in_pieces",
    "inverse_permutation",
    "is_eager_cpu",
    "logistic",
    "outside_compiler",
    "places",
    "put_along",
    "rearrange",
    "sort",
    "sort_with_order",
    "take_rows",
    "where",
    "with_class_slope",
    "with_partials",
    "with_vjp",
]

sigmoid = torch.sigmoid
lerp = torch.lerp
log_sigmoid = torch.nn.functional.logsigmoid


def times_logistic_derivative(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.sigmoid_backward(x, torch.sigmoid(torch.copysign(at, -1.0)))  # at −|at|, where σ is small


def log_softmax(x: torch.Tensor, *, axis: int) -> torch.Tensor:
    return torch.log_softmax(x, dim=axis)


def softmax(x: torch.Tensor, *, axis: int) -> torch.Tensor:
    return torch.softmax(x, dim=axis)


def stop_gradient(x: torch.Tensor) -> torch.Tensor:
    return x.detach()


def tabulated(table: Callable, arguments: tuple, like: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return _table(table, arguments, like.device, dtype or torch.int64)  # which a gather takes


@torch.compiler.assume_constant_result
def _table(table: Callable, arguments: tuple, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return _kept_table(table, arguments, device, dtype)


@functools.cache
def _kept_table(table: Callable, arguments: tuple, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(table(*arguments)).to(dtype).to(device)


def row_by_row(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous()


def has_exact_float64(x: torch.Tensor) -> bool:
    return x.device.type != "mps"


def is_on_accelerator(x: torch.Tensor) -> bool:
    return x.device.type != "cpu"


def exp_of_difference(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - y).exp_()  # a fresh array costs more than the exponentials


def rows_and_geometric_sums(
    rows: Sequence[torch.Tensor], start: torch.Tensor, ratio: torch.Tensor, count: int
) -> torch.Tensor:
    if not is_eager_cpu(start) or torch.is_grad_enabled():
        return generic.rows_and_geometric_sums(rows, start, ratio, count)
    result = start.new_empty((*start.shape[:-1], len(rows) + count, start.shape[-1]))
    given, sums = (x.unbind(-2) for x in result.split([len(rows), count], dim=-2))
    for place, row in zip((*given, sums[0]), (*rows, start), strict=True):
        place.copy_(row)
    for before, place in pairwise(sums):
        torch.addcmul(start, before, ratio, out=place)
    return result


def zero_unless_finite(x: torch.Tensor, sign: torch.Tensor, *, axis: int) -> torch.Tensor:
    if is_eager_cpu(sign) and sign.sum().isfinite():  # a look costs less than a pass over x
        return x
    return torch.where(sign.isfinite().unsqueeze(axis), x, 0.0)


def known_within(x: torch.Tensor, least: int, greatest: int) -> bool:
    if not is_eager_cpu(x):
        return False
    if x.numel() == 0:
        return True
    low, high = x.detach().aminmax()
    return bool(low >= least) and bool(high <= greatest)


def unit_or_nan(x: torch.Tensor) -> torch.Tensor:
    # A look at the least and the greatest costs a tenth of a mask, but on an accelerator it would be a wait.
    if is_eager_cpu(x) and x.numel() > 0:
        least, greatest = x.detach().aminmax()
        if least >= 0 and greatest <= 1:
            return x
    return torch.where((x >= 0) & (x <= 1), x, torch.nan)


def pick(x: torch.Tensor, ids: torch.Tensor, *, axis: int) -> torch.Tensor:
    return torch.gather(x, axis, ids.long().unsqueeze(axis)).squeeze(axis)


def put(
    x: torch.Tensor, ids: torch.Tensor, values: torch.Tensor | float, *, axis: int, reuse: bool = False
) -> torch.Tensor:
    places = ids.long().unsqueeze(axis)
    values = values.unsqueeze(axis) if isinstance(values, torch.Tensor) else values
    if reuse and is_eager_cpu(x) and not torch.is_grad_enabled():
        return x.scatter_(axis, places, values)
    return torch.scatter(x, axis, places, values)

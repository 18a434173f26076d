"""The operations of `ops` on torch tensors."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from imbalanced_core.ops import generic
from imbalanced_core.ops.generic import divide, for_each_row, of_ids, replicate
from imbalanced_core.ops.on_torch.compiler import matmul, prefers_untraced, untraced
from imbalanced_core.ops.on_torch.constants import arange, constant, kept, scalar, where
from imbalanced_core.ops.on_torch.derivatives import with_class_derivative, with_partials, with_vjp
from imbalanced_core.ops.on_torch.order import (
    add_rows,
    are_binary,
    gather,
    greatest_count,
    indices_of,
    inverse_permutation,
    known_within,
    readable,
    scatter,
    sort,
    sort_with_order,
    zero_diagonal,
)
from imbalanced_core.ops.on_torch.pieces import in_pieces, is_eager_cpu, may_overwrite
from imbalanced_core.ops.on_torch.scores import clear, logistic, sigmoid, times_logistic_derivative


def differences(x: torch.Tensor, y: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    x, y, unit = map(_in_memory, (x, y, unit))
    matrix, unit = x.unsqueeze(-2) - y.unsqueeze(-1), unit.unsqueeze(-1).unsqueeze(-1)
    return matrix.div_(unit) if may_overwrite(matrix) else matrix / unit


def _in_memory(x: torch.Tensor) -> torch.Tensor:
    """x, materialised: the compiler would otherwise recompute it for each entry it is broadcast to."""
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return x
    return x.as_strided(x.shape, x.stride())  # inductor evaluates a tensor before taking a strided view


def decay(x: torch.Tensor, *, reuse: bool = False) -> torch.Tensor:
    if not is_eager_cpu(x) or torch.is_grad_enabled():
        return torch.exp(x)
    # PyTorch takes ten times as long, and more, where a result is subnormal or underflows
    least = torch.finfo(x.dtype).smallest_normal
    limit = math.log(least) + 0.5
    result = (x.clamp_(min=limit) if reuse else x.clamp(min=limit)).exp_()
    return torch.nn.functional.threshold(result, 2 * least, 0.0, inplace=True)


def stop_gradient(x: torch.Tensor) -> torch.Tensor:
    return x.detach()


def tabulated(table: Callable, arguments: tuple, like: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return kept(table, arguments, dtype or torch.int64, like.device)  # the dtype that gather expects


def prefers_tables(x: torch.Tensor) -> bool:
    return not torch.compiler.is_compiling()  # which also takes a second table in a graph for the first


def has_exact_float64(x: torch.Tensor) -> bool:
    return x.device.type != "mps"


def is_on_accelerator(x: torch.Tensor) -> bool:
    return x.device.type != "cpu"


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


def times_unit(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if known_within(y, 0, 1):
        return x * y
    # Comparisons and a mask would be five calls. The logit is NaN outside [0, 1]; for any other value, xlogy is 0.
    return torch.addcmul(torch.xlogy(0.0, torch.logit(y.detach())), x, y)


def count(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return mask.sum()  # an integer divides a float without a cast


def add_product(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, factor: torch.Tensor | float) -> torch.Tensor:
    if isinstance(factor, torch.Tensor):
        return torch.addcmul(x, a * factor, b)
    return torch.addcmul(x, a, b, value=factor)


def lerp(a: torch.Tensor | float, b: torch.Tensor | float, weight: torch.Tensor) -> torch.Tensor:
    if isinstance(a, torch.Tensor):
        return torch.lerp(a, b if isinstance(b, torch.Tensor) else scalar(float(b), a.dtype, a.device), weight)
    # not `rsub`, whose alpha torch 2.13 loses where it compiles numbers as variables
    return torch.sub(scalar(a, weight.dtype, weight.device), weight, alpha=a - b)  # type: ignore[arg-type]


def softplus(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.softplus(x, threshold=40)  # above, the sum rounds to x, even in float64


def zero_below(x: torch.Tensor, least: float) -> torch.Tensor:
    return torch.nn.functional.threshold(x, least, 0.0)


def probabilities(x: torch.Tensor, *, axis: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return generic.probabilities(x, axis=axis, access=(pick, scatter_ids))
    limits = torch.finfo(x.dtype)  # as in `generic`, without masks and with less memory
    greatest, place = x.max(dim=axis, keepdim=True)
    loss = (x - greatest).clamp_(min=-0.25 * limits.max)
    p = decay(loss).scatter_(axis, place, 0.0)
    rest = p.sum(dim=axis, keepdim=True)
    total = rest + 1.0
    p = p.div_(total).scatter_(axis, place, total.reciprocal())
    q = (1.0 - p).scatter_(axis, place, (rest / total).clamp_(min=limits.smallest_normal))
    return p, q, torch.sub(rest.log1p(), loss, out=loss)


def odds_of_others(
    x: torch.Tensor, ids: torch.Tensor, *, axis: int, may_underflow: bool, reuse: bool
) -> tuple[torch.Tensor, torch.Tensor | float, torch.Tensor, torch.Tensor]:
    own, limits = pick(x, ids, axis=axis), torch.finfo(x.dtype)
    if may_underflow and is_eager_cpu(x) and not torch.is_grad_enabled():  # in place, without a copy of x
        greatest = x.amax(dim=axis, keepdim=True).clamp_(-limits.max, limits.max)
        powers = scatter_ids(decay(x - greatest, reuse=True), ids, 0.0, axis=axis, reuse=True)
        total = powers.sum(dim=axis).clamp_(min=limits.smallest_normal)
        return powers, total, (greatest.squeeze(axis) - own).add_(total.log()), own
    # as in `generic`; the greatest softmax is 1 / Σ exp(x − greatest)
    x = scatter_ids(x, ids, -0.25 * limits.max, axis=axis, reuse=reuse)
    others = torch.softmax(x, dim=axis)
    return others, 1.0, (x.amax(dim=axis) - own) - others.amax(dim=axis).log(), own


def logaddexp(a: torch.Tensor, b: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    if not is_eager_cpu(a):
        return torch.logaddexp(a, b)
    if torch.is_grad_enabled():
        return generic.logaddexp(a, b, p, q)
    return torch.maximum(a, b).sub_(torch.minimum(p, q).neg_().log1p_())


def pick(x: torch.Tensor, ids: torch.Tensor, *, axis: int) -> torch.Tensor:
    return torch.gather(x, axis, ids.long().unsqueeze(axis)).squeeze(axis)


def scatter_ids(
    x: torch.Tensor, ids: torch.Tensor, values: torch.Tensor | float, *, axis: int, reuse: bool = False
) -> torch.Tensor:
    indices = ids.long().unsqueeze(axis)
    values = values.unsqueeze(axis) if isinstance(values, torch.Tensor) else values
    if reuse and may_overwrite(x):
        return x.scatter_(axis, indices, values)
    return torch.scatter(x, axis, indices, values)

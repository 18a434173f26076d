"""The collectives of a step: a header, with which ranks that disagree all raise the same error, then the rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from imbalanced_core import checks

# Fixed length: ranks that disagree on what they send still exchange the same number of bytes.
_LENGTH = 64
_BITS = 52  # number of powers of two that a float64 sums exactly
_MAX_TENSORS, _MAX_DIMENSIONS, _MAX_FLAGS = 6, 5, 16
_DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
_DTYPE_NAMES = (*(str(dtype) for dtype in _DTYPES), "None")
_DEVICES = ("cpu", "cuda", "xpu", "mps", "another")


class Fact(NamedTuple):
    """A value that must be equal on every rank; `meanings[value]`, if given, is its text in errors."""

    name: str
    value: int
    meanings: tuple[str, ...] = ()

    def say(self, value: int) -> str:
        """A rank's value as text."""
        return self.meanings[value] if 0 <= value < len(self.meanings) else str(value)


def describe(
    tensors: Sequence[Tensor | None], *, names: Sequence[str], flags: Sequence[int] | Mapping[str, int] = ()
) -> list[Fact]:
    """The facts of one call: device, dtypes, row shapes, flags; ValueError on tensors or flags that cannot be sent."""
    if not isinstance(flags, Mapping):
        flags = {f"flags[{i}]": flag for i, flag in enumerate(flags)}
    checks.require(len(tensors) <= _MAX_TENSORS, "tensors", f"at most {_MAX_TENSORS}", len(tensors))
    checks.require(len(flags) <= _MAX_FLAGS, "flags", f"at most {_MAX_FLAGS}", len(flags))
    facts = [Fact("number of gathered tensors", len(tensors)), Fact("number of flags", len(flags))]
    rows, device = None, None
    for tensor, name in zip(tensors, names, strict=True):
        facts += _describe_tensor(tensor, name)
        if tensor is None:
            continue
        if rows is not None:
            checks.require(len(tensor) == rows, name, f"of {rows} rows like {names[0]}", len(tensor))
        rows, device = len(tensor), tensor.device.type
    code = _DEVICES.index(device) if device in _DEVICES else len(_DEVICES) - 1
    return [*facts, Fact("device type", code, _DEVICES), *(Fact(name, int(flag)) for name, flag in flags.items())]


def _describe_tensor(tensor: Tensor | None, name: str) -> list[Fact]:
    dtype_code = len(_DTYPES)
    shape: tuple[int, ...] = ()
    if tensor is not None:
        dimensions = tensor.dim()
        checks.require(1 <= dimensions <= _MAX_DIMENSIONS, name, f"of 1 to {_MAX_DIMENSIONS} dimensions", dimensions)
        checks.require(tensor.dtype in _DTYPES, name, "of a float, integer or bool dtype", tensor.dtype)
        dtype_code, shape = _DTYPES.index(tensor.dtype), tuple(tensor.shape[1:])
    padded = (*shape, *(-1 for _ in range(_MAX_DIMENSIONS - 1 - len(shape))))
    sizes = [Fact(f"{name}.shape[{axis}]", size) for axis, size in enumerate(padded, start=1)]
    return [Fact(f"{name}.dtype", dtype_code, _DTYPE_NAMES), *sizes]


def exchange(describe: Callable[[], list[Fact]], *, rows: int, device: torch.device, process_group: Any) -> list[int]:
    """Exchanges facts and row counts; returns the row counts of all ranks, in rank order.

    If `describe`, which returns the facts, raises, a flag is sent instead, so that the other ranks raise too rather
    than hang: an error that names the ranks where it failed. If ranks disagree on a fact, all raise a ValueError that
    names it, with the values and ranks.
    """
    facts: list[Fact] = []
    failure = None
    try:
        facts = describe()
    except Exception as error:
        failure = error
    values = [rows, int(failure is not None), *(fact.value for fact in facts)]
    local = torch.tensor(values + [0] * (_LENGTH - len(values)), dtype=torch.int64, device=device)
    gathered = local.new_empty(_LENGTH * dist.get_world_size(process_group))
    all_gather(gathered, local, process_group)
    headers = gathered.view(-1, _LENGTH).tolist()
    if failure is not None:
        raise failure
    _refuse([rank for rank, header in enumerate(headers) if header[1]])
    for position, fact in enumerate(facts, start=2):
        column = [header[position] for header in headers]
        if len(set(column)) > 1:
            raise ValueError(f"{fact.name} must be the same on every rank, got {_say_ranks(fact, column)}")
    return [header[0] for header in headers]


def failures(process_group: Any, *, failed: bool, device: torch.device) -> Tensor:
    """Which ranks failed, one bit per rank, as float64 numbers that an all-reduce sums."""
    size, rank = dist.get_world_size(process_group), dist.get_rank(process_group)
    length = -(-size // _BITS)
    if not failed:
        return torch.zeros(length, dtype=torch.float64, device=device)
    bits = [2.0 ** (rank % _BITS) if i == rank // _BITS else 0.0 for i in range(length)]
    return torch.tensor(bits, dtype=torch.float64, device=device)


def refuse_failures(failed: Tensor) -> None:
    """Raises a ValueError naming the failed ranks, given the sum of all ranks' `failures`. Reads the values."""
    numbers = [int(number) for number in failed.tolist()]
    _refuse([_BITS * i + bit for i, number in enumerate(numbers) for bit in range(_BITS) if number >> bit & 1])


def _refuse(failed: Sequence[int]) -> None:
    if failed:
        raise ValueError(f"inputs must be valid on every rank, got an error on {say_list(failed)}; it says which")


def all_gather(gathered: Tensor, local: Tensor, process_group: Any) -> None:
    """Fills `gathered` [W · n, ...] with the tensors [n, ...] of all ranks."""
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13
    gather(gathered, local, group=process_group)


def _say_ranks(fact: Fact, column: Sequence[int]) -> str:
    ranks: dict[int, list[int]] = {}
    for rank, value in enumerate(column):
        ranks.setdefault(value, []).append(rank)
    return "; ".join(f"{fact.say(value)} on {say_list(which)}" for value, which in ranks.items())


def say_list(ranks: Sequence[int]) -> str:
    """`rank 3`, or `ranks 0, 1, 2`, truncated after eight."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return "ranks " + ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")


def gather_constants(tensors: list[Tensor], *, rows: list[int], process_group: Any) -> list[Tensor]:
    """Gathers tensors [n, ...] to [Σ n, ...] without gradient, in one collective; `rows` holds the n of every rank."""
    # Copies: `contiguous()` keeps any strides of a dimension of length 1, and a view as bytes may reject those.
    matrices = [tensor.detach().reshape(len(tensor), tensor.shape[1:].numel()) for tensor in tensors]
    copies = [matrix.clone(memory_format=torch.contiguous_format).view(torch.uint8) for matrix in matrices]
    payload = torch.cat(copies, dim=1)  # [n, bytes]
    widths = [tensor.shape[1:].numel() * tensor.element_size() for tensor in tensors]
    return [
        part.clone(memory_format=torch.contiguous_format).view(tensor.dtype).reshape(-1, *tensor.shape[1:])
        for part, tensor in zip(_gather_padded(payload, rows, process_group).split(widths, dim=1), tensors, strict=True)
    ]


def _gather_padded(payload: Tensor, rows: list[int], process_group: Any) -> Tensor:
    longest = max(rows)
    if longest == 0:  # known to every rank
        return payload
    padded = payload
    if payload.shape[0] < longest:
        padded = payload.new_zeros(longest, payload.shape[1])
        padded[: payload.shape[0]] = payload
    gathered = payload.new_empty(longest * len(rows), payload.shape[1])
    all_gather(gathered, padded, process_group)
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

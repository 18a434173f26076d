"""The collectives of a step: a header, with which ranks that disagree all raise the same error, then the rows."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from imbalanced_core import checks


def describe(
    tensors: Sequence[Tensor | None], *, names: Sequence[str], flags: Mapping[str, int | str]
) -> dict[str, Any]:
    """The facts of one call that must be equal on every rank; ValueError on tensors that cannot be sent together."""
    facts: dict[str, Any] = {"number of gathered tensors": len(tensors), "number of flags": len(flags)}
    rows = device = None
    for tensor, name in zip(tensors, names, strict=True):
        facts[f"{name}.dtype"] = tensor if tensor is None else str(tensor.dtype)
        if tensor is None:
            continue
        checks.require(tensor.dim() > 0, name, "of at least 1 dimension", tensor.dim())
        if rows is not None:
            checks.require(len(tensor) == rows, name, f"of {rows} rows like {names[0]}", len(tensor))
        rows, device = len(tensor), tensor.device.type
        facts |= {f"{name}.shape[{axis}]": size for axis, size in enumerate(tensor.shape[1:], start=1)}
    facts |= {name: flag if isinstance(flag, str) else int(flag) for name, flag in flags.items()}
    return facts | {"device type": device}


def exchange(describe: Callable[[], Any], *, rows: int, device: torch.device, process_group: Any) -> list[int]:
    """Exchanges row counts and a hash of the facts; returns the row counts of all ranks, in rank order.

    If `describe`, which returns the facts, raises, a flag is sent instead, so that the other ranks raise too rather
    than hang: an error that names the ranks where it failed. If ranks disagree on a fact, all raise a ValueError that
    names it, with the values and ranks.
    """
    facts: dict[str, Any] = {}
    failure = None
    try:
        facts = describe()
    except Exception as error:
        failure = error
    code = int.from_bytes(hashlib.sha256(repr(sorted(facts.items())).encode()).digest()[:7])  # int64 holds 7 bytes
    local = torch.tensor([rows, int(failure is not None), code], dtype=torch.int64, device=device)
    gathered = local.new_empty(len(local) * dist.get_world_size(process_group))
    with of_every_rank():
        all_gather(gathered, local, process_group)
    of_ranks, failed, codes = zip(*gathered.view(-1, len(local)).tolist(), strict=True)
    if failure is not None:
        raise failure
    refuse(failed)
    if len(set(codes)) > 1:
        name, column = next(differences(facts, process_group))
        ranks: dict[Any, list[int]] = {}
        for rank, value in enumerate(column):
            ranks.setdefault(value, []).append(rank)
        values = "; ".join(f"{value} on {say_list(which)}" for value, which in ranks.items())
        raise ValueError(f"{name} must be the same on every rank, got {values}")
    return list(of_ranks)


def differences(own: dict[str, Any], process_group: Any) -> Iterator[tuple[str, list[Any]]]:
    """The names under which the ranks have different values, None for none, and these values in rank order."""
    of_ranks: list[dict[str, Any]] = [{} for _ in range(dist.get_world_size(process_group))]
    dist.all_gather_object(of_ranks, own, group=process_group)
    for name in dict.fromkeys(name for values in of_ranks for name in values):
        column = [values.get(name) for values in of_ranks]
        if len(set(column)) > 1:
            yield name, column


def failures(process_group: Any, *, failed: bool, device: torch.device) -> Tensor:
    """Which ranks failed, one float64 flag per rank, to be summed by an all-reduce; here, this rank's."""
    flags = torch.zeros(dist.get_world_size(process_group), dtype=torch.float64, device=device)
    if failed:
        flags[dist.get_rank(process_group)] = 1.0
    return flags


def refuse(failed: Sequence[float]) -> None:
    """Raises a ValueError naming the ranks whose flag is set."""
    if ranks := [rank for rank, flag in enumerate(failed) if flag]:
        raise ValueError(f"inputs must be valid on every rank, got an error on {say_list(ranks)}; it says which")


def all_gather(gathered: Tensor, local: Tensor, process_group: Any) -> None:
    """Fills `gathered` [W · n, ...] with the tensors [n, ...] of all ranks."""
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13
    gather(gathered, local, group=process_group)


@contextlib.contextmanager
def of_every_rank() -> Iterator[None]:
    """A context for the first collective of a loss, which says what to do if other ranks do not take part."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            "a loss over the rows of all processes must be called by every rank in every step, got a failed "
            "collective; where ranks may skip it, use gather_distributed=False: each rank then has a loss of its own"
        ) from error


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

"""`torch.distributed` collectives that make the gradient of W processes equal that of one.

The contract: after the usual averaging of gradients (DDP, FSDP2), every process holds the gradient that one process
would compute from the concatenated rows of all ranks, in rank order, and the returned loss is the global value. Ranks
may hold different numbers of rows, or none.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from imbalanced_core import checks, reductions
from imbalanced_core.options import check_options
from imbalanced_torch import _collectives, validation
from imbalanced_torch._collectives import LocalSlice, ValueWithGradient, gather_constants


class GroupMember(nn.Module):
    """A module with a `process_group`, which its deep copies share."""

    process_group: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> "GroupMember":
        # A group is a handle to processes and cannot be copied.
        memo[id(self.process_group)] = self.process_group
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__ = copy.deepcopy(self.__dict__, memo)
        return other


def all_gather_with_grad(tensor: Tensor, *, process_group: Any = None) -> Tensor:
    """The rows (dimension 0) of all ranks, [Σ n, ...] in rank order; only this rank's slice carries gradient.

    Under DDP or FSDP2, which average gradients, a loss of the result has 1/W of the gradient of one process. The
    modules of this package correct for this; in custom losses use `gather_rows`, or multiply by W. With one rank the
    result is the tensor itself.

    Args:
        tensor: [n, ...]; n may differ between ranks, the rest of the shape may not.
        process_group: the ranks to gather from; None for all.

    Raises:
        RuntimeError: if `torch.distributed` is not available or not initialized.
        ValueError: on every rank, if the ranks disagree on the shape of a row or on the dtype.
    """
    _require_initialized("all_gather_with_grad")
    (gathered,), _ = gather_rows((tensor,), process_group=process_group, grad_reduction="sum", names=("tensor",))
    return gathered


def all_gather_no_grad(tensor: Tensor, *, process_group: Any = None) -> Tensor:
    """As `all_gather_with_grad`, but without gradient: for targets, weights and masks."""
    _require_initialized("all_gather_no_grad")
    return all_gather_with_grad(tensor.detach(), process_group=process_group)


def check_group(process_group: Any) -> None:
    """TypeError unless it is a process group or None; outside its own group, a rank has a placeholder."""
    if process_group is None or not dist.is_available():
        return
    if not isinstance(process_group, dist.ProcessGroup) and process_group != dist.GroupMember.NON_GROUP_MEMBER:
        rule = "a torch.distributed.ProcessGroup or None (the group of a DeviceMesh: mesh.get_group())"
        raise TypeError(f"process_group must be {rule}, got {process_group!r}")


def should_gather(gather_distributed: bool | None, *, training: bool, process_group: Any) -> bool:
    """Whether this call of a loss uses the rows of all ranks; evaluated at every call.

    `gather_distributed` None gathers in training (training mode with gradients enabled) with several ranks, so
    validation on a single rank cannot hang; True gathers always, and raises a RuntimeError if `torch.distributed` is
    not available or not initialized; False never.
    """
    check_options({"gather_distributed": gather_distributed})
    if gather_distributed:
        _require_initialized("gather_distributed=True")
    if gather_distributed is not None:
        return gather_distributed
    return training and _is_initialized() and dist.get_world_size(process_group) > 1


# The row counts of other ranks are data, so the compiler cannot trace the gather: a graph break.
@torch.compiler.disable(reason="the number of rows on other ranks is data")
def gather_rows(
    tensors: tuple[Tensor | None, ...],
    *,
    process_group: Any,
    grad_reduction: str,
    flags: Mapping[str, int | str] = MappingProxyType({}),
    names: Sequence[str] | None = None,
) -> tuple[tuple[Tensor | None, ...], Tensor]:
    """The rows of all ranks in rank order, with the gradient of a single process.

    Two collectives, whatever the number of tensors: a small header on which all ranks must agree, then the rows.
    Backward needs no collective, because every rank computes the same loss: it returns this rank's slice, times W for
    `grad_reduction="mean"`.

    Args:
        tensors: tensors [n, ...] with the same n; a tensor that is None must be None on every rank. n may differ
            between ranks and may be 0.
        process_group: the ranks to gather from; None for all.
        grad_reduction: what the training framework does with gradients: "mean" (DDP, FSDP2) or "sum".
        flags: integers and strings that must be equal on all ranks, such as options; the error has their names.
        names: names of the tensors, for the error.

    Returns:
        The gathered tensors [Σ n, ...], and a bool mask [Σ n] of this rank's own rows.

    Raises:
        ValueError: on every rank, if ranks disagree; on this rank, if its own tensors differ in rows.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    checks.require(bool(present), "tensors", "at least one tensor", tensors)
    names = names or [f"tensors[{i}]" for i in range(len(tensors))]
    n, device = len(present[0]), present[0].device
    if dist.get_world_size(process_group) == 1:
        return tensors, torch.ones(n, dtype=torch.bool, device=device)
    describe = partial(_collectives.describe, tensors, names=names, flags=flags)
    rows = _collectives.exchange(describe, rows=n, device=device, process_group=process_group)
    gathered = iter(gather_constants(present, rows=rows, process_group=process_group))
    start, scale = sum(rows[: dist.get_rank(process_group)]), gradient_scale(process_group, grad_reduction)
    linked = tuple(local if local is None else link_local(local, next(gathered), start, scale) for local in tensors)
    index = torch.arange(sum(rows), device=device)
    return linked, (index >= start) & (index < start + n)


def check_everywhere(check: Callable[[], None], *, device: Any, process_group: Any) -> None:
    """Runs a check of this rank's arguments; if it raises, the other ranks, in `gather_rows`, raise and do not hang."""
    if torch.compiler.is_compiling():
        check()
        return
    try:
        check()
    except Exception:
        _collectives.exchange(check, rows=0, device=torch.device(device), process_group=process_group)
        raise


def global_ratio(
    parts: Callable[[], tuple[Tensor, Tensor | None]],
    *,
    device: torch.device,
    process_group: Any,
    grad_reduction: str,
    is_weighted: bool,
) -> Tensor:
    """Σ total / Σ divisor over the ranks, with its gradient, without gathering rows; the divisor as by `mean_divisor`.

    `parts` returns this rank's total, its sum of losses, and its divisor, without gradient, or None for a plain sum;
    both 0-d. On a rank without rows the total is a zero that depends on the model's output, so that every rank takes
    part in gradient averaging. The rest is as in `gather_rows`. One all-reduce of a few float64 numbers on
    `device`; none in backward. It can be traced by `torch.compile(fullgraph=True)`.

    If `parts` raises, this rank sends a flag and raises the error, so that the others do not hang. While
    `torch.compile` traces, nothing is caught.

    Returns:
        The global value, 0-d, in the dtype of the total, equal on every rank. If `parts` failed on another rank: a
        ValueError that says on which, or NaN on an accelerator or compiled.
    """
    if torch.compiler.is_compiling():
        total, divisor = parts()
    else:
        try:
            total, divisor = parts()
        except Exception:
            failed = _collectives.failures(process_group, failed=True, device=device)
            dist.all_reduce(torch.cat([failed.new_zeros(2), failed]), group=process_group)
            raise
    # float64 keeps counts exact, and ranks that disagree on the dtype still exchange the same number of bytes.
    own = torch.stack([x.detach().double() for x in (total, torch.ones_like(total) if divisor is None else divisor)])
    failed = _collectives.failures(process_group, failed=False, device=own.device)
    sums = torch.cat([own, failed])
    _reduce_everywhere(sums, process_group)
    failed = sums[2:]
    if validation.can_read(failed):
        _collectives.refuse(failed.tolist())
    divisor = torch.ones_like(sums[1]) if divisor is None else sums[1]
    divisor = reductions.mean_divisor(divisor, is_weighted=is_weighted)
    value = torch.where((failed > 0).any(), torch.nan, sums[0] / divisor).to(total.dtype)
    factor = (gradient_scale(process_group, grad_reduction) / divisor).to(total.dtype)
    return ValueWithGradient.apply(total, value, factor)


def _reduce_everywhere(sums: Tensor, process_group: Any) -> None:
    if torch.compiler.is_compiling():
        dist.all_reduce(sums, group=process_group)
        return
    with _collectives.of_every_rank():
        dist.all_reduce(sums, group=process_group)


def check_queues_equal(module: nn.Module, *, process_group: Any = None) -> None:
    """Checks that the ranking losses in `module` have the same state on every rank. All ranks must call it.

    The state is the queue, the gate and the temperature. Losses that gather keep it equal; it diverges when a rank
    works alone: with `gather_distributed=False`, in validation with `update_queue_in_eval=True`, or when not all ranks
    load a checkpoint. For a class-parallel queue only weights and flags are compared; its logits differ by design.
    Copies all queues to the host: for tests and after loading, not for every step.

    Raises:
        ValueError: on every rank, naming the buffer and the ranks that differ.
        RuntimeError: if `torch.distributed` is not available or not initialized.
    """
    _require_initialized("check_queues_equal")
    own = {name: _digest(buffer) for name, buffer in module.named_buffers() if _is_shared_state(module, name)}
    checks.require(bool(own), "module", "a module that holds a ranking loss", type(module).__name__)
    for name, digests in _collectives.differences(own, process_group):
        differing = _collectives.say_list([rank for rank, digest in enumerate(digests) if digest != digests[0]])
        raise ValueError(f"{name} must be equal on every rank, got another value on {differing}")


def _is_shared_state(module: nn.Module, name: str) -> bool:
    """Whether a buffer belongs to a ranking loss and should be equal on every rank."""
    path, _, buffer = name.rpartition(".")
    owner = module.get_submodule(path)
    of_own_classes = ("queue_logits", "queue_targets", "queue_block") if getattr(owner, "class_parallel", False) else ()
    return "queue_logits" in owner._buffers and buffer not in of_own_classes


def _digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return f"{tuple(tensor.shape)} {tensor.dtype} {hashlib.sha256(content).hexdigest()}"


def link_local(local: Tensor, gathered: Tensor, start: int, scale: int) -> Tensor:
    """The gathered rows; backward gives `local`, their slice from `start` on, `scale` times its cotangent."""
    return LocalSlice.apply(local, gathered, start, scale) if local.requires_grad else gathered


def gradient_scale(process_group: Any, grad_reduction: str) -> int:
    """The factor on gradients with which the framework's reduction becomes the sum over the ranks."""
    check_options({"grad_reduction": grad_reduction})
    return dist.get_world_size(process_group) if grad_reduction == "mean" else 1


def _is_initialized() -> bool:
    # Not `dist.is_initialized()`: the compiler treats it as a constant and would miss a later initialisation.
    return dist.is_available() and dist.distributed_c10d._world.default_pg is not None


def _require_initialized(what: str) -> None:
    if not _is_initialized():
        raise RuntimeError(
            f"torch.distributed must be initialized for {what}, got no process group; "
            "call torch.distributed.init_process_group() first"
        )

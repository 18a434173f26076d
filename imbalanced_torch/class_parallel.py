"""Ranking losses over many classes: every rank computes its C/W classes from the rows of all ranks.

An all-to-all sends each rank the columns of its classes, so no rank ever holds all logits: memory, work and forward
traffic are W times smaller than with a gather. Value and gradient equal those of the gathered loss up to rounding.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from imbalanced_core import ops
from imbalanced_core.pool import class_block
from imbalanced_core.pool.class_block import block_loss
from imbalanced_core.pool.labels import positive_count
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_torch import _collectives, distributed
from imbalanced_torch._collectives import gather_constants

_INPUTS = ("logits", "targets", "sample_weight", "iid_mask")


class Layout(NamedTuple):
    """The rows of every rank, in rank order, and the classes, of which every rank owns a block."""

    process_group: Any
    rank: int
    rows: list[int]  # of each rank
    width: int  # number of classes of a block, padding included
    widths: list[int]  # of each rank, without padding

    @property
    def sizes(self) -> tuple[list[int], list[int]]:
        """How many numbers of this rank's rows each rank owns, and how many of this rank's block each rank has."""
        n, width = self.rows[self.rank], self.widths[self.rank]
        return [n * w for w in self.widths], [m * width for m in self.rows]


def class_parallel_loss(
    objective: Callable[..., tuple],
    rows: Mapping[str, Tensor | None],
    queue: Queue,
    *,
    reduction: str,
    ignore_index: int,
    multilabel: bool,
    gather: bool,
    process_group: Any,
    grad_reduction: str,
    flags: dict[str, int | str],
    check: Callable[[], None],
    **options: Any,
) -> tuple[Tensor, PooledResult]:
    """`imbalanced_core.pool.step.pooled_loss` over the rows of all ranks, with the classes divided among them.

    `rows` maps "logits", "targets", "sample_weight" and "iid_mask" to its arguments, for this rank: N may differ
    between ranks and may be 0. Other arguments are as there. The queue holds this rank's classes of the global queue:
    logits and targets [Q, ⌈C / W⌉]. Without `gather` this rank works alone; `process_group` and `grad_reduction` are as
    in `imbalanced_torch.distributed.gather_rows`. `flags` are further values that must be equal on all ranks; `check`
    raises on invalid values on this rank, and then every rank raises, as it does with a ValueError if ranks disagree on
    a shape, a dtype or an option. Returns the global loss, equal on all ranks, and a result for all C classes, except
    that its queue is this rank's.

    Cost: three small collectives and two all-to-all of N · C numbers, one of them in backward, which every rank must
    run.
    """
    inputs = {name: tensor for name, tensor in rows.items() if tensor is not None}
    logits, targets, num_classes = inputs["logits"], inputs["targets"], inputs["logits"].shape[1]
    reading: dict[str, Any] = {"multilabel": multilabel, "ignore_index": ignore_index}
    if not gather:
        check()
        labels = class_block.row_labels(targets, shape=tuple(logits.shape), **reading)
        inputs["targets"] = class_block.block_labels(labels, first=0, width=num_classes, num_classes=num_classes)
        options |= {"reduction": reduction, "multilabel": True, "ignore_index": -1}  # of the labels of a block
        return pooled_loss(objective, queue=queue, **(options | inputs))
    layout = _agree(inputs, flags | reading, check, process_group)
    inputs["targets"] = class_block.row_labels(targets, shape=tuple(logits.shape), **reading)
    inputs["is_storable"] = torch.isfinite(logits.detach()).all(dim=1)
    block = _exchange(inputs, layout, multilabel, distributed.gradient_scale(process_group, grad_reduction))
    options |= {"first": layout.rank * layout.width, "width": layout.width, "num_classes": num_classes}
    options |= {"reduction": reduction, "share": partial(_share, layout=layout)}
    loss, result = block_loss(objective, block, queue, **options)
    count = positive_count(inputs["targets"], num_classes, ops.widen(logits).dtype)
    return loss, ops.replaced(result, diagnostics=ops.replaced(result.diagnostics, grad_pos_count=count))


@torch.compiler.disable(reason="the number of rows on other ranks is data")
def _agree(
    inputs: dict[str, Tensor], flags: dict[str, int | str], check: Callable[[], None], process_group: Any
) -> Layout:
    """The layout, after checking that all ranks have the same kinds of tensors and the same options."""
    logits = inputs["logits"]
    needs_grad = logits.requires_grad and torch.is_grad_enabled()  # if ranks differed, backward would hang

    def describe() -> dict[str, Any]:
        check()
        tensors = [inputs.get(name) for name in _INPUTS]
        return _collectives.describe(tensors, names=_INPUTS, flags={**flags, "logits.requires_grad": needs_grad})

    rows = _collectives.exchange(describe, rows=len(logits), device=logits.device, process_group=process_group)
    width = class_block.block_width(logits.shape[1], len(rows))
    widths = [min(max(logits.shape[1] - rank * width, 0), width) for rank in range(len(rows))]
    return Layout(process_group, dist.get_rank(process_group), rows, width, widths)


@torch.compiler.disable(reason="the number of rows on other ranks is data")
def _exchange(inputs: dict[str, Tensor], layout: Layout, multilabel: bool, scale: int) -> dict[str, Tensor]:
    """This rank's block of tensors with a column per class; tensors with an entry per row, gathered from all ranks."""
    columns = ("logits", "targets") if multilabel else ("logits",)
    block = {name: _ToBlock.apply(inputs[name], layout, scale) for name in columns}
    by_row = {name: tensor for name, tensor in inputs.items() if name not in columns}
    gathered = gather_constants(list(by_row.values()), rows=layout.rows, process_group=layout.process_group)
    return block | dict(zip(by_row, gathered, strict=True))


@torch.compiler.disable(reason="collectives of this size are not worth tracing")
def _share(packed: Tensor, layout: Layout) -> Tensor:
    """The packed vectors of all ranks, [W, k]."""
    own = packed[None, :]
    ones = [1] * len(layout.rows)
    (blocks,) = gather_constants([own], rows=ones, process_group=layout.process_group)
    # Every rank computes the same reduction of these, so its own slice of the cotangent is the whole derivative.
    return distributed.link_local(own, blocks, layout.rank, 1)


class _ToBlock(torch.autograd.Function):
    """Maps [n, C] of every rank to this rank's block of columns [Σ n, width]; padding is 0.

    Backward sends the cotangents back to the ranks of their rows, times `scale`.
    """

    @staticmethod
    def forward(ctx: Any, columns: Tensor, layout: Layout, scale: int) -> Tensor:
        ctx.layout, ctx.scale = layout, scale
        by_owner, by_source = layout.sizes
        parts = [part.reshape(-1) for part in columns.split(layout.widths, dim=1)]
        received = _all_to_all(torch.cat(parts), by_owner, by_source, layout.process_group)
        width = layout.widths[layout.rank]
        return F.pad(received.reshape(sum(layout.rows), width), (0, layout.width - width))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        layout = ctx.layout
        by_owner, by_source = layout.sizes
        sent = (cotangents[0] * ctx.scale)[:, : layout.widths[layout.rank]].reshape(-1)
        parts = _all_to_all(sent, by_source, by_owner, layout.process_group).split(by_owner)
        n = layout.rows[layout.rank]
        columns = [part.reshape(n, width) for part, width in zip(parts, layout.widths, strict=True)]
        return torch.cat(columns, dim=1), None, None


def _all_to_all(sent: Tensor, sent_sizes: list[int], received_sizes: list[int], process_group: Any) -> Tensor:
    # As bytes, which every backend supports whatever the dtype.
    size = sent.element_size()
    received = sent.new_empty(sum(received_sizes))
    dist.all_to_all_single(
        received.view(torch.uint8),
        sent.clone(memory_format=torch.contiguous_format).view(torch.uint8),
        [size * k for k in received_sizes],
        [size * k for k in sent_sizes],
        group=process_group,
    )
    return received

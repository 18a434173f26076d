"""Ranking losses over many classes: every rank computes its C/W classes from the rows of all ranks.

An all-to-all sends each rank the columns of its classes, so no rank ever holds all logits: memory, work and forward
traffic are W times smaller than with a gather. Value and gradient equal those of the gathered loss up to rounding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from imbalanced_core.pool import class_block
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_torch import _collectives, distributed
from imbalanced_torch._collectives import gather_constants

_INPUTS = ("logits", "targets", "sample_weight", "iid_mask")


class Layout(NamedTuple):
    """The data layout: the rows of every rank, in rank order, and the classes, of which every rank owns a block."""

    process_group: Any
    rank: int
    rows: list[int]  # of each rank
    num_classes: int

    @property
    def width(self) -> int:
        """The number of classes of a block, padding included."""
        return class_block.block_width(self.num_classes, len(self.rows))

    @property
    def first(self) -> int:
        """The first class of this rank's block; num_classes or more if it is all padding."""
        return self.width * self.rank

    @property
    def widths(self) -> list[int]:
        """The number of classes in the block of each rank, without padding."""
        return [min(max(self.num_classes - r * self.width, 0), self.width) for r in range(len(self.rows))]


def class_parallel_loss(
    objective: Callable[..., tuple],
    logits: Tensor,
    targets: Tensor,
    queue: Queue,
    *,
    reduction: str,
    ignore_index: int,
    multilabel: bool,
    sample_weight: Tensor | None,
    iid_mask: Tensor | None,
    gather: bool,
    process_group: Any,
    grad_reduction: str,
    flags: dict[str, int | str],
    check: Callable[[], None],
    **options: Any,
) -> tuple[Tensor, PooledResult]:
    """`imbalanced_core.pool.step.pooled_loss` over the rows of all ranks, with the classes divided among them.

    Arguments as there, for this rank's rows: N may differ between ranks and may be 0. The queue holds this rank's
    classes of the global queue: logits and targets [Q, ⌈C / W⌉]. Without `gather` this rank works alone;
    `process_group` and `grad_reduction` are as in `imbalanced_torch.distributed.gather_rows`. `flags` are further
    values that must be equal on all ranks; `check` raises on invalid values on this rank, and then every rank raises,
    as it does with a ValueError if ranks disagree on a shape, a dtype or an option.

    Returns:
        The global loss, equal on all ranks, and a result for all C classes, except that its queue is this rank's.

    Cost: three small collectives and two all-to-all of N · C numbers, one of them in backward, which every rank must
    run.
    """
    num_classes = logits.shape[1]
    inputs = {"logits": logits, "targets": targets, "sample_weight": sample_weight, "iid_mask": iid_mask}
    inputs = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    kind: dict[str, Any] = {"multilabel": multilabel, "ignore_index": ignore_index}
    options |= {"multilabel": True, "ignore_index": -1}  # of the labels of a block
    if not gather:
        check()
        labels = class_block.row_labels(targets, shape=tuple(logits.shape), **kind)
        labels = class_block.block_labels(labels, first=0, width=num_classes, num_classes=num_classes)
        options |= {"sample_weight": sample_weight, "iid_mask": iid_mask}
        return pooled_loss(objective, logits, labels, queue, reduction=reduction, **options)
    layout = _agree(inputs, flags | kind, check, process_group)
    inputs["targets"] = class_block.row_labels(targets, shape=tuple(logits.shape), **kind)
    inputs["is_storable"] = torch.isfinite(logits.detach()).all(dim=1)
    block = _exchange(inputs, layout, multilabel, distributed.gradient_scale(process_group, grad_reduction))
    loss, result = pooled_loss(
        objective,
        block["logits"],
        class_block.block_labels(block["targets"], first=layout.first, width=layout.width, num_classes=num_classes),
        queue,
        reduction="sum",
        sample_weight=block.get("sample_weight"),
        iid_mask=block.get("iid_mask"),
        is_storable=block["is_storable"],
        **options,
    )
    packed = class_block.pack_block(loss, result.per_class, result.valid, result.diagnostics)
    loss, per_class, valid, figures = class_block.unpack_blocks(
        _share(packed, layout), result.diagnostics, num_classes=num_classes, reduction=reduction
    )
    figures = figures._replace(grad_pos_count=class_block.live_positive_count(logits, inputs["targets"]))
    return loss, PooledResult(result.queue, per_class, valid, figures)


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
    return Layout(process_group, dist.get_rank(process_group), rows, logits.shape[1])


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


def _to_block(columns: Tensor, layout: Layout) -> Tensor:
    """Maps [n, C] of every rank to this rank's block of columns [Σ n, width]; padding is 0."""
    n, width = columns.shape[0], layout.widths[layout.rank]
    parts = [part.reshape(-1) for part in columns.split(layout.widths, dim=1)]
    received = _all_to_all(torch.cat(parts), [n * w for w in layout.widths], [m * width for m in layout.rows], layout)
    return F.pad(received.reshape(sum(layout.rows), width), (0, layout.width - width))


def _from_block(block: Tensor, layout: Layout) -> Tensor:
    """Inverse of `_to_block`: maps the blocks [Σ n, width] of all ranks to this rank's rows [n, C]."""
    n, width = layout.rows[layout.rank], layout.widths[layout.rank]
    sent = block[:, :width].reshape(-1)
    sizes = [n * w for w in layout.widths]
    received = _all_to_all(sent, [m * width for m in layout.rows], sizes, layout)
    return torch.cat([part.reshape(n, w) for part, w in zip(received.split(sizes), layout.widths, strict=True)], dim=1)


def _all_to_all(sent: Tensor, sent_sizes: list[int], received_sizes: list[int], layout: Layout) -> Tensor:
    # As bytes, which every backend supports whatever the dtype.
    size = sent.element_size()
    received = sent.new_empty(sum(received_sizes))
    dist.all_to_all_single(
        received.view(torch.uint8),
        sent.clone(memory_format=torch.contiguous_format).view(torch.uint8),
        [size * k for k in received_sizes],
        [size * k for k in sent_sizes],
        group=layout.process_group,
    )
    return received


class _ToBlock(torch.autograd.Function):
    """`_to_block`, whose backward sends the cotangents back to the ranks of their rows, times `scale`."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, layout: Layout, scale: int) -> Tensor:
        ctx.layout, ctx.scale = layout, scale
        return _to_block(columns, layout)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        return _from_block(cotangents[0] * ctx.scale, ctx.layout), None, None

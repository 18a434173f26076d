"""Ranking losses with the classes divided among W processes: each computes a block of classes from all rows.

A one-vs-rest loss of a class depends on no other class, so its column of logits is all that it needs. Process r owns
the classes [r · width, (r + 1) · width), width = ⌈C / W⌉; classes from C on are padding.
"""

from collections.abc import Callable, Mapping
from typing import Any

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.labels import read_labels
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import Diagnostics, PooledResult, pooled_loss
from imbalanced_core.reductions import safe_divide

_BAD_ID, _BAD_LABEL = -2, 2  # mark a target that is neither a class nor ignored until a block makes its loss NaN


def block_width(num_classes: int, processes: int) -> int:
    """⌈C / W⌉."""
    return -(-num_classes // processes)


def row_labels(targets: Array, *, shape: tuple[int, ...], ignore_index: int, multilabel: bool) -> Array:
    """The labels of `read_labels` for logits of this shape, (N, C), with bad targets marked."""
    rows, num_classes = shape
    labels, is_bad = read_labels(
        targets, rows=rows, num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel
    )
    if is_bad is None:
        return labels
    return ops.where(is_bad[:, None], _BAD_LABEL, labels) if multilabel else ops.where(is_bad, _BAD_ID, labels)


def block_labels(labels: Array, *, first: Array, width: int, num_classes: int) -> Array:
    """The labels of one block of classes, for `pooled_loss` with `multilabel` and ignore_index −1: int32 [M, width].

    1 for the row's own class, 0 for others, −1 for ignored rows and padding; 2, which makes the loss NaN, for invalid
    targets. They follow from those of `row_labels`: class ids [M], or the 0/1 labels of the block [M, width]. `first`
    is the first class of the block, an int or a 0-d array.
    """
    xp = array_namespace(labels)
    first = first if isinstance(first, int) else xp.astype(first, xp.int32)
    classes = (ops.arange(width, like=labels) + first)[None, :]
    if labels.ndim == 1:
        ids = labels[:, None]
        own = ops.astype(ids == (classes + 1 if num_classes == 1 else classes), xp.int32)
        labels = ops.where(ids == _BAD_ID, _BAD_LABEL, ops.where(ids == -1, -1, own))
    return ops.where(classes >= num_classes, -1, labels)


def pack_block(total: Array, per_class: Array, valid: Array, diagnostics: Diagnostics) -> Array:
    """The results of a block for the other processes, as one vector [1 + (2 + figures) · width].

    They are the sum of the block's valid losses (NaN for invalid input), and, [width] each, its losses (NaN where
    invalid), whether they are valid, and the figures that are not None.
    """
    xp = array_namespace(total)
    rows = [per_class, valid, *(figure for figure in diagnostics if figure is not None)]
    return xp.concat([xp.reshape(total, (1,)), *(ops.astype(row, total.dtype) for row in rows)])


def unpack_blocks(
    blocks: Array, like: Diagnostics, *, num_classes: int, reduction: str
) -> tuple[Array, Array, Array, Diagnostics]:
    """The loss, reduced as by `reduce_classes`, per_class [C], valid [C] and diagnostics of all classes.

    `blocks` are the vectors of `pack_block` in the order of the processes, [W, ...]; `like` are the diagnostics of one
    block, for the names of the figures.
    """
    xp = array_namespace(blocks)
    names = list(ops.present(like))
    fields = xp.reshape(blocks[:, 1:], (blocks.shape[0], 2 + len(names), -1))
    per_class, valid, *figures = (xp.reshape(fields[:, i, :], (-1,))[:num_classes] for i in range(fields.shape[1]))
    # Totals, not `reduce_classes` of per_class: there the NaN of invalid input looks like that of an invalid class.
    loss = per_class if reduction == "none" else xp.sum(blocks[:, 0])
    if reduction == "mean":
        loss = safe_divide(loss, xp.sum(valid))
    return loss, per_class, valid > 0.5, Diagnostics(**dict(zip(names, figures, strict=True)))


def block_loss(
    objective: Callable[..., tuple],
    rows: Mapping[str, Array],
    queue: Queue,
    *,
    first: Array | int,
    width: int,
    num_classes: int,
    reduction: str,
    share: Callable[[Array], Array],
    **options: Any,
) -> tuple[Array, PooledResult]:
    """`pooled_loss` of the classes from `first` on, with the results of all classes except for the queue.

    `rows` holds arguments of `pooled_loss`, the rows of all processes: logits [M, width], targets as for
    `block_labels`, and others. `share` maps the vector of results of each process to those of all, [W, ...].
    """
    labels = block_labels(rows["targets"], first=first, width=width, num_classes=num_classes)
    kind: dict[str, Any] = {"reduction": "sum", "multilabel": True, "ignore_index": -1}
    loss, result = pooled_loss(objective, queue=queue, **{**rows, "targets": labels}, **kind, **options)
    packed = pack_block(loss, result.per_class, result.valid, result.diagnostics)
    loss, *results = unpack_blocks(share(packed), result.diagnostics, num_classes=num_classes, reduction=reduction)
    return loss, PooledResult(result.queue, *results)

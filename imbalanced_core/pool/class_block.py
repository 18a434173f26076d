"""Ranking losses with the classes divided among W processes: each computes a block of them from all rows.

One class against the rest needs no other class, so a process that holds the column of a class has all that its loss
needs. Process r owns the classes [r · width, (r + 1) · width), width = ⌈C / W⌉; numbers from C on are padding.
"""

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.labels import are_probabilities, class_ids
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import Diagnostics, _read_targets
from imbalanced_core.pool.subsampling import one_vs_rest
from imbalanced_core.reductions import safe_divide


def block_width(num_classes: int, processes: int) -> int:
    """The number of classes of a block: ⌈C / W⌉."""
    return -(-num_classes // processes)


def block_labels(targets: Array, *, first: Array, width: int, num_classes: int, ignore_index: int) -> Array:
    """Class ids as the 0/1 labels of one block of classes.

    Args:
        targets: class ids [M] or [M, 1] (0 or 1 when there is one class); `ignore_index` marks rows that take no part.
        first: the first class of the block, an int or a 0-d array.
        width: the number of classes of the block.
        num_classes: C; columns of the block from C on are padding.
        ignore_index: the label of what takes no part.

    Returns:
        int32 [M, width]: 1 for the row's own class, 0 for others, `ignore_index` for ignored rows and for padding. A
        target that is neither a class nor ignored gets a label that is none either, so it still makes the loss NaN.
    """
    xp = array_namespace(targets)
    shape = (targets.shape[0], num_classes)
    labels, is_bad = _read_targets(targets, shape, ignore_index=ignore_index, multilabel=False)
    classes = _classes(targets, first, width)
    own = labels[:, None] == (classes + 1 if num_classes == 1 else classes)
    block = xp.where(is_bad[:, None], 2 if ignore_index != 2 else 3, xp.astype(own, xp.int32))
    is_ignored = (labels == ignore_index) & ~is_bad
    return xp.where(is_ignored[:, None] | (classes >= num_classes), ignore_index, block)


def mask_padding(labels: Array, *, first: Array, num_classes: int, ignore_index: int) -> Array:
    """The 0/1 labels [M, width] of one block of classes, with `ignore_index` in the columns that are padding."""
    xp = array_namespace(labels)
    labels = labels if are_probabilities(labels) else class_ids(labels)
    return xp.where(_classes(labels, first, labels.shape[1]) >= num_classes, ignore_index, labels)


def storable_rows(logits: Array, targets: Array, *, multilabel: bool, ignore_index: int) -> Array:
    """Bool [N]: the rows that may enter a queue, which only those who see the whole row can tell.

    Args:
        logits: [N, C].
        targets: class ids [N] or [N, 1], or with `multilabel` 0/1 labels [N, C].
        multilabel: whether a row has a label per class.
        ignore_index: the target of what takes no part.
    """
    xp = array_namespace(logits, targets)
    _, is_bad = _read_targets(targets, logits.shape, ignore_index=ignore_index, multilabel=multilabel)
    return xp.all(xp.isfinite(logits), axis=1) & ~is_bad


def drop_newest(queue: Queue, is_storable: Array, *, ignore_index: int) -> Queue:
    """The queue after a push of M rows, as if those that are not storable, bool [M], had been ignored."""
    xp = array_namespace(queue.targets)
    size = queue.targets.shape[0]
    older = xp.ones_like(queue.is_iid)
    keep = xp.concat([is_storable[:size], older], axis=0)[:size]
    return queue._replace(
        targets=xp.where(keep[:, None], queue.targets, ignore_index),
        weights=xp.where(keep, queue.weights, 0.0),
        is_iid=queue.is_iid & keep,
    )


def live_positive_count(logits: Array, targets: Array, *, multilabel: bool, ignore_index: int) -> Array:
    """How many of these rows are positives of each class, [C] in the dtype of the loss."""
    xp = array_namespace(logits, targets)
    labels, is_bad = _read_targets(targets, logits.shape, ignore_index=ignore_index, multilabel=multilabel)
    takes_part = xp.matrix_transpose(labels != ignore_index) if multilabel else labels != ignore_index
    positives = one_vs_rest(labels, logits.shape[1]) & takes_part & ~is_bad
    return xp.sum(xp.astype(positives, ops.widen(logits).dtype), axis=1)


def _classes(like: Array, first: Array, width: int) -> Array:
    xp = array_namespace(like)
    first = first if isinstance(first, int) else xp.astype(first, xp.int32)
    return (ops.arange(width, like=like) + first)[None, :]


def pack_block(total: Array, per_class: Array, valid: Array, diagnostics: Diagnostics) -> Array:
    """What the other processes need of a block, as one vector [1 + (2 + 6) · width].

    Args:
        total: the sum of the block's valid losses, 0-d; NaN if bad input was seen.
        per_class: [width], NaN where invalid.
        valid: bool [width].
        diagnostics: [width] each.
    """
    xp = array_namespace(total)
    rows = [per_class, valid, *diagnostics]
    return xp.concat([xp.reshape(total, (1,)), *(xp.astype(row, total.dtype) for row in rows)])


def unpack_blocks(blocks: Array, *, num_classes: int, reduction: str) -> tuple[Array, Array, Array, Diagnostics]:
    """The loss, per_class [C], valid [C] and diagnostics of all classes, from the vectors of all blocks.

    Args:
        blocks: [W, 1 + 8 · width], from `pack_block`, in the order of the processes.
        num_classes: C.
        reduction: "mean", "sum" or "none", as in `reduce_classes`.
    """
    xp = array_namespace(blocks)
    fields = xp.reshape(blocks[:, 1:], (blocks.shape[0], 2 + len(Diagnostics._fields), -1))
    per_class, valid, *figures = (xp.reshape(fields[:, i, :], (-1,))[:num_classes] for i in range(fields.shape[1]))
    is_valid = valid > 0.5
    if reduction == "none":
        loss = per_class
    else:
        # Totals, not `reduce_classes` of per_class: there the NaN of bad input looks like that of an invalid class.
        loss = xp.sum(blocks[:, 0])
        if reduction == "mean":
            loss = safe_divide(loss, xp.sum(valid))
    return loss, per_class, is_valid, Diagnostics(*figures)

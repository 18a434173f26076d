"""The memory of a ranking loss: the latest rows of earlier batches, newest first, as plain arrays.

A queue is never changed: `push` returns a new one. It is a concatenation and a slice, so shapes are static, there is no
pointer, and row 0 is always the newest.
"""

from types import ModuleType
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.subsampling import Pool


class Queue(NamedTuple):
    """Q rows with C logits each. The targets of an empty slot are `ignore_index`."""

    logits: Array  # [Q, C]
    targets: Array  # int32: class ids [Q], or 0/1 per class [Q, C]
    weights: Array  # [Q], the user's sample weights
    is_iid: Array  # bool [Q]


class Rows(NamedTuple):
    """The rows of one batch, as `pooled_loss` has read them. The targets of bad and ignored rows are `ignore_index`."""

    logits: Array  # [N, C]
    targets: Array  # int32 [N] or [N, C]
    weights: Array  # [N]
    is_iid: Array  # bool [N]


def empty(
    size: int,
    num_classes: int,
    *,
    xp: ModuleType,
    dtype: Any = None,
    multilabel: bool = False,
    ignore_index: int = -100,
    device: Any = None,
) -> Queue:
    """A queue of `size` empty slots.

    Args:
        size: Q, the number of rows to remember; 0 is a queue that remembers nothing.
        num_classes: C, the number of logits of a row; 1 is binary.
        xp: the namespace to make arrays in, such as numpy or jax.numpy.
        dtype: of the logits; `xp.float32` by default. Weights are kept in it too, but in no less than float32.
        multilabel: targets are 0/1 per class, [Q, C], instead of class ids [Q].
        ignore_index: the target of an empty slot, and of rows that take no part.
        device: where to make the arrays.

    Raises:
        ValueError: if a number is not an integer, `size` is negative or `num_classes` is not positive.
        TypeError: if `dtype` is not floating point.
    """
    checks.index("ignore_index", ignore_index)
    checks.at_least("queue_size", size, 0)
    checks.at_least("num_classes", num_classes, 1)
    dtype = xp.float32 if dtype is None else dtype
    logits = xp.zeros((size, num_classes), dtype=dtype, device=device)
    checks.floating("the logits of a queue", logits)
    shape = (size, num_classes) if multilabel else (size,)
    return Queue(
        logits=logits,
        targets=xp.full(shape, ignore_index, dtype=xp.int32, device=device),
        weights=xp.zeros((size,), dtype=ops.widen(logits).dtype, device=device),
        is_iid=xp.zeros((size,), dtype=xp.bool, device=device),
    )


def push(queue: Queue, rows: Rows, *, ignore_index: int = -100) -> Queue:
    """The queue after a batch: the batch's rows in their own order, in front of the older ones, cut to Q rows.

    Of a batch with more than Q rows the first Q stay. Nothing in the queue carries gradient. A row whose logits or
    weight are not finite in the queue's dtype is stored as an empty slot, so that one bad step cannot spoil the ones
    after it.
    """
    xp = array_namespace(queue.logits, rows.logits)
    size = queue.logits.shape[0]
    if size == 0:
        return queue
    n = min(size, rows.logits.shape[0])
    logits = xp.astype(ops.stop_gradient(rows.logits[:n, :]), queue.logits.dtype)
    weights = xp.astype(ops.stop_gradient(rows.weights[:n]), queue.weights.dtype)
    is_finite = xp.all(xp.isfinite(logits), axis=1) & xp.isfinite(weights)
    targets = xp.astype(rows.targets[:n, ...], queue.targets.dtype)
    new = Queue(
        logits=xp.where(is_finite[:, None], logits, 0.0),
        targets=xp.where(is_finite if targets.ndim == 1 else is_finite[:, None], targets, ignore_index),
        weights=xp.where(is_finite, weights, 0.0),
        is_iid=rows.is_iid[:n] & is_finite,
    )
    return Queue(*(xp.concat([front, back], axis=0)[:size, ...] for front, back in zip(new, queue, strict=True)))


def join(queue: Queue, rows: Rows, *, local: Array | None = None, ignore_index: int = -100) -> Pool:
    """The pool of a step: the batch in front of the queue, in the dtypes of the batch.

    Args:
        queue: the rows of earlier batches.
        rows: the batch; only its logits carry gradient.
        local: bool [N], this process's rows of a gathered batch; None: all.
        ignore_index: the target of what takes no part. Nor does a target that is no class at all, so a queue that was
            made with another `ignore_index` does no harm.
    """
    xp = array_namespace(queue.logits, rows.logits)
    targets = xp.concat([rows.targets, xp.astype(queue.targets, rows.targets.dtype)], axis=0)
    num_classes = 2 if targets.ndim == 2 else max(rows.logits.shape[1], 2)
    is_live = xp.ones_like(rows.is_iid)
    is_past = xp.zeros_like(queue.is_iid)
    return Pool(
        logits=xp.concat([rows.logits, xp.astype(ops.stop_gradient(queue.logits), rows.logits.dtype)], axis=0),
        targets=targets,
        weights=xp.concat([rows.weights, xp.astype(queue.weights, rows.weights.dtype)], axis=0),
        is_iid=xp.concat([rows.is_iid, queue.is_iid], axis=0),
        live=xp.concat([is_live, is_past], axis=0),
        local=xp.concat([is_live if local is None else local, is_past], axis=0),
        multiplicity=None,
        where=(targets != ignore_index) & (targets >= 0) & (targets < num_classes),
    )

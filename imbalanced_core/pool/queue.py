"""The memory of a ranking loss: the latest rows of earlier batches, oldest first, as plain arrays.

A queue is immutable: each step returns a new one, by a concatenation and a slice, so shapes are static and there is no
pointer: the last row is the newest, and the first rows are dropped.
"""

from types import ModuleType
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace


class Queue(NamedTuple):
    """Q rows with C logits each, newest last. The targets of an empty slot are −1."""

    logits: Array  # [Q, C]
    targets: Array  # int32: class ids [Q], or 0/1 per class [Q, C]; −1 is ignored
    weights: Array  # [Q], the user's sample weights
    is_iid: Array  # bool [Q]


def empty(
    size: int, num_classes: int, *, xp: ModuleType, dtype: Any = None, multilabel: bool = False, device: Any = None
) -> Queue:
    """A queue of `size` empty slots.

    Args:
        size: Q >= 0, the number of rows to keep; 0 keeps none.
        num_classes: C >= 1, the number of logits of a row; 1 is binary.
        xp: the array namespace, such as numpy or jax.numpy.
        dtype: of the logits, floating point; `xp.float32` by default. Weights use it too, but at least float32.
        multilabel: whether targets are 0/1 per class, [Q, C], instead of class ids [Q].
        device: of the arrays.
    """
    checks.at_least("queue_size", size, 0)
    checks.at_least("num_classes", num_classes, 1)
    checks.flag("multilabel", multilabel)
    dtype = xp.float32 if dtype is None else dtype
    logits = xp.zeros((size, num_classes), dtype=dtype, device=device)
    checks.floating("the logits of a queue", logits)
    shape = (size, num_classes) if multilabel else (size,)
    return Queue(
        logits=logits,
        targets=xp.full(shape, -1, dtype=xp.int32, device=device),
        weights=xp.zeros((size,), dtype=ops.widen(logits).dtype, device=device),
        is_iid=xp.zeros((size,), dtype=xp.bool, device=device),
    )


def emptied(queue: Queue) -> Queue:
    """An empty queue of the same shapes and dtypes."""
    xp = array_namespace(*queue)
    zeros = (xp.zeros_like(array) for array in queue)
    return ops.replaced(Queue(*zeros), targets=xp.full_like(queue.targets, -1))


def push(queue: Queue, new: Queue) -> Queue:
    """The queue after a batch: the last Q of the old rows followed by those of the batch, in order.

    Nothing in the queue carries gradient. A row whose logits or weight are not finite in the queue's dtype is stored as
    an empty slot, so that one bad step does not affect later ones. `new.is_iid` may be None, for all.
    """
    xp = array_namespace(queue.logits, new.logits)
    size = queue.logits.shape[0]
    if size == 0:
        return queue
    first = max(new.weights.shape[0] - size, 0)

    def newest(array: Array, kept: Array) -> Array:
        array = ops.astype(array, kept.dtype)
        return array[first:, ...] if first else array

    logits = newest(ops.stop_gradient(new.logits), queue.logits)
    targets = newest(new.targets, queue.targets)
    weights = newest(ops.stop_gradient(new.weights), queue.weights)
    is_finite = xp.abs(logits) < xp.inf
    is_finite = is_finite if logits.shape[1] == 1 else xp.all(is_finite, axis=1, keepdims=True)
    if weights.dtype != new.weights.dtype:  # else the step has ensured it
        is_finite = is_finite & xp.isfinite(weights)[:, None]
        weights = ops.where(is_finite[:, 0], weights, 0.0)
    of_rows = is_finite[:, 0]
    stored = Queue(
        logits=ops.where(is_finite, logits, 0.0),
        targets=ops.where(of_rows if targets.ndim == 1 else is_finite, targets, -1),
        weights=weights,
        is_iid=of_rows if new.is_iid is None else new.is_iid[first:] & of_rows,
    )
    if stored.weights.shape[0] == size:
        return stored
    return Queue(*(xp.concat([old, rows], axis=0)[-size:, ...] for old, rows in zip(queue, stored, strict=True)))

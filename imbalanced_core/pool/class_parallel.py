"""The step of a ranking loss whose classes are divided among W processes; adapters exchange the rows and results."""

from collections.abc import Callable, Mapping
from typing import Any

from imbalanced_core.ops.namespace import Array
from imbalanced_core.pool.class_block import block_labels, pack_block, unpack_blocks
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult, pooled_loss


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

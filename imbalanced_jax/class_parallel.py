"""Ranking losses over many classes: every device computes its C/W classes from the rows of all devices.

An all-to-all sends each device the columns of its classes, so no device ever holds all logits: memory, work and forward
traffic are W times smaller than with a gather. Value and gradient equal those of the gathered loss up to rounding.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec

from imbalanced_core.pool import class_block
from imbalanced_core.pool.class_block import block_loss
from imbalanced_core.pool.queue import Queue, empty
from imbalanced_core.pool.step import PooledResult
from imbalanced_jax import distributed
from imbalanced_jax.distributed import AxisName


def class_parallel_loss(
    objective: Callable[..., tuple],
    rows: Mapping[str, Any],
    queue: Queue | None,
    *,
    axis_name: AxisName,
    reduction: str,
    ignore_index: int,
    multilabel: bool,
    **options: Any,
) -> tuple[Array, PooledResult]:
    """`imbalanced_core.pool.step.pooled_loss` over the rows of all devices, with the classes divided among them.

    `rows` maps "logits" [n, C], "targets", "sample_weight" and "iid_mask" to its arguments, for this device; others are
    as there. The queue holds this device's classes of the global queue: logits and targets [Q, ⌈C / W⌉]; None: the
    batch alone. `axis_name` is one axis name or a tuple of names. Returns the global loss, equal on all devices, and a
    result for all C classes, except that its queue is this device's.

    Cost: an all-to-all of n · C numbers, forward and backward, and two small gathers.
    """
    logits = rows["logits"]
    num_classes = logits.shape[1]
    width = class_block.block_width(num_classes, distributed.device_count(axis_name))
    if queue is None:
        queue = empty(0, width, xp=jnp, multilabel=True)
    _check_queue(queue, width, distributed.device_count(axis_name))
    kind: dict[str, Any] = {"ignore_index": ignore_index, "multilabel": multilabel}
    whole = {**rows, "targets": class_block.row_labels(rows["targets"], shape=logits.shape, **kind)}
    columns = {name: whole.pop(name) for name in (("logits", "targets") if multilabel else ("logits",))}
    whole["is_storable"] = jnp.isfinite(logits).all(axis=1)
    block = jax.tree.map(partial(_to_block, width=width, axis_name=axis_name), columns)
    loss, result = block_loss(
        objective,
        distributed.gather_rows(whole, axis_name) | block,
        queue,
        first=width * lax.axis_index(distributed.axis_names(axis_name)),
        width=width,
        num_classes=num_classes,
        reduction=reduction,
        share=lambda packed: distributed.gather_rows(packed[None, :], axis_name),
        **options,
    )
    weights, is_iid, *results = distributed.invariant(
        (result.queue.weights, result.queue.is_iid, *result[1:]), axis_name
    )
    new_queue = result.queue._replace(weights=weights, is_iid=is_iid)
    return distributed.mean_loss(loss, axis_name), PooledResult(new_queue, *results)


def _check_queue(queue: Queue, width: int, devices: int) -> None:
    """ValueError for a queue of all classes, or one of class ids."""
    if not queue.logits.shape[1:] == queue.targets.shape[1:] == (width,):
        made = f"init_queue(size, {width * devices}, multilabel=True) split by in_specs=queue_specs(axis_name)"
        shapes = f"logits {queue.logits.shape} and targets {queue.targets.shape}"
        raise ValueError(f"queue must be {made} for class_parallel=True, [size, {width}] on each device, got {shapes}")


def queue_specs(axis_name: AxisName) -> Queue:
    """Partition specs of a class-parallel queue for `shard_map`: split by class; weights and flags are replicated.

    Use it as `in_specs` and `out_specs` of a queue made by `init_queue(size, num_classes, multilabel=True)`, where
    num_classes is C rounded up to a multiple of the number of devices.
    """
    by_class = PartitionSpec(None, distributed.axis_names(axis_name))
    return Queue(logits=by_class, targets=by_class, weights=PartitionSpec(), is_iid=PartitionSpec())


def _to_block(columns: Array, *, width: int, axis_name: AxisName) -> Array:
    """Maps [n, C] on every device to this device's block of columns [W · n, width]; padding is 0."""
    names = distributed.axis_names(axis_name)
    n, padding = columns.shape[0], width * distributed.device_count(axis_name) - columns.shape[1]
    blocks = jnp.pad(columns, ((0, 0), (0, padding))).reshape(n, *map(lax.axis_size, names), width)
    blocks = jnp.moveaxis(blocks, 0, -2)
    # One axis at a time: vmap has no rule for a tuple. split_axis must equal concat_axis: the derivative of other pairs
    # is wrong.
    for axis, name in enumerate(names):
        blocks = lax.all_to_all(blocks, name, split_axis=axis, concat_axis=axis)
    return blocks.reshape(-1, width)

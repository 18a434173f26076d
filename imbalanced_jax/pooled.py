"""What every ranking loss is: checks of concrete values, then one jitted step of batch and queue."""

import math
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from imbalanced_core import checks
from imbalanced_core.losses.gated import Gate, closed, with_gate
from imbalanced_core.pool import queue
from imbalanced_core.pool.labels import taking_part
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_core.pool.subsampling import strata_count
from imbalanced_jax import distributed, validation
from imbalanced_jax.class_parallel import class_parallel_loss
from imbalanced_jax.distributed import AxisName


def init_queue(size: int, num_classes: int, *, multilabel: bool = False, dtype: Any = jnp.float32) -> Queue:
    """A queue of `size` empty slots, for the ranking losses to fill: each returns the next queue in `aux.queue`.

    A checkpoint that was restored as a dict is a queue again by `imbalanced_jax.Queue(**restored)`. The `queue` of a
    module of `imbalanced_torch` has the same fields, so a run may go on in the other framework.

    Args:
        size: how many rows of earlier batches are remembered; 0 for none.
        num_classes: C, the number of logits of a row; 1 is binary.
        multilabel: targets are 0/1 per class instead of class ids.
        dtype: of the logits.

    Returns:
        Queue(logits [size, C], targets int32 [size] or [size, C], weights [size], is_iid bool [size]), a
        pytree. The last row is the newest; the targets of empty slots are −1.

    Raises:
        ValueError: if a size is not an integer, `size` is negative or `num_classes` is not positive.
    """
    return queue.empty(size, num_classes, xp=jnp, dtype=dtype, multilabel=multilabel)


def init_gate(num_classes: int) -> Gate:
    """The gate of a gated loss before its first step, for the keyword `gate`: Gate(reached, positives, negatives)."""
    return closed(num_classes, xp=jnp)


def ranking_loss(
    objective: Callable[..., tuple],
    logits: jax.Array,
    targets: jax.Array,
    queue: Queue | None,
    *,
    temperature: float | jax.Array,
    options: dict[str, Hashable],
    ignore_index: int,
    multilabel: bool,
    sample_weight: jax.Array | None,
    axis_name: AxisName,
    **rest: Any,
) -> tuple[jax.Array, PooledResult]:
    """A ranking loss with its public arguments: `objective(..., temperature=temperature, **options)` on the pool."""
    checks.positive("temperature", validation.number(temperature))
    validation.check_arrays(logits=logits, targets=targets)
    validation.check_optional_arrays(sample_weight=sample_weight, iid_mask=rest["iid_mask"])
    static = {
        name: rest[name] for name in ("reduction", "max_pool_size", "update_queue", "class_parallel", "positive_rate")
    }
    validation.check_static(**options, **static, ignore_index=ignore_index, multilabel=multilabel)
    checks.index("ignore_index", ignore_index)
    for name, value in (("multilabel", multilabel), *((n, rest[n]) for n in ("update_queue", "class_parallel"))):
        checks.flag(name, value)
    if queue is not None and not isinstance(queue, Queue):
        rule = "a Queue, from init_queue or aux.queue (a restored dict: Queue(**it)), or None"
        raise TypeError(f"queue must be {rule}, got {type(queue).__name__}")
    if rest["gate"] is not None and not isinstance(rest["gate"], Gate):
        raise TypeError(f"gate must be a Gate, from init_gate or aux.gate, or None, got {type(rest['gate']).__name__}")
    if rest["key"] is not None and not isinstance(rest["key"], (jax.Array, np.ndarray)):
        raise TypeError(f"key must be an array of jax.random.key, got {rest['key']!r}")
    _check_values(logits, targets, sample_weight, ignore_index=ignore_index, multilabel=multilabel)
    options = dict(options)
    pos_numerator = options.pop("pos_numerator", "pool")
    return _step(
        logits,
        targets,
        queue,
        # always an array, so that all temperatures share one compilation
        jnp.asarray(temperature, dtype=jnp.result_type(float)),
        sample_weight=sample_weight,
        objective=objective,
        options=tuple(options.items()),
        pos_numerator=pos_numerator,
        # `jax_debug_nans` would stop at the NaN that stands for the loss of a class without positives
        without_nan=bool(jax.config.jax_debug_nans),  # type: ignore[attr-defined]
        ignore_index=ignore_index,
        multilabel=multilabel,
        axis_name=distributed.axis_names(axis_name),
        **rest,
    )


_STATIC = (
    "objective",
    "options",
    "pos_numerator",
    "positive_rate",
    "without_nan",
    "iid_aware",
    "reduction",
    "ignore_index",
    "multilabel",
    "max_pool_size",
    "update_queue",
    "axis_name",
    "class_parallel",
)


@partial(jax.jit, static_argnames=_STATIC)
def _step(
    logits: jax.Array,
    targets: jax.Array,
    queue: Queue | None,
    temperature: jax.Array,
    *,
    objective: Callable[..., tuple],
    options: tuple,
    multilabel: bool,
    ignore_index: int,
    max_pool_size: int | None,
    sample_weight: jax.Array | None,
    iid_mask: jax.Array | None,
    key: jax.Array | None,
    axis_name: tuple,
    class_parallel: bool,
    without_nan: bool,
    gate: Gate | None,
    positive_rate: float | None,
    **rest: Any,
) -> tuple[jax.Array, PooledResult]:
    rest |= {"undefined": 0.0 if without_nan else math.nan, "live_aware": gate is not None}
    ranking = partial(objective, **dict(options))
    objective = with_gate(ranking, gate, temperature=temperature, positive_rate=positive_rate)
    checks.require(logits.ndim == 2 and logits.shape[1] > 0, "logits", "of shape [rows, classes]", tuple(logits.shape))
    if class_parallel:
        checks.require(bool(axis_name), "axis_name", "given with class_parallel=True", None)
        checks.require(max_pool_size is None, "max_pool_size", "None with class_parallel=True", max_pool_size)
        checks.require(gate is None, "gate", "None with class_parallel=True", gate)
        rest |= {"ignore_index": ignore_index, "multilabel": multilabel, "axis_name": axis_name}
        rest |= {"sample_weight": sample_weight, "iid_mask": iid_mask}
        return class_parallel_loss(objective, logits, targets, queue, **rest)
    if max_pool_size is not None:  # here, so that it is seen before a missing key
        checks.at_least("max_pool_size", max_pool_size, strata_count(logits.shape[1], multilabel=multilabel))
    if queue is None:
        queue = init_queue(0, logits.shape[1], multilabel=multilabel)
    batch = distributed.replicate((logits, targets, sample_weight, iid_mask))
    logits, targets, sample_weight, iid_mask = distributed.gather_rows(batch, axis_name)
    loss, result = pooled_loss(
        objective,
        logits,
        targets,
        distributed.replicate(queue),
        ignore_index=ignore_index,
        multilabel=multilabel,
        sample_weight=sample_weight,
        iid_mask=iid_mask,
        max_pool_size=max_pool_size,
        noise=_noise(key, logits.shape[0] + queue.logits.shape[0], max_pool_size, axis_name),
        **rest,
    )
    return distributed.mean_loss(loss, axis_name), PooledResult(
        queue=distributed.invariant(result.queue, axis_name),
        per_class=distributed.mean_loss(result.per_class, axis_name),
        valid=distributed.invariant(result.valid, axis_name),
        diagnostics=distributed.invariant(result.diagnostics, axis_name),
        gate=distributed.invariant(result.gate, axis_name),
    )


def _noise(key: jax.Array | None, rows: int, max_pool_size: int | None, axis_name: tuple) -> jax.Array | None:
    """Noise for subsampling, the same on every device; None if nothing is cut."""
    if max_pool_size is None or rows <= max_pool_size:
        return None
    if key is None:
        need = f"when a pool of {rows} rows is cut to max_pool_size={max_pool_size}"
        raise ValueError(f"key must be given, such as jax.random.key(step), {need}, got None")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if axis_name:
        data = lax.pmax(jax.random.key_data(key), axis_name)
        key = jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))
    return jax.random.uniform(key, (rows,))


def _check_values(
    logits: jax.Array, targets: jax.Array, sample_weight: jax.Array | None, *, ignore_index: int, multilabel: bool
) -> None:
    if multilabel or logits.shape[-1:] == (1,):
        validation.check_binary_targets(targets, ignore_index=ignore_index)
    else:
        validation.check_class_ids(targets, num_classes=logits.shape[-1], ignore_index=ignore_index)
    if sample_weight is not None and validation.can_read(targets) and validation.can_read(sample_weight):
        # In numpy: inside a transformation, JAX traces even what it computes from concrete arrays.
        takes_part = taking_part(np.asarray(targets), ignore_index=ignore_index)
        validation.check_weights(sample_weight, where=takes_part.reshape(takes_part.shape[0], -1).any(axis=1))

"""Shared code of the ranking losses: checks of concrete values, then one jitted step of batch and queue."""

import math
import warnings
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from imbalanced_core import checks
from imbalanced_core import options as shared
from imbalanced_core.losses.gated import Gate, check_gate, opened, with_gate
from imbalanced_core.losses.operating_point import too_few
from imbalanced_core.pool import queue
from imbalanced_core.pool.labels import check_logits
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_core.pool.subsampling import strata_count
from imbalanced_jax import distributed, validation
from imbalanced_jax.class_parallel import class_parallel_loss
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.validation import readable

Result: TypeAlias = tuple[Array, PooledResult]


def init_queue(size: int, num_classes: int, *, multilabel: bool = False, dtype: Any = jnp.float32) -> Queue:
    """An empty queue of `size` slots for the ranking losses, which return the next queue in `aux.queue`.

    Convert a checkpoint restored as a dict by `imbalanced_jax.Queue(**restored)`. The `queue` of an `imbalanced_torch`
    module has the same fields, so a run can continue in the other framework.

    Args:
        size: number of rows of earlier batches to keep; 0 for none.
        num_classes: C, the number of logits of a row; 1 is binary.
        multilabel: whether targets are 0/1 per class instead of class ids.
        dtype: of the logits.

    Returns:
        Queue(logits [size, C], targets int32 [size] or [size, C], weights [size], is_iid bool [size]), a pytree. The
        last row is the newest; the targets of empty slots are −1. An invalid size raises a ValueError.
    """
    return queue.empty(size, num_classes, xp=jnp, dtype=dtype, multilabel=multilabel)


def init_gate(num_classes: int) -> Gate:
    """The initial gate of a gated loss, for the keyword `gate`: Gate(reached [num_classes])."""
    return opened(num_classes, xp=jnp)


class RankingOptions(shared.RankingOptions, total=False):
    """Keywords of all ranking functions: those of `imbalanced_core.options.RankingOptions` and three specific to JAX.

    Attributes:
        key: `jax.random.key` for `max_pool_size`; a new one at every step.
        axis_name: mapped axis or axes whose devices' rows are ranked together, in `shard_map`, `vmap` or `pmap`. The
            gradient is then correct after the usual `lax.pmean`; that of a parameter made varying by `lax.pcast`, in a
            checked `shard_map`, after `lax.psum`. Every device must pass the same queue.
        class_parallel: for many classes, needs `axis_name`: each device computes C/W of them from the rows of all
            devices, with the same value and gradient: see `imbalanced_jax.class_parallel`. Each device passes and
            receives the queue of its own classes: `init_queue(size, num_classes, multilabel=True)` split by
            `imbalanced_jax.class_parallel.queue_specs(axis_name)`, with C rounded up to a multiple of W.
    """

    key: Array | None
    axis_name: AxisName
    class_parallel: bool


DEFAULTS: RankingOptions = {**shared.RANKING_DEFAULTS, "key": None, "axis_name": None, "class_parallel": False}


def ranking_function(**defaults: Any) -> Callable[[shared.Function], shared.Function]:
    """Decorator that fills in the keywords of `RankingOptions` that a call omits; `defaults` override `DEFAULTS`."""
    return shared.with_options(RankingOptions, {**DEFAULTS, **defaults})


def ranking_loss(
    objective: Callable[..., tuple],
    logits: Array,
    targets: Array,
    queue: Queue | None,
    options: RankingOptions,
    *,
    iid_aware: bool = False,
    **own: Hashable,
) -> Result:
    """One step of a ranking function: `options` are complete, `own` are further options of the objective."""
    of_objective, rest = shared.split(options)
    of_objective |= own
    temperature = rest.pop("temperature")
    checks.positive("temperature", validation.number(temperature))
    rows = {"logits": logits, "targets": targets} | {name: rest.pop(name) for name in ("sample_weight", "iid_mask")}
    validation.check_arrays(**rows)
    gate, key = rest.pop("gate"), rest.pop("key")
    rest["axis_name"] = distributed.axis_names(rest["axis_name"])
    validation.check_static(**of_objective, **rest)
    shared.check_options(rest)
    if queue is not None and not isinstance(queue, Queue):
        rule = "a Queue, from init_queue or aux.queue (a restored dict: Queue(**it)), or None"
        raise TypeError(f"queue must be {rule}, got {type(queue).__name__}")
    check_logits(logits)
    check_gate(gate, logits.shape[1])
    if key is not None:
        validation.check_key(key)
    labels = {name: rest[name] for name in ("ignore_index", "multilabel")}
    checks.batch(readable(targets), readable(rows["sample_weight"]), num_classes=logits.shape[1], **labels)
    if not rest["class_parallel"]:
        distributed.check_same("queue", queue, rest["axis_name"])
        distributed.check_same("gate", gate, rest["axis_name"])
    pool = 0 if queue is None else queue.logits.shape[0]
    pool += logits.shape[0] * distributed.device_count(rest["axis_name"])
    if message := too_few(own.get("k"), pool):
        warnings.warn(message, stacklevel=4)
    # where NaN is an error, the loss of a class without positives is 0
    rest |= {"iid_aware": iid_aware, "without_nan": bool(jax.config.jax_debug_nans)}  # type: ignore[attr-defined]
    # always an array, so that all temperatures share one compilation
    tau = jnp.asarray(temperature, dtype=jnp.result_type(float))
    fixed = {"objective": objective, "of_objective": tuple(of_objective.items()), "rest": tuple(rest.items())}
    return _step(rows, queue, gate, key, tau, **fixed)


@partial(jax.jit, static_argnames=("objective", "of_objective", "rest"))
def _step(
    rows: dict[str, Any],
    queue: Queue | None,
    gate: Gate | None,
    key: Array | None,
    temperature: Array,
    *,
    objective: Callable[..., tuple],
    of_objective: tuple[tuple[str, Any], ...],
    rest: tuple[tuple[str, Any], ...],
) -> Result:
    options = dict(rest)
    axis_name, class_parallel, size = (options.pop(name) for name in ("axis_name", "class_parallel", "max_pool_size"))
    options |= {"undefined": 0.0 if options.pop("without_nan") else math.nan, "live_aware": gate is not None}
    rows, queue, gate = distributed.replicate((rows, queue, gate))
    objective = with_gate(partial(objective, **dict(of_objective)), gate, temperature=temperature)
    num_classes = rows["logits"].shape[1]
    if class_parallel:
        checks.require(bool(axis_name), "axis_name", "given with class_parallel=True", None)
        checks.require(size is None, "max_pool_size", "None with class_parallel=True", size)
        if gate is not None:
            raise ValueError("gate must be None with class_parallel=True, got a Gate")
        return class_parallel_loss(objective, rows, queue, axis_name=axis_name, **options)
    labels = {"multilabel": options["multilabel"]}
    if size is not None:  # here, so that it is reported before a missing key
        checks.at_least("max_pool_size", size, strata_count(num_classes, **labels))
    if queue is None:
        queue = init_queue(0, num_classes, **labels)
    rows = distributed.gather_rows(rows, axis_name)
    noise = _noise(key, len(rows["logits"]) + len(queue.logits), size, axis_name)
    loss, result = pooled_loss(objective, queue=queue, max_pool_size=size, noise=noise, **rows, **options)
    return distributed.mean_loss(loss, axis_name), PooledResult(
        queue=distributed.invariant(result.queue, axis_name),
        per_class=distributed.mean_loss(result.per_class, axis_name),
        valid=distributed.invariant(result.valid, axis_name),
        diagnostics=distributed.invariant(result.diagnostics, axis_name),
        gate=distributed.invariant(result.gate if gate is None or options["update_queue"] else gate, axis_name),
    )


def _noise(key: Array | None, rows: int, max_pool_size: int | None, axis_name: tuple) -> Array | None:
    """Noise for subsampling, the same on every device; None without subsampling."""
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

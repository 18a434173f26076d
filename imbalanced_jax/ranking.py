"""Smooth average precision and recall at a quantile of a batch and a queue."""

import jax

from imbalanced_core.losses import ranking
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.pooled import ranking_loss


def smooth_ap_loss(
    logits: jax.Array,
    targets: jax.Array,
    queue: Queue | None = None,
    *,
    temperature: float | jax.Array = 0.01,
    reduction: str = "mean",
    ignore_index: int = -100,
    multilabel: bool = False,
    temperature_scale: str = "absolute",
    pos_numerator: str = "pool",
    sample_weight: jax.Array | None = None,
    iid_mask: jax.Array | None = None,
    max_pool_size: int | None = None,
    key: jax.Array | None = None,
    update_queue: bool = True,
    axis_name: AxisName = None,
    class_parallel: bool = False,
) -> tuple[jax.Array, PooledResult]:
    """One minus the smooth average precision, averaged over classes, of the batch and a queue of earlier rows.

    For each positive i of a class, among all rows V and positives P of batch and queue:

        rank_i = 1 + Σ_{j∈V, j≠i} σ((s_j − s_i)/τ),  rank⁺_i = the same over P,  loss = 1 − mean_i rank⁺_i / rank_i.

    A class counts when it has a positive (of weight > 0) and a negative.

    Args:
        logits: floating point [N, C]; C = 1 is binary.
        targets: class ids [N] or [N, 1], of any integer or bool dtype; 0 or 1 (floats too) for one class. With
            `multilabel` 0/1 per class, [N, C], of any dtype. `ignore_index` marks rows, or single labels, that take no
            part; their logits may hold anything.
        queue: the rows of earlier batches, from `init_queue` or the `aux.queue` of the step before; constants in
            differentiation. None: the batch alone.
        temperature: τ > 0 of the logistic function; smaller is closer to the true ranks and harder to follow. A new
            value does not recompile.
        reduction: "mean" or "sum" over the classes that count, or "none": one loss per class, NaN where it does not.
        ignore_index: the target of what takes no part; a Python number.
        multilabel: whether targets are 0/1 per class.
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" or "std" of the class's negatives make
            the sharpness independent of the scale of the logits.
        pos_numerator: the mean over i runs over all positives ("pool") or over those of the batch ("live"). With "live"
            a long queue does not dilute the gradient of the positives, but nothing of like size holds the negatives
            down: in long runs the scores may drift upwards and the ranking suffer.
        sample_weight: >= 0, [N]; how much a positive counts. Carries no gradient. None: all 1.
        iid_mask: bool [N], the rows drawn as the population is; kept in the queue for losses that look at it.
        max_pool_size: rank a random part of the rows, of no more than this many, rare classes first; the expected
            counts stay those of all rows. None (recommended): all.
        key: `jax.random.key` for `max_pool_size`; a new one at every step.
        update_queue: whether the batch enters the queue; False for validation.
        axis_name: mapped axis or axes whose devices' rows are ranked together, in `shard_map`, `vmap` or `pmap`. The
            gradient is then right after the usual `lax.pmean`. Every device passes the same queue.
        class_parallel: for many classes, needs `axis_name`: each device computes C/W of them from the rows of all
            devices, which takes W times less memory, work and forward traffic than gathering all logits; same value and
            gradient. A device passes, and gets back, the queue of its own classes: `init_queue(size, num_classes,
            multilabel=True)` split by `imbalanced_jax.class_parallel.queue_specs(axis_name)`, with C rounded up to a
            multiple of W.

    Returns:
        (loss, aux), for `jax.value_and_grad(..., has_aux=True)`. The loss is 0-d, or [C] for reduction "none", within
        [0, 1] per class, float32 or float64; 0 with zero gradient if no class counts; NaN if a logit that takes part is
        NaN, or if a target or weight that could not be looked at is out of range. aux = (queue, per_class, valid,
        diagnostics): the next queue, newest row first; the loss [C] of each class, NaN where invalid; which classes are
        valid, bool [C]; and figures [C] that are constants, of which this loss fills `grad_pos_count`, the positives of
        the batch (with `axis_name`: of all devices).

    Raises:
        TypeError, ValueError: if dtypes, shapes or options do not fit, a readable target or weight is out of range, or
            a key is missing.

    Cost: O(n log n) time and O(n) memory per class, for n = N + queue size.

    References:
        Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV 2020,
        https://arxiv.org/abs/2007.12163
    """
    return ranking_loss(
        ranking.average_precision,
        logits,
        targets,
        queue,
        temperature=temperature,
        options={"temperature_scale": temperature_scale, "pos_numerator": pos_numerator},
        iid_aware=False,
        reduction=reduction,
        ignore_index=ignore_index,
        multilabel=multilabel,
        sample_weight=sample_weight,
        iid_mask=iid_mask,
        max_pool_size=max_pool_size,
        key=key,
        update_queue=update_queue,
        axis_name=axis_name,
        class_parallel=class_parallel,
    )


def recall_at_quantile_loss(
    logits: jax.Array,
    targets: jax.Array,
    queue: Queue | None = None,
    *,
    quantile: float = 0.005,
    quantile_interpolation: str = "higher",
    temperature: float | jax.Array = 0.01,
    reduction: str = "mean",
    ignore_index: int = -100,
    multilabel: bool = False,
    temperature_scale: str = "absolute",
    pos_numerator: str = "pool",
    sample_weight: jax.Array | None = None,
    iid_mask: jax.Array | None = None,
    max_pool_size: int | None = None,
    key: jax.Array | None = None,
    update_queue: bool = True,
    axis_name: AxisName = None,
    class_parallel: bool = False,
) -> tuple[jax.Array, PooledResult]:
    """One minus the smooth recall when the top `quantile` of the scores is flagged, averaged over classes.

    With θ the (1 − quantile)-quantile of a class's scores in batch and queue, a constant in differentiation:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ).

    The gradient pushes positives above the threshold. A class counts when it has a positive (of weight > 0). The pool
    needs several times 1/quantile rows for a meaningful threshold, and the quantile should exceed the positives' share.

    Args:
        logits: as for `smooth_ap_loss`, and so are all arguments that are not named here.
        targets: class ids or 0/1 labels.
        queue: the rows of earlier batches.
        quantile: the flagged fraction, a Python number in [0, 1].
        quantile_interpolation: "higher", "lower", "linear", "nearest" or "midpoint".
        temperature: τ > 0.
        reduction: "mean", "sum" or "none".
        ignore_index: the target of what takes no part.
        multilabel: whether targets are 0/1 per class.
        temperature_scale: "absolute", "iqr" or "std".
        pos_numerator: "pool" or "live"; the threshold is always that of all rows.
        sample_weight: weights of the positives.
        iid_mask: kept in the queue.
        max_pool_size: look at a random part of the rows.
        key: for `max_pool_size`.
        update_queue: whether the batch enters the queue.
        axis_name: mapped axis or axes whose devices' rows are looked at together.
        class_parallel: divides the classes among the devices.

    Returns:
        (loss, aux) as for `smooth_ap_loss`.

    Raises:
        TypeError, ValueError: as `smooth_ap_loss`.

    Cost: one sort of n = N + queue size scores per class.
    """
    return ranking_loss(
        ranking.recall,
        logits,
        targets,
        queue,
        temperature=temperature,
        options={
            "quantile": quantile,
            "quantile_interpolation": quantile_interpolation,
            "temperature_scale": temperature_scale,
            "pos_numerator": pos_numerator,
        },
        iid_aware=False,
        reduction=reduction,
        ignore_index=ignore_index,
        multilabel=multilabel,
        sample_weight=sample_weight,
        iid_mask=iid_mask,
        max_pool_size=max_pool_size,
        key=key,
        update_queue=update_queue,
        axis_name=axis_name,
        class_parallel=class_parallel,
    )

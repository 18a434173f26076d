"""The one step that all ranking losses share: batch and queue in, loss and queue out, no state."""

from collections.abc import Callable
from typing import NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.labels import are_probabilities, class_ids
from imbalanced_core.pool.queue import Queue, Rows, join, push
from imbalanced_core.pool.subsampling import Pool, one_vs_rest, rows_where, strata_count, subsample
from imbalanced_core.reductions import CLASS_REDUCTIONS, reduce_classes


class Diagnostics(NamedTuple):
    """What happened in each class, [C] each; NaN where a loss has no such figure. Constants in differentiation."""

    t_alpha: Array  # the score at the lowest false-positive rate of the band
    t_beta: Array  # the score at the highest, so <= t_alpha
    tau_eff: Array  # temperature in units of the logits
    band_neg_count: Array  # iid negatives in the band
    pauc_var: Array  # variance of the contributions of single positives
    grad_pos_count: Array  # positives of this process's share of the batch: those that carry gradient


class PooledResult(NamedTuple):
    """All that a step yields beside its loss."""

    queue: Queue
    per_class: Array  # [C], NaN where invalid; differentiable
    valid: Array  # bool [C], which classes have a loss
    diagnostics: Diagnostics


def pooled_loss(
    objective: Callable[..., tuple],
    logits: Array,
    targets: Array,
    queue: Queue,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    multilabel: bool = False,
    sample_weight: Array | None = None,
    iid_mask: Array | None = None,
    local: Array | None = None,
    max_pool_size: int | None = None,
    noise: Array | None = None,
    update_queue: bool = True,
    iid_aware: bool = False,
) -> tuple[Array, PooledResult]:
    """A ranking loss over the batch and the queue, one class against the rest, and the queue for the next step.

    Args:
        objective: the loss of rows of scores, such as `functools.partial(smooth_ap, temperature=0.01)`: called with
            scores [C, M], positives bool [C, M] and the keywords where, weights, multiplicity and live, it returns
            (losses [C], valid bool [C]) or both and a NamedTuple of fields of `Diagnostics`.
        logits: floating point [N, C]; C = 1 is binary. Half precision is computed in float32.
        targets: class ids [N] or [N, 1] of any integer or bool dtype (binary: 0 or 1, floats too); with `multilabel`
            0/1 per class, [N, C], of any dtype. Entries equal to `ignore_index` take no part: a row, or with
            `multilabel` a row for that class only. Their logits may hold NaN.
        queue: the rows of earlier batches, constants in differentiation.
        reduction: "mean" or "sum" over the valid classes, or "none": one loss per class, NaN where invalid.
        ignore_index: the target of rows that take no part.
        multilabel: whether a row has a label per class instead of one class.
        sample_weight: non-negative [N]; how much a positive counts. A constant in differentiation. None: all 1.
        iid_mask: bool [N], rows drawn from the population, for objectives that use it. None: all.
        local: bool [N], this process's rows of a gathered batch. None: all.
        max_pool_size: rank no more than so many rows, see `subsample`. None: all.
        noise: uniform in [0, 1), [N + Q]; needed only when the pool is larger than `max_pool_size`.
        update_queue: whether the batch enters the queue.
        iid_aware: whether `objective` takes the keyword is_iid.

    Returns:
        The loss (0 with zero gradient when no class is valid), 0-d or [C], and a `PooledResult`. Where a target is none
        of its classes, a weight is negative or not finite, or a logit that takes part is NaN, the loss is NaN, and the
        queue takes none of the rows that caused it.

    Raises:
        ValueError: on a wrong shape, option or queue, or when noise is missing.
        TypeError: on a wrong dtype, or on arrays of several libraries.
    """
    xp = array_namespace(logits, targets, *queue, sample_weight, iid_mask, local, noise)
    checks.one_of("reduction", reduction, CLASS_REDUCTIONS)
    rows, is_bad = _read_rows(
        logits, targets, sample_weight, iid_mask, ignore_index=ignore_index, multilabel=multilabel
    )
    _check_queue(queue, num_classes=rows.logits.shape[1], multilabel=multilabel)
    takes_part = rows.targets != ignore_index if multilabel else (rows.targets != ignore_index)[:, None]
    sanitised = rows._replace(logits=xp.where(takes_part, rows.logits, 0.0))
    pool = join(queue, sanitised, local=local, ignore_index=ignore_index)
    if max_pool_size is not None:
        pool = _cut_to_size(pool, max_pool_size, noise)
    losses, valid, diagnostics = _evaluate(objective, pool, iid_aware=iid_aware)

    is_broken = xp.any(is_bad) | xp.any(xp.isnan(sanitised.logits), axis=0)
    poison = xp.where(is_broken, xp.nan, xp.ones_like(losses))  # as a factor it makes the gradient NaN as well
    per_class = reduce_classes(losses, valid, reduction="none") * poison
    loss = per_class if reduction == "none" else reduce_classes(losses, valid, reduction=reduction) * xp.prod(poison)
    if update_queue:
        queue = push(queue, rows, ignore_index=ignore_index)
    return loss, PooledResult(queue, per_class, valid, diagnostics)


def _read_rows(
    logits: Array,
    targets: Array,
    sample_weight: Array | None,
    iid_mask: Array | None,
    *,
    ignore_index: int,
    multilabel: bool,
) -> tuple[Rows, Array]:
    """The batch in the dtypes of a queue, and bool [N]: the bad rows, which `Rows` holds as ignored."""
    xp = array_namespace(logits)
    checks.floating("logits", logits)
    checks.require(logits.ndim == 2 and logits.shape[1] > 0, "logits", "of shape [rows, classes]", tuple(logits.shape))
    logits = ops.widen(logits)
    labels, is_bad = _read_targets(targets, logits.shape, ignore_index=ignore_index, multilabel=multilabel)
    weights = xp.ones_like(logits[:, 0])
    if sample_weight is not None:
        checks.real("sample_weight", sample_weight)
        checks.shaped("sample_weight", sample_weight, (logits.shape[0],), "[rows]")
        weights = xp.astype(ops.stop_gradient(sample_weight), logits.dtype)
        is_weight = xp.isfinite(weights) & (weights >= 0)
        weights = xp.where(is_weight, weights, 0.0)
        is_bad = is_bad | (~is_weight & rows_where(labels != ignore_index))
    labels = xp.where(is_bad[:, None] if multilabel else is_bad, ignore_index, labels)
    if iid_mask is None:
        return Rows(logits, labels, weights, xp.ones_like(is_bad)), is_bad
    checks.boolean("iid_mask", iid_mask)
    checks.shaped("iid_mask", iid_mask, (logits.shape[0],), "[rows]")
    return Rows(logits, labels, weights, iid_mask), is_bad


def _read_targets(
    targets: Array, shape: tuple[int, ...], *, ignore_index: int, multilabel: bool
) -> tuple[Array, Array]:
    """The targets as int32, [N] or [N, C], and bool [N]: the rows with one that is neither a class nor ignored."""
    xp = array_namespace(targets)
    checks.real("targets", targets)
    n, num_classes = shape
    if multilabel:
        checks.shaped("targets", targets, (n, num_classes), "[rows, classes] (multilabel=True)")
    else:
        targets = xp.reshape(targets, (n,)) if tuple(targets.shape) == (n, 1) else targets
        is_table = tuple(targets.shape) == (n, num_classes)  # one-hot, or labels of their own for each class
        hint = " (labels [rows, classes] need multilabel=True)" if is_table else ""
        checks.shaped("targets", targets, (n,), f"[rows]{hint}")
    is_float = are_probabilities(targets)
    if is_float and not (multilabel or num_classes == 1):
        raise TypeError(f"targets must be integer class ids when there are several classes, got dtype {targets.dtype}")
    if not is_float:
        targets = class_ids(targets)
    is_ignored = targets == ignore_index
    is_class = (targets >= 0) & (targets < (2 if multilabel else max(num_classes, 2)))
    if is_float:
        is_class = is_class & (targets == xp.floor(targets))
    labels = xp.where(is_class & ~is_ignored, xp.astype(xp.where(is_class, targets, 0), xp.int32), ignore_index)
    is_bad = ~(is_class | is_ignored)
    return labels, xp.any(is_bad, axis=1) if multilabel else is_bad


def _check_queue(queue: Queue, *, num_classes: int, multilabel: bool) -> None:
    size = queue.logits.shape[0]
    checks.shaped("queue.logits", queue.logits, (size, num_classes), "[slots, classes]")
    shape, meaning = ((size, num_classes), "[slots, classes]") if multilabel else ((size,), "[slots]")
    checks.shaped("queue.targets", queue.targets, shape, f"{meaning} for multilabel={multilabel}")
    checks.shaped("queue.weights", queue.weights, (size,), "[slots]")
    checks.shaped("queue.is_iid", queue.is_iid, (size,), "[slots]")
    checks.floating("queue.logits", queue.logits)
    if not array_namespace(queue.targets).isdtype(queue.targets.dtype, "integral"):
        raise TypeError(f"queue.targets must be an integer array, got dtype {queue.targets.dtype}")
    checks.boolean("queue.is_iid", queue.is_iid)


def _cut_to_size(pool: Pool, max_pool_size: int, noise: Array | None) -> Pool:
    multilabel = pool.targets.ndim == 2
    checks.at_least("max_pool_size", max_pool_size, strata_count(pool.logits.shape[1], multilabel=multilabel))
    if pool.logits.shape[0] <= max_pool_size:
        return pool
    if noise is None:
        raise ValueError(f"noise must be given when the pool has more than max_pool_size rows, got {noise!r}")
    return subsample(pool, size=max_pool_size, noise=noise)


def _evaluate(objective: Callable[..., tuple], pool: Pool, *, iid_aware: bool) -> tuple[Array, Array, Diagnostics]:
    """One loss per class, which of them are valid, and the diagnostics."""
    xp = array_namespace(pool.logits)
    positives = one_vs_rest(pool.targets, pool.logits.shape[1])
    where = pool.where if pool.where.ndim == 1 else xp.matrix_transpose(pool.where)
    losses, valid, *figures = objective(
        ops.row_by_row(xp.matrix_transpose(pool.logits)),
        positives,
        where=where,
        weights=pool.weights,
        multiplicity=pool.multiplicity,
        live=pool.live,
        **({"is_iid": pool.is_iid} if iid_aware else {}),
    )
    carries_gradient = positives & where & pool.live & pool.local
    known = figures[0]._asdict() if figures else {}
    known["grad_pos_count"] = xp.sum(xp.astype(carries_gradient, losses.dtype), axis=1)
    unknown = xp.full_like(losses, xp.nan)
    diagnostics = Diagnostics(*(ops.stop_gradient(known.get(name, unknown)) for name in Diagnostics._fields))
    return losses, valid, diagnostics

"""The step shared by all ranking losses: batch and queue in, loss and queue out, no state."""

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.items import (
    POSITIVE_NUMERATORS,
    Items,
    are_weights,
    assemble,
    nan_where_unsettled,
    settle,
    standard_deviation,
)
from imbalanced_core.pool.labels import check_logits, one_vs_rest, positive_count, read_labels
from imbalanced_core.pool.queue import Queue, push
from imbalanced_core.pool.subsampling import Pool, subsample
from imbalanced_core.reductions import CLASS_REDUCTIONS, reduce_classes


class Diagnostics(NamedTuple):
    """Figures of each class, [C] each, constants in differentiation; None where a loss has no such figure."""

    t_alpha: Array | None = None  # the score at the lowest false-positive rate of the band
    t_beta: Array | None = None  # the score at the highest, so <= t_alpha
    tau_eff: Array | None = None  # temperature in units of the logits
    band_neg_count: Array | None = None  # iid negatives in the band
    pauc_var: Array | None = None  # variance of the contributions of single positives
    grad_pos_count: Array | None = None  # positives of this process's share of the batch
    spread: Array | None = None  # standard deviation of the scores of batch and queue: near 0, training has collapsed
    reached: Array | None = None  # of a gated loss except average precision, its `Gate.reached`, at most 1
    ranking_weight: Array | None = None  # of a gated loss, the weight of its ranking loss in the gradient, in [0.1, 1]


class PooledResult(NamedTuple):
    """The results of a step besides its loss; None if not requested."""

    queue: Queue
    per_class: Any  # [C], NaN where invalid; differentiable
    valid: Array  # bool [C], which classes have a loss
    diagnostics: Any  # Diagnostics
    gate: Any = ()  # the state of a gated loss after the step


def pooled_loss(
    objective: Callable[..., tuple],
    logits: Array,
    targets: Array,
    queue: Queue,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    multilabel: bool = False,
    pos_numerator: str = "pool",
    sample_weight: Array | None = None,
    iid_mask: Array | None = None,
    local: Array | None = None,
    is_storable: Array | None = None,
    max_pool_size: int | None = None,
    noise: Array | None = None,
    update_queue: bool = True,
    iid_aware: bool = False,
    live_aware: bool = False,
    per_class: bool = True,
    diagnostics: bool = True,
    undefined: float = nan,
    check: Callable[[], None] | None = None,
) -> tuple[Array, PooledResult]:
    """A ranking loss over the batch and the queue, one class against the rest, and the queue for the next step.

    - objective: the loss of `Items` of shape [C, M], such as `functools.partial(ranking.average_precision,
      temperature=0.01)`: called with the items and the keyword `diagnostics`, it returns losses [C], valid bool [C] and
      a dict of fields of `Diagnostics`.
    - logits: floating point [N, C]; C = 1 is binary. Half precision is computed in float32. Ignored ones may be NaN.
    - targets: as for `read_labels`.
    - queue: the rows of earlier batches, constants in differentiation.
    - reduction, ignore_index, multilabel, pos_numerator, sample_weight, iid_mask, max_pool_size, update_queue: as in
      `imbalanced_core.options.RankingOptions`.
    - local: bool [N], this process's rows of a gathered batch. None: all.
    - is_storable: bool [N], rows that may enter the queue. None: all.
    - noise: uniform in [0, 1), [N + Q]; needed only when the pool is larger than `max_pool_size`.
    - iid_aware, live_aware: whether `objective` uses `Items.is_iid`, `Items.live`.
    - per_class, diagnostics: whether to return the loss, and figures, of each class.
    - undefined: the loss of an invalid class in `per_class` and for reduction "none", and a figure without items.
    - check: called unless all targets and weights are known to be valid, so that it can raise an error that names them.

    Returns:
        The loss (0 with zero gradient when no class is valid), 0-d or [C], and a `PooledResult`. If a target is not a
        class, a weight is negative, not finite or too large to be summed (1e29 in float32), or a logit that is not
        ignored is NaN, the loss is NaN, and the rows that caused it do not enter the queue.

    Raises:
        ValueError: on a wrong shape, option or queue, or when noise is missing.
        TypeError: on a wrong dtype, or on arrays of several libraries.
    """
    xp = array_namespace(logits, targets, *queue, sample_weight, iid_mask, local, noise)
    checks.one_of("reduction", reduction, CLASS_REDUCTIONS)
    checks.one_of("pos_numerator", pos_numerator, POSITIVE_NUMERATORS)
    rows, is_bad = _read(logits, targets, sample_weight, iid_mask, ignore_index=ignore_index, multilabel=multilabel)
    if check is not None and is_bad is not None:
        check()
    check_queue(queue, num_classes=rows.logits.shape[1], multilabel=multilabel)
    only_live = pos_numerator == "live"
    pool = _join(queue, rows, with_live=only_live or live_aware, with_iid=iid_aware)
    if max_pool_size is not None:
        is_bad = _with_nan(pool, is_bad)  # the drawn rows may not include it
        pool = subsample(pool, size=max_pool_size, noise=noise)
    # drawn rows are in another order, and only they have a multiplicity
    start = queue.weights.shape[0] if pool.multiplicity is None else 0
    items = _one_vs_rest_items(pool, is_bad, only_live=only_live, start=start)
    losses, valid, figures = objective(items, diagnostics=diagnostics)
    gate = figures.pop("gate", ())
    losses, valid = settle(losses, valid, items)
    if diagnostics:
        figures["spread"] = standard_deviation(items, items.where)
        figures = nan_where_unsettled(figures, items)
        if undefined == undefined:  # not NaN
            figures = {name: ops.where(xp.isnan(figure), undefined, figure) for name, figure in figures.items()}
        figures["grad_pos_count"] = positive_count(rows.targets, losses.shape[0], losses.dtype, where=local)
    if update_queue:
        queue = push(queue, rows if is_storable is None else _only_storable(rows, is_storable))
    of_classes = ops.where(valid, losses, undefined) if per_class or reduction == "none" else None
    loss = of_classes if reduction == "none" else reduce_classes(losses, valid, reduction=reduction)
    result = PooledResult(queue, of_classes, valid, Diagnostics(**figures) if diagnostics else None, gate)
    return loss, result


def _read(
    logits: Array,
    targets: Array,
    sample_weight: Array | None,
    iid_mask: Array | None,
    *,
    ignore_index: int,
    multilabel: bool,
) -> tuple[Queue, Array | None]:
    """The batch as a queue (`is_iid` None: all), and whether it has invalid rows, marked as ignored; bool 0-d."""
    xp = array_namespace(logits)
    checks.floating("logits", logits)
    check_logits(logits)
    n, num_classes = logits.shape
    logits = ops.widen(logits)
    labels, is_bad = read_labels(
        targets, rows=n, num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel
    )
    weights = xp.ones_like(logits[:, 0])
    if sample_weight is not None:
        checks.real("sample_weight", sample_weight)
        checks.shaped("sample_weight", sample_weight, (n,), "[rows]")
        weights = ops.astype(ops.stop_gradient(sample_weight), logits.dtype)
        is_weight = are_weights(weights)
        weights = ops.where(is_weight, weights, 0.0)
        is_counted = labels >= 0 if labels.ndim == 1 else xp.any(labels >= 0, axis=1)
        has_bad_weight = is_counted & ~is_weight
        labels = ops.where(has_bad_weight if labels.ndim == 1 else has_bad_weight[:, None], -1, labels)
        is_bad = has_bad_weight if is_bad is None else is_bad | has_bad_weight
    if iid_mask is not None:
        checks.boolean("iid_mask", iid_mask)
        checks.shaped("iid_mask", iid_mask, (n,), "[rows]")
    return Queue(logits, labels, weights, iid_mask), None if is_bad is None else xp.any(is_bad)


def check_queue(queue: Queue, *, num_classes: int, multilabel: bool) -> None:
    """ValueError or TypeError unless the arrays are those of a queue of these classes."""
    size = queue.logits.shape[0]
    if tuple(queue.logits.shape) != (size, num_classes):
        hint = f"; use init_queue, or init_state of the presets, with num_classes={num_classes}"
        checks.shaped("queue.logits", queue.logits, (size, num_classes), "[slots, classes]", hint)
    shape, meaning = ((size, num_classes), "[slots, classes]") if multilabel else ((size,), "[slots]")
    checks.shaped("queue.targets", queue.targets, shape, f"{meaning} for multilabel={multilabel}")
    checks.shaped("queue.weights", queue.weights, (size,), "[slots]")
    checks.shaped("queue.is_iid", queue.is_iid, (size,), "[slots]")
    checks.floating("queue.logits", queue.logits)
    if not array_namespace(queue.targets).isdtype(queue.targets.dtype, "integral"):
        raise TypeError(f"queue.targets must be an integer array, got dtype {queue.targets.dtype}")
    checks.boolean("queue.is_iid", queue.is_iid)


def _join(queue: Queue, rows: Queue, *, with_live: bool, with_iid: bool) -> Pool:
    """The pool of a step: the queue, then the batch, in the batch's dtypes; only the batch's logits carry gradient."""
    xp = array_namespace(queue.logits, rows.logits)

    def joined(old: Array, new: Array) -> Array:
        if old.shape[0] == 0:
            return new
        return xp.concat([ops.astype(ops.stop_gradient(old), new.dtype), new], axis=0)

    live = is_iid = None
    if with_live:
        live = joined(xp.zeros_like(queue.is_iid), xp.ones_like(rows.weights, dtype=xp.bool))
    if with_iid:
        is_iid = joined(queue.is_iid, xp.ones_like(rows.weights, dtype=xp.bool) if rows.is_iid is None else rows.is_iid)
    logits, labels = joined(queue.logits, rows.logits), joined(queue.targets, rows.targets)
    weights = joined(queue.weights, rows.weights)
    return Pool(logits, labels, weights, is_iid, live, multiplicity=None)


def _one_vs_rest_items(pool: Pool, is_bad: Array | None, *, only_live: bool, start: int) -> Items:
    xp = array_namespace(pool.logits)
    where = pool.labels >= 0
    where = where[None, :] if where.ndim == 1 else xp.matrix_transpose(where)
    of_rows = (pool.weights, pool.multiplicity, pool.live, pool.is_iid)
    weights, multiplicity, live, is_iid = (None if array is None else array[None, :] for array in of_rows)
    positives = one_vs_rest(pool.labels, pool.logits.shape[1])
    scores = xp.matrix_transpose(pool.logits)
    arrays = (weights, multiplicity, live, is_iid, is_bad)
    return assemble(scores, positives, where, *arrays, only_live=only_live, start=start)


def _only_storable(rows: Queue, is_storable: Array) -> Queue:
    by_label = is_storable if rows.targets.ndim == 1 else is_storable[:, None]
    return ops.replaced(
        rows,
        targets=ops.where(by_label, rows.targets, -1),
        is_iid=is_storable if rows.is_iid is None else rows.is_iid & is_storable,
    )


def _with_nan(pool: Pool, is_bad: Array | None) -> Array:
    """Whether the pool has an invalid row or, in the column of a class, a NaN that is not ignored; bool [C]."""
    xp = array_namespace(pool.logits)
    where = pool.labels >= 0
    has_nan = xp.any(xp.isnan(pool.logits) & (where[:, None] if where.ndim == 1 else where), axis=0)
    return has_nan if is_bad is None else has_nan | is_bad

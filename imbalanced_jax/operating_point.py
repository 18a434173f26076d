"""Recall at k and at a precision, and precision at k and at a recall, of a batch and a queue.

Arguments, results and errors as for `smooth_ap_loss`, with one more option. `aux.diagnostics.t_beta` is the threshold
θ, always that of all rows; it carries no gradient. Cost: one sort of all scores per class. Thresholds, formulas and
papers: `imbalanced_core.losses.operating_point`.
"""

from typing import Unpack

from jax import Array

from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_core.pool.queue import Queue
from imbalanced_jax.pooled import RankingOptions, Result, ranking_function, ranking_loss


@ranking_function()
def recall_at_k_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth recall when the k highest scores of batch and queue are flagged, averaged over classes.

    The loss is 1 − mean over positives i of σ((s_i − θ)/τ − margin); see
    `imbalanced_core.losses.operating_point.recall_at`. The gradient raises positives only: combine it with a pointwise
    loss. Equal scores have loss ½, less than that of the best ranking if at most half of the positives can be among the
    k: see `docs/collapse.md`. A class counts if it has a positive (of weight > 0), a negative and more than k rows. `k`
    is a Python integer >= 1; all else as for `smooth_ap_loss`.
    """
    return ranking_loss(recall_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_k_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth precision among the k highest scores of batch and queue, averaged over classes.

    See `imbalanced_core.losses.operating_point.precision_at`. The gradient raises positives and lowers negatives. The
    loss of equal scores is the fraction of negatives. Arguments, and which classes count, as for `recall_at_k_loss`.
    """
    return ranking_loss(precision_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_recall_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, recall: float, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth precision when as few rows are flagged as a given recall needs, averaged over classes.

    As `precision_at_k_loss`, but a class counts if it has a positive (of weight > 0) and a negative. `recall`, the
    minimum fraction of positives flagged, is a Python number in (0, 1].
    """
    return ranking_loss(precision_above, logits, targets, queue, options, recall=recall)


@ranking_function()
def recall_at_precision_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, precision: float, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth recall when as many rows are flagged as a given precision allows, averaged over classes.

    As `recall_at_k_loss`, but a class counts if it has a positive (of weight > 0) and a negative. `precision`, the
    minimum fraction of positives among the flagged rows, is a Python number in (0, 1].
    """
    return ranking_loss(recall_above, logits, targets, queue, options, precision=precision)

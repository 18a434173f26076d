"""Recall at k and at a precision, and precision at k and at a recall, of a batch and a queue."""

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

    With θ, which carries no gradient, halfway between the k-th highest score of a class and the next:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ − margin).

    The gradient raises positives only: combine it with a pointwise loss. Equal scores have loss ½, less than that of
    the best ranking if at most half of the positives can be among the k: see `docs/collapse.md`. A class counts if it
    has a positive (of weight > 0), a negative and more than k rows.

    Arguments, results and errors as for `smooth_ap_loss`; `k` is a Python integer >= 1. `aux.diagnostics.t_beta` is the
    threshold, always that of all rows. Cost: one sort of all scores per class.
    """
    return ranking_loss(recall_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_k_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth precision among the k highest scores of batch and queue, averaged over classes.

    With θ, which carries no gradient, halfway between the k-th highest score of a class and the next, R the mean over
    positives i of σ((s_i − θ)/τ − margin), n₊ their number, and F the sum over negatives j of σ((s_j − θ)/τ + margin):

        loss = 1 − precision = F / (F + R n₊).

    The gradient raises positives and lowers negatives. The loss of equal scores is the fraction of negatives. A class
    counts if it has a positive (of weight > 0), a negative and more than k rows.

    Arguments, results and errors as for `smooth_ap_loss`; `k` is a Python integer >= 1. `aux.diagnostics.t_beta` is the
    threshold, always that of all rows. Cost: one sort of all scores per class.
    """
    return ranking_loss(precision_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_recall_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, recall: float, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth precision when as few rows are flagged as a given recall needs, averaged over classes.

    As `precision_at_k_loss`, with θ halfway between the lowest score of the top fraction `recall` of a class's
    positives and the next lower score. The gradient raises positives and lowers negatives. The loss of equal scores is
    the fraction of negatives. A class counts if it has a positive (of weight > 0) and a negative.

    Arguments, results and errors as for `smooth_ap_loss`; `recall`, the minimum fraction of positives flagged, is a
    Python number in (0, 1]. `aux.diagnostics.t_beta` is the threshold, always that of all rows. Cost: one sort of all
    scores per class.

    References:
        Eban et al., Scalable Learning of Non-Decomposable Objectives, AISTATS 2017, https://arxiv.org/abs/1608.04802
    """
    return ranking_loss(precision_above, logits, targets, queue, options, recall=recall)


@ranking_function()
def recall_at_precision_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, precision: float, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth recall when as many rows are flagged as a given precision allows, averaged over classes.

    With θ, which carries no gradient, the lowest threshold of a class above which at least the fraction `precision` of
    the scores belong to positives, halfway between two scores; if there is none, the highest score:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ − margin).

    The gradient raises positives only: combine it with a pointwise loss. Equal scores have loss ½, less than that of
    the best ranking if at most half of the positives can be found at that precision: see `docs/collapse.md`. A class
    counts if it has a positive (of weight > 0) and a negative.

    Arguments, results and errors as for `smooth_ap_loss`; `precision`, the minimum fraction of positives among the
    flagged rows, is a Python number in (0, 1]. `aux.diagnostics.t_beta` is the threshold, always that of all rows.
    Cost: one sort of all scores per class.

    References:
        Eban et al., Scalable Learning of Non-Decomposable Objectives, AISTATS 2017, https://arxiv.org/abs/1608.04802
    """
    return ranking_loss(recall_above, logits, targets, queue, options, precision=precision)

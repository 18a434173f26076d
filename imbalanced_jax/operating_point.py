"""Recall and precision at a count, at a precision and at a recall, of a batch and a queue."""

from typing import Unpack

from jax import Array

from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_core.pool.queue import Queue
from imbalanced_jax.pooled import RankingOptions, Result, ranking_function, ranking_loss


@ranking_function()
def recall_at_k_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth recall when the k best of batch and queue are flagged, averaged over classes.

    With θ, a constant in differentiation, halfway between the k-th highest score of a class and the next:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ − margin).

    The gradient lifts positives only: use it beside a pointwise loss. Equal scores have ½, less than the best ranking
    has where no more than half of the positives can be among the k: see `docs/collapse.md`. A class counts when it has
    a positive (of weight > 0), a negative and more than k rows.

    Arguments, results and errors as for `smooth_ap_loss`; `k` is a Python integer >= 1.
    The threshold, always that of all rows, is `aux.diagnostics.t_beta`. Cost: one sort of all scores per class.
    """
    return ranking_loss(recall_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_k_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth precision among the k best of batch and queue, averaged over classes.

    With θ, a constant in differentiation, halfway between the k-th highest score of a class and the next, R the mean
    over positives i of σ((s_i − θ)/τ − margin), n₊ their number, and F the sum over negatives j of σ((s_j − θ)/τ +
    margin):

        loss = 1 − precision = F / (F + R n₊).

    The gradient lifts positives and lowers negatives. Equal scores have the share of negatives.
    A class counts when it has a positive (of weight > 0), a negative and more than k rows.

    Arguments, results and errors as for `smooth_ap_loss`; `k` is a Python integer >= 1.
    The threshold, always that of all rows, is `aux.diagnostics.t_beta`. Cost: one sort of all scores per class.
    """
    return ranking_loss(precision_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_recall_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, recall: float, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth precision when as few are flagged as a recall needs, averaged over classes.

    As `precision_at_k_loss`, with θ halfway between the lowest score of the `recall` best positives of a class and the
    next lower score. The gradient lifts positives and lowers negatives. Equal scores have the share of negatives. A
    class counts when it has a positive (of weight > 0) and a negative.

    Arguments, results and errors as for `smooth_ap_loss`; `recall`, the least share of the positives that is flagged,
    is a Python number in (0, 1]. The threshold, always that of all rows, is `aux.diagnostics.t_beta`. Cost: one sort of
    all scores per class.

    References:
        Eban et al., Scalable Learning of Non-Decomposable Objectives, AISTATS 2017, https://arxiv.org/abs/1608.04802
    """
    return ranking_loss(precision_above, logits, targets, queue, options, recall=recall)


@ranking_function()
def recall_at_precision_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, precision: float, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth recall when as many are flagged as a precision allows, averaged over classes.

    With θ, a constant in differentiation, the lowest threshold of a class above which no less than `precision` of the
    scores are those of positives, halfway between two scores; where there is none, the highest score:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ − margin).

    The gradient lifts positives only: use it beside a pointwise loss. Equal scores have ½, less than the best ranking
    has where no more than half of the positives can be found at that precision: see `docs/collapse.md`. A class counts
    when it has a positive (of weight > 0) and a negative.

    Arguments, results and errors as for `smooth_ap_loss`; `precision`, the least share of positives among the flagged,
    is a Python number in (0, 1]. The threshold, always that of all rows, is `aux.diagnostics.t_beta`. Cost: one sort of
    all scores per class.

    References:
        Eban et al., Scalable Learning of Non-Decomposable Objectives, AISTATS 2017, https://arxiv.org/abs/1608.04802
    """
    return ranking_loss(recall_above, logits, targets, queue, options, precision=precision)

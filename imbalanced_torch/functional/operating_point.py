"""Recall at k and at a precision, and precision at k and at a recall, as functions."""

from typing import Unpack

from torch import Tensor

from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_core.pool.queue import Queue
from imbalanced_torch.functional.ranking import RankingOptions, Result, ranking_function, ranking_loss


@ranking_function()
def recall_at_k_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.RecallAtKLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(recall_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_k_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.PrecisionAtKLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(precision_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_recall_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, recall: float, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.PrecisionAtRecallLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(precision_above, logits, targets, queue, options, recall=recall)


@ranking_function()
def recall_at_precision_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, precision: float, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.RecallAtPrecisionLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(recall_above, logits, targets, queue, options, precision=precision)

"""Recall and precision at a count, at a precision and at a recall as functions."""

from typing import Unpack

from torch import Tensor

from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_core.pool.queue import Queue
from imbalanced_torch.functional.ranking import Number, RankingOptions, Result, evaluate, ranking_function


@ranking_function()
def recall_at_k_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    k: int,
    temperature: Number = 0.1,
    **options: Unpack[RankingOptions],
) -> Result:
    """The loss of `imbalanced_torch.RecallAtKLoss`; arguments and results as for `smooth_ap_loss`."""
    return evaluate(recall_above, logits, targets, queue, temperature, options, {"k": k})


@ranking_function()
def precision_at_k_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    k: int,
    temperature: Number = 0.1,
    **options: Unpack[RankingOptions],
) -> Result:
    """The loss of `imbalanced_torch.PrecisionAtKLoss`; arguments and results as for `smooth_ap_loss`."""
    return evaluate(precision_above, logits, targets, queue, temperature, options, {"k": k})


@ranking_function()
def precision_at_recall_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    recall: float,
    temperature: Number = 0.1,
    **options: Unpack[RankingOptions],
) -> Result:
    """The loss of `imbalanced_torch.PrecisionAtRecallLoss`; arguments and results as for `smooth_ap_loss`."""
    return evaluate(precision_above, logits, targets, queue, temperature, options, {"recall": recall})


@ranking_function()
def recall_at_precision_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    precision: float,
    temperature: Number = 0.1,
    **options: Unpack[RankingOptions],
) -> Result:
    """The loss of `imbalanced_torch.RecallAtPrecisionLoss`; arguments and results as for `smooth_ap_loss`."""
    return evaluate(recall_above, logits, targets, queue, temperature, options, {"precision": precision})

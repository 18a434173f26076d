"""Recall at k and at a precision, and precision at k and at a recall, and partial AUC at a budget, as functions."""

from typing import Any, Unpack

from torch import Tensor

from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_core.losses.partial_auc import band_auc
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


@ranking_function(temperature_scale=None)
def pauc_at_budget_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    alpha: float = 0.0,
    beta: float = 0.005,
    surrogate: str = "pairwise",
    n_knots: int = 2,
    tau_scale: str = "iqr",
    budget_basis: str = "fpr",
    quantile_interpolation: str = "higher",
    min_tpr: float = 0.0,
    **options: Unpack[RankingOptions],
) -> Result:
    """The loss of `imbalanced_torch.PAUCAtBudgetLoss`, with surrogate="pairwise"; the rest as for `smooth_ap_loss`."""
    own: dict[str, Any] = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
    own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(band_auc, logits, targets, queue, options, iid_aware=True, **own)

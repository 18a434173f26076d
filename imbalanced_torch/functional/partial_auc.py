"""Partial AUC at a budget of false positives, as a function."""

from typing import Any, Unpack

from torch import Tensor

from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.pool.queue import Queue
from imbalanced_torch.functional.ranking import RankingOptions, Result, ranking_function, ranking_loss


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
    """One minus the smooth partial AUC at a budget of false positives: the loss of `imbalanced_torch.PAUCAtBudgetLoss`.

    Arguments and results as for `smooth_ap_loss`, other options as for the class, except for the default of
    `surrogate`.
    """
    own: dict[str, Any] = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
    own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(band_auc, logits, targets, queue, options, iid_aware=True, **own)

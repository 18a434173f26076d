"""Partial AUC at a budget of false positives, of a batch and a queue."""

from typing import Any, Unpack

from jax import Array

from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.pool.queue import Queue
from imbalanced_jax.pooled import RankingOptions, Result, ranking_function, ranking_loss


@ranking_function(temperature_scale=None)
def pauc_at_budget_loss(
    logits: Array,
    targets: Array,
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
    """One minus the smooth partial AUC over the false-positive rates [alpha, beta], averaged over classes.

    Options, formulas and papers: `imbalanced_core.losses.partial_auc.partial_auc`, whose temperature_scale is
    `tau_scale` here; `temperature_scale` overrides it. All else as for `smooth_ap_loss`. A class counts if it has a
    positive (of weight > 0), an iid negative and, for "pairwise", a negative in the band.

    `surrogate="trapezoid"`, the default of `imbalanced_torch.PAUCAtBudgetLoss`, raises positives only and hardly learns
    without a second loss. On real data a `temperature` of 1.0 with tau_scale="std" did better than the default. The
    pool needs several times 1/beta negatives. `aux.diagnostics` has all fields: t_alpha and t_beta, the scores at the
    edges of the band; tau_eff, the temperature in units of the logits; band_neg_count, the iid negatives in the band;
    pauc_var, the variance of the contributions of single positives; grad_pos_count, the number of positives in the
    batch. Cost: one sort of all scores per class.
    """
    own: dict[str, Any] = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
    own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(band_auc, logits, targets, queue, options, iid_aware=True, **own)

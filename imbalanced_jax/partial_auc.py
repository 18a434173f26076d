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

    The scores of the iid negatives in batch and queue set, as constants, the thresholds t(f) of false-positive rates f
    and the unit of the temperature. Per positive, "trapezoid" integrates σ((s_i − t(f))/τ) over the band; "pairwise"
    averages σ((s_i − s_j)/τ) over the negatives j in the band, which then carry gradient as well. The loss is one minus
    the mean over positives. A class counts when it has a positive (of weight > 0), an iid negative, a scale of scores
    > 1e-12 and, for "pairwise", a negative in the band. See `imbalanced_core.losses.partial_auc.partial_auc`.

    Args:
        logits: as for `smooth_ap_loss`.
        targets: class ids or 0/1 labels.
        queue: the rows of earlier batches.
        alpha: the lowest false-positive rate of the band, a Python number, 0 <= alpha < beta.
        beta: the highest, the budget, <= 1. The pool needs several times 1/beta negatives.
        surrogate: "pairwise", or "trapezoid", which lifts positives only and hardly learns without another loss beside
            it. (`imbalanced_torch.PAUCAtBudgetLoss` has "trapezoid" as its default.)
        n_knots: number of thresholds of the trapezoid, >= 2.
        tau_scale: the unit of the temperature: "iqr" or "std" of the reference scores, "band" = t(alpha) − t(beta), or
            "absolute" = 1.
        budget_basis: rates are fractions of the iid negatives ("fpr") or of all iid rows ("population").
        quantile_interpolation: of the thresholds: "higher", "lower", "linear", "nearest" or "midpoint".
        min_tpr: the lowest true-positive rate, in [0, 1): the two-way partial AUC, a mean over the positives of the
            lowest scores, 1 − min_tpr of them. 0: all.
        **options: the keywords of `imbalanced_jax.RankingOptions`. `temperature_scale` takes the place of `tau_scale`
            if given: its name in the other ranking losses. On real data a `temperature` of 1.0 with tau_scale="std" did
            better than the default.

    Returns:
        (loss, aux) as for `smooth_ap_loss`, whose errors hold too, with all of `aux.diagnostics`: t_alpha and t_beta,
        the scores at the edges of the band; tau_eff, the temperature in units of the logits; band_neg_count, the iid
        negatives in the band; pauc_var, the variance of the contributions of single positives; grad_pos_count, the
        batch's positives.

    Cost: one sort of n = N + queue size scores per class; "pairwise" O(n log n) as well.

    References:
        Narasimhan, Agarwal, A Structural SVM Based Approach for Optimizing Partial AUC, ICML 2013.
        Yang et al., When All We Need is a Piece of the Pie: A Generic Framework for Optimizing Two-way Partial AUC,
        ICML 2021, for min_tpr.
    """
    own: dict[str, Any] = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
    own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(band_auc, logits, targets, queue, options, iid_aware=True, **own)

"""The ranking losses of a batch and a queue: `smooth_ap_loss` describes the arguments, results and errors of all."""

from typing import Any, Unpack

from jax import Array

from imbalanced_core.losses import ranking
from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.pool.queue import Queue
from imbalanced_jax.pooled import RankingOptions, Result, ranking_function, ranking_loss


@ranking_function(temperature=0.01)
def smooth_ap_loss(
    logits: Array, targets: Array, queue: Queue | None = None, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth average precision, averaged over classes, of the batch and a queue of earlier rows.

    For each positive i of a class, among all rows V and positives P of batch and queue:

        rank_i = 1 + Σ_{j∈V, j≠i} σ((s_j − s_i)/τ),  rank⁺_i = the same over P,  loss = 1 − mean_i rank⁺_i / rank_i.

    A class counts if it has a positive (of weight > 0) and a negative. It takes O(n log n) time and O(n) memory per
    class, for n = N + queue size.

    Args:
        logits: floating point [N, C]; C = 1 is binary.
        targets: class ids [N] or [N, 1], of any integer or bool dtype; 0 or 1 (floats too) for one class. With
            `multilabel` 0/1 per class, [N, C], of any dtype. Where it is `ignore_index`, the row or label is ignored;
            its logits may hold anything.
        queue: rows of earlier batches, from `init_queue` or the previous step's `aux.queue`; they carry no gradient.
            None: only the batch.
        **options: see `imbalanced_jax.RankingOptions`.

    Returns:
        (loss, aux), for `jax.value_and_grad(..., has_aux=True)`. The loss is 0-d, or [C] for reduction "none", within
        [0, 1] per class, float32 or float64; 0 with zero gradient if no class counts; NaN if a logit that is not
        ignored is NaN, or if a target or weight that could not be read is out of range. aux = (queue, per_class, valid,
        diagnostics, gate): the next queue; the loss [C] of each class, NaN where invalid; which classes are valid, bool
        [C]; diagnostics [C] without gradient, None where a loss has none; and the next gate, of a gated loss. Every
        loss has the diagnostics `tau_eff`, the temperature in units of the logits, `spread`, the standard deviation of
        the scores of batch and queue, and `grad_pos_count`, the number of positives in the batch (with `axis_name`: of
        all devices); a gated one `ranking_weight`, the weight of the ranking loss, and, except for smooth AP,
        `reached`, what the gate has measured.

    Raises:
        TypeError, ValueError: on invalid dtypes, shapes or options, if a readable target or weight is out of range, or
            if a key is missing.

    References:
        Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV 2020,
        https://arxiv.org/abs/2007.12163
    """
    return ranking_loss(ranking.average_precision, logits, targets, queue, options)


@ranking_function(temperature=0.01)
def recall_at_quantile_loss(
    logits: Array,
    targets: Array,
    queue: Queue | None = None,
    *,
    quantile: float = 0.005,
    quantile_interpolation: str = "higher",
    **options: Unpack[RankingOptions],
) -> Result:
    """One minus the smooth recall when the top `quantile` of the scores is flagged, averaged over classes.

    The loss is 1 − mean over positives i of σ((s_i − θ)/τ), with θ the (1 − quantile)-quantile of a class's scores in
    batch and queue, without gradient. The gradient raises positives only. A class counts if it has a positive (of
    weight > 0). The pool needs several times 1/quantile rows, and the quantile should exceed the fraction of positives.

    Arguments, results and errors as for `smooth_ap_loss`; `quantile`, the flagged fraction, is a Python number within
    [0, 1], and `quantile_interpolation` "higher", "lower", "linear", "nearest" or "midpoint". `aux.diagnostics.t_beta`
    is θ, always that of all rows. Cost: one sort of all scores per class.
    """
    own: dict[str, Any] = {"quantile": quantile, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(ranking.recall, logits, targets, queue, options, **own)


@ranking_function()
def auc_loss(logits: Array, targets: Array, queue: Queue | None = None, **options: Unpack[RankingOptions]) -> Result:
    """One minus the smooth area under the ROC curve, averaged over classes, of the batch and a queue of earlier rows.

    Mean of σ((s_j − s_i)/τ + margin) over the positives i and negatives j of a class; ½ for a constant model. All else
    as for `smooth_ap_loss`; the paper: `imbalanced_core.losses.ranking.auc`.
    """
    return ranking_loss(ranking.pairs_in_order, logits, targets, queue, options)


@ranking_function()
def recall_at_k_loss(
    logits: Array, targets: Array, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth recall when the k highest scores of batch and queue are flagged, averaged over classes.

    The loss is 1 − mean over positives i of σ((s_i − θ)/τ − margin); see
    `imbalanced_core.losses.operating_point.recall_at`. The gradient raises positives only: combine it with a pointwise
    loss. Equal scores have loss ½, less than that of the best ranking if at most half of the positives can be among the
    k: see `docs/collapse.md`. A class counts if it has a positive (of weight > 0), a negative and more than k rows. `k`
    is a Python integer >= 1; all else as for `smooth_ap_loss`. `aux.diagnostics.t_beta` is θ, always that of all rows.
    Cost: one sort of all scores per class.
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
    pool needs several times 1/beta negatives. `aux.diagnostics` also has t_alpha and t_beta, the scores at the edges of
    the band; band_neg_count, the iid negatives in the band; and pauc_var, the variance of the contributions of single
    positives. Cost: one sort of all scores per class.
    """
    own: dict[str, Any] = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
    own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(band_auc, logits, targets, queue, options, iid_aware=True, **own)

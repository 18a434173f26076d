"""Partial area under the ROC curve over a band of false-positive rates, as a loss of rows of scores."""

from math import nan
from typing import Any, Unpack

from imbalanced_core import checks, ops
from imbalanced_core.losses.ranking import against, smooth_step
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.items import (
    Items,
    RowArrays,
    count_of,
    dispersion,
    make_items,
    nan_where_unsettled,
    numerator_mean,
    row_temperature,
    select_numerator,
    settle,
)
from imbalanced_core.quantile import INTERPOLATIONS, level_below, masked_quantile

SURROGATES = ("trapezoid", "pairwise")
BUDGET_BASES = ("fpr", "population")
BAND_TEMPERATURE_SCALES = ("iqr", "band", "std", "absolute")


def partial_auc(
    scores: Array,
    positives: Array,
    *,
    alpha: float = 0.0,
    beta: float = 0.005,
    surrogate: str = "trapezoid",
    n_knots: int = 2,
    temperature: Array = 0.1,
    temperature_scale: str = "iqr",
    margin: float = 0.0,
    min_tpr: float = 0.0,
    budget_basis: str = "fpr",
    quantile_interpolation: str = "higher",
    **rows: Unpack[RowArrays],
) -> tuple[Array, Array, dict[str, Array]]:
    """One minus the smooth partial AUC of each row over the false-positive rates [α, β], normalised to [0, 1].

    The reference scores are those of the iid negatives ("fpr") or of all iid items ("population"); t(f) is their
    (1 − f)-quantile, and τ = temperature · scale. Thresholds and scale are constants. With P the positives
    in the mean, their weights w and multiplicities m:

        "trapezoid": pAUC_i = Σ_k a_k σ((s_i − t(f_k))/τ), where f_1 = α, ..., f_K = β are equally spaced and a are the
            weights of the trapezoidal rule, (½, 1, ..., 1, ½)/(K − 1). The gradient reaches positives only.
        "pairwise": pAUC_i = Σ_{j∈B} m_j σ((s_i − s_j)/τ) / Σ_{j∈B} m_j, where the band B is all negatives, iid or not,
            with t(β) <= s_j <= t(α). The gradient reaches B too.
        loss = 1 − Σ_{i∈P} w_i m_i pAUC_i / Σ_{i∈P} w_i m_i.

    With `min_tpr` it is the two-way partial AUC, over true-positive rates of at least `min_tpr`: the mean is only over
    the hardest positives, those at or below the (1 − min_tpr)-quantile ("lower") of the scores of all positives.

    Arguments and errors as for `smooth_ap`, with the options

    - alpha, beta: the lowest false-positive rate of the band and the highest, the budget; Python numbers, 0 <= alpha <
      beta <= 1.
    - surrogate: "trapezoid" or "pairwise".
    - n_knots: K >= 2, the number of thresholds of the trapezoidal rule.
    - temperature_scale: the unit of the temperature: "iqr" and "std", the interquartile range and the standard
      deviation of the reference scores; "band", t(α) − t(β); or "absolute", 1.
    - margin: μ >= 0, in units of τ: the differences in σ are (s_i − t)/τ − μ and (s_i − s_j)/τ − μ.
    - min_tpr: the lowest true-positive rate, a Python number in [0, 1); 0 for all positives.
    - budget_basis: "fpr", or "population": α and β are then fractions of all iid items.
    - quantile_interpolation: of the thresholds: "higher", "lower", "linear", "nearest" or "midpoint".

    Returns:
        (loss [...] in [0, 1], valid bool [...], diagnostics). A row is valid with a positive of weight > 0 in the mean,
        an iid negative and, pairwise, a band that is not empty; else its loss is 0 with zero gradient. Where the scale
        is at most 1e-12, as for equal scores, the unit is 1. NaN as for `smooth_ap`; diagnostics as from
        `band_diagnostics`.

    Cost: one sort per row; then O(n·K) time and memory for the trapezoid, O(n log n) and O(n) for pairwise.

    References:
        Narasimhan, Agarwal. A structural SVM based approach for optimizing partial AUC. ICML 2013.
        Yang, Xu, Bao, He, Cao, Huang. When all we need is a piece of the pie: A generic framework for optimizing
        two-way partial AUC. ICML 2021.
    """
    items = make_items(scores, positives, **rows)
    options: dict[str, Any] = {"surrogate": surrogate, "margin": margin, "min_tpr": min_tpr}
    options |= {"temperature": temperature, "temperature_scale": temperature_scale, "budget_basis": budget_basis}
    options |= {"n_knots": n_knots, "quantile_interpolation": quantile_interpolation}
    loss, valid, figures = band_auc(items, alpha=alpha, beta=beta, **options, diagnostics=True)
    return *settle(loss, valid, items), nan_where_unsettled(figures, items)


def band_auc(
    items: Items,
    *,
    alpha: float = 0.0,
    beta: float = 0.005,
    surrogate: str = "trapezoid",
    tau_scale: str = "iqr",
    temperature_scale: str | None = None,
    budget_basis: str = "fpr",
    margin: float = 0.0,
    min_tpr: float = 0.0,
    diagnostics: bool = False,
    **band: Any,
) -> tuple[Array, Array, dict[str, Array]]:
    """The objective of `partial_auc`; further options as in `_band`. A `temperature_scale` replaces `tau_scale`."""
    if temperature_scale is not None:
        checks.one_of("temperature_scale", temperature_scale, BAND_TEMPERATURE_SCALES)
        tau_scale = temperature_scale
    checks.one_of("surrogate", surrogate, SURROGATES)
    checks.one_of("budget_basis", budget_basis, BUDGET_BASES)
    checks.non_negative("margin", margin)
    checks.python_number("min_tpr", min_tpr, "[0, 1)")
    if min_tpr > 0:
        items = ops.replaced(items, numerator=_of_hardest(items, min_tpr))
    iid = items.where if items.is_iid is None else items.where & items.is_iid
    iid_negatives = items.negatives if items.is_iid is None else items.negatives & items.is_iid
    reference = iid_negatives if budget_basis == "fpr" else iid
    thresholds, tau = _band(items, reference, alpha, beta, tau_scale, **band)
    in_band = None
    if surrogate == "pairwise" or diagnostics:
        scores = ops.stop_gradient(items.scores)  # edges are included
        in_band = (scores >= thresholds[..., -1:]) & (scores <= thresholds[..., :1]) & items.negatives
    if surrogate == "trapezoid":
        scores, numerator = select_numerator(items)
        missed = _trapezoid(scores, thresholds, tau, margin)
        loss, has_both = numerator_mean(missed, numerator)
    else:
        loss, has_both, missed, numerator = against(items, in_band, tau, margin)
    xp, figures = array_namespace(loss), {"tau_eff": tau}
    valid = xp.any(iid_negatives, axis=-1) & has_both
    if diagnostics:
        thresholds = ops.where(xp.any(reference, axis=-1)[..., None], thresholds, nan)
        figures |= band_diagnostics(items, thresholds, in_band & iid_negatives, missed, numerator, valid)
    return loss, valid, figures


def _band(
    items: Items,
    reference: Array,
    alpha: float,
    beta: float,
    tau_scale: str,
    *,
    n_knots: int = 2,
    temperature: Array = 0.1,
    quantile_interpolation: str = "higher",
) -> tuple[Array, Array]:
    """The thresholds of the knots, [..., knots], descending, 0 for an empty reference; and τ [...]; constants."""
    checks.one_of("tau_scale", tau_scale, BAND_TEMPERATURE_SCALES)
    checks.one_of("quantile_interpolation", quantile_interpolation, INTERPOLATIONS)
    checks.at_least("n_knots", n_knots, 2)
    checks.band(alpha, beta)
    inner = [alpha + (beta - alpha) * (k / (n_knots - 1)) for k in range(1, n_knots - 1)]
    levels = [level_below(rate) for rate in (alpha, *inner, beta)]
    shares_sort = tau_scale == "iqr" and quantile_interpolation == "higher"
    if shares_sort:
        levels += [0.25, 0.75]
    options = {"where": reference, "multiplicity": items.multiplicity}
    quantiles = masked_quantile(items.scores, levels, interpolation=quantile_interpolation, **options)
    xp = array_namespace(quantiles)
    quantiles = ops.where(xp.isnan(quantiles), 0.0, quantiles)
    thresholds = quantiles[..., :n_knots]
    if shares_sort:
        scale = quantiles[..., -1] - quantiles[..., -2]
    elif tau_scale == "band":
        scale = thresholds[..., 0] - thresholds[..., -1]
    else:
        scale = dispersion(tau_scale, items, reference)
    return thresholds, row_temperature(temperature, scale, items)


def _of_hardest(items: Items, min_tpr: float) -> Array:
    """The numerator [..., n] of the hardest positives, those beyond a true-positive rate of `min_tpr`; else 0."""
    options = {"where": items.positives, "multiplicity": items.multiplicity, "interpolation": "lower"}
    highest = masked_quantile(items.scores, (level_below(min_tpr),), **options)  # NaN without a positive
    return ops.where(ops.stop_gradient(items.scores) <= highest, items.numerator, 0.0)


def _trapezoid(scores: Array, thresholds: Array, tau: Array, margin: float) -> Array:
    """1 − pAUC_i of each score: the trapezoidal mean over the thresholds of σ((t_k − s_i)/τ), [..., n]."""
    xp, n_knots = array_namespace(scores), thresholds.shape[-1]
    below = thresholds[..., None] - scores[..., None, :]
    missed = xp.reshape(smooth_step(xp.reshape(below, (*scores.shape[:-1], -1)), tau, margin), below.shape)
    portions = [(0.5 if k in (0, n_knots - 1) else 1.0) / (n_knots - 1) for k in range(n_knots)]
    weights = ops.constant(tuple(portions), like=scores, dtype=scores.dtype)
    return xp.sum(missed * xp.reshape(weights, (*(1 for _ in scores.shape[:-1]), n_knots, 1)), axis=-2)


def band_diagnostics(
    items: Items, thresholds: Array, counted: Array, missed: Array, numerator: Array, valid: Array
) -> dict[str, Array]:
    """Figures of each row, [...], besides tau_eff, which is temperature · scale.

    t_alpha and t_beta are the scores at the edges of the band, NaN without a reference; band_neg_count is the number of
    iid negatives in the band (with multiplicities, their sum), and pauc_var the variance (biased, weighted like the
    mean) of the contributions of single positives to the pAUC, NaN in invalid rows.
    """
    missed = ops.stop_gradient(missed)
    mean, _ = numerator_mean(missed, numerator)
    variance, _ = numerator_mean((missed - mean[..., None]) ** 2, numerator)
    return {
        "t_alpha": thresholds[..., 0],
        "t_beta": thresholds[..., -1],
        "band_neg_count": count_of(counted, items),
        "pauc_var": ops.where(valid, variance, nan),
    }

"""Partial area under the ROC curve over a band of false-positive rates, as an objective over rows of scores."""

from typing import NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.losses.ranking import (
    Items,
    dispersion,
    finish,
    has_numerator,
    number_or_zero,
    numerator_mean,
    prepare_items,
    requested,
    scaled_temperature,
    select_numerator,
    smooth_step,
)
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise.counts import soft_counts_at
from imbalanced_core.quantile import masked_quantile
from imbalanced_core.reductions import safe_divide

SURROGATES = ("trapezoid", "pairwise")
BUDGET_BASES = ("fpr", "population")
BAND_TEMPERATURE_SCALES = ("iqr", "band", "std", "absolute")


class BandDiagnostics(NamedTuple):
    """The state of each row's band, [...] each, constants; NaN where there is no such figure or the loss is NaN."""

    t_alpha: Array  # the score at the lower edge of the band of false-positive rates
    t_beta: Array  # the score at its upper edge, <= t_alpha
    tau_eff: Array  # temperature · scale
    band_neg_count: Array  # the number of iid negatives with t_beta <= score <= t_alpha; with multiplicity, their sum
    pauc_var: Array  # variance (biased, weighted like the mean) of the contributions of single positives to the pAUC


class Band(NamedTuple):
    """The score thresholds at the knots of a band of false-positive rates, and the unit of the temperature."""

    thresholds: Array  # [..., knots], descending: the first is t_alpha, the last t_beta
    scale: Array  # [...]


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
    pos_numerator: str = "pool",
    budget_basis: str = "fpr",
    where: Array | None = None,
    weights: Array | None = None,
    multiplicity: Array | None = None,
    live: Array | None = None,
    is_iid: Array | None = None,
) -> tuple[Array, Array, BandDiagnostics]:
    """One minus the smooth partial AUC of each row over the false-positive rates [α, β], normalised to [0, 1].

    The reference scores are those of the iid negatives ("fpr") or of all iid items ("population"); t(f) is their
    (1 − f)-quantile ("higher"), and τ = temperature · scale. Thresholds and scale are constants. With P the positives
    of the mean, their weights w and multiplicities m:

        "trapezoid": pAUC_i = Σ_k a_k σ((s_i − t(f_k))/τ), where f_1 = α, ..., f_K = β are equally spaced and a are the
            weights of the trapezoidal rule, (½, 1, ..., 1, ½)/(K − 1). The gradient reaches positives only.
        "pairwise": pAUC_i = Σ_{j∈B} m_j σ((s_i − s_j)/τ) / Σ_{j∈B} m_j, where the band B is all negatives, iid or not,
            with t(β) <= s_j <= t(α). The gradient reaches them too.
        loss = 1 − Σ_{i∈P} w_i m_i pAUC_i / Σ_{i∈P} w_i m_i.

    Args:
        scores: floats [..., n]; ±inf counts as a very large number. Half precision is computed in float32.
        positives: bool, of the shape of scores.
        alpha: the lowest false-positive rate of the band; Python numbers, 0 <= alpha < beta <= 1.
        beta: the highest, the budget.
        surrogate: "trapezoid" or "pairwise".
        n_knots: K >= 2, the number of thresholds of the trapezoidal rule.
        temperature: τ in units of temperature_scale, > 0; a number or a 0-d array.
        temperature_scale: the unit of the temperature: "iqr" and "std", the interquartile range and the standard
            deviation of the reference scores; "band", t(α) − t(β); or "absolute", 1.
        pos_numerator: the mean runs over all positives ("pool") or over the live ones alone ("live").
        budget_basis: "fpr", or "population": α and β are then fractions of all iid items.
        where: bool; the items that take part. Masked ones contribute nothing, whatever they hold. None: all.
        weights: numbers >= 0, seen as constants; the weights of the positives in the mean. None: 1.
        multiplicity: numbers >= 0, seen as constants; how many items each one stands for. None: 1.
        live: bool; the items of the current batch. None: all.
        is_iid: bool; the items drawn as the population is, not hand-picked: they set the thresholds. None: all.

        The last five are broadcastable to scores.

    Returns:
        (loss [...] in [0, 1], valid bool [...], diagnostics). A row is valid with a positive of weight > 0 in the mean,
        an iid negative, a scale > 1e-12 and, pairwise, a band that is not empty; else its loss is 0 with zero gradient.
        A row with a NaN among its participating scores, or a negative or non-finite participating weight, is valid,
        with loss NaN.

    Raises:
        ValueError: for a bad parameter, or shapes that do not fit.
        TypeError: if scores are not floats or masks not bool.

    Cost: one sort per row; then O(n·K) time and memory for the trapezoid, O(n log n) and O(n) for pairwise.

    References:
        Narasimhan, Agarwal. A structural SVM based approach for optimizing partial AUC. ICML 2013.
    """
    checks.one_of("surrogate", surrogate, SURROGATES)
    checks.one_of("budget_basis", budget_basis, BUDGET_BASES)
    checks.broadcastable("is_iid", is_iid, "scores", scores)
    checks.boolean("is_iid", is_iid)
    items = prepare_items(
        scores,
        positives,
        pos_numerator=pos_numerator,
        where=where,
        weights=weights,
        multiplicity=multiplicity,
        live=live,
    )
    xp = array_namespace(items.scores)
    is_iid = items.taking_part if is_iid is None or scores.shape[-1] == 0 else is_iid & items.taking_part
    iid_negatives = items.negatives & is_iid
    reference = iid_negatives if budget_basis == "fpr" else is_iid
    band = fpr_band(items, reference, alpha=alpha, beta=beta, n_knots=n_knots, temperature_scale=temperature_scale)
    tau, has_scale = scaled_temperature(temperature, band.scale)
    in_band = within(band, items.scores)
    valid = has_numerator(items) & xp.any(iid_negatives, axis=-1) & has_scale
    if surrogate == "trapezoid":
        scores, numerator = select_numerator(items)
        missed = trapezoid(scores, band, tau)
    else:
        missed, numerator = pairwise(items, in_band & items.negatives, tau)
        valid = valid & xp.any(in_band & items.negatives & (items.mass > 0), axis=-1)
    loss, valid = finish(numerator_mean(missed, numerator), valid, items)
    return loss, valid, _diagnose(items, band, temperature, in_band & iid_negatives, missed, numerator)


def fpr_band(
    items: Items, reference: Array, *, alpha: float, beta: float, n_knots: int = 2, temperature_scale: str = "iqr"
) -> Band:
    """The thresholds of n_knots equally spaced false-positive rates from alpha to beta, and the scale of the scores.

    Args:
        items: the items of each row.
        reference: bool [..., n]; the items whose scores set the thresholds.
        alpha: the lowest rate, a Python number.
        beta: the highest; 0 <= alpha < beta <= 1.
        n_knots: the number of thresholds, >= 2.
        temperature_scale: "iqr", "std", "band" or "absolute".

    Returns:
        Constants; thresholds are NaN, and the scale is NaN or 0, where the reference is empty.
    """
    checks.one_of("temperature_scale", temperature_scale, BAND_TEMPERATURE_SCALES)
    checks.at_least("n_knots", n_knots, 2)
    for name, rate in (("alpha", alpha), ("beta", beta)):
        checks.require(isinstance(rate, (int, float)) and 0 <= rate <= 1, name, "a Python number in [0, 1]", rate)
    checks.require(alpha < beta, "alpha", f"less than beta, {beta}", alpha)
    inner = [alpha + (beta - alpha) * (k / (n_knots - 1)) for k in range(1, n_knots - 1)]
    levels = [1.0 - rate for rate in (alpha, *inner, beta)]
    if temperature_scale == "iqr":
        levels += [0.25, 0.75]  # the same sort serves them
    quantiles = masked_quantile(items.scores, levels, where=reference, multiplicity=items.multiplicity)
    thresholds = quantiles[..., :n_knots]
    if temperature_scale == "iqr":
        return Band(thresholds, quantiles[..., -1] - quantiles[..., -2])
    if temperature_scale == "band":
        return Band(thresholds, thresholds[..., 0] - thresholds[..., -1])
    return Band(thresholds, dispersion(temperature_scale, items, reference))


def within(band: Band, scores: Array) -> Array:
    """Whether each score lies in the band, edges included; bool [..., n]."""
    scores = ops.stop_gradient(scores)
    return (scores >= band.thresholds[..., -1:]) & (scores <= band.thresholds[..., :1])


def trapezoid(scores: Array, band: Band, tau: Array) -> Array:
    """1 − pAUC_i of each score: the trapezoidal mean over the band's thresholds of σ((t_k − s_i)/τ), [..., n]."""
    n_knots = band.thresholds.shape[-1]
    missed = array_namespace(scores).zeros_like(scores)
    for k in range(n_knots):
        weight = (0.5 if k in (0, n_knots - 1) else 1.0) / (n_knots - 1)
        t_k = number_or_zero(band.thresholds[..., k, None])
        missed = missed + weight * smooth_step(t_k - scores, tau[..., None])
    return missed


def pairwise(items: Items, band_negatives: Array, tau: Array) -> tuple[Array, Array]:
    """1 − pAUC_i, the mean of σ((s_j − s_i)/τ) over the negatives j in the band, of the positives i in the numerator.

    Returns:
        (1 − pAUC [..., m], numerator [..., m]) of these positives, in an order of their own; of other items among them
        the numerator is 0.
    """
    xp = array_namespace(items.scores)
    in_band = xp.where(band_negatives, items.mass, 0.0)
    counts = soft_counts_at(items.scores, in_band[..., None, :], tau, items.numerator > 0)
    missed = safe_divide(counts.above[..., 0, :], xp.sum(in_band, axis=-1, keepdims=True))
    return missed, requested(items.numerator, counts.indices)


def _diagnose(
    items: Items, band: Band, temperature: Array, counted: Array, missed: Array, numerator: Array
) -> BandDiagnostics:
    xp = array_namespace(items.scores)
    missed = ops.stop_gradient(missed)
    variance = numerator_mean((missed - numerator_mean(missed, numerator)[..., None]) ** 2, numerator)
    if not isinstance(temperature, (int, float)):
        temperature = ops.stop_gradient(xp.astype(temperature, items.scores.dtype))
    figures = (
        band.thresholds[..., 0],
        band.thresholds[..., -1],
        temperature * band.scale,
        xp.sum(xp.where(counted, items.mass, 0.0), axis=-1),
        xp.where(has_numerator(items), variance, xp.nan),
    )
    return BandDiagnostics(*(xp.where(items.spoiled, xp.nan, figure) for figure in figures))

"""Ranking losses over rows of scores: smooth average precision, recall at a quantile, area under the ROC curve.

Each public function of scores is `make_items` followed by an objective of items, which the pooled step calls directly.
"""

from typing import Unpack

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import of_counted, soft_counts_at
from imbalanced_core.pool.items import (
    Items,
    RowArrays,
    dispersion,
    make_items,
    numerator_mean,
    row_temperature,
    select_numerator,
    settle,
    weight_of,
    with_margin,
)
from imbalanced_core.quantile import INTERPOLATIONS, level_below, masked_quantile
from imbalanced_core.reductions import share

TEMPERATURE_SCALES = ("absolute", "iqr", "std")


def smooth_ap(
    scores: Array,
    positives: Array,
    *,
    temperature: Array = 0.01,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    **rows: Unpack[RowArrays],
) -> tuple[Array, Array]:
    """One minus the smooth average precision of each row.

    With P the positives, N the negatives and V = P ∪ N the items of a row that are not masked, m their multiplicities,
    w the weights and σ the logistic function,

        rank_i = 1 + Σ_{j∈V, j≠i} m_j σ((s_j − s_i)/τ),    rank⁺_i = 1 + Σ_{j∈P, j≠i} m_j σ((s_j − s_i)/τ),
        loss = 1 − Σ_{i∈P} w_i m_i (rank⁺_i / rank_i) / Σ_{i∈P} w_i m_i.

    As τ → 0 the loss becomes 1 − average precision. With a margin μ the scores of the negatives are raised by μτ.

    Args:
        scores: floats [..., n]; ±inf counts as a very large number. Half precision is computed in float32.
        positives: bool, of the shape of scores.
        temperature: τ > 0, in units of temperature_scale; a number or a 0-d array.
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" and "std" are the interquartile range and
            the standard deviation of the row's negatives, as constants, so that the sharpness does not depend on the
            scale of the scores. 1 where that is at most 1e-12, as for equal scores.
        margin: μ >= 0, in units of τ.
        **rows: where, weights, multiplicity, live, is_iid and pos_numerator, see `RowArrays`.

    Returns:
        (loss [...] in [0, 1], valid bool [...]). A row is valid with a positive of weight > 0 in the mean and a
        negative; else its loss is 0 with zero gradient. A row with a NaN among its unmasked scores, or an unmasked
        weight that is negative, not finite or too large to be summed (1e29 in float32), is valid, with loss NaN.

    Raises:
        ValueError: for a bad parameter, or shapes that do not fit.
        TypeError: if scores are not floats or masks not bool.

    Cost: O(n log n) time and O(n) memory per row.

    References:
        Brown, Xie, Kalogeiton, Zisserman. Smooth-AP: Smoothing the path towards large-scale image retrieval. ECCV 2020.
    """
    items = make_items(scores, positives, **rows)
    options = {"temperature": temperature, "temperature_scale": temperature_scale, "margin": margin}
    return settle(*average_precision(items, **options)[:2], items)


def average_precision(
    items: Items,
    *,
    temperature: Array,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    diagnostics: bool = False,  # noqa: ARG001  (it has no figure that costs anything)
) -> tuple[Array, Array, dict[str, Array]]:
    """The objective of `smooth_ap`."""
    tau = scale_temperature(temperature, temperature_scale, items)
    xp = array_namespace(items.scores)
    # Counts of negatives and positives, not of negatives and all: the latter's gradients cancel in part, and with few
    # positives little but rounding would remain.
    kinds = ops.astype(xp.stack([items.negatives, items.positives], axis=-2), items.scores.dtype)
    kinds = kinds if items.multiplicity is None else kinds * items.multiplicity[..., None, :]
    scores, start = with_margin(items, margin, tau)
    counts = soft_counts_at(scores, kinds, tau, items.numerator > 0, start=start)
    missing = 0.5  # a positive counts itself in `above`, as m_i σ(0), and is 1 in its rank
    if items.multiplicity is not None:
        missing = 1.0 - 0.5 * of_counted(weight_of(items.positives, items), counts)
    # 1 − rank⁺/rank, in a form that is accurate for a small loss
    missed = share(counts.above, missing)
    loss, has_positive = numerator_mean(missed, of_counted(items.numerator, counts))
    return loss, has_positive & xp.any(items.negatives, axis=-1), {"tau_eff": tau}


def recall_at_quantile(
    scores: Array,
    positives: Array,
    *,
    quantile: float = 0.005,
    interpolation: str = "higher",
    temperature: Array = 0.01,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    **rows: Unpack[RowArrays],
) -> tuple[Array, Array]:
    """One minus the smooth recall of each row when the top `quantile` of its scores is flagged.

    With θ the (1 − quantile)-quantile of the unmasked scores, a constant, and μ the margin,

        loss = 1 − Σ_{i∈P} w_i m_i σ((s_i − θ)/τ − μ) / Σ_{i∈P} w_i m_i.

    The gradient reaches positives only, and pushes them above the threshold.

    Arguments and errors as for `smooth_ap`; `quantile`, in [0, 1], is the flagged fraction of the items, and
    `interpolation` "linear", "lower", "higher", "nearest" or "midpoint". Multiplicities move the threshold too.

    Returns:
        (loss [...] in [0, 1], valid bool [...]). A row is valid with a positive of weight > 0 in the mean; else its
        loss is 0 with zero gradient. NaN as for `smooth_ap`.

    Cost: O(n log n) time, for the sort, and O(n) memory per row.
    """
    items = make_items(scores, positives, **rows)
    options = {"temperature": temperature, "temperature_scale": temperature_scale, "margin": margin}
    return settle(*recall(items, quantile=quantile, quantile_interpolation=interpolation, **options)[:2], items)


def recall(
    items: Items,
    *,
    quantile: float,
    temperature: Array,
    quantile_interpolation: str = "higher",
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    diagnostics: bool = False,
) -> tuple[Array, Array, dict[str, Array]]:
    """The objective of `recall_at_quantile`."""
    checks.python_number("quantile", quantile)
    checks.one_of("quantile_interpolation", quantile_interpolation, INTERPOLATIONS)
    checks.non_negative("margin", margin)
    tau = scale_temperature(temperature, temperature_scale, items)
    options = {"where": items.where, "multiplicity": items.multiplicity, "interpolation": quantile_interpolation}
    threshold = masked_quantile(items.scores, (level_below(quantile),), **options)
    xp = array_namespace(threshold)
    threshold = ops.where(xp.isnan(threshold), 0.0, threshold)  # for an empty row
    scores, numerator = select_numerator(items)
    missed = smooth_step(threshold - scores, tau, margin)
    loss, valid = numerator_mean(missed, numerator)
    return loss, valid, {"tau_eff": tau} | ({"t_beta": threshold[..., 0]} if diagnostics else {})


def auc(
    scores: Array,
    positives: Array,
    *,
    temperature: Array = 0.1,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    **rows: Unpack[RowArrays],
) -> tuple[Array, Array]:
    """One minus the smooth area under the ROC curve of each row.

    With P the positives, N the negatives, m their multiplicities, w the weights and μ the margin,

        loss = Σ_{i∈P} Σ_{j∈N} w_i m_i m_j σ((s_j − s_i)/τ + μ) / (Σ_{i∈P} w_i m_i · Σ_{j∈N} m_j).

    As τ → 0, without a margin, it becomes the share of pairs in the wrong order; ties count one half.

    Arguments, results, errors and cost as for `smooth_ap`.

    References:
        Yan, Dodier, Mozer, Wolniewicz. Optimizing classifier performance via an approximation to the
        Wilcoxon-Mann-Whitney statistic. ICML 2003.
    """
    items = make_items(scores, positives, **rows)
    options = {"temperature": temperature, "temperature_scale": temperature_scale, "margin": margin}
    return settle(*pairs_in_order(items, **options)[:2], items)


def pairs_in_order(
    items: Items,
    *,
    temperature: Array,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    diagnostics: bool = False,  # noqa: ARG001  (it has no figure that costs anything)
) -> tuple[Array, Array, dict[str, Array]]:
    """The objective of `auc`."""
    tau = scale_temperature(temperature, temperature_scale, items)
    loss, valid, _, _ = against(items, items.negatives, tau, margin)
    return loss, valid, {"tau_eff": tau}


def against(items: Items, opponents: Array, tau: Array, margin: float) -> tuple[Array, Array, Array, Array]:
    """The mean [...] over positives i and opponents j, some of the negatives, of σ((s_j − s_i)/τ + margin).

    And whether a row has both kinds, bool [...], and the mean over j of each positive with its weight in the mean over
    i, both [..., m], in any order; other items among them have weight 0.
    """
    xp = array_namespace(items.scores)
    weights = weight_of(opponents, items)
    scores, start = with_margin(items, margin, tau)
    counts = soft_counts_at(scores, weights[..., None, :], tau, items.numerator > 0, start=start)
    total = xp.sum(weights, axis=-1, keepdims=True)
    missed = xp.squeeze(counts.above, axis=-2) / ops.where(total > 0, total, 1.0)
    numerator = of_counted(items.numerator, counts)
    loss, has_positive = numerator_mean(missed, numerator)
    return loss, has_positive & (total[..., 0] > 0), missed, numerator


def smooth_step(difference: Array, tau: Array, margin: float) -> Array:
    """σ(difference/τ + margin), for differences [..., m] and τ [...]."""
    x = difference / tau[..., None]  # scores are subtracted before they are divided: the other order loses a digit
    return ops.logistic(x if isinstance(margin, (int, float)) and margin == 0 else x + margin)


def scale_temperature(temperature: Array, scale: str, items: Items) -> Array:
    """The temperature of each row [...], scaled by the spread of its negatives."""
    checks.one_of("temperature_scale", scale, TEMPERATURE_SCALES)
    return row_temperature(temperature, dispersion(scale, items, items.negatives), items)

"""Ranking objectives over rows of scores: smooth average precision and recall at a quantile."""

from typing import NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise.counts import soft_counts_at
from imbalanced_core.quantile import INTERPOLATIONS, masked_quantile
from imbalanced_core.reductions import safe_divide, share

TEMPERATURE_SCALES = ("absolute", "iqr", "std")
POSITIVE_NUMERATORS = ("pool", "live")
LEAST_SCALE = 1e-12  # a smaller spread of scores has no meaningful unit, and its row no loss


class Items(NamedTuple):
    """The items of each row, safe to compute with; every array is [..., n] but the last."""

    scores: Array  # float32 or float64, finite; 0 where an item takes no part or is NaN
    taking_part: Array  # bool, V
    positives: Array  # bool, P
    negatives: Array  # bool, V without P
    mass: Array  # how many items each stands for; 0 outside V
    multiplicity: Array | None  # the same, or None when each stands for one
    numerator: Array  # weight · multiplicity of the positives that the loss is the mean over; 0 elsewhere
    spoiled: Array  # bool [...], a participating score is NaN or a participating weight is not finite and >= 0


def smooth_ap(
    scores: Array,
    positives: Array,
    *,
    temperature: Array = 0.01,
    temperature_scale: str = "absolute",
    pos_numerator: str = "pool",
    where: Array | None = None,
    weights: Array | None = None,
    multiplicity: Array | None = None,
    live: Array | None = None,
) -> tuple[Array, Array]:
    """One minus the smooth average precision of each row.

    With P the positives, N the negatives and V = P ∪ N the participating items of a row, m their multiplicities,
    w the weights and σ the logistic function,

        rank_i = 1 + Σ_{j∈V, j≠i} m_j σ((s_j − s_i)/τ),    rank⁺_i = 1 + Σ_{j∈P, j≠i} m_j σ((s_j − s_i)/τ),
        loss = 1 − Σ_{i∈P} w_i m_i (rank⁺_i / rank_i) / Σ_{i∈P} w_i m_i.

    As τ → 0 the loss becomes 1 − average precision.

    Args:
        scores: floats [..., n]; ±inf counts as a very large number. Half precision is computed in float32.
        positives: bool, of the shape of scores.
        temperature: τ > 0, in units of temperature_scale; a number or a 0-d array.
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" and "std" are the interquartile range and
            the standard deviation of the row's negatives, as constants, so that the sharpness does not depend on the
            scale of the scores.
        pos_numerator: the mean runs over all positives ("pool") or over the live ones alone ("live"); ranks are always
            among all items.
        where: bool; the items that take part. Masked ones contribute nothing, whatever they hold. None: all.
        weights: numbers >= 0, seen as constants; the weights of the positives in the mean. None: 1.
        multiplicity: numbers >= 0, seen as constants; how many items each one stands for. None: 1.
        live: bool; the items of the current batch. None: all.

        The last four are broadcastable to scores.

    Returns:
        (loss [...] in [0, 1], valid bool [...]). A row is valid with a positive of weight > 0 in the mean, a negative
        and, unless the scale is "absolute", a scale > 1e-12; else its loss is 0 with zero gradient. A row with a NaN
        among its participating scores, or a negative or non-finite participating weight, is valid, with loss NaN.

    Raises:
        ValueError: for a bad parameter, or shapes that do not fit.
        TypeError: if scores are not floats or masks not bool.

    Cost: O(n log n) time and O(n) memory per row.

    References:
        Brown, Xie, Kalogeiton, Zisserman. Smooth-AP: Smoothing the path towards large-scale image retrieval. ECCV 2020.
    """
    items = prepare_items(
        scores,
        positives,
        pos_numerator=pos_numerator,
        where=where,
        weights=weights,
        multiplicity=multiplicity,
        live=live,
    )
    tau, has_scale = row_temperature(temperature, temperature_scale, items)
    xp = array_namespace(items.scores)
    # Counts of negatives and positives, not of negatives and all: what the two add to the gradient cancels in part, and
    # with few positives the count of all would leave little but rounding.
    masses = (xp.where(kind, items.mass, 0.0) for kind in (items.negatives, items.positives))
    counts = soft_counts_at(items.scores, xp.stack(list(masses), axis=-2), tau, items.numerator > 0)
    negatives_above = counts.above[..., 0, :]
    # the count holds the item itself, m_i σ(0) times
    rank_plus = 1.0 - 0.5 * counts.weights[..., 1, :] + counts.above[..., 1, :]
    numerator = requested(items.numerator, counts.indices)  # the mean does not mind the order of the counts
    # 1 − rank⁺/rank = (negatives above)/rank keeps the digits of a small loss
    loss = numerator_mean(share(negatives_above, rank_plus), numerator)
    return finish(loss, has_numerator(items) & xp.any(items.negatives, axis=-1) & has_scale, items)


def recall_at_quantile(
    scores: Array,
    positives: Array,
    *,
    quantile: float = 0.005,
    interpolation: str = "higher",
    temperature: Array = 0.01,
    temperature_scale: str = "absolute",
    pos_numerator: str = "pool",
    where: Array | None = None,
    weights: Array | None = None,
    multiplicity: Array | None = None,
    live: Array | None = None,
) -> tuple[Array, Array]:
    """One minus the smooth recall of each row when the top `quantile` of its scores is flagged.

    With θ the (1 − quantile)-quantile of the participating scores, a constant,

        loss = 1 − Σ_{i∈P} w_i m_i σ((s_i − θ)/τ) / Σ_{i∈P} w_i m_i.

    The gradient reaches positives only, and pushes them above the threshold.

    Args:
        scores: as for `smooth_ap`, and so are all arguments that are not named here.
        positives: bool, of the shape of scores.
        quantile: the flagged fraction of the participating items, in [0, 1].
        interpolation: of the quantile: "linear", "lower", "higher", "nearest" or "midpoint".
        temperature: τ > 0, in units of temperature_scale.
        temperature_scale: "absolute", "iqr" or "std".
        pos_numerator: "pool" or "live"; the threshold is always that of all items.
        where: the items that take part.
        weights: weights of the positives in the mean.
        multiplicity: how many items each one stands for, in the threshold too.
        live: the items of the current batch.

    Returns:
        (loss [...] in [0, 1], valid bool [...]). A row is valid with a positive of weight > 0 in the mean and, unless
        the scale is "absolute", a scale > 1e-12; else its loss is 0 with zero gradient. NaN as for `smooth_ap`.

    Raises:
        ValueError: for a bad parameter, or shapes that do not fit.
        TypeError: if scores are not floats or masks not bool.

    Cost: O(n log n) time, for the sort, and O(n) memory per row.
    """
    in_range = isinstance(quantile, (int, float)) and 0 <= quantile <= 1
    checks.require(in_range, "quantile", "a Python number in [0, 1]", quantile)
    checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    items = prepare_items(
        scores,
        positives,
        pos_numerator=pos_numerator,
        where=where,
        weights=weights,
        multiplicity=multiplicity,
        live=live,
    )
    tau, has_scale = row_temperature(temperature, temperature_scale, items)
    threshold = masked_quantile(
        items.scores,
        (1.0 - quantile,),
        where=items.taking_part,
        multiplicity=items.multiplicity,
        interpolation=interpolation,
    )
    positive_scores, numerator = select_numerator(items)
    loss = numerator_mean(smooth_step(number_or_zero(threshold) - positive_scores, tau[..., None]), numerator)
    return finish(loss, has_numerator(items) & has_scale, items)


def prepare_items(
    scores: Array,
    positives: Array,
    *,
    pos_numerator: str,
    where: Array | None,
    weights: Array | None,
    multiplicity: Array | None,
    live: Array | None,
) -> Items:
    """Checks the arguments that the ranking objectives share, and clears what must not reach their arithmetic."""
    checks.one_of("pos_numerator", pos_numerator, POSITIVE_NUMERATORS)
    checks.floating("scores", scores)
    xp = array_namespace(scores, positives, where, weights, multiplicity, live)
    checks.same_shape("positives", positives, "scores", scores)
    for name, array in (("where", where), ("weights", weights), ("multiplicity", multiplicity), ("live", live)):
        checks.broadcastable(name, array, "scores", scores)
    for name, mask in (("positives", positives), ("where", where), ("live", live)):
        checks.boolean(name, mask)
    if scores.shape[-1] == 0:  # as one item that takes no part: maxima and indices need an item
        scores, positives = xp.sum(scores, axis=-1, keepdims=True), xp.any(positives, axis=-1, keepdims=True)
        where, weights, multiplicity, live = positives, None, None, None
    scores = ops.widen(scores)
    taking_part = xp.ones_like(positives) if where is None else xp.broadcast_to(where, positives.shape)
    positives = positives & taking_part
    largest = float(xp.finfo(scores.dtype).max) ** 0.5  # differences, and their ratio to τ, stay finite
    spoiled = is_nan = xp.isnan(scores)
    clean = xp.clip(xp.where(taking_part & ~is_nan, scores, 0.0), min=-largest, max=largest)
    if multiplicity is None:
        mass = xp.astype(taking_part, clean.dtype)
    else:
        mass = xp.where(taking_part, ops.stop_gradient(xp.astype(multiplicity, clean.dtype)), 0.0)
    numerator = mass
    if weights is not None:
        weights = ops.stop_gradient(xp.astype(weights, clean.dtype))
        fit = (weights >= 0) & (weights < xp.inf)
        spoiled = spoiled | ~fit
        numerator = numerator * xp.where(fit, weights, 0.0)
    in_numerator = positives & live if pos_numerator == "live" and live is not None else positives
    return Items(
        scores=clean,
        taking_part=taking_part,
        positives=positives,
        negatives=taking_part & ~positives,
        mass=mass,
        multiplicity=None if multiplicity is None else mass,
        numerator=xp.where(in_numerator, numerator, 0.0),
        spoiled=xp.any(spoiled & taking_part, axis=-1),
    )


def row_temperature(temperature: Array, scale: str, items: Items) -> tuple[Array, Array]:
    """The temperature τ of each row in units of its scores, [...], and whether the row has such a unit, bool [...]."""
    checks.one_of("temperature_scale", scale, TEMPERATURE_SCALES)
    return scaled_temperature(temperature, dispersion(scale, items, items.negatives))


def dispersion(kind: str, items: Items, where: Array) -> Array:
    """The spread [...] of some of the items, as a constant: 1 if "absolute"; 0 or NaN where there is none."""
    xp = array_namespace(items.scores)
    if kind == "absolute":
        return xp.ones_like(items.scores[..., 0])
    scores = ops.stop_gradient(items.scores)
    if kind == "iqr":
        quartiles = masked_quantile(scores, (0.25, 0.75), where=where, multiplicity=items.multiplicity)
        return quartiles[..., 1] - quartiles[..., 0]
    portion = xp.where(where, items.mass, 0.0)
    portion = safe_divide(portion, xp.sum(portion, axis=-1, keepdims=True))
    # from one of the scores: around their mean, equal scores would have a spread of rounding errors
    shifted = xp.where(where, scores - xp.max(xp.where(where, scores, -xp.inf), axis=-1, keepdims=True), 0.0)
    centred = xp.where(where, shifted - xp.sum(portion * shifted, axis=-1, keepdims=True), 0.0)
    unit = xp.max(xp.abs(centred), axis=-1, keepdims=True)  # squares of very large or small numbers leave the range
    return unit[..., 0] * xp.sqrt(xp.sum(portion * safe_divide(centred, unit) ** 2, axis=-1))


def scaled_temperature(temperature: Array, scale: Array) -> tuple[Array, Array]:
    """Temperature · scale, and whether the scale is > 1e-12; where it is not, 1 stands in for it."""
    checks.positive("temperature", temperature)
    xp = array_namespace(scale, temperature)
    has_scale = scale > LEAST_SCALE
    if not isinstance(temperature, (int, float)):
        temperature = xp.astype(temperature, scale.dtype)
        temperature = xp.where(temperature > 0, temperature, xp.nan)  # known only at run time
    return temperature * xp.where(has_scale, scale, 1.0), has_scale


def smooth_step(difference: Array, tau: Array) -> Array:
    """σ(difference/τ), with a derivative that keeps its relative precision at both ends."""
    x = difference / tau  # scores are subtracted before they are divided: the other way loses a digit
    # libraries form the derivative as σ (1 − σ), which is 0 long before e^−x is; where σ is small it has all its digits
    return array_namespace(x).where(x > 0, 1.0 - ops.sigmoid(-x), ops.sigmoid(x))


def select_numerator(items: Items) -> tuple[Array, Array]:
    """Scores and numerator, both [..., m], of the positives of the mean, in any order; others may be among them.

    Where it pays, most items of numerator 0 are left out: their formulas need not be evaluated.
    """
    places = ops.few_places(items.numerator > 0)
    if places is None or ops.greatest_count(items.spoiled[..., None]):  # its NaN is to reach the gradient of every item
        return items.scores, items.numerator
    return ops.rearrange(items.scores, places), ops.rearrange(items.numerator, places)


def requested(x: Array, indices: Array | None) -> Array:
    """The entries of x [..., n] that `Counts` are of."""
    return x if indices is None else ops.rearrange(x, indices)


def numerator_mean(values: Array, numerator: Array) -> Array:
    """The mean of the values weighted with the numerator, both [..., m]; 0 where that is 0 all over."""
    xp = array_namespace(values)
    return safe_divide(xp.sum(numerator * values, axis=-1), xp.sum(numerator, axis=-1))


def number_or_zero(x: Array) -> Array:
    """X, with 0 for NaN: the quantile of a row that holds nothing must not reach a gradient."""
    xp = array_namespace(x)
    return xp.where(xp.isnan(x), 0.0, x)


def finish(loss: Array, valid: Array, items: Items) -> tuple[Array, Array]:
    """The loss, 0 in rows that are not valid and NaN (value and gradient) in spoiled rows; and which are valid."""
    xp = array_namespace(loss)
    factor = xp.where(items.spoiled, xp.nan, xp.ones_like(loss))
    return xp.where(valid, loss, 0.0) * factor, valid | items.spoiled


def has_numerator(items: Items) -> Array:
    """Whether any positive counts in the mean, bool [...]."""
    return array_namespace(items.numerator).any(items.numerator > 0, axis=-1)

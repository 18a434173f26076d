"""Normalised discounted cumulative gain of lists with graded labels, with smooth ranks."""

import math
from functools import partial
from typing import Any

from imbalanced_core import checks, ops
from imbalanced_core.losses.ranking import TEMPERATURE_SCALES
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pairwise import of_counted, soft_counts_at
from imbalanced_core.pool.items import dispersion, make_items, row_temperature, settle, weight_of

#: checks of the options; "temperature_scale" and "gain" are strings
RULES: dict[str, Any] = {
    "temperature": checks.positive,
    "temperature_scale": partial(checks.one_of, options=TEMPERATURE_SCALES),
    "gain": partial(checks.one_of, options=("exponential", "linear")),
}


def ndcg(
    scores: Array,
    relevance: Array,
    *,
    temperature: Array = 0.1,
    temperature_scale: str = "absolute",
    gain: str = "exponential",
    where: Array | None = None,
) -> tuple[Array, Array]:
    """One minus the smooth normalised discounted cumulative gain (NDCG) of each list.

    With V the items of a list that are not masked, y their labels, the gain g = 2^y − 1 or g = y, and σ the logistic
    function,

        rank_i = 1 + Σ_{j∈V, j≠i} σ((s_j − s_i)/τ),    DCG = Σ_{i∈V} g_i / log₂(1 + rank_i),    loss = 1 − DCG / IDCG,

    where IDCG is the DCG of the best order, exactly. As τ → 0 the loss becomes 1 − NDCG over the whole list. Items with
    equal scores get the mean of their ranks.

    Args:
        scores: floats [..., n]; ±inf counts as a very large number. Half precision is computed in float32.
        relevance: labels >= 0 in the shape of scores, constants; integers, bool or floats. Label 0 has no gain.
        temperature: τ > 0, in units of temperature_scale; a number or a 0-d array.
        temperature_scale: as for `smooth_ap`, but of all scores of the list.
        gain: "exponential", 2^y − 1, or "linear", y.
        where: bool, broadcastable to scores; False masks an item, such as padding. None: all True.

    Returns:
        (loss [...] in [0, 1], valid bool [...]). A list is valid if its labels are not all the same; else its loss is 0
        with zero gradient. A list with a NaN among its unmasked scores, or a negative or non-finite unmasked label, is
        valid, with loss NaN.

    Raises:
        ValueError, TypeError: as for `smooth_ap`.

    Cost: O(n log n) time and O(n) memory per list.

    References:
        Järvelin, Kekäläinen. Cumulated gain-based evaluation of IR techniques. TOIS 2002, for NDCG.
        Qin, Liu, Li. A general approximation framework for direct optimization of information retrieval measures.
        Information Retrieval 2010, for smooth ranks.
    """
    checks.numbers(RULES, temperature=temperature, temperature_scale=temperature_scale, gain=gain)
    checks.floating("scores", scores)
    checks.require(scores.ndim > 0, "scores", "of shape [..., n]", tuple(scores.shape))
    checks.same_shape("relevance", relevance, "scores", scores)
    xp = array_namespace(scores, relevance, where)
    labels = ops.astype(ops.stop_gradient(relevance), ops.widen(scores).dtype)
    items = make_items(scores, labels > 0, where=where, weights=labels)  # labels have the range of weights
    y = items.numerator
    minus_gains = -y  # ascending: the greatest gain first
    if gain == "exponential":  # divided by 2^max: only ratios matter, and powers of large labels would overflow
        minus_gains = xp.expm1(-math.log(2.0) * y) * 2.0 ** (y - xp.max(y, axis=-1, keepdims=True))
    tau = row_temperature(temperature, dispersion(temperature_scale, items, items.where), items)
    everyone = weight_of(items.where, items)[..., None, :]
    counts = soft_counts_at(items.scores, everyone, tau, items.numerator > 0)
    rank = xp.squeeze(counts.above, axis=-2) + 0.5  # the count includes the item itself, as σ(0)
    best = ops.sort(minus_gains)
    discounts = xp.log2(ops.astype(ops.arange(best.shape[-1], like=best), best.dtype) + 2.0)
    ideal = xp.sum(best / xp.broadcast_to(discounts, best.shape), axis=-1)
    found = xp.sum(of_counted(minus_gains, counts) / xp.log2(1.0 + rank), axis=-1)
    least = xp.max(ops.where(items.where, minus_gains, -xp.inf), axis=-1)
    return settle(1.0 - found / ops.where(ideal < 0, ideal, 1.0), best[..., 0] < least, items)

"""Recall and precision of a classifier that flags the items above a threshold: at a count, a recall or a precision.

A threshold lies halfway between the lowest flagged score and the next lower one, a constant in differentiation, so that
as τ → 0 the losses tend to one minus the exact recall and precision.
"""

from typing import Any, NamedTuple, Unpack

import numpy as np

from imbalanced_core import checks, ops
from imbalanced_core.losses.ranking import scale_temperature, smooth_step
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.pool.items import (
    Items,
    RowArrays,
    count_of,
    make_items,
    numerator_mean,
    select_numerator,
    settle,
    weight_of,
)
from imbalanced_core.reductions import ROUNDING, share

LEAST_COUNT = 1e-18  # of flagged items; has no effect on counts far above it, and its square fits in float32


class Cut(NamedTuple):
    """The lowest flagged score and the next lower one, [..., 1], constants; equal where there is none.

    The threshold is halfway. It is never rounded to one number, which would lose precision for a small τ.
    """

    last: Array
    rest: Array

    def below(self, scores: Array) -> Array:
        """How far scores [..., m] lie below the threshold."""
        return ((self.last - scores) + (self.rest - scores)) / 2.0


def recall_at(
    scores: Array,
    positives: Array,
    *,
    k: int | None = None,
    precision: float | None = None,
    temperature: Array = 0.1,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    **rows: Unpack[RowArrays],
) -> tuple[Array, Array]:
    """One minus the smooth recall of each row when its k best items are flagged, or as many as a precision allows.

    With θ the threshold, a constant, and μ the margin,

        loss = 1 − Σ_{i∈P} w_i m_i σ((s_i − θ)/τ − μ) / Σ_{i∈P} w_i m_i.

    Given k, θ lies halfway between the k-th and the next score. Given a precision p, as many items as possible are
    flagged such that at least p of them are positive: θ lies halfway between the lowest flagged score and the next
    lower one. Items with equal scores are flagged together. Where no threshold reaches p, θ is the highest score. Where
    no score is below the flagged ones, θ is the lowest score. An item at θ counts one half.

    Arguments and errors as for `smooth_ap`, plus either `k`, an integer >= 1 (counted with multiplicities), or
    `precision`, a Python number in (0, 1]. Weights do not move the threshold.

    Returns:
        (loss [...] in [0, 1], valid bool [...]). A row is valid with a positive of weight > 0 in the mean, a negative
        and, given k, more than k items; else its loss is 0 with zero gradient. NaN as for `smooth_ap`.

    Cost: O(n log n) time, for the sort, and O(n) memory per row.

    References:
        Eban, Schain, Mackey, Gordon, Saurous, Elidan. Scalable learning of non-decomposable objectives. AISTATS 2017.
    """
    items = make_items(scores, positives, **rows)
    options = {"temperature": temperature, "temperature_scale": temperature_scale, "margin": margin}
    return settle(*recall_above(items, k=k, precision=precision, **options)[:2], items)


def precision_at(
    scores: Array,
    positives: Array,
    *,
    k: int | None = None,
    recall: float | None = None,
    temperature: Array = 0.1,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    **rows: Unpack[RowArrays],
) -> tuple[Array, Array]:
    """One minus the smooth precision of each row when its k best items are flagged, or as few as a recall needs.

    With θ the threshold, a constant, n₊ = Σ_{i∈P} m_i and μ the margin,

        R = Σ_{i∈P} w_i m_i σ((s_i − θ)/τ − μ) / Σ_{i∈P} w_i m_i,    F = Σ_{j∈N} m_j σ((s_j − θ)/τ + μ),
        loss = 1 − precision = F / (F + R n₊).

    Given k, θ is that of `recall_at`; as τ → 0, R n₊ becomes the positives among the k and F the negatives. Given a
    recall r, as few items as possible are flagged such that at least r of all positives are: θ lies halfway between the
    lowest flagged score and the next lower one, or is the lowest score of all. Items with equal scores are flagged
    together. The gradient reaches negatives too.

    Arguments, errors and cost as for `recall_at`, with `recall`, a Python number in (0, 1], instead of `precision`.
    Weights enter only R.

    Returns:
        (loss [...] in [0, 1], valid bool [...]), as for `recall_at`. For equal scores the loss is the share of
        negatives.

    References:
        Eban et al., as for `recall_at`.
    """
    items = make_items(scores, positives, **rows)
    options = {"temperature": temperature, "temperature_scale": temperature_scale, "margin": margin}
    return settle(*precision_above(items, k=k, recall=recall, **options)[:2], items)


def recall_above(
    items: Items,
    *,
    temperature: Array,
    k: int | None = None,
    precision: float | None = None,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    diagnostics: bool = False,
) -> tuple[Array, Array, dict[str, Array]]:
    """The objective of `recall_at`."""
    checks.non_negative("margin", margin)
    tau = scale_temperature(temperature, temperature_scale, items)
    cut, valid = _cut(items, k, "precision", precision)
    scores, numerator = select_numerator(items)
    missed, has_positive = numerator_mean(smooth_step(cut.below(scores), tau, margin), numerator)
    return missed, valid & has_positive, _figures(tau, cut, diagnostics)


def precision_above(
    items: Items,
    *,
    temperature: Array,
    k: int | None = None,
    recall: float | None = None,
    temperature_scale: str = "absolute",
    margin: float = 0.0,
    diagnostics: bool = False,
) -> tuple[Array, Array, dict[str, Array]]:
    """The objective of `precision_at`."""
    checks.non_negative("margin", margin)
    xp = array_namespace(items.scores)
    tau = scale_temperature(temperature, temperature_scale, items)
    cut, valid = _cut(items, k, "recall", recall)
    if not isinstance(margin, (int, float)) or margin > 0:
        margin = margin * ops.where(items.positives, -1.0, xp.ones_like(items.scores))
    flagged = smooth_step(-cut.below(items.scores), tau, margin)
    found, has_positive = numerator_mean(flagged, items.numerator)
    found = found * count_of(items.positives, items)
    wrong = xp.sum(weight_of(items.negatives, items) * flagged, axis=-1)
    loss = share(xp.stack([wrong + LEAST_COUNT, found], axis=-1)[..., None], 0.0)[..., 0]
    return loss, valid & has_positive, _figures(tau, cut, diagnostics)


def too_few(k: Any, rows: int) -> str:
    """A warning if all rows of batch and queue would be among the k, so that no class has a loss; else ""."""
    if not isinstance(k, (int, np.integer)) or not 0 < rows <= k:
        return ""
    return f"batch and queue have {rows} rows, no more than k={k}: the loss is 0; use a smaller k or more rows"


def _figures(tau: Array, cut: Cut, diagnostics: bool) -> dict[str, Array]:
    return {"tau_eff": tau} | ({"t_beta": (cut.last + cut.rest)[..., 0] / 2.0} if diagnostics else {})


def _cut(items: Items, k: Any, name: str, value: float | None) -> tuple[Cut, Array]:
    """The cut below the k-th item, or at a recall or precision, and which rows are valid; both terms are finite."""
    checks.require(k is None or value is None, "k", f"None where a {name} is given", k)
    if value is not None:
        checks.python_number(name, value, "(0, 1]")
    xp, (scores, counted, positives) = array_namespace(items.scores), _ranked(items)
    valid = count_of(items.negatives, items) > 0
    if value is None:
        checks.at_least("k", k, 1)
        last, rest = (_highest(scores, counted >= k + half) for half in (-0.5, 0.5))
        valid = valid & (rest[..., 0] > -xp.inf)
    elif name == "recall":  # the highest cut with that share of the positives above it
        last = _highest(scores, positives >= value * (1.0 - ROUNDING) * positives[..., -1:])
        rest = _highest(scores, scores < last)
    else:  # the lowest cut above which that share is positive
        is_last = xp.concat([scores[..., 1:] < scores[..., :-1], xp.ones_like(items.positives[..., :1])], axis=-1)
        is_pure = positives >= value * (1.0 - ROUNDING) * counted
        # +inf where no cut is pure enough; then it becomes the highest score
        last = -_highest(-scores, is_last & is_pure & (scores > -xp.inf))
        rest = _highest(scores, scores < last)
        last = ops.where(last < xp.inf, last, rest)
    last = ops.where(last > -xp.inf, last, 0.0)
    return Cut(last, ops.where(rest > -xp.inf, rest, last)), valid


def _ranked(items: Items) -> tuple[Array, Array, Array]:
    """Scores [..., n] in descending order, −inf after the last unmasked item, and the items and positives so far."""
    xp = array_namespace(items.scores)
    weight = weight_of(xp.broadcast_to(items.where, items.scores.shape), items)
    ascending, order = ops.sort_with_order(ops.where(weight > 0, -ops.stop_gradient(items.scores), xp.inf))
    counted, positives = (
        xp.cumulative_sum(ops.gather(x, order), axis=-1) for x in (weight, weight_of(items.positives, items))
    )
    return -ascending, counted, positives


def _highest(scores: Array, mask: Array) -> Array:
    """The highest score under a mask, [..., 1]; −inf if it is empty."""
    xp = array_namespace(scores)
    return xp.max(ops.where(mask, scores, -xp.inf), axis=-1, keepdims=True)

"""The items of each row of scores, read once: all masks, weights and NaN flags that objectives need."""

from typing import NamedTuple, TypedDict

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.quantile import masked_quantile

POSITIVE_NUMERATORS = ("pool", "live")
LEAST_SCALE = 1e-12  # a smaller spread of scores is rounding: the unit is 1
_FEW = 0.25  # share of the items up to which a selection costs less than all


class Items(NamedTuple):
    """The input of objectives; arrays are [..., n] or broadcast to it, unless noted."""

    scores: Array  # float32 or float64, finite; 0 where masked or NaN
    where: Array  # bool, V: the items that are not masked
    positives: Array  # bool, P
    negatives: Array  # bool, V without P
    numerator: Array  # weight · multiplicity of the positives in the mean, else 0
    multiplicity: Array | None  # how many items each stands for; None: 1
    is_iid: Array | None  # bool, drawn from the population; None: all
    live: Array | None  # bool, of the current batch; None: all, or not needed
    has_nan: Array  # bool [...]: an unmasked score is NaN, or a weight invalid
    start: int = 0  # the scores before this index are constants in differentiation


class RowArrays(TypedDict, total=False):
    """Optional arrays, each broadcastable to the scores, and the use of `live`.

    Attributes:
        where: bool; False masks an item: it contributes nothing, whatever it holds. Default: all True.
        weights: numbers >= 0, constants in differentiation; the weights of the positives in the mean. Default: 1.
        multiplicity: numbers >= 0, constants; how many items each stands for. Default: 1.
        live: bool; the items of the current batch, for pos_numerator="live". Default: all.
        is_iid: bool; the items drawn from the population, not added by a sampler: only these set the thresholds of a
            partial AUC. Default: all.
        pos_numerator: the mean is over all positives ("pool", the default) or only the live ones ("live"); ranks and
            thresholds always use all items.
    """

    where: Array | None
    weights: Array | None
    multiplicity: Array | None
    live: Array | None
    is_iid: Array | None
    pos_numerator: str


def make_items(
    scores: Array,
    positives: Array,
    *,
    pos_numerator: str = "pool",
    where: Array | None = None,
    weights: Array | None = None,
    multiplicity: Array | None = None,
    live: Array | None = None,
    is_iid: Array | None = None,
) -> Items:
    """The items of rows of scores [..., n], from unchecked arguments; errors as for `smooth_ap`."""
    checks.one_of("pos_numerator", pos_numerator, POSITIVE_NUMERATORS)
    checks.floating("scores", scores)
    xp = array_namespace(scores, positives, where, weights, multiplicity, live, is_iid)
    checks.same_shape("positives", positives, "scores", scores)
    checks.boolean("positives", positives)
    for name, mask in (("where", where), ("live", live), ("is_iid", is_iid)):
        checks.boolean(name, mask)
        checks.broadcastable(name, mask, "scores", scores)
    for name, array in (("weights", weights), ("multiplicity", multiplicity)):
        checks.broadcastable(name, array, "scores", scores)
    scores = ops.widen(scores)
    where = xp.ones_like(positives) if where is None else where
    where, weights, multiplicity, live, is_iid = (
        None if array is None else xp.broadcast_to(array, scores.shape)
        for array in (where, weights, multiplicity, live, is_iid)
    )
    is_bad = None
    if weights is not None:
        weights = ops.astype(ops.stop_gradient(weights), scores.dtype)
        fit = are_weights(weights)
        is_bad, weights = xp.any(where & ~fit, axis=-1), ops.where(fit, weights, 0.0)
    if multiplicity is not None:
        multiplicity = ops.astype(ops.stop_gradient(multiplicity), scores.dtype)
    only_live = pos_numerator == "live"
    return assemble(scores, positives & where, where, weights, multiplicity, live, is_iid, is_bad, only_live=only_live)


def are_weights(weights: Array) -> Array:
    """Whether each is a number >= 0 of which 2³¹ have a finite sum."""
    return (weights >= 0) & (weights <= float(array_namespace(weights).finfo(weights.dtype).max) * 2.0**-31)


def assemble(
    scores: Array,
    positives: Array,
    where: Array,
    weights: Array | None,
    multiplicity: Array | None,
    live: Array | None,
    is_iid: Array | None,
    is_bad: Array | None,
    *,
    only_live: bool,
    start: int = 0,
) -> Items:
    """The items of valid arrays: positives are not masked, weights are finite and >= 0."""
    xp = array_namespace(scores)
    if scores.shape[-1] == 0:  # as one masked item: maxima and indices need an item
        scores, positives = xp.sum(scores, axis=-1, keepdims=True), xp.any(positives, axis=-1, keepdims=True)
        where, weights, multiplicity, live, is_iid = positives, None, None, positives, None
    largest = float(xp.finfo(scores.dtype).max) ** 0.5  # differences, and their ratio to τ, stay finite
    clean, has_nan = ops.clear(scores, where, largest)
    counted = positives & live if only_live and live is not None else positives
    numerator = ops.astype(counted, clean.dtype) if weights is None else ops.where(counted, weights, 0.0)
    if multiplicity is not None:
        multiplicity = ops.where(where, multiplicity, 0.0)
        numerator = numerator * multiplicity
    has_nan = has_nan if is_bad is None else has_nan | is_bad
    return Items(clean, where, positives, where != positives, numerator, multiplicity, is_iid, live, has_nan, start)


def settle(loss: Array, valid: Array, items: Items) -> tuple[Array, Array]:
    """A finite loss [...], made 0 in invalid rows and NaN (with its gradient) in rows with NaN; and which are valid."""
    factor = ops.where(items.has_nan, array_namespace(loss).nan, ops.astype(valid, loss.dtype))
    return loss * factor, valid | items.has_nan


def nan_where_unsettled(figures: dict[str, Array], items: Items) -> dict[str, Array]:
    """Figures [...] of each row as constants, NaN in rows with NaN or without an item."""
    xp = array_namespace(items.scores)
    unknown = items.has_nan | ~xp.any(items.where, axis=-1)
    return {name: ops.where(unknown, xp.nan, ops.stop_gradient(figure)) for name, figure in figures.items()}


def count_of(mask: Array, items: Items) -> Array:
    """The number of items of a mask in each row, [...]; with multiplicities, their sum."""
    return array_namespace(mask).sum(weight_of(mask, items), axis=-1)


def weight_of(mask: Array, items: Items) -> Array:
    """1, or the multiplicity, for the items of a mask, 0 for others: [..., n] in the dtype of the scores."""
    weight = ops.astype(mask, items.scores.dtype)
    return weight if items.multiplicity is None else weight * items.multiplicity


def select_numerator(items: Items) -> tuple[Array, Array]:
    """Scores and numerator, both [..., m], of the positives in the mean, in any order, possibly among others.

    Where values can be read and positives are few, other items are dropped to save their evaluation.
    """
    counted = items.numerator > 0
    count = ops.greatest_count(counted)
    if count is None or count > _FEW * counted.shape[-1] or ops.greatest_count(items.has_nan[..., None]):
        return items.scores, items.numerator  # also with NaN, which must reach the gradient of all items
    indices = ops.indices_of(counted, max(1, count))
    return ops.gather(items.scores, indices), ops.gather(items.numerator, indices)


def numerator_mean(values: Array, numerator: Array) -> tuple[Array, Array]:
    """The mean of values weighted by the numerator, both [..., m], 0 where its sum is 0; and whether the sum is > 0."""
    xp = array_namespace(values)
    total = xp.sum(numerator, axis=-1, keepdims=True)
    # `total == 0`, not `total > 0` as in the return value: Triton 3.6 cannot compile that for one class.
    portion = numerator / ops.where(total == 0, 1.0, total)
    return xp.sum(portion * values, axis=-1), total[..., 0] > 0


def row_temperature(temperature: Array, scale: Array | None, items: Items) -> Array:
    """The temperature τ of each row in units of its scores, [...]; NaN where it is not > 0.

    `scale`, the unit of the temperature, is a spread of scores [...], or None for 1. Where it is at most 1e-12, as for
    equal scores, the unit is 1, so that a model whose scores are all equal still has a gradient.
    """
    checks.positive("temperature", temperature)
    if isinstance(temperature, (int, float)):
        temperature = ops.constant(float(temperature), like=items.scores, dtype=items.scores.dtype)
    else:  # known only at run time
        temperature = ops.astype(temperature, items.scores.dtype)
        temperature = ops.where(temperature > 0, temperature, array_namespace(items.scores).nan)
    if scale is None:
        return ops.for_each_row(temperature, items.scores)
    return temperature * ops.where(scale > LEAST_SCALE, scale, 1.0)


def dispersion(kind: str, items: Items, reference: Array) -> Array | None:
    """The spread [...] of the reference scores, as a constant; None for "absolute", 0 or NaN for an empty reference."""
    if kind == "absolute":
        return None
    if kind == "iqr":
        quartiles = masked_quantile(items.scores, (0.25, 0.75), where=reference, multiplicity=items.multiplicity)
        return quartiles[..., 1] - quartiles[..., 0]
    return standard_deviation(items, reference)


def standard_deviation(items: Items, reference: Array) -> Array:
    """The standard deviation [...] of the reference scores, 0 if there are none and exactly 0 for equal scores."""
    xp, scores = array_namespace(items.scores), ops.stop_gradient(items.scores)
    # Distances from the least score, which are exactly equal for equal scores, in units of the greatest distance, so
    # that squares stay in range.
    least = xp.min(ops.where(reference, scores, xp.inf), axis=-1, keepdims=True)
    distance = ops.where(reference, scores - least, 0.0)
    unit = xp.max(distance, axis=-1, keepdims=True)
    distance = distance / ops.where(unit > 0, unit, 1.0)
    portion = weight_of(xp.broadcast_to(reference, scores.shape), items)
    portion = portion / xp.clip(xp.sum(portion, axis=-1, keepdims=True), min=LEAST_SCALE)
    centred = distance - xp.sum(portion * distance, axis=-1, keepdims=True)
    return unit[..., 0] * xp.sqrt(xp.sum(portion * centred**2, axis=-1))


def with_margin(items: Items, margin: float, tau: Array) -> tuple[Array, int]:
    """Scores to compare, with negatives raised by `margin` · τ: a positive must outscore them by that margin.

    They are shifted so that the score nearest 0 becomes 0: beside a small margin, a common offset costs digits. And the
    index before which they are constants: with a margin none is, as τ may have a gradient.
    """
    checks.non_negative("margin", margin)
    if isinstance(margin, (int, float)) and margin == 0:
        return items.scores, items.start
    xp, scores = array_namespace(items.scores), ops.stop_gradient(items.scores)
    largest = float(xp.finfo(scores.dtype).max) ** 0.5
    least = xp.min(ops.where(items.where, scores, largest), axis=-1, keepdims=True)
    greatest = xp.max(ops.where(items.where, scores, -largest), axis=-1, keepdims=True)
    offset = xp.clip(least, min=0.0) + xp.clip(greatest, max=0.0)  # 0 between scores of both signs
    return (items.scores - offset) + ops.where(items.negatives, (margin * tau)[..., None], 0.0), 0

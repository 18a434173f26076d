"""From many losses to one: sums and means over the entries that take part."""

import math

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace

ELEMENT_REDUCTIONS = ("mean", "mean_positive", "sum", "none")
CLASS_REDUCTIONS = ("mean", "sum", "none")


def masked_sum(
    values: Array, *, where: Array | None = None, weights: Array | None = None, axis: int | None = None
) -> Array:
    """Σ weights · values over the entries where `where` holds; NaN elsewhere does no harm, in value or gradient."""
    xp = array_namespace(values)
    if weights is not None:
        values = values * xp.astype(weights, values.dtype)
    if where is not None:
        values = xp.where(where, values, 0.0)
    return xp.sum(values, axis=axis)


def mass(values: Array, *, where: Array | None = None, weights: Array | None = None, axis: int | None = None) -> Array:
    """The number, or total weight, of the entries where `where` holds, in the dtype and shape rules of `masked_sum`."""
    return masked_sum(array_namespace(values).ones_like(values), where=where, weights=weights, axis=axis)


def safe_divide(total: Array, mass: Array) -> Array:
    """Total / mass, where a mass of exactly 0 counts as 1."""
    xp = array_namespace(total, mass)
    return total / xp.where(mass == 0, 1.0, mass)


def _share(part: Array, rest: Array) -> Array:
    return part / (part + rest)


def _share_vjp(cotangent: Array, part: Array, rest: Array) -> tuple[Array, Array]:
    # automatic differentiation would form 1/whole − part/whole², which is all rounding where the rest is small
    by_whole = cotangent / (part + rest) ** 2
    return by_whole * rest, -by_whole * part


#: share(part, rest) = part / (part + rest), elementwise, with an accurate derivative however small either is
share = ops.with_vjp(_share, _share_vjp)


def masked_mean(
    values: Array, *, where: Array | None = None, weights: Array | None = None, axis: int | None = None
) -> Array:
    """Weighted mean of the entries where `where` holds; 0 with zero gradient where there is none."""
    total = masked_sum(values, where=where, weights=weights, axis=axis)
    return safe_divide(total, mass(values, where=where, weights=weights, axis=axis))


def reduce_classes(losses: Array, valid: Array, *, reduction: str) -> Array:
    """One loss per class [C] to the loss that is trained on.

    Args:
        losses: one loss per class, [C]; 0 where invalid.
        valid: bool [C]; which classes have a loss.
        reduction: "mean" or "sum" over the valid classes (0 with zero gradient when there is none), or "none":
            one entry per class, NaN where invalid.
    """
    checks.one_of("reduction", reduction, CLASS_REDUCTIONS)
    xp = array_namespace(losses)
    if reduction == "none":
        return ops.where(valid, losses, xp.nan)
    total = xp.sum(losses)
    if reduction == "sum":
        return total
    return total / xp.clip(xp.sum(ops.astype(valid, losses.dtype)), min=1.0)


def element_sum_and_mass(
    losses: Array,
    *,
    reduction: str,
    where: Array | None = None,
    weights: Array | None = None,
    positives: Array | None = None,
) -> tuple[Array, Array | None]:
    """Numerator and denominator of "mean", "mean_positive" or "sum", so that processes can add theirs before dividing.

    Args:
        losses: one loss per position, any shape.
        reduction: "mean" divides by the number of positions that take part, "mean_positive" by the number of positives
            among them, "sum" by nothing; with weights these numbers are total weights.
        where: bool, the shape of `losses`; the others may hold anything.
        weights: one per position, or one per row [losses.shape[0]]; >= 0, without gradient. NaN results from any other.
        positives: for "mean_positive": bool, or in [0, 1] how positive each position is; the shape of `losses`.

    Returns:
        Two 0-d arrays, the sum of weights · losses over the positions that take part and what it is divided by; None
        for the latter under "sum". Divide with `safe_divide`, where a mass of exactly 0 counts as 1.
    """
    xp = array_namespace(losses)
    checks.one_of("reduction", reduction, ELEMENT_REDUCTIONS[:3])
    if where is not None:
        checks.same_shape("where", where, "losses", losses)
        losses = xp.where(where, losses, 0.0)
    if weights is not None:
        weights = _position_weights(weights, losses, where)
        losses = losses * weights
    total = xp.sum(losses)
    if reduction == "sum":
        return total, None
    if reduction == "mean":
        return total, _count(losses, where, total) if weights is None else xp.sum(weights)
    if positives is None:
        raise ValueError("positives must be given for reduction 'mean_positive', got None")
    checks.same_shape("positives", positives, "losses", losses)
    if xp.isdtype(positives.dtype, "bool") and weights is None:
        return total, _count(losses, positives if where is None else positives & where, total)
    share = xp.astype(ops.stop_gradient(positives), losses.dtype)
    share = share if where is None else xp.where(where, share, 0.0)
    return total, xp.sum(share if weights is None else share * weights)


def reduce_elements(
    losses: Array,
    *,
    reduction: str,
    where: Array | None = None,
    weights: Array | None = None,
    positives: Array | None = None,
) -> Array:
    """One loss per position to the loss that is trained on.

    Args:
        losses: one loss per position, any shape.
        reduction: "mean", "mean_positive" or "sum", as in `element_sum_and_mass`, or "none": weights · losses, 0 where
            `where` is False.
        where: as in `element_sum_and_mass`.
        weights: as in `element_sum_and_mass`.
        positives: as in `element_sum_and_mass`.

    Returns:
        0-d, or the shape of `losses` for "none". Where no position takes part 0 with zero gradient.
    """
    checks.one_of("reduction", reduction, ELEMENT_REDUCTIONS)
    if reduction == "none":
        xp = array_namespace(losses)
        if where is not None:
            checks.same_shape("where", where, "losses", losses)
            losses = xp.where(where, losses, 0.0)
        return losses if weights is None else losses * _position_weights(weights, losses, where)
    total, divisor = element_sum_and_mass(
        losses, reduction=reduction, where=where, weights=weights, positives=positives
    )
    return total if divisor is None else safe_divide(total, divisor)


def _count(losses: Array, where: Array | None, total: Array) -> Array:
    """How many entries take part, 0-d, in the dtype of `total`; exact below 2³¹, where a float32 sum of ones is not."""
    xp = array_namespace(losses)
    if where is None:
        return xp.zeros_like(total) + math.prod(losses.shape)
    return xp.astype(xp.sum(xp.astype(where, xp.int32)), total.dtype)


def _position_weights(weights: Array, losses: Array, where: Array | None) -> Array:
    """Weights in the shape of `losses`, 0 where it takes no part, NaN in place of a negative or infinite one."""
    xp = array_namespace(losses, weights)
    if tuple(weights.shape) != tuple(losses.shape):
        per_row = losses.ndim > 0 and tuple(weights.shape) == tuple(losses.shape[:1])
        rule = f"of shape {tuple(losses.shape)} (one per position) or {tuple(losses.shape[:1])} (one per row)"
        checks.require(per_row, "sample_weight", rule, tuple(weights.shape))
        weights = xp.reshape(weights, (-1,) + (1,) * (losses.ndim - 1))
    weights = xp.broadcast_to(xp.astype(ops.stop_gradient(weights), losses.dtype), losses.shape)
    weights = xp.where((weights >= 0) & (weights < xp.inf), weights, xp.nan)
    return weights if where is None else xp.where(where, weights, 0.0)

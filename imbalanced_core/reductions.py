"""From many losses to one: sums and means over the entries that take part."""

from imbalanced_core import checks
from imbalanced_core._namespace import Array, array_namespace

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
        return xp.where(valid, losses, xp.nan)
    if reduction == "sum":
        return masked_sum(losses, where=valid)
    return masked_mean(losses, where=valid)

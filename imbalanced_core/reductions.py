"""Reductions of losses: sums and means over the unmasked entries."""

import math

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace

ROUNDING = 1e-6  # a share may miss its bound by this much: counts and products are rounded
ELEMENT_REDUCTIONS = ("mean", "mean_positive", "sum", "none")
CLASS_REDUCTIONS = ("mean", "sum", "none")


def safe_divide(total: Array, divisor: Array) -> Array:
    """Total / divisor, where a divisor of exactly 0 counts as 1."""
    xp = array_namespace(total, divisor)
    return total / xp.where(divisor == 0, 1.0, divisor)


def mean_divisor(divisor: Array, *, is_weighted: bool) -> Array:
    """What a sum of losses is divided by: a number of positions is at least 1; a sum of weights of exactly 0 is 1.

    Positions of soft targets are parts of one: a batch with few would else get a step of any size.
    """
    xp = array_namespace(divisor)
    return xp.where(divisor == 0, 1.0, divisor) if is_weighted else xp.clip(divisor, min=1)


def _share(parts: Array, more: Array | float) -> Array:
    part, rest = parts[..., 0, :], parts[..., 1, :] + more  # unstack has no vmap rule
    return part / (part + rest)


def _share_vjp(cotangent: Array, parts: Array, more: Array | float) -> tuple[Array, None]:
    # automatic differentiation would form 1/whole − part/whole², which is mostly rounding where the rest is small
    part, rest = parts[..., 0, :], parts[..., 1, :] + more
    by_whole = cotangent / (part + rest) ** 2
    return array_namespace(parts).stack([by_whole * rest, -by_whole * part], axis=-2), None


#: share(parts [..., 2, m], more) = part / (part + rest + more), [..., m], with an accurate derivative however small
#: either is; `more` is a constant
share = ops.with_vjp(_share, _share_vjp)


def reduce_classes(losses: Array, valid: Array, *, reduction: str) -> Array:
    """The training loss from one loss per class [C], 0 where it is not valid, bool [C].

    The reduction is "mean" or "sum" over the valid classes, 0 with zero gradient when there is none.
    """
    xp = array_namespace(losses)
    total = xp.sum(losses)  # of one class too: FSDP2 loses the gradient of a view that is changed in place
    if reduction == "sum" or losses.shape[0] == 1:  # Triton 3.6 fails to compile the division for one class
        return total
    return total / xp.clip(ops.count(valid, losses.dtype), min=1.0)


def element_sum_and_divisor(
    losses: Array,
    *,
    reduction: str,
    where: Array | None = None,
    weights: Array | None = None,
    positives: Array | None = None,
) -> tuple[Array, Array | None]:
    """Numerator and denominator of "mean", "mean_positive" or "sum", so that processes can add theirs before dividing.

    - losses: one loss per position, any shape; 0, with zero gradient, in positions that are not counted.
    - reduction: "mean" divides by the number of counted positions, "mean_positive" by the number of positives among
      them, "sum" by nothing; with weights, these counts are total weights.
    - where: bool, the shape of `losses`: which positions are counted.
    - weights: >= 0, without gradient, as for `spread_weights`. Other values give NaN.
    - positives: for "mean_positive": bool, or in [0, 1] how positive each position is; the shape of `losses`.

    Returns two 0-d arrays: the sum of weights · losses over the counted positions, and its divisor, None for "sum".
    Divide by `mean_divisor`.
    """
    xp = array_namespace(losses)
    checks.one_of("reduction", reduction, ELEMENT_REDUCTIONS[:3])
    if where is not None:
        checks.same_shape("where", where, "losses", losses)
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
    share = xp.astype(ops.stop_gradient(positives), losses.dtype, copy=False)
    share = share if where is None else ops.where(where, share, 0.0)
    return total, xp.sum(share if weights is None else share * weights)


def reduce_elements(
    losses: Array,
    *,
    reduction: str,
    where: Array | None = None,
    weights: Array | None = None,
    positives: Array | None = None,
) -> Array:
    """The training loss from one loss per position: 0-d, 0 with zero gradient if no position is counted.

    Arguments as for `element_sum_and_divisor`; reduction "none" is weights · losses.
    """
    checks.one_of("reduction", reduction, ELEMENT_REDUCTIONS)
    if reduction == "none":
        return losses if weights is None else losses * _position_weights(weights, losses, where)
    xp = array_namespace(losses)
    if reduction == "mean" and where is None and weights is None and math.prod(losses.shape):
        # the derivative of a library's mean is an array; that of a sum is one number, broadcast
        return xp.sum(losses) / math.prod(losses.shape)
    parts = {"where": where, "weights": weights, "positives": positives}
    total, divisor = element_sum_and_divisor(losses, reduction=reduction, **parts)
    return total if divisor is None else total / mean_divisor(divisor, is_weighted=weights is not None)


def _count(losses: Array, where: Array | None, total: Array) -> Array:
    """The number of counted entries, 0-d; see `ops.count`."""
    if where is None:
        return array_namespace(losses).zeros_like(total) + math.prod(losses.shape)
    return ops.count(where, total.dtype)


def _position_weights(weights: Array, losses: Array, where: Array | None) -> Array:
    """Weights in the shape of `losses`, 0 where not counted, NaN where negative or not finite."""
    xp = array_namespace(losses, weights)
    weights = xp.astype(ops.stop_gradient(weights), losses.dtype, copy=False)
    weights = ops.where((weights >= 0) & (weights < xp.inf), weights, math.nan)
    weights = xp.broadcast_to(spread_weights(weights, losses), losses.shape)
    return weights if where is None else ops.where(where, weights, 0.0)


def spread_weights(weights: Array, positions: Array) -> Array:
    """Weights with as many dimensions as `positions`, to whose shape they broadcast.

    ValueError unless they are one per row, [positions.shape[0]], or of that many dimensions with the same first axis.
    """
    shape, wanted = tuple(weights.shape), tuple(positions.shape)
    if len(wanted) > 0 and shape == wanted[:1]:
        return array_namespace(weights).reshape(weights, (-1,) + (1,) * (len(wanted) - 1))
    fits = len(shape) == len(wanted) and shape[:1] == wanted[:1]
    fits = fits and all(size in (1, full) for size, full in zip(shape, wanted, strict=True))
    rule = f"of shape {wanted} (one per position), {wanted[:1]} (one per row), or {wanted} with lengths of 1"
    checks.require(fits, "sample_weight", rule + " after the first", shape)
    return weights

"""Losses of class logits, one per position, with their derivatives: softmax focal and symmetric cross entropy.

Class ids: with π the softmax over the classes other than the target y, and n = log Σ_{c≠y} exp(x_c) − x_y,

    1 − p_y = σ(n)        −log p_y = softplus(n)        ∂n/∂x_c = π_c  (c ≠ y),  ∂n/∂x_y = −1

lose no precision for confident predictions. Probabilities: 1 − p_c of the greatest logit is a sum over the others.

All functions take (logits, targets, where, valid, *numbers, axis=...), with masks of the positions or None: the loss
is 0 where `where` is False, whatever the logits hold there, and NaN where `valid` is False. At n = −∞ loss and
derivative are 0, so that one `where` masks a position. Probabilities have no `valid`: NaN gives a NaN loss.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from imbalanced_core import ops
from imbalanced_core.losses.focal import above_zero, power
from imbalanced_core.ops.namespace import Array, array_namespace

Mask = Array | None


def _clean(x: Array, where: Mask, axis: int) -> Array:
    return x if where is None else ops.where(array_namespace(x).expand_dims(where, axis=axis), x, 0.0)


def _margin(
    x: Array, ids: Array, where: Mask, valid: Mask, axis: int, *, may_underflow: bool = True
) -> tuple[Array, Array | float, Array, Array]:
    """(S π, with 0 at y; S; n; x_y) of clean logits."""
    is_copy = may_underflow and where is not None  # of the logits, not needed again
    others, total, n, own = ops.odds_of_others(x, ids, axis=axis, may_underflow=may_underflow, reuse=is_copy)
    n = n if valid is None else ops.where(valid, n, math.nan)
    return others, total, n if where is None else ops.where(where, n, -math.inf), own


def _per(values: Array, total: Array | float) -> Array:
    return values if isinstance(total, float) else values / total


# ------------------------------------------------------- (1 − p_y)^γ ((1 − ε) (−log p_y) + ε/C Σ_c −log p_c), class ids


def _focal_parts(
    x: Array, ids: Array, where: Mask, valid: Mask, gamma: Array, smoothing: Array | None, axis: int
) -> tuple[tuple[Array, Array | float], Array, Array, Array, Array | None]:
    """((S π, S), 1 − p_y, (1 − p_y)^γ, the cross entropy, its derivative by ε or None)."""
    x = _clean(x, where, axis)
    # with smoothing, the gradient by the other logits is not small where their softmax is
    others, total, n, own = _margin(x, ids, where, valid, axis, may_underflow=smoothing is None)
    u, ce, spread = ops.sigmoid(n), ops.softplus(n), None
    if smoothing is not None:
        spread = own - array_namespace(x).mean(x, axis=axis)  # Σ_c −log p_c / C = −log p_y + x_y − mean x
        spread = spread if where is None else ops.where(where, spread, 0.0)
        ce = ops.add_product(ce, spread, array_namespace(x).ones_like(ce), smoothing)
    return (others, total), u, power(u, gamma), ce, spread


def _class_focal(
    x: Array, ids: Array, where: Mask, valid: Mask, gamma: Array, smoothing: Array | None = None, *, axis: int
) -> tuple[Array, Array, Array]:
    (others, total), u, factor, ce, _ = _focal_parts(x, ids, where, valid, gamma, smoothing, axis)
    value = factor * ce
    if smoothing is None:
        scale = _per(ops.lerp(gamma * value, factor, u), total)
        return value, scale, ops.scatter_ids(others, ids, -total, axis=axis, reuse=True)
    by_n, share = ops.lerp(gamma * ce, 1.0, u), smoothing / x.shape[axis]
    derivative = others * array_namespace(x).expand_dims(_per(by_n, total), axis=axis) - share
    scale = factor if where is None else ops.where(where, factor, 0.0)
    return value, scale, ops.scatter_ids(derivative, ids, (smoothing - share) - by_n, axis=axis, reuse=True)


def _class_focal_by_numbers(
    x: Array, ids: Array, where: Mask, valid: Mask, gamma: Array, smoothing: Array | None = None, *, axis: int
) -> tuple[Array, ...]:
    _, u, factor, ce, spread = _focal_parts(x, ids, where, valid, gamma, smoothing, axis)
    by_gamma = factor * ce * array_namespace(x).log(above_zero(u))
    return (by_gamma,) if spread is None else (by_gamma, factor * spread)


#: class_focal(logits, ids, where, valid, gamma, axis=...), or (..., gamma, label_smoothing, axis=...)
class_focal = ops.with_class_derivative(_class_focal, None, _class_focal_by_numbers, in_blocks=False)

# ------------------------------------------------------------------------- Σ_c w_c (1 − p_c)^γ (−log p_c), any w_c >= 0


def _probabilities(x: Array, where: Mask, axis: int) -> tuple[Array, Array, Array]:
    """(p, 1 − p > 0, −log p)."""
    return ops.probabilities(_clean(x, where, axis), axis=axis)


def _others(g: Array, axis: int) -> Array:
    """Σ_{k≠c} g_k."""
    return array_namespace(g).sum(g, axis=axis, keepdims=True) - g


def _factor(values: Array, where: Mask) -> Array:
    """1 or 0 for each position."""
    factor = array_namespace(values).ones_like(values)
    return factor if where is None else ops.where(where, factor, 0.0)


def _class_mix(x: Array, w: Array, where: Mask, _valid: Mask, gamma: Array, *, axis: int) -> tuple[Array, Array, Array]:
    p, q, loss = _probabilities(x, where, axis)
    weight = _clean(w, where, axis) * q**gamma
    terms = weight * loss
    value = array_namespace(x).sum(terms, axis=axis)
    g = ops.add_product(weight, p, ops.divide(terms, q), gamma)  # minus the derivatives by log p_c
    return value, array_namespace(x).ones_like(value), ops.add_product(p * _others(g, axis), q, g, -1.0)


def _class_mix_by_weights(x: Array, _: Array, where: Mask, _valid: Mask, gamma: Array, *, axis: int) -> Array:
    xp = array_namespace(x)
    q, loss = _probabilities(x, where, axis)[1:]
    factor = _factor(xp.sum(loss, axis=axis), where)
    return q**gamma * loss * xp.expand_dims(factor, axis=axis)


def _class_mix_by_numbers(x: Array, w: Array, where: Mask, _valid: Mask, gamma: Array, *, axis: int) -> tuple[Array]:
    xp = array_namespace(x)
    _, q, loss = _probabilities(x, where, axis)
    return (xp.sum(_clean(w, where, axis) * q**gamma * loss * xp.log(q), axis=axis),)


#: class_mix(logits, weights, where, valid, gamma, axis=...), with a weight for every class of every position
class_mix = ops.with_class_derivative(_class_mix, _class_mix_by_weights, _class_mix_by_numbers)


def cross_entropy(x: Array, y: Array, where: Mask, valid: Mask, *, axis: int) -> Array:
    """−log p_y of class ids, or Σ_c y_c (−log p_c)."""
    loss = class_focal if y.ndim < x.ndim else class_mix
    return loss(x, y, where, valid, 0.0, axis=axis)


def cross_entropy_and(
    more: Callable[[Array], Array], x: Array, y: Array, where: Mask, _valid: Mask, *, axis: int
) -> Array:
    """Σ_c y_c (−log p_c + f_c(1 − p_c)) for probabilities y; `more` is f of all classes, with f(0) = 0."""
    _, q, loss = _probabilities(x, where, axis)
    return array_namespace(x).sum(_clean(y, where, axis) * (loss + more(q)), axis=axis)


# --------------------------------------------------------- α Σ_c y_c (−log p_c) + β Σ_c −log max(y_c, ε) max(p_c, ε)


def symmetric(epsilon: float, *, of_ids: bool) -> Callable[..., Array]:
    """f(logits, ids or probabilities, where, valid, alpha, beta, axis=...)."""
    functions: tuple[Any, ...] = (_symmetric_mix, _symmetric_mix_by_targets, _symmetric_mix_by_numbers)
    if of_ids:
        functions = (_symmetric_ids, None, _symmetric_ids_by_numbers)
    return ops.with_class_derivative(*(f and partial(f, epsilon=epsilon) for f in functions))


def _symmetric_ids(
    x: Array, ids: Array, where: Mask, valid: Mask, alpha: Array, beta: Array, *, axis: int, epsilon: float
) -> tuple[Array, Array, Array]:
    xp = array_namespace(x)
    others, s, n, _ = _margin(_clean(x, where, axis), ids, where, valid, axis)
    ce, reverse, u, p = _symmetric_ids_parts(others, s, n, where, axis, epsilon)
    g = ops.zero_below(p, epsilon) * (-math.log(epsilon) * beta)  # by log p_c of the reverse term
    total = xp.sum(g, axis=axis)
    derivative = ops.add_product(g, p, xp.expand_dims(alpha - total, axis=axis))
    derivative = ops.scatter_ids(derivative, ids, -alpha * u - total * (1.0 - u), axis=axis, reuse=True)
    value = alpha * ce + beta * reverse
    return value, xp.ones_like(value), derivative


def _symmetric_ids_parts(
    others: Array, total: Array | float, n: Array, where: Mask, axis: int, epsilon: float
) -> tuple[Array, Array, Array, Array]:
    """(cross entropy, reverse cross entropy, 1 − p_y, p with 0 at y)."""
    xp = array_namespace(n)
    u = ops.sigmoid(n)
    p = others * xp.expand_dims(_per(u, total), axis=axis)
    reverse = -math.log(epsilon) * (xp.sum(xp.clip(p, min=epsilon), axis=axis) - epsilon)
    return ops.softplus(n), reverse if where is None else ops.where(where, reverse, 0.0), u, p


def _symmetric_ids_by_numbers(
    x: Array, ids: Array, where: Mask, valid: Mask, *_: Array, axis: int, epsilon: float
) -> tuple[Array, Array]:
    others, total, n, _own = _margin(_clean(x, where, axis), ids, where, valid, axis)
    return _symmetric_ids_parts(others, total, n, where, axis, epsilon)[:2]


def _symmetric_mix(
    x: Array, y: Array, where: Mask, _valid: Mask, alpha: Array, beta: Array, *, axis: int, epsilon: float
) -> tuple[Array, Array, Array]:
    y, p, q, height, ce, reverse = _symmetric_mix_parts(x, y, where, axis, epsilon)
    value = alpha * ce + beta * reverse
    # derivatives by log p_c, separate for the two terms: their sum would lose precision in the smaller one
    g, h = alpha * y, ops.zero_below(p, epsilon) * height * beta
    derivative = ops.add_product(q * (h - g), p, _others(g, axis) - _others(h, axis))
    factor = _factor(value, where)
    return value * factor, factor, derivative


def _symmetric_mix_parts(x: Array, y: Array, where: Mask, axis: int, epsilon: float) -> tuple[Array, ...]:
    """(y, p, 1 − p, −log max(y, ε), cross entropy, reverse cross entropy)."""
    xp, y = array_namespace(x), _clean(y, where, axis)
    p, q, loss = _probabilities(x, where, axis)
    height = -xp.log(xp.clip(y, min=epsilon))
    return y, p, q, height, xp.sum(y * loss, axis=axis), xp.sum(xp.clip(p, min=epsilon) * height, axis=axis)


def _symmetric_mix_by_targets(
    x: Array, y: Array, where: Mask, _valid: Mask, alpha: Array, beta: Array, *, axis: int, epsilon: float
) -> Array:
    xp = array_namespace(x)
    y = _clean(y, where, axis)
    p, _, loss = _probabilities(x, where, axis)
    factor = _factor(xp.sum(loss, axis=axis), where)
    reverse = xp.clip(p, min=epsilon) * ops.zero_below(y, epsilon) / xp.clip(y, min=epsilon) ** 2
    return (alpha * loss - beta * reverse) * xp.expand_dims(factor, axis=axis)


def _symmetric_mix_by_numbers(
    x: Array, y: Array, where: Mask, _valid: Mask, *_: Array, axis: int, epsilon: float
) -> tuple[Array, Array]:
    *_parts, ce, reverse = _symmetric_mix_parts(x, y, where, axis, epsilon)
    factor = _factor(ce, where)
    return ce * factor, reverse * factor

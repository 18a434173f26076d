"""What the focal losses are made of, accurate where 1 − p_t formed by subtraction would be all rounding error."""

import math

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace

# ------------------------------------------------------------------- (y·w₊ + (1−y)·w₋) (1−p_t)^γ BCE(x, y)
# With p = σ(x) and q = σ(−x), each accurate where it is small,
#     1 − p_t = p (1−y) + q y        BCE = max(x, 0)(1−y) + max(−x, 0) y − log1p(−min(p, q))
# are sums of non-negative terms: confident predictions lose no digit and nothing overflows. Operations are chosen for
# eager torch, where a comparison or a `where` costs as much as six products.


def _parts(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """(p, q, 1 − p_t, BCE)."""
    xp = array_namespace(x)
    x = xp.clip(x, min=-_greatest(x), max=_greatest(x))  # ∞ · 0 would be NaN
    p, q = ops.sigmoid(x), ops.sigmoid(-x)
    # Not clip(x, min=0): at 0 a maximum shares its derivative out evenly, as the minimum does; their sum is smooth.
    above = xp.maximum(x, 0.0 * x)
    bce = ops.lerp(above, above - x, y) - xp.log1p(-xp.minimum(p, q))
    return p, q, ops.lerp(p, q, y), bce


def _focal(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    _, _, u, bce = _parts(x, y)
    return u**gamma * bce * _weight(y, w_pos, w_neg)


def _focal_and_slope(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> tuple[Array, Array]:
    # u' = p q (1 − 2y),  BCE' = p − y = p (1−y) − q y
    p, q, u, bce = _parts(x, y)
    u = _above_zero(u)
    power = u ** (gamma - 1.0) * _weight(y, w_pos, w_neg)
    pq = p * q
    slope = ops.lerp(pq, -pq, y) * bce * gamma + u * ops.lerp(p, -q, y)
    return power * u * bce, power * slope


def _by_logit(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    return _focal_and_slope(x, y, w_pos, w_neg, gamma)[1]


def _by_target(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    p, q, u, bce = _parts(x, y)
    u = _above_zero(u)
    slope = gamma * (q - p) * bce / u - x
    return u**gamma * ((w_pos - w_neg) * bce + _weight(y, w_pos, w_neg) * slope)


def _by_positive_weight(x: Array, y: Array, _w_pos: Array, _w_neg: Array, gamma: Array) -> Array:
    return y * _focal(x, y, 1.0, 1.0, gamma)


def _by_negative_weight(x: Array, y: Array, _w_pos: Array, _w_neg: Array, gamma: Array) -> Array:
    return (1.0 - y) * _focal(x, y, 1.0, 1.0, gamma)


def _by_gamma(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    _, _, u, _ = _parts(x, y)
    return _focal(x, y, w_pos, w_neg, gamma) * array_namespace(x).log(_above_zero(u))


def _weight(y: Array, w_pos: Array, w_neg: Array) -> Array:
    return y * (w_pos - w_neg) + w_neg


def _above_zero(u: Array) -> Array:
    """U kept off 0, for powers and logarithms whose product with a vanishing factor must be 0 and not NaN."""
    xp = array_namespace(u)
    return xp.clip(u, min=float(xp.finfo(u.dtype).smallest_normal))


def _greatest(x: Array) -> float:
    return float(array_namespace(x).finfo(x.dtype).max)


#: binary_focal(logits, targets, w_pos, w_neg, gamma) = (w_pos·y + w_neg·(1−y)) (1−p_t)^γ BCE, elementwise
binary_focal = ops.with_partials(
    _focal, (_by_logit, _by_target, _by_positive_weight, _by_negative_weight, _by_gamma), _focal_and_slope
)

# ----------------------------------------------------------------------------------------- (1−p_y)^γ CE of class ids
# With e_c = exp(x_c − max x) and S = Σ_{c≠y} e_c, all terms of which are positive,
#     1 − p_y = S / (S + e_y)        CE = log(1 + S / e_y)
# keep every digit when p_y → 1, where 1 + S rounds to 1. The derivatives are, for the u = 1 − p_y of above,
#     ∂CE/∂x_c = p_c, ∂u/∂x_c = p_y p_c  (c ≠ y), and minus their sum for c = y,
# so that of the loss is (e_c, with −S in the place of y) times one number per position.
_LEAST = -60.0  # where log e_y is less it is taken out of the logarithm, before e_y underflows


def _class_parts(logits: Array, ids: Array, *, axis: int) -> tuple[Array, Array, Array, Array]:
    """(e_c with 0 in the place of y, S, e_y, CE)."""
    xp = array_namespace(logits)
    most = _greatest(logits)  # clips infinities, which would meet as ∞ − ∞: a target's logit of ∞ has p_y = 1
    greatest = xp.clip(xp.max(logits, axis=axis, keepdims=True), min=-most, max=most)
    own = ops.pick(logits, ids, axis=axis) - xp.squeeze(greatest, axis=axis)
    own = xp.clip(own, min=-most, max=1.0)  # not 0, where the derivative would be shared
    powers = ops.put(ops.exp_of_difference(logits, greatest), ids, 0.0, axis=axis, reuse=True)
    others, power = xp.sum(powers, axis=axis), xp.exp(own)
    ratio = others / xp.clip(power, min=math.exp(_LEAST))
    return powers, others, power, xp.log1p(ratio) + xp.clip(_LEAST - own, min=0.0)


def _class_focal(
    logits: Array, ids: Array, gamma: Array, where: Array | None, *, axis: int
) -> tuple[Array, Array, Array]:
    xp = array_namespace(logits)
    powers, others, power, ce = _class_parts(logits, ids, axis=axis)
    total = others + power
    factor = _above_zero(others / total) ** gamma  # clipped for the second derivative
    value = factor * ce
    scale = factor * (power * ce / _above_zero(others) * gamma + 1.0) / total
    slope = ops.zero_unless_finite(ops.put(powers, ids, -others, axis=axis, reuse=True), others, axis=axis)
    if where is not None:
        value, scale = xp.where(where, value, 0.0), xp.where(where, scale, 0.0)
    return value, scale, slope


def _by_class_gamma(logits: Array, ids: Array, gamma: Array, where: Array | None, *, axis: int) -> Array:
    xp = array_namespace(logits)
    _, others, power, ce = _class_parts(logits, ids, axis=axis)
    u = _above_zero(others / (others + power))
    slope = u**gamma * ce * xp.log(u)
    return slope if where is None else xp.where(where, slope, 0.0)


#: class_focal(logits, ids, gamma, where, axis=...) = (1 − p_y)^γ · −log p_y, one per position; 0 where `where`, a mask
#: or None, is False, whatever the logits hold there
class_focal = ops.with_class_slope(_class_focal, _by_class_gamma)


def class_mask(logits: Array, ids: Array, *, axis: int) -> Array:
    """Bool in the shape of `logits`: whether a class is the target of its position."""
    xp = array_namespace(logits)
    shape = [1] * logits.ndim
    shape[axis] = logits.shape[axis]
    classes = xp.astype(ops.arange(logits.shape[axis], like=logits), ids.dtype)
    return xp.reshape(classes, tuple(shape)) == xp.expand_dims(ids, axis=axis)


def class_probabilities(logits: Array, *, axis: int) -> tuple[Array, Array]:
    """Softmax and its logarithm, whose values and gradients keep their digits where a probability approaches 1.

    Everything is a function of the distances to the greatest logit x_g, and that of x_g itself is the constant 0: so
    1 + Σ_{c≠g} exp(x_c − x_g) meets a logarithm that needs no 1, and the gradient by x_g is a sum over other classes.
    """
    xp = array_namespace(logits)
    ids = xp.argmax(ops.stop_gradient(logits), axis=axis)
    is_greatest = class_mask(logits, ids, axis=axis)
    greatest = xp.expand_dims(ops.pick(logits, ids, axis=axis), axis=axis)
    below = xp.where(is_greatest, 0.0 * ops.stop_gradient(greatest), logits - greatest)  # 0 · NaN is NaN
    powers = xp.exp(below)
    others = xp.sum(xp.where(is_greatest, 0.0, powers), axis=axis, keepdims=True)
    return powers / (1.0 + others), below - xp.log1p(others)

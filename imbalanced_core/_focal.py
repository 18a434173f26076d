"""What the focal losses are made of, accurate where 1 − p_t formed by subtraction would be all rounding error."""

from imbalanced_core import ops
from imbalanced_core._namespace import Array, array_namespace
from imbalanced_core.pool import arange

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

# ------------------------------------------------------------------------------------ class ids as one binary logit


def _against_and_slope(logits: Array, ids: Array, *, axis: int) -> tuple[Array, Array]:
    xp = array_namespace(logits)
    others = ops.put(logits, ids, -xp.inf, axis=axis)
    share = ops.softmax(others, axis=axis)
    # log Σ exp(x_c) from two fused passes: the greatest share is exp(greatest logit) / Σ
    greatest, greatest_share = xp.max(others, axis=axis), xp.max(share, axis=axis)
    none = greatest == -xp.inf  # there is no other class, or all of them are ruled out
    log_total = xp.where(none, -xp.inf, greatest - xp.log(xp.where(none, 1.0, greatest_share)))
    # NaN logits are told by the value; a position of no weight then has no gradient, whatever its logits hold
    slope = ops.nan_to_zero(ops.put(share, ids, -1.0, axis=axis))
    return log_total - ops.pick(logits, ids, axis=axis), slope


#: logit_against(logits, ids, axis=...) = log Σ_{c≠y} exp(x_c) − x_y, the logit of "another class than y":
#: 1 − p_y = σ(logit_against) and −log p_y = −log σ(−logit_against), with every digit kept when p_y → 1.
logit_against = ops.with_class_slope(_against_and_slope)


def class_mask(logits: Array, ids: Array, *, axis: int) -> Array:
    """Bool in the shape of `logits`: whether a class is the target of its position."""
    xp = array_namespace(logits)
    shape = [1] * logits.ndim
    shape[axis] = logits.shape[axis]
    classes = xp.astype(arange(logits.shape[axis], like=logits), ids.dtype)
    return xp.reshape(classes, tuple(shape)) == xp.expand_dims(ids, axis=axis)


def log_probabilities(logits: Array, *, axis: int) -> Array:
    """Logarithm of softmax, to relative accuracy where a probability approaches 1."""
    xp = array_namespace(logits)
    log_p = ops.log_softmax(logits, axis=axis)
    # log Σ exp rounds 1 + rest, so the greatest class keeps no digit of −log p ≈ rest; log1p(−rest) keeps all
    constant = ops.stop_gradient(log_p)
    greatest = class_mask(logits, xp.argmax(constant, axis=axis), axis=axis)
    rest = xp.sum(xp.where(greatest, 0.0, xp.exp(constant)), axis=axis, keepdims=True)
    correction = xp.log1p(-xp.clip(rest, max=0.5)) - constant
    return log_p + xp.where(greatest & (rest < 0.5), correction, 0.0)

"""The binary focal loss and its derivatives, accurate where 1 − p_t formed by subtraction is only rounding error.

With p = σ(x) and q = σ(−x), each accurate where it is small,

    1 − p_t = p (1 − y) + q y        BCE = log(exp(x (1 − y)) + exp(−x y))

lose no precision for confident predictions and do not overflow. Written for few passes over memory: on an accelerator
every operation is a pass, and on the CPU comparisons and masks cost as much as six products.
"""

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace


def _parts(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """(p, q, 1 − p_t, BCE); NaN in the last where y lies outside [0, 1]."""
    x = _in_range(x)
    opposite = -x
    p, q = ops.sigmoid(x), ops.sigmoid(opposite)
    if_positive = ops.times_unit(opposite, y)
    bce = ops.logaddexp(x + if_positive, if_positive, p, q)
    return p, q, ops.lerp(p, q, y), bce


def _in_range(x: Array) -> Array:
    """x with room for products, such as γ BCE, in any order: ∞ · 0 would be NaN."""
    xp = array_namespace(x)
    greatest = float(xp.finfo(x.dtype).max) * 2.0**-16
    return xp.clip(x, min=-greatest, max=greatest)


def _focal(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    _, _, u, bce = _parts(x, y)
    return u**gamma * bce * _weight(y, w_pos, w_neg)


def _with_derivative(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> tuple[Array, Array]:
    """`_focal` and its derivative by the logits."""
    # for u = 1 − p_t: u' = p q (1 − 2y),  BCE' = p − y = u − 2qy
    if ops.are_binary(y):
        return _binary_with_derivative(x, y, w_pos, w_neg, gamma)
    p, q, u, bce = _parts(x, y)
    weight = _weight(y, w_pos, w_neg)
    u_derivative, bce_derivative = p * ops.add_product(q, q, y, -2.0), ops.add_product(u, q, y, -2.0)
    if isinstance(gamma, float) and gamma >= 1.0:  # no division, and for γ = 2 no power
        factor = power(u, gamma - 1.0) * weight
        value = factor * bce
        return value * u, ops.add_product(factor * u * bce_derivative, value, u_derivative, gamma)
    kept = above_zero(u)
    factor = kept**gamma * weight
    return factor * bce, factor * ops.add_product(bce_derivative, bce, ops.divide(u_derivative, kept), gamma)


def _binary_with_derivative(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> tuple[Array, Array]:
    """The same for targets of 0 and 1, in fewer passes: with z = ∓x, 1 − p_t = σ(z) and BCE = softplus(z)."""
    sign = ops.lerp(1.0, -1.0, y)
    z = _in_range(x * sign)
    u, bce = ops.sigmoid(z), ops.softplus(z)
    factor = power(u, gamma) * _weight(y, w_pos, w_neg)
    return factor * bce, factor * sign * ops.add_product(u, ops.sigmoid(-z, reuse=True), bce, gamma)


def _by_target(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    p, q, u, bce = _parts(x, y)
    u = above_zero(u)
    derivative = gamma * (q - p) * bce / u - x
    return u**gamma * ((w_pos - w_neg) * bce + _weight(y, w_pos, w_neg) * derivative)


def _by_positive_weight(x: Array, y: Array, _w_pos: Array, _w_neg: Array, gamma: Array) -> Array:
    return y * _focal(x, y, 1.0, 1.0, gamma)


def _by_negative_weight(x: Array, y: Array, _w_pos: Array, _w_neg: Array, gamma: Array) -> Array:
    return (1.0 - y) * _focal(x, y, 1.0, 1.0, gamma)


def _by_gamma(x: Array, y: Array, w_pos: Array, w_neg: Array, gamma: Array) -> Array:
    _, _, u, bce = _parts(x, y)
    return u**gamma * bce * _weight(y, w_pos, w_neg) * array_namespace(x).log(above_zero(u))


def _weight(y: Array, w_pos: Array | float, w_neg: Array | float) -> Array | float:
    if isinstance(w_pos, float) and w_pos == w_neg:
        return w_pos
    return ops.lerp(w_neg, w_pos, y)


def power(u: Array, exponent: Array | float) -> Array:
    """u^exponent for u >= 0, with finite derivatives at 0."""
    if isinstance(exponent, float) and exponent in (1.0, 2.0):
        return u if exponent == 1.0 else u * u
    return above_zero(u) ** exponent


def above_zero(u: Array) -> Array:
    """u clipped to the smallest normal number, for powers and logarithms whose product with 0 must be 0, not NaN."""
    xp = array_namespace(u)
    return xp.clip(u, min=float(xp.finfo(u.dtype).smallest_normal))


#: binary_focal(logits, targets, w_pos, w_neg, gamma) = (w_pos·y + w_neg·(1−y)) (1−p_t)^γ BCE, elementwise, NaN where a
#: target lies outside [0, 1]; the weights and gamma are in the shape of the logits, 0-d or Python numbers
binary_focal = ops.with_partials(
    _focal, _with_derivative, _by_target, _by_positive_weight, _by_negative_weight, _by_gamma
)

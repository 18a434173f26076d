"""Losses of single predictions: sigmoid focal, softmax focal and symmetric cross entropy.

Each returns one loss per position, computed so that value and gradient are finite and accurate for confident
predictions, where 1 − p_t formed by subtraction has no correct digit left.
"""

import math

from imbalanced_core import checks, ops
from imbalanced_core.losses.focal import binary_focal, class_focal, class_mask, class_probabilities
from imbalanced_core.ops.namespace import Array, array_namespace, library_of
from imbalanced_core.pool.labels import are_probabilities, class_ids


def sigmoid_focal(
    logits: Array,
    targets: Array,
    *,
    alpha: Array | float | None = 0.25,
    gamma: Array | float = 2.0,
    where: Array | None = None,
) -> Array:
    """Focal loss of independent binary predictions, elementwise.

    loss = α_t (1 − p_t)^γ BCE(logit, y) with p = σ(logit), p_t = p·y + (1 − p)(1 − y), α_t = α·y + (1 − α)(1 − y).

    With γ = 0 it is the (α-weighted) binary cross entropy. Logits, targets, α and γ carry gradients.

    Args:
        logits: floating point, any shape.
        targets: probabilities in [0, 1] or booleans or integers 0 and 1, same shape.
        alpha: weight of the positive class in [0, 1], the negative class gets 1 − α; None for no weights.
        gamma: focusing exponent, >= 0.
        where: bool, same shape; which entries take part. The others may hold anything.

    Returns:
        Losses >= 0 in the shape of `logits`, float32 or float64; 0 where `where` is False, NaN where a target lies
        outside [0, 1].

    Raises:
        TypeError: if `logits` is not floating point, or arrays of several libraries are mixed.
        ValueError: if shapes differ, or alpha or gamma is out of range.

    Cost: O(n) time; one exponential and one logarithm per entry.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    xp = array_namespace(logits, targets, where)
    checks.floating("logits", logits)
    checks.same_shape("targets", targets, "logits", logits)
    checks.non_negative("gamma", gamma)
    if alpha is not None:
        checks.in_unit_interval("alpha", alpha)
    x = ops.widen(logits)
    y = xp.astype(targets, x.dtype)
    if where is not None:
        checks.same_shape("where", where, "logits", logits)
        x, y = xp.where(where, x, 0.0), xp.where(where, y, 0.0)
    y = ops.unit_or_nan(y)
    w_pos, w_neg = 1.0, 1.0
    if alpha is not None:
        w_pos = _in_range(x, alpha, greatest=1.0)
        w_neg = 1.0 - w_pos
    losses = binary_focal(x, y, w_pos, w_neg, _in_range(x, gamma))
    return losses if where is None else xp.where(where, losses, 0.0)


def softmax_focal(
    logits: Array,
    targets: Array,
    *,
    alpha: Array | None = None,
    gamma: Array | float = 2.0,
    label_smoothing: Array | float = 0.0,
    axis: int = -1,
    where: Array | None = None,
) -> Array:
    """Focal loss of mutually exclusive classes, one per position.

    loss = α_y (1 − p_t)^γ CE(logits, y; label_smoothing) with p_t = Σ_c y_c p_c and α_y = Σ_c y_c α_c; for class ids y
    is one-hot. Label smoothing acts on the cross entropy only: its target is (1 − ε) y + ε/C.

    With γ = 0 it is the (α-weighted) cross entropy. Logits, α, γ and target probabilities carry gradients.

    Args:
        logits: floating point, C classes on `axis`.
        targets: class ids in [0, C), of integer or bool type, in the shape of `logits` without `axis`; or
            probabilities (floating point) in the shape of `logits`.
        alpha: weight per class [C], >= 0; None for no weights.
        gamma: focusing exponent, >= 0.
        label_smoothing: ε in [0, 1].
        axis: the class axis.
        where: bool, one per position; which positions take part. The others may hold anything.

    Returns:
        Losses >= 0, the shape of `logits` without `axis`, float32 or float64; 0 where `where` is False, NaN where a
        class id lies outside [0, C) or a probability outside [0, 1].

    Raises:
        TypeError: if `logits` is not floating point, or arrays of several libraries are mixed.
        ValueError: if shapes do not fit, or alpha, gamma or label_smoothing is out of range.

    Cost: O(positions · C).

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    checks.non_negative("gamma", gamma)
    checks.in_unit_interval("label_smoothing", label_smoothing)
    x, y, valid, axis = _class_inputs(logits, targets, axis=axis, where=where)
    xp = array_namespace(x)
    gamma = _in_range(x, gamma)
    if y.ndim < x.ndim and isinstance(label_smoothing, (int, float)) and label_smoothing == 0:
        losses = class_focal(x, y, gamma, where, axis=axis)
    else:
        x = _only_positions(where, x, axis=axis)
        probabilities = _as_probabilities(x, y, axis=axis)
        smoothing = _in_range(x, label_smoothing, greatest=1.0)
        p, log_p = class_probabilities(x, axis=axis)
        smoothed = probabilities * (1.0 - smoothing) + smoothing / x.shape[axis]
        missed = xp.sum(p * (1.0 - probabilities), axis=axis)
        losses = _power(missed, gamma) * cross_entropy(log_p, smoothed, axis=axis)
    if alpha is not None:
        losses = losses * _class_weight(alpha, x, y, axis=axis)
    return _only(where, _nan_unless(valid, losses))


def symmetric_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    alpha: Array | float = 1.0,
    beta: Array | float = 1.0,
    epsilon: float = 1e-8,
    axis: int = -1,
    where: Array | None = None,
) -> Array:
    """Cross entropy plus reverse cross entropy, one per position; robust to noisy labels.

    loss = α·CE + β·RCE with RCE = −Σ_c p_c log max(y_c, ε) and p_c clipped to [ε, 1]; for class ids y is one-hot.

    Args:
        logits: floating point, C classes on `axis`.
        targets: class ids in [0, C), of integer or bool type, in the shape of `logits` without `axis`; or
            probabilities (floating point) in the shape of `logits`.
        alpha: weight of the cross entropy, >= 0.
        beta: weight of the reverse cross entropy, >= 0.
        epsilon: least probability inside the logarithm, in (0, 1); the paper's A = log ε = −4 is ε = exp(−4).
        axis: the class axis.
        where: bool, one per position; which positions take part. The others may hold anything.

    Returns:
        Losses >= 0, the shape of `logits` without `axis`, float32 or float64; 0 where `where` is False, NaN where a
        class id lies outside [0, C) or a probability outside [0, 1].

    Raises:
        TypeError: if `logits` is not floating point, or arrays of several libraries are mixed.
        ValueError: if shapes do not fit, or a parameter is out of range.

    Cost: O(positions · C).

    References:
        Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019,
        https://arxiv.org/abs/1908.06112
    """
    checks.non_negative("alpha", alpha)
    checks.non_negative("beta", beta)
    checks.require(isinstance(epsilon, float) and 0 < epsilon < 1, "epsilon", "a number in (0, 1)", epsilon)
    x, y, valid, axis = _class_inputs(logits, targets, axis=axis, where=where)
    xp = array_namespace(x)
    x = _only_positions(where, x, axis=axis)
    probabilities = _as_probabilities(x, y, axis=axis)
    p, log_p = class_probabilities(x, axis=axis)
    forward = cross_entropy(log_p, probabilities, axis=axis)
    reverse = -xp.sum(xp.clip(p, min=epsilon) * xp.log(xp.clip(probabilities, min=epsilon)), axis=axis)
    losses = _in_range(x, alpha) * forward + _in_range(x, beta) * reverse
    return _only(where, _nan_unless(valid, losses))


def cross_entropy(log_p: Array, probabilities: Array, *, axis: int) -> Array:
    """−Σ_c y_c log p_c, where 0 · log 0 = 0."""
    xp = array_namespace(log_p)
    return -xp.sum(probabilities * xp.where(probabilities == 0, 0.0, log_p), axis=axis)


def _class_inputs(
    logits: Array, targets: Array, *, axis: int, where: Array | None
) -> tuple[Array, Array, Array | None, int]:
    """Logits in the type of the loss, targets, which of them are valid (None: all of them), and the axis >= 0.

    Targets are int32 or int64 ids brought into range, or probabilities in the type of the logits. Where `where` is
    False they are valid ones; logits are as they were, see `_only_positions`.
    """
    xp = array_namespace(logits, targets, where)
    checks.floating("logits", logits)
    checks.require(-logits.ndim <= axis < logits.ndim, "axis", f"an axis of {logits.ndim}-d logits", axis)
    axis = axis % logits.ndim
    classes = logits.shape[axis]
    positions = _without(logits.shape, axis)
    x = ops.widen(logits)
    if are_probabilities(targets):
        rule = f"probabilities in the shape of logits {tuple(logits.shape)}, or integers for class ids"
        checks.require(
            tuple(targets.shape) == tuple(logits.shape), "floating-point targets", rule, tuple(targets.shape)
        )
        y, blank, greatest = xp.astype(targets, x.dtype), 1.0 / max(classes, 1), 1
    else:
        checks.shaped("targets", targets, positions, _missing_axis(logits, targets, axis))
        y, blank, greatest = class_ids(targets), 0, classes - 1
    if where is not None:
        checks.shaped("where", where, positions, f"logits without the class axis {axis}")
        y = xp.where(where if y.ndim < x.ndim else xp.expand_dims(where, axis=axis), y, blank)
    if ops.known_within(y, 0, greatest):
        return x, y, None, axis
    valid = (y >= 0) & (y <= greatest)
    if y.ndim < x.ndim:
        return x, xp.clip(y, min=0, max=greatest), valid, axis
    return x, y, xp.all(valid, axis=axis), axis


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(shape[:axis]) + tuple(shape[axis + 1 :])


def _missing_axis(logits: Array, targets: Array, axis: int) -> str:
    """What the shape of class ids is, with the class axis that those given seem to have been made for."""
    others = [i for i in range(logits.ndim) if i != axis and _without(logits.shape, i) == tuple(targets.shape)]
    return f"logits without the class axis {axis}" + (f" (axis {others[-1]} would fit)" if others else "")


def _as_probabilities(x: Array, y: Array, *, axis: int) -> Array:
    return y if y.ndim == x.ndim else array_namespace(x).astype(class_mask(x, y, axis=axis), x.dtype)


def _class_weight(alpha: Array, x: Array, y: Array, *, axis: int) -> Array:
    """α_y = Σ_c y_c α_c, one per position."""
    xp = array_namespace(x, alpha)
    checks.shaped("alpha", alpha, (x.shape[axis],), "[classes]")
    alpha = xp.astype(alpha, x.dtype)
    if y.ndim < x.ndim:
        return xp.reshape(xp.take(alpha, xp.reshape(y, (-1,)), axis=0), tuple(y.shape))
    return xp.sum(y * xp.reshape(alpha, (-1,) + (1,) * (x.ndim - axis - 1)), axis=axis)


def _nan_unless(valid: Array | None, losses: Array) -> Array:
    """NaN where the target is invalid, by a factor, so that the gradient is NaN as well."""
    if valid is None:
        return losses
    xp = array_namespace(losses)
    return losses * xp.where(valid, xp.ones_like(losses), xp.nan)


def _power(u: Array, gamma: Array | float) -> Array:
    """u^γ with a finite derivative at u = 0."""
    xp = array_namespace(u)
    return xp.clip(u, min=float(xp.finfo(u.dtype).smallest_normal)) ** gamma


def _only(where: Array | None, values: Array) -> Array:
    return values if where is None else array_namespace(values).where(where, values, 0.0)


def _only_positions(where: Array | None, x: Array, *, axis: int) -> Array:
    """Logits with 0 at the positions that take no part, before any arithmetic: 0 · NaN would be NaN in the gradient."""
    return x if where is None else _only(array_namespace(x).expand_dims(where, axis=axis), x)


def _like(x: Array, number: Array | float) -> Array | float:
    """A 0-d array in the dtype of x, or a Python number."""
    if library_of(number) is None:
        return float(number)  # a numpy scalar would bring a dtype of its own
    return array_namespace(x).astype(number, x.dtype)


def _in_range(x: Array, number: Array | float, *, greatest: float = math.inf) -> Array | float:
    """`_like`, with NaN in place of an array outside [0, greatest], whose value the checks could not see."""
    number = _like(x, number)
    if isinstance(number, float):
        return number
    xp = array_namespace(x)
    return xp.where((number >= 0) & (number <= greatest), number, math.nan)

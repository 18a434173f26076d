"""Losses of single predictions: sigmoid focal, softmax focal and symmetric cross entropy.

Each returns one loss per position. Value, gradient and second derivatives are finite and accurate for confident
predictions, where 1 − p_t formed by subtraction has no correct digit left. The functions share

- logits: floating point; the losses are computed in float32 or float64.
- where: bool, one per position: False masks it. Masked positions have loss and gradient 0 and may hold anything.
- errors: TypeError for logits that are not floating point and for arrays of several libraries, ValueError for
  mismatched shapes and numbers out of range. A target out of range makes the loss of its position NaN.

Class logits have C classes on `axis`. Their targets are class ids in [0, C), of integer or bool type, in the shape of
the logits without `axis`; or probabilities (floating point) in the shape of the logits. All arrays and 0-d numbers
except masks and ids are differentiable.
"""

import math

from imbalanced_core import checks, ops
from imbalanced_core.losses.classes import class_focal, class_mix, symmetric
from imbalanced_core.losses.focal import binary_focal
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

    With γ = 0 it is the (α-weighted) binary cross entropy.

    Logits have any shape; targets are probabilities in [0, 1], booleans, or integers 0 and 1, in the same shape.
    `alpha` is the weight of the positive class in [0, 1], the negative class gets 1 − α; one number, or one per label
    [logits.shape[-1]]; None for no weights. `gamma` is the focusing exponent, >= 0.

    Returns:
        Losses >= 0 in the shape of `logits`.

    Cost: O(n) time; one power and five other transcendental functions per entry.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    checks.non_negative("gamma", gamma)
    x, y = label_inputs(logits, targets, where)
    w_pos, w_neg = 1.0, 1.0
    if alpha is not None:
        w_pos = _in_range(x, _alpha(alpha, x), greatest=1.0)
        w_neg = 1.0 - w_pos
    losses = binary_focal(x, y, w_pos, w_neg, _in_range(x, gamma))
    return losses if where is None else ops.where(where, losses, 0.0)


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

    Class ids: loss = α_y (1 − p_y)^γ Σ_c ((1 − ε) 1[c = y] + ε/C) (−log p_c); smoothing acts on the cross entropy.
    Probabilities: loss = Σ_c y_c α_c (1 − p_c)^γ (−log p_c), linear in y, with y first smoothed to (1 − ε) y + ε/C:
    the y-weighted sum of the losses of the classes.

    With γ = 0 it is the (α-weighted) cross entropy. For class ids with smoothing, α_y weights the smoothed sum;
    `torch.nn.CrossEntropyLoss(weight, label_smoothing)` weights each term by α_c, as is done here for probabilities.

    `alpha` is a weight per class [C], >= 0, or None for no weights, `gamma` the focusing exponent, >= 0, and
    `label_smoothing` ε in [0, 1].

    Returns:
        Losses >= 0, the shape of `logits` without `axis`.

    Cost: O(positions · C).

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    checks.non_negative("gamma", gamma)
    checks.in_unit_interval("label_smoothing", label_smoothing)
    x, y, valid, axis = class_inputs(logits, targets, axis=axis, where=where)
    xp, gamma = array_namespace(x), _in_range(x, gamma)
    is_smooth = not isinstance(label_smoothing, (int, float)) or label_smoothing != 0
    smoothing = _in_range(x, label_smoothing, greatest=1.0)
    if alpha is not None:
        checks.shaped("alpha", alpha, (x.shape[axis],), "[classes]")
        alpha = xp.astype(alpha, x.dtype, copy=False)
    if y.ndim < x.ndim:
        losses = class_focal(x, y, where, valid, gamma, *((smoothing,) if is_smooth else ()), axis=axis)
        if alpha is not None:
            losses = losses * ops.of_ids(alpha, y)
        return losses
    weights = ops.lerp(y, 1.0 / x.shape[axis], smoothing) if is_smooth else y
    if alpha is not None:
        weights = weights * xp.reshape(alpha, (-1,) + (1,) * (x.ndim - axis - 1))
    return class_mix(x, weights, where, valid, gamma, axis=axis)


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

    Logits, targets, axis, mask, result and cost as for `softmax_focal`; the weights `alpha` and `beta` are >= 0, and
    `epsilon` is a Python number in (0, 1): the paper's A = log ε = −4 is ε = exp(−4).

    References:
        Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019,
        https://arxiv.org/abs/1908.06112
    """
    checks.non_negative("alpha", alpha)
    checks.non_negative("beta", beta)
    checks.python_number("epsilon", epsilon, "(0, 1)")
    x, y, valid, axis = class_inputs(logits, targets, axis=axis, where=where)
    loss = symmetric(epsilon, of_ids=y.ndim < x.ndim)
    return loss(x, y, where, valid, _in_range(x, alpha), _in_range(x, beta), axis=axis)


def label_inputs(logits: Array, targets: Array, where: Array | None) -> tuple[Array, Array]:
    """Logits and targets of the same shape, in the dtype of the loss; 0 where masked."""
    xp = array_namespace(logits, targets, where)
    checks.floating("logits", logits)
    checks.same_shape("targets", targets, "logits", logits)
    x = ops.widen(logits)
    y = xp.astype(targets, x.dtype, copy=False)
    if where is None:
        return x, y
    checks.same_shape("where", where, "logits", logits)
    return ops.where(where, x, 0.0), ops.where(where, y, 0.0)


def class_inputs(
    logits: Array, targets: Array, *, axis: int, where: Array | None
) -> tuple[Array, Array, Array | None, int]:
    """Logits in the dtype of the loss, targets, which of them are valid (None: all), and the axis >= 0.

    Targets are int32 or int64 ids clipped into range, or probabilities in the dtype of the logits, NaN if out of range:
    a mask of their positions would take two more passes.
    """
    xp = array_namespace(logits, targets, where)
    checks.floating("logits", logits)
    checks.require(-logits.ndim <= axis < logits.ndim, "axis", f"an axis of {logits.ndim}-d logits", axis)
    axis = axis % logits.ndim
    positions = _without(logits.shape, axis)
    x, of_ids = ops.widen(logits), not are_probabilities(targets)
    if of_ids:
        hint = f"; one-hot: pass targets.argmax({axis}), or floats" if targets.shape == logits.shape else ""
        checks.shaped("targets", targets, positions, _missing_axis(logits, targets, axis), hint)
    if where is not None:
        checks.shaped("where", where, positions, f"logits without the class axis {axis}")
    if not of_ids:
        rule = f"probabilities in the shape of logits {tuple(logits.shape)}, or integers for class ids"
        fits = tuple(targets.shape) == tuple(logits.shape)
        checks.require(fits, "floating-point targets", rule, tuple(targets.shape))
        y = xp.astype(targets, x.dtype, copy=False)
        return x, y if ops.known_within(y, 0, 1) else ops.where((y >= 0) & (y <= 1), y, math.nan), None, axis
    ids, greatest = class_ids(targets), logits.shape[axis] - 1
    if ops.known_within(ids, 0, greatest):
        return x, ids, None, axis
    y = xp.clip(ids, min=0, max=greatest)
    return x, y, y == ids, axis


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(shape[:axis]) + tuple(shape[axis + 1 :])


def _missing_axis(logits: Array, targets: Array, axis: int) -> str:
    """The required shape of class ids in words, with the class axis that the given ids would fit."""
    others = [i for i in range(logits.ndim) if i != axis and _without(logits.shape, i) == tuple(targets.shape)]
    return f"logits without the class axis {axis}" + (f" (axis {others[-1]} would fit)" if others else "")


def _alpha(alpha: Array | float, x: Array) -> Array | float:
    """One number, or one per entry."""
    shape = checks.shape_of(alpha)
    if len(shape) == 0 or library_of(alpha) is None:
        checks.in_unit_interval("alpha", alpha)
        return alpha
    rule = f"a number in [0, 1] or one per label, {tuple(x.shape[-1:])}"
    checks.require(x.ndim > 0 and tuple(shape) == tuple(x.shape[-1:]), "alpha", rule, tuple(shape))
    return array_namespace(x, alpha).broadcast_to(alpha, x.shape)


def _in_range(x: Array, number: Array | float, *, greatest: float = math.inf) -> Array | float:
    """A Python number, or an array in the dtype of x, NaN where outside [0, greatest]."""
    if library_of(number) is None:
        return float(number)  # a numpy scalar would bring its own dtype
    number = array_namespace(x).astype(number, x.dtype, copy=False)
    return ops.where((number >= 0) & (number <= greatest), number, math.nan)

"""Losses that treat hard and easy examples differently: Poly-1, asymmetric loss, and mined negatives.

Arguments and errors are those of `imbalanced_core.losses.pointwise`.
"""

import math
from collections.abc import Callable

from imbalanced_core import checks, ops
from imbalanced_core.losses.classes import cross_entropy, cross_entropy_and
from imbalanced_core.losses.pointwise import class_inputs, label_inputs, sigmoid_focal
from imbalanced_core.ops.namespace import Array, array_namespace
from imbalanced_core.quantile import level_below, masked_quantile

#: checks of the options; "clip", "share" and "axis" are Python numbers
RULES = {
    "epsilon": checks.at_least_minus_one,
    "gamma_pos": checks.non_negative,
    "gamma_neg": checks.non_negative,
    "clip": lambda name, value: checks.python_number(name, value, "[0, 1)"),
    "share": checks.python_number,
    "axis": lambda name, value: None if value is None else checks.index(name, value),
}


def poly1(
    logits: Array, targets: Array, *, epsilon: Array | float = 1.0, axis: int = -1, where: Array | None = None
) -> Array:
    """Poly-1 cross entropy, one per position: the first term in the series of log p_y gets a different coefficient.

    loss = CE(logits, y) + ε (1 − p_y); for probabilities y the mix Σ_c y_c loss(c).

    Logits, targets, axis, mask and result as for `softmax_focal`; `epsilon` is ε >= −1; 0 gives the cross entropy.
    Positive values increase the gradient of well-learnt examples, negative ones reduce it.

    Cost: that of cross entropy.

    References:
        Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions, ICLR 2022,
        https://arxiv.org/abs/2204.12511
    """
    checks.numbers(RULES, epsilon=epsilon)
    x, y, valid, axis = class_inputs(logits, targets, axis=axis, where=where)
    if y.ndim < x.ndim:
        loss = cross_entropy(x, y, where, valid, axis=axis)
        return loss - epsilon * array_namespace(x).expm1(-loss)
    return cross_entropy_and(lambda missed: epsilon * missed, x, y, where, valid, axis=axis)


def asymmetric(
    logits: Array,
    targets: Array,
    *,
    gamma_pos: Array | float = 1.0,
    gamma_neg: Array | float = 4.0,
    clip: float = 0.05,
    where: Array | None = None,
) -> Array:
    """Asymmetric loss of multi-label predictions, elementwise: stronger focusing for negatives, and easy ones dropped.

    loss = y (1 − p)^γ₊ (−log p) + (1 − y) p_m^γ₋ (−log(1 − p_m)) with p = σ(logit) and p_m = max(p − m, 0).

    Logits, targets, mask and result as for `sigmoid_focal`; `gamma_pos` and `gamma_neg` are γ₊ and γ₋ >= 0, and `clip`
    is m, a Python number in [0, 1): a negative with p <= m has loss and gradient 0. With γ₊ = γ₋ = m = 0 it is the
    binary cross entropy.

    Cost: O(n) time; two powers and about six other transcendental functions per entry.

    References:
        Ridnik et al., Asymmetric Loss for Multi-Label Classification, ICCV 2021, https://arxiv.org/abs/2009.14119
    """
    checks.numbers(RULES, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    x, y = label_inputs(logits, targets, where)
    xp = array_namespace(x)
    greatest = float(xp.finfo(x.dtype).max)  # of a loss: ∞ · 0 would be NaN
    p, q = ops.logistic(x), ops.logistic(-x)
    if_positive = _power(q, gamma_pos) * ops.softplus(xp.clip(-x, max=greatest))
    if clip > 0:  # 1 − p_m = q + m, as long as it is below 1
        if_negative = _power(xp.clip(p - clip, min=0.0), gamma_neg) * -xp.log(xp.clip(q + clip, max=1.0))
    else:
        if_negative = _power(p, gamma_neg) * ops.softplus(xp.clip(x, max=greatest))
    losses = y * if_positive + (1.0 - y) * if_negative
    losses = losses + 0.0 * ops.times_unit(p, y)  # NaN where a target lies outside [0, 1]
    return losses if where is None else ops.where(where, losses, 0.0)


def _power(u: Array, exponent: Array | float) -> Array:
    """u^exponent for u in [0, 1], constant below the root of the smallest normal: two derivatives are finite."""
    xp = array_namespace(u)
    return xp.clip(u, min=float(xp.finfo(u.dtype).smallest_normal) ** 0.5) ** exponent


def hard_negative(
    logits: Array,
    targets: Array,
    *,
    share: float = 0.25,
    axis: int | None = 0,
    where: Array | None = None,
    gather: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array]:
    """Binary cross entropy of all positives and of the hardest negatives, elementwise.

    Of the n competing negatives (targets below ½), 1 + ⌊share · (n − 1)⌋ are kept: those with the greatest logits,
    which for targets of 0 are those with the greatest loss. All ties with the last of them are kept as well. The
    selection is a constant in differentiation.

    Logits, targets and mask as for `sigmoid_focal`, and

    - share: in [0, 1], a Python number; 1 is the binary cross entropy, 0 keeps the hardest negative.
    - axis: along which negatives compete: 0 for the rows of a batch, per label; −1 for the labels of a row; None for
      all entries.
    - gather: with axis 0 or None, appends the rows of the other devices to an array; None: there are none.

    Returns:
        Losses >= 0 in the shape of `logits`, 0 where not kept, and bool, which are kept.

    Cost: that of binary cross entropy, and a sort along `axis`.

    References:
        Shrivastava et al., Training Region-Based Object Detectors with Online Hard Example Mining, CVPR 2016,
        https://arxiv.org/abs/1604.03540
    """
    checks.numbers(RULES, share=share, axis=axis)
    x, y = label_inputs(logits, targets, where)
    checks.require(axis in (None, *range(-x.ndim, x.ndim)), "axis", f"None or an axis of {x.ndim}-d logits", axis)
    xp, is_negative = array_namespace(x), y < 0.5
    is_negative = is_negative if where is None else is_negative & where
    scores = ops.where(is_negative, ops.stop_gradient(x), math.nan)  # a NaN logit has a NaN loss, mined or not
    if gather is not None and (axis is None or axis % x.ndim == 0):
        scores = gather(scores)
    scores = xp.reshape(scores, (-1,)) if axis is None else xp.moveaxis(scores, axis, -1)
    least = masked_quantile(scores, [level_below(share)], where=~xp.isnan(scores))
    least = least[0] if axis is None else xp.moveaxis(least, -1, axis)
    kept = ~(is_negative & (x < least))  # NaN stays
    kept = kept if where is None else kept & where
    return sigmoid_focal(logits, targets, alpha=None, gamma=0.0, where=kept), kept

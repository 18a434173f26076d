"""Focal losses and symmetric cross entropy: checks of concrete values, then one jitted call of the core.

Arguments shared by all functions, "see above" in their docstrings:

- reduction: "mean" over the counted positions, "sum" or "none". The focal losses also have "mean_positive": the sum
  over all positions, background included, divided by the number of positive (or non-background) positions. With sample
  weights, sums and counts are weighted; a divisor of exactly 0 counts as 1.
- where, for independent labels: bool, the shape of `logits`; False masks an entry, as `ignore_index` does.
- ignore_index: target value of ignored positions: their loss and gradient are 0, whatever else they hold.
- sample_weight: >= 0, no gradient; in the shape of the losses, one per row [N], or broadcasting to them, such as
  [N, 1].
- axis_name: mapped axis or axes over whose devices the mean is taken, in `shard_map`, `vmap` or `pmap`.

A call returns a 0-d array, or one loss per position for reduction "none", in float32 or float64; 0 with zero gradient
where no position is counted. It raises TypeError or ValueError on invalid dtypes, shapes or parameters, or if a
readable target or weight is out of range; one that cannot be read makes the loss NaN. Numbers may change without
recompilation.
"""

from collections.abc import Sequence
from typing import Unpack

import jax

from imbalanced_core import checks
from imbalanced_core.losses import pointwise
from imbalanced_jax import validation
from imbalanced_jax._pointwise import ClassOptions, LabelOptions, class_function, class_loss, label_function, label_loss

Number = float | jax.Array


@label_function
def sigmoid_focal_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    alpha: Number | Sequence[float] | None = 0.25,
    gamma: Number = 2.0,
    **options: Unpack[LabelOptions],
) -> jax.Array:
    """Focal loss of independent binary predictions: binary or multi-label classification.

    loss = α_t (1 − p_t)^γ BCE(logit, y) with p = σ(logit), p_t = p·y + (1 − p)(1 − y), α_t = α·y + (1 − α)(1 − y). The
    paper: `imbalanced_core.losses.pointwise.sigmoid_focal`.

    Args:
        logits: floating point, any shape.
        targets: in [0, 1], of any dtype, in the shape of `logits`.
        alpha: weight of the positive class in [0, 1], negatives get 1 − alpha; None or −1 for no weights. A sequence or
            array [C] holds one weight per label (last axis): use w / (1 + w) for `w = imbalanced_jax.pos_weight(...)`.
        gamma: focusing exponent, >= 0; 0 is the binary cross entropy.
        **options: `ignore_index` (default None), `where`, `sample_weight`, `reduction` and `axis_name`, see above.
    """
    alpha = validation.positive_weight(alpha)
    numbers, rules = {"alpha": alpha, "gamma": gamma}, {"gamma": checks.non_negative}
    return label_loss(pointwise.sigmoid_focal, logits, targets, numbers, rules=rules, **options)


@class_function
def softmax_focal_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    alpha: jax.Array | Sequence[float] | None = None,
    gamma: Number = 2.0,
    label_smoothing: Number = 0.0,
    background_class: int = 0,
    **options: Unpack[ClassOptions],
) -> jax.Array:
    """Focal loss of mutually exclusive classes.

    The formula, for class ids and for probabilities, and the paper: `imbalanced_core.losses.pointwise.softmax_focal`.

    Args:
        logits: floating point, C classes on `axis`.
        targets: class ids of any integer or bool dtype, in the shape of `logits` without `axis`; or probabilities
            (floating point) in the shape of `logits`.
        alpha: one weight per class [C], >= 0; None for no weights. See `imbalanced_jax.class_weights`.
        gamma: focusing exponent, >= 0; 0 is the cross entropy.
        label_smoothing: ε in [0, 1]: (1 − ε) y + ε/C; for class ids it acts on the cross entropy only.
        background_class: the class id that "mean_positive" does not count.
        **options: `ignore_index`, `axis`, the class axis, `sample_weight`, `reduction` and `axis_name`, see above.
    """
    checks.in_unit_interval("label_smoothing", validation.number(label_smoothing))
    if alpha is not None:
        alpha = validation.as_floats("alpha", alpha)
        checks.weights(validation.readable(alpha), name="alpha")
    validation.check_static(background_class=background_class)
    checks.at_least("background_class", background_class, 0)
    numbers = {"alpha": alpha, "gamma": gamma}
    if not isinstance(label_smoothing, (int, float)) or label_smoothing != 0:
        numbers["label_smoothing"] = label_smoothing
    function, rules = pointwise.softmax_focal, {"gamma": checks.non_negative}
    return class_loss(function, logits, targets, numbers, rules=rules, background_class=background_class, **options)


@class_function
def symmetric_cross_entropy_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    epsilon: float = 1e-8,
    **options: Unpack[ClassOptions],
) -> jax.Array:
    """Cross entropy plus reverse cross entropy, for noisy labels.

    loss = α·CE + β·RCE with RCE = −Σ_c p_c log max(y_c, ε) and p_c clipped to [ε, 1]. Logits, targets and options as
    for `softmax_focal_loss`; the weights `alpha` and `beta` are >= 0, and `epsilon` is a Python number in (0, 1). See
    `imbalanced_core.losses.pointwise.symmetric_cross_entropy`.
    """
    validation.check_static(epsilon=epsilon)
    numbers, static = {"alpha": alpha, "beta": beta}, {"epsilon": epsilon}
    function, rules = pointwise.symmetric_cross_entropy, {"alpha": checks.non_negative, "beta": checks.non_negative}
    return class_loss(function, logits, targets, numbers, rules=rules, static=static, **options)

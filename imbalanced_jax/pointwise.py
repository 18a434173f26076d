"""Focal losses and symmetric cross entropy: checks of concrete values, then one jitted call of the core."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from imbalanced_core import checks, reductions
from imbalanced_core.losses import pointwise
from imbalanced_core.pool.labels import are_probabilities, foreground, taking_part
from imbalanced_jax import distributed, validation
from imbalanced_jax.distributed import AxisName

Number = float | jax.Array


def sigmoid_focal_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    alpha: Number | None = 0.25,
    gamma: Number = 2.0,
    where: jax.Array | None = None,
    sample_weight: jax.Array | None = None,
    reduction: str = "mean",
    axis_name: AxisName = None,
) -> jax.Array:
    """Focal loss of independent binary predictions: binary or multi-label classification.

    loss = α_t (1 − p_t)^γ BCE(logit, y) with p = σ(logit), p_t = p·y + (1 − p)(1 − y), α_t = α·y + (1 − α)(1 − y).

    Args:
        logits: floating point, any shape.
        targets: in [0, 1], of any dtype, in the shape of `logits`.
        alpha: weight of the positive class in [0, 1], negatives get 1 − alpha; None or −1 for no weights.
        gamma: focusing exponent, >= 0; 0 is the binary cross entropy. Alpha and gamma may change without recompilation.
        where: bool, the shape of `logits`: which entries take part. The others may hold anything.
        sample_weight: >= 0, one per entry, or one per row [logits.shape[0]]; carries no gradient.
        reduction: "mean" over the entries that take part; "mean_positive", their sum over their number of positives
            (the sum of the targets); "sum"; "none". With weights, sums and numbers are weighted; a divisor of exactly
            0 counts as 1.
        axis_name: mapped axis or axes whose devices share the mean, in `shard_map`, `vmap` or `pmap`.

    Returns:
        0-d, or the shape of `logits` for reduction "none"; float32 or float64. 0 with zero gradient where no entry
        takes part; NaN where a target or weight that could not be looked at is out of range.

    Raises:
        TypeError, ValueError: if dtypes, shapes or parameters do not fit, or a readable target or weight is out of
            range.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    if isinstance(alpha, (int, float)) and alpha == -1:
        alpha = None
    if alpha is not None:
        checks.in_unit_interval("alpha", validation.number(alpha))
    checks.non_negative("gamma", validation.number(gamma))
    validation.check_arrays(logits=logits, targets=targets)
    validation.check_optional_arrays(where=where, sample_weight=sample_weight)
    checks.boolean("where", where)
    validation.check_static(reduction=reduction)
    validation.check_unit_targets(targets, where=where)
    validation.check_weights(sample_weight, where=where)
    return _sigmoid_focal(
        logits, targets, _number(alpha), _number(gamma), where, sample_weight, reduction=reduction, axis_name=axis_name
    )


def softmax_focal_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    alpha: jax.Array | Sequence[float] | None = None,
    gamma: Number = 2.0,
    label_smoothing: Number = 0.0,
    ignore_index: int = -100,
    background_class: int = 0,
    sample_weight: jax.Array | None = None,
    reduction: str = "mean",
    axis: int = -1,
    axis_name: AxisName = None,
) -> jax.Array:
    """Focal loss of mutually exclusive classes.

    loss = α_y (1 − p_t)^γ CE(logits, y; label_smoothing) with p_t = Σ_c y_c p_c, α_y = Σ_c y_c α_c.

    Args:
        logits: floating point, C classes on `axis`.
        targets: class ids of any integer or bool dtype, in the shape of `logits` without `axis`; or probabilities
            (floating point) in the shape of `logits`.
        alpha: one weight per class [C], >= 0; None for no weights. See `imbalanced_jax.class_weights`.
        gamma: focusing exponent, >= 0; 0 is the cross entropy. May change without recompilation.
        label_smoothing: in [0, 1]; acts on the cross entropy only, whose target is (1 − ε) y + ε/C.
        ignore_index: the class id of positions that take no part.
        background_class: the class id that "mean_positive" does not count.
        sample_weight: >= 0, one per position, or one per row [logits.shape[0]]; carries no gradient.
        reduction: "mean" over the positions that take part; "mean_positive", their sum, background included, over the
            number of them that are not background; "sum"; "none". With weights, sums and numbers are weighted; a
            divisor of exactly 0 counts as 1.
        axis: the class axis.
        axis_name: mapped axis or axes whose devices share the mean, in `shard_map`, `vmap` or `pmap`.

    Returns:
        0-d, or the shape of `logits` without `axis` for reduction "none"; float32 or float64. 0 with zero gradient
        where no position takes part; NaN where a target or weight that could not be looked at is out of range.

    Raises:
        TypeError, ValueError: if dtypes, shapes or parameters do not fit, or a readable target or weight is out of
            range.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    checks.non_negative("gamma", validation.number(gamma))
    checks.in_unit_interval("label_smoothing", validation.number(label_smoothing))
    if alpha is not None:
        alpha = validation.as_floats("alpha", alpha)
        validation.check_weights(alpha, name="alpha")
    validation.check_static(reduction=reduction, background_class=background_class)
    checks.at_least("background_class", background_class, 0)
    _check_classes(logits, targets, sample_weight, axis=axis, ignore_index=ignore_index)
    smoothing = None if isinstance(label_smoothing, (int, float)) and label_smoothing == 0 else label_smoothing
    return _softmax_focal(
        logits,
        targets,
        alpha,
        _number(gamma),
        smoothing,
        sample_weight,
        ignore_index=ignore_index,
        background_class=background_class,
        reduction=reduction,
        axis=axis,
        axis_name=axis_name,
    )


def symmetric_cross_entropy_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    epsilon: float = 1e-8,
    ignore_index: int = -100,
    sample_weight: jax.Array | None = None,
    reduction: str = "mean",
    axis: int = -1,
    axis_name: AxisName = None,
) -> jax.Array:
    """Cross entropy plus reverse cross entropy, for noisy labels.

    loss = α·CE + β·RCE with RCE = −Σ_c p_c log max(y_c, ε) and p_c clipped to [ε, 1].

    Args:
        logits: floating point, C classes on `axis`.
        targets: class ids of any integer or bool dtype, in the shape of `logits` without `axis`; or probabilities
            (floating point) in the shape of `logits`.
        alpha: weight of the cross entropy, >= 0.
        beta: weight of the reverse cross entropy, >= 0. Alpha and beta may change without recompilation.
        epsilon: least probability inside the logarithm, in (0, 1); the paper's A = log ε = −4 is ε = exp(−4).
        ignore_index: the class id of positions that take no part.
        sample_weight: >= 0, one per position, or one per row [logits.shape[0]]; carries no gradient.
        reduction: "mean" over the positions that take part, "sum" or "none"; with weights, weighted.
        axis: the class axis.
        axis_name: mapped axis or axes whose devices share the mean, in `shard_map`, `vmap` or `pmap`.

    Returns, Raises: as `softmax_focal_loss`.

    References:
        Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019,
        https://arxiv.org/abs/1908.06112
    """
    checks.non_negative("alpha", validation.number(alpha))
    checks.non_negative("beta", validation.number(beta))
    validation.check_static(reduction=reduction, epsilon=epsilon)
    checks.one_of("reduction", reduction, ("mean", "sum", "none"))
    _check_classes(logits, targets, sample_weight, axis=axis, ignore_index=ignore_index)
    return _symmetric_cross_entropy(
        logits,
        targets,
        _number(alpha),
        _number(beta),
        sample_weight,
        epsilon=epsilon,
        ignore_index=ignore_index,
        reduction=reduction,
        axis=axis,
        axis_name=axis_name,
    )


@partial(jax.jit, static_argnames=("reduction", "axis_name"))
def _sigmoid_focal(
    logits: jax.Array,
    targets: jax.Array,
    alpha: Number | None,
    gamma: Number,
    where: jax.Array | None,
    sample_weight: jax.Array | None,
    *,
    reduction: str,
    axis_name: AxisName,
) -> jax.Array:
    losses = pointwise.sigmoid_focal(logits, targets, alpha=alpha, gamma=gamma, where=where)
    return _reduce(losses, where, sample_weight, targets, reduction=reduction, axis_name=axis_name)


@partial(jax.jit, static_argnames=("ignore_index", "background_class", "reduction", "axis", "axis_name"))
def _softmax_focal(
    logits: jax.Array,
    targets: jax.Array,
    alpha: jax.Array | None,
    gamma: Number,
    label_smoothing: Number | None,
    sample_weight: jax.Array | None,
    *,
    ignore_index: int,
    background_class: int,
    reduction: str,
    axis: int,
    axis_name: AxisName,
) -> jax.Array:
    logits, targets, sample_weight = distributed.replicate((logits, targets, sample_weight))
    where = _where(targets, ignore_index)
    smoothing = 0.0 if label_smoothing is None else label_smoothing
    losses = pointwise.softmax_focal(
        logits, targets, alpha=alpha, gamma=gamma, label_smoothing=smoothing, axis=axis, where=where
    )
    positives = None
    if reduction == "mean_positive":
        positives = foreground(targets, num_classes=logits.shape[axis], background_class=background_class, axis=axis)
    return _reduce(losses, where, sample_weight, positives, reduction=reduction, axis_name=axis_name)


@partial(jax.jit, static_argnames=("epsilon", "ignore_index", "reduction", "axis", "axis_name"))
def _symmetric_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    alpha: Number,
    beta: Number,
    sample_weight: jax.Array | None,
    *,
    epsilon: float,
    ignore_index: int,
    reduction: str,
    axis: int,
    axis_name: AxisName,
) -> jax.Array:
    logits, targets, sample_weight = distributed.replicate((logits, targets, sample_weight))
    where = _where(targets, ignore_index)
    losses = pointwise.symmetric_cross_entropy(
        logits, targets, alpha=alpha, beta=beta, epsilon=epsilon, axis=axis, where=where
    )
    return _reduce(losses, where, sample_weight, None, reduction=reduction, axis_name=axis_name)


def _reduce(
    losses: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    positives: jax.Array | None,
    *,
    reduction: str,
    axis_name: AxisName,
) -> jax.Array:
    if reduction == "none" or axis_name is None:
        return reductions.reduce_elements(
            losses, reduction=reduction, where=where, weights=weights, positives=positives
        )
    total, mass = reductions.element_sum_and_mass(
        losses, reduction=reduction, where=where, weights=weights, positives=positives
    )
    return distributed.global_ratio(total, mass, axis_name)


def _number(value: Number | None) -> Number | None:
    """A Python int as a float: jit compiles once for each of the two types."""
    return float(value) if isinstance(value, int) else value


def _where(targets: jax.Array, ignore_index: int) -> jax.Array | None:
    """Which class ids take part; probabilities all do."""
    return None if are_probabilities(targets) else taking_part(targets, ignore_index=ignore_index)


def _check_classes(logits: Any, targets: Any, weights: Any, *, axis: int, ignore_index: int) -> None:
    """Checks of values, where they can be read; the core checks the shapes."""
    validation.check_arrays(logits=logits, targets=targets)
    validation.check_optional_arrays(sample_weight=weights)
    validation.check_static(axis=axis, ignore_index=ignore_index)
    checks.index("axis", axis)
    checks.index("ignore_index", ignore_index)
    checks.several_classes("logits", logits, axis=axis, instead="sigmoid_focal_loss")
    if are_probabilities(targets):
        if targets.shape == logits.shape:  # else the core says what it takes
            validation.check_unit_targets(targets)
        validation.check_weights(weights)
    elif -logits.ndim <= axis < logits.ndim:
        validation.check_class_ids(targets, num_classes=logits.shape[axis], ignore_index=ignore_index)
        # In numpy: inside a transformation, JAX traces even what it computes from concrete arrays.
        where = taking_part(np.asarray(targets), ignore_index=ignore_index) if validation.can_read(targets) else None
        validation.check_weights(weights, where=where)

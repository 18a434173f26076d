"""Focal losses and symmetric cross entropy as NNX modules: options and one call, no state."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imbalanced_core import checks
from imbalanced_jax import pointwise, validation
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.pointwise import Number


class SigmoidFocalLoss(nnx.Module):
    """Focal loss of independent binary predictions: `imbalanced_jax.sigmoid_focal_loss` with its options.

    Args:
        alpha: weight of the positive class in [0, 1], negatives get 1 − alpha; a number or one per label; −1 or None for
            no weights.
        gamma: focusing exponent, >= 0; 0 is the binary cross entropy. An array can change without a recompilation.
        reduction: "mean", "mean_positive", "sum" or "none".
        ignore_index: target value of entries that take no part; None for none.
        axis_name: mapped axis or axes whose devices share the mean.

    Raises:
        ValueError: on a bad option.
    """

    def __init__(
        self,
        alpha: Number | Sequence[float] | None = 0.25,
        gamma: Number = 2.0,
        reduction: str = "mean",
        *,
        ignore_index: int | None = None,
        axis_name: AxisName = None,
    ) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.axis_name = axis_name
        zeros = np.zeros((1, np.size(1.0 if alpha is None else alpha)), np.float32)
        jax.eval_shape(lambda: self._loss(zeros, zeros, None, None))

    def __call__(self, logits: jax.Array, targets: jax.Array, *, sample_weight: jax.Array | None = None) -> jax.Array:
        """The loss of logits [*] against targets [*] in [0, 1]; see `imbalanced_jax.sigmoid_focal_loss`."""
        where = None if self.ignore_index is None else jnp.asarray(targets) != self.ignore_index
        return self._loss(logits, targets, where, sample_weight, axis_name=self.axis_name)

    def _loss(self, logits: Any, targets: Any, where: Any, weights: Any, axis_name: AxisName = None) -> jax.Array:
        return pointwise.sigmoid_focal_loss(
            logits,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            where=where,
            sample_weight=weights,
            reduction=self.reduction,
            axis_name=axis_name,
        )


class SoftmaxFocalLoss(nnx.Module):
    """Focal loss of mutually exclusive classes: `imbalanced_jax.softmax_focal_loss` with its options.

    Args:
        alpha: one weight per class, >= 0; None for no weights. See `imbalanced_jax.class_weights`.
        gamma: focusing exponent, >= 0; 0 is the cross entropy. An array can change without a recompilation.
        reduction: "mean", "mean_positive", "sum" or "none".
        label_smoothing: in [0, 1]; acts on the cross entropy only.
        ignore_index: the class id of positions that take no part.
        background_class: the class id that "mean_positive" does not count.
        axis: the class axis of the logits.
        axis_name: mapped axis or axes whose devices share the mean.

    Raises:
        ValueError: on a bad option.
    """

    def __init__(
        self,
        alpha: Sequence[float] | jax.Array | None = None,
        gamma: Number = 2.0,
        reduction: str = "mean",
        label_smoothing: Number = 0.0,
        ignore_index: int = -100,
        background_class: int = 0,
        *,
        axis: int = -1,
        axis_name: AxisName = None,
    ) -> None:
        self.alpha = _per_class(alpha)
        self.gamma = gamma
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.background_class = background_class
        self.axis = axis
        self.axis_name = axis_name
        checks.at_least("background_class", background_class, 0)
        zeros = np.zeros((1, 2 if self.alpha is None else len(self.alpha)), np.float32)
        jax.eval_shape(lambda: self._loss(zeros, np.zeros(1, np.int32), None, axis=-1))

    def __call__(self, logits: jax.Array, targets: jax.Array, *, sample_weight: jax.Array | None = None) -> jax.Array:
        """The loss of logits [..., C] against class ids or probabilities; see `imbalanced_jax.softmax_focal_loss`."""
        return self._loss(logits, targets, sample_weight, axis=self.axis, axis_name=self.axis_name)

    def _loss(self, logits: Any, targets: Any, weights: Any, *, axis: int, axis_name: AxisName = None) -> jax.Array:
        return pointwise.softmax_focal_loss(
            logits,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            background_class=self.background_class,
            sample_weight=weights,
            reduction=self.reduction,
            axis=axis,
            axis_name=axis_name,
        )


class SymmetricCrossEntropyLoss(nnx.Module):
    """Cross entropy plus reverse cross entropy: `imbalanced_jax.symmetric_cross_entropy_loss` with its options.

    Args:
        alpha: weight of the cross entropy, >= 0. An array can change without a recompilation.
        beta: weight of the reverse cross entropy, >= 0; the same.
        epsilon: least probability inside the logarithm, in (0, 1).
        reduction: "mean", "sum" or "none".
        ignore_index: the class id of positions that take no part.
        axis: the class axis of the logits.
        axis_name: mapped axis or axes whose devices share the mean.

    Raises:
        ValueError: on a bad option.
    """

    def __init__(
        self,
        alpha: Number = 1.0,
        beta: Number = 1.0,
        epsilon: float = 1e-8,
        reduction: str = "mean",
        ignore_index: int = -100,
        *,
        axis: int = -1,
        axis_name: AxisName = None,
    ) -> None:
        self.alpha = alpha
        self.beta = beta
        self.epsilon = epsilon
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.axis = axis
        self.axis_name = axis_name
        jax.eval_shape(lambda: self._loss(np.zeros((1, 2), np.float32), np.zeros(1, np.int32), None, axis=-1))

    def __call__(self, logits: jax.Array, targets: jax.Array, *, sample_weight: jax.Array | None = None) -> jax.Array:
        """The loss of logits [..., C]; see `imbalanced_jax.symmetric_cross_entropy_loss`."""
        return self._loss(logits, targets, sample_weight, axis=self.axis, axis_name=self.axis_name)

    def _loss(self, logits: Any, targets: Any, weights: Any, *, axis: int, axis_name: AxisName = None) -> jax.Array:
        return pointwise.symmetric_cross_entropy_loss(
            logits,
            targets,
            alpha=self.alpha,
            beta=self.beta,
            epsilon=self.epsilon,
            ignore_index=self.ignore_index,
            sample_weight=weights,
            reduction=self.reduction,
            axis=axis,
            axis_name=axis_name,
        )


def _per_class(alpha: Sequence[float] | jax.Array | None) -> tuple[float, ...] | jax.Array | None:
    """Class weights as something that NNX takes for a part of the configuration, or an array of their own."""
    if alpha is None:
        return None
    checks.require(np.ndim(alpha) == 1, "alpha", "one weight per class, [C], or None", alpha)
    validation.check_weights(alpha if isinstance(alpha, jax.Array) else np.asarray(alpha), name="alpha")
    return alpha if isinstance(alpha, jax.Array) else tuple(float(weight) for weight in alpha)

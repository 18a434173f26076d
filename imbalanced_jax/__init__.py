"""Losses for imbalanced data as pure JAX functions."""

from imbalanced_jax.class_weights import class_weights, pos_weight
from imbalanced_jax.pointwise import sigmoid_focal_loss, softmax_focal_loss, symmetric_cross_entropy_loss
from imbalanced_jax.validation import validate_targets

__all__ = [
    "class_weights",
    "pos_weight",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
    "symmetric_cross_entropy_loss",
    "validate_targets",
]

"""Losses for imbalanced data as PyTorch modules."""

from imbalanced_torch.class_weights import class_weights, pos_weight
from imbalanced_torch.pointwise import SigmoidFocalLoss, SoftmaxFocalLoss, SymmetricCrossEntropyLoss
from imbalanced_torch.validation import validate_targets

__all__ = [
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "SymmetricCrossEntropyLoss",
    "class_weights",
    "pos_weight",
    "validate_targets",
]

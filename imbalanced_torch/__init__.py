"""Losses for imbalanced data as PyTorch modules."""

from imbalanced_core import __version__ as __version__
from imbalanced_torch.calibration import prior_correction
from imbalanced_torch.class_weights import class_weights, pos_weight
from imbalanced_torch.hard_examples import AsymmetricLoss, HardNegativeLoss, Poly1Loss
from imbalanced_torch.long_tail import LDAMLoss, LogitAdjustedLoss, SigmoidLogitAdjustedLoss, VectorScalingLoss
from imbalanced_torch.ndcg import NDCGLoss
from imbalanced_torch.operating_point import (
    PrecisionAtKLoss,
    PrecisionAtRecallLoss,
    RecallAtKLoss,
    RecallAtPrecisionLoss,
)
from imbalanced_torch.partial_auc import PAUCAtBudgetLoss
from imbalanced_torch.pointwise import SigmoidFocalLoss, SoftmaxFocalLoss, SymmetricCrossEntropyLoss
from imbalanced_torch.ranking import AUCLoss, RecallAtQuantileLoss, SmoothAPLoss
from imbalanced_torch.validation import validate_targets
from imbalanced_torch.warmup import LossWarmupWrapper

__all__ = [
    "AUCLoss",
    "AsymmetricLoss",
    "HardNegativeLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "LossWarmupWrapper",
    "NDCGLoss",
    "PAUCAtBudgetLoss",
    "Poly1Loss",
    "PrecisionAtKLoss",
    "PrecisionAtRecallLoss",
    "RecallAtKLoss",
    "RecallAtPrecisionLoss",
    "RecallAtQuantileLoss",
    "SigmoidFocalLoss",
    "SigmoidLogitAdjustedLoss",
    "SmoothAPLoss",
    "SoftmaxFocalLoss",
    "SymmetricCrossEntropyLoss",
    "VectorScalingLoss",
    "class_weights",
    "pos_weight",
    "prior_correction",
    "validate_targets",
]

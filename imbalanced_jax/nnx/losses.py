"""The losses as modules, each with the options and defaults of its function.

`imbalanced_jax` documents the functions and their options; `PooledLoss` the arguments, attributes and errors of the
ranking modules.
"""

from typing import Any, Self

from imbalanced_core.options import SMOOTH_AP_PRESET, pauc_preset
from imbalanced_jax import pointwise, ranking
from imbalanced_jax.nnx.module import LabelLoss, ListLoss, PointwiseLoss
from imbalanced_jax.nnx.pooled import PooledLoss


class SmoothAPLoss(PooledLoss, loss=ranking.smooth_ap_loss):
    """`imbalanced_jax.smooth_ap_loss`, average precision, with state; see `PooledLoss`."""

    @classmethod
    def recommended(cls, num_classes: int, **overrides: Any) -> Self:
        """The preset: `imbalanced_jax.presets.smooth_ap` with state. Use it alone, from the first step."""
        return cls(num_classes, **(SMOOTH_AP_PRESET | {"gated": True} | overrides))  # type: ignore[call-arg]


class RecallAtQuantileLoss(PooledLoss, loss=ranking.recall_at_quantile_loss):
    """`imbalanced_jax.recall_at_quantile_loss` with state; see `PooledLoss`."""

    positional = (
        *("num_classes", "quantile", "queue_size", "temperature", "reduction", "ignore_index"),
        *("update_queue_in_eval", "quantile_interpolation", "max_pool_size"),
    )


class AUCLoss(PooledLoss, loss=ranking.auc_loss):
    """`imbalanced_jax.auc_loss`, the area under the ROC curve, with state; see `PooledLoss`."""


class RecallAtKLoss(PooledLoss, loss=ranking.recall_at_k_loss):
    """`imbalanced_jax.recall_at_k_loss` with state; see `PooledLoss`."""

    positional = ("num_classes", "k", "queue_size", "temperature")


class PrecisionAtKLoss(PooledLoss, loss=ranking.precision_at_k_loss):
    """`imbalanced_jax.precision_at_k_loss` with state; see `PooledLoss`."""

    positional = ("num_classes", "k", "queue_size", "temperature")


class PrecisionAtRecallLoss(PooledLoss, loss=ranking.precision_at_recall_loss):
    """`imbalanced_jax.precision_at_recall_loss` with state; see `PooledLoss`."""

    positional = ("num_classes", "recall", "queue_size", "temperature")


class RecallAtPrecisionLoss(PooledLoss, loss=ranking.recall_at_precision_loss):
    """`imbalanced_jax.recall_at_precision_loss` with state; see `PooledLoss`."""

    positional = ("num_classes", "precision", "queue_size", "temperature")


class PAUCAtBudgetLoss(PooledLoss, loss=ranking.pauc_at_budget_loss):
    """`imbalanced_jax.pauc_at_budget_loss`, partial AUC, with state; see `PooledLoss`."""

    positional = (
        *("num_classes", "alpha", "beta", "surrogate", "n_knots", "tau_scale", "pos_numerator", "budget_basis"),
        *("queue_size", "temperature", "reduction", "ignore_index", "update_queue_in_eval", "max_pool_size"),
    )

    @classmethod
    def recommended(cls, num_classes: int, budget: float, **overrides: Any) -> Self:
        """The preset: `imbalanced_jax.presets.pauc_at_budget` with state. Use it alone, from the first step."""
        return cls(num_classes, **(pauc_preset(budget) | {"gated": True} | overrides))  # type: ignore[call-arg]


class NDCGLoss(ListLoss, loss=pointwise.ndcg_loss):
    """One minus the smooth NDCG of lists with graded labels: `imbalanced_jax.ndcg_loss` with its options."""

    positional = ("temperature", "temperature_scale", "gain", "reduction")


class SigmoidFocalLoss(LabelLoss, loss=pointwise.sigmoid_focal_loss):
    """Focal loss of independent binary predictions: `imbalanced_jax.sigmoid_focal_loss` with its options."""

    positional = ("alpha", "gamma", "reduction")


class SoftmaxFocalLoss(PointwiseLoss, loss=pointwise.softmax_focal_loss):
    """Focal loss of mutually exclusive classes: `imbalanced_jax.softmax_focal_loss` with its options."""

    positional = ("alpha", "gamma", "reduction", "label_smoothing", "ignore_index", "background_class")


class SymmetricCrossEntropyLoss(PointwiseLoss, loss=pointwise.symmetric_cross_entropy_loss):
    """Cross entropy plus reverse cross entropy: `imbalanced_jax.symmetric_cross_entropy_loss` with its options."""

    positional = ("alpha", "beta", "epsilon", "reduction", "ignore_index")


class LogitAdjustedLoss(PointwiseLoss, loss=pointwise.logit_adjusted_loss):
    """Logit-adjusted cross entropy: `imbalanced_jax.logit_adjusted_loss` with its options."""

    positional = ("class_counts", "tau")


class VectorScalingLoss(PointwiseLoss, loss=pointwise.vector_scaling_loss):
    """Vector-scaling loss: `imbalanced_jax.vector_scaling_loss` with its options."""

    positional = ("class_counts", "gamma", "tau")


class LDAMLoss(PointwiseLoss, loss=pointwise.ldam_loss):
    """Label-distribution-aware margin loss: `imbalanced_jax.ldam_loss` with its options."""

    positional = ("class_counts", "max_margin", "scale")


class SigmoidLogitAdjustedLoss(LabelLoss, loss=pointwise.sigmoid_logit_adjusted_loss):
    """Logit-adjusted binary cross entropy: `imbalanced_jax.sigmoid_logit_adjusted_loss` with its options."""

    positional = ("positive_rate", "tau")


class Poly1Loss(PointwiseLoss, loss=pointwise.poly1_loss):
    """Poly-1 cross entropy: `imbalanced_jax.poly1_loss` with its options."""

    positional = ("epsilon",)


class AsymmetricLoss(LabelLoss, loss=pointwise.asymmetric_loss):
    """Asymmetric loss of multi-label predictions: `imbalanced_jax.asymmetric_loss` with its options."""

    positional = ("gamma_pos", "gamma_neg", "clip")


class HardNegativeLoss(LabelLoss, loss=pointwise.hard_negative_loss):
    """Binary cross entropy over hard examples: `imbalanced_jax.hard_negative_loss` with its options."""

    positional = ("share", "axis")

"""The losses as modules, each with the options and defaults of its function.

`imbalanced_jax` documents the functions and their options; `PooledLoss` the arguments, attributes and errors of the
ranking modules.
"""

from typing import Any, Self

from imbalanced_core.options import SMOOTH_AP_PRESET, pauc_preset
from imbalanced_jax import pointwise, ranking
from imbalanced_jax.nnx.module import ListLoss, PointwiseLoss
from imbalanced_jax.nnx.pooled import PooledLoss


class SmoothAPLoss(PooledLoss):
    """`imbalanced_jax.smooth_ap_loss`, average precision, with state; see `PooledLoss`."""

    loss = staticmethod(ranking.smooth_ap_loss)

    @classmethod
    def recommended(cls, num_classes: int, positive_rate: float | None = None, **overrides: Any) -> Self:
        """The preset: `imbalanced_jax.presets.smooth_ap` with state. Use it alone, from the first step."""
        options = SMOOTH_AP_PRESET | {"gated": True, "positive_rate": positive_rate}
        return cls(num_classes, **(options | overrides))  # type: ignore[call-arg]


class RecallAtQuantileLoss(PooledLoss):
    """`imbalanced_jax.recall_at_quantile_loss` with state; see `PooledLoss`."""

    loss = staticmethod(ranking.recall_at_quantile_loss)
    positional = (
        *("num_classes", "quantile", "queue_size", "temperature", "reduction", "ignore_index"),
        *("update_queue_in_eval", "quantile_interpolation", "max_pool_size"),
    )


class AUCLoss(PooledLoss):
    """`imbalanced_jax.auc_loss`, the area under the ROC curve, with state; see `PooledLoss`."""

    loss = staticmethod(ranking.auc_loss)


class RecallAtKLoss(PooledLoss):
    """`imbalanced_jax.recall_at_k_loss` with state; see `PooledLoss`."""

    loss = staticmethod(ranking.recall_at_k_loss)
    positional = ("num_classes", "k", "queue_size", "temperature")


class PrecisionAtKLoss(PooledLoss):
    """`imbalanced_jax.precision_at_k_loss` with state; see `PooledLoss`."""

    loss = staticmethod(ranking.precision_at_k_loss)
    positional = ("num_classes", "k", "queue_size", "temperature")


class PrecisionAtRecallLoss(PooledLoss):
    """`imbalanced_jax.precision_at_recall_loss` with state; see `PooledLoss`."""

    loss = staticmethod(ranking.precision_at_recall_loss)
    positional = ("num_classes", "recall", "queue_size", "temperature")


class RecallAtPrecisionLoss(PooledLoss):
    """`imbalanced_jax.recall_at_precision_loss` with state; see `PooledLoss`."""

    loss = staticmethod(ranking.recall_at_precision_loss)
    positional = ("num_classes", "precision", "queue_size", "temperature")


class PAUCAtBudgetLoss(PooledLoss):
    """`imbalanced_jax.pauc_at_budget_loss`, partial AUC, with state; see `PooledLoss`."""

    loss = staticmethod(ranking.pauc_at_budget_loss)
    positional = (
        *("num_classes", "alpha", "beta", "surrogate", "n_knots", "tau_scale", "pos_numerator", "budget_basis"),
        *("queue_size", "temperature", "reduction", "ignore_index", "update_queue_in_eval", "max_pool_size"),
    )

    @classmethod
    def recommended(cls, num_classes: int, budget: float, positive_rate: float | None = None, **overrides: Any) -> Self:
        """The preset: `imbalanced_jax.presets.pauc_at_budget` with state. Use it alone, from the first step."""
        options = pauc_preset(budget) | {"gated": True, "positive_rate": positive_rate}
        return cls(num_classes, **(options | overrides))  # type: ignore[call-arg]


class NDCGLoss(ListLoss):
    """One minus the smooth NDCG of lists with graded labels: `imbalanced_jax.ndcg_loss` with its options."""

    loss = staticmethod(pointwise.ndcg_loss)
    positional = ("temperature", "temperature_scale", "gain", "reduction")


class SigmoidFocalLoss(PointwiseLoss):
    """Focal loss of independent binary predictions: `imbalanced_jax.sigmoid_focal_loss` with its options."""

    loss = staticmethod(pointwise.sigmoid_focal_loss)
    positional = ("alpha", "gamma", "reduction")


class SoftmaxFocalLoss(PointwiseLoss):
    """Focal loss of mutually exclusive classes: `imbalanced_jax.softmax_focal_loss` with its options."""

    loss = staticmethod(pointwise.softmax_focal_loss)
    positional = ("alpha", "gamma", "reduction", "label_smoothing", "ignore_index", "background_class")


class SymmetricCrossEntropyLoss(PointwiseLoss):
    """Cross entropy plus reverse cross entropy: `imbalanced_jax.symmetric_cross_entropy_loss` with its options."""

    loss = staticmethod(pointwise.symmetric_cross_entropy_loss)
    positional = ("alpha", "beta", "epsilon", "reduction", "ignore_index")


class LogitAdjustedLoss(PointwiseLoss):
    """Logit-adjusted cross entropy: `imbalanced_jax.logit_adjusted_loss` with its options."""

    loss = staticmethod(pointwise.logit_adjusted_loss)
    positional = ("class_counts", "tau")


class VectorScalingLoss(PointwiseLoss):
    """Vector-scaling loss: `imbalanced_jax.vector_scaling_loss` with its options."""

    loss = staticmethod(pointwise.vector_scaling_loss)
    positional = ("class_counts", "gamma", "tau")


class LDAMLoss(PointwiseLoss):
    """Label-distribution-aware margin loss: `imbalanced_jax.ldam_loss` with its options."""

    loss = staticmethod(pointwise.ldam_loss)
    positional = ("class_counts", "max_margin", "scale")


class SigmoidLogitAdjustedLoss(PointwiseLoss):
    """Logit-adjusted binary cross entropy: `imbalanced_jax.sigmoid_logit_adjusted_loss` with its options."""

    loss = staticmethod(pointwise.sigmoid_logit_adjusted_loss)
    positional = ("positive_rate", "tau")


class Poly1Loss(PointwiseLoss):
    """Poly-1 cross entropy: `imbalanced_jax.poly1_loss` with its options."""

    loss = staticmethod(pointwise.poly1_loss)
    positional = ("epsilon",)


class AsymmetricLoss(PointwiseLoss):
    """Asymmetric loss of multi-label predictions: `imbalanced_jax.asymmetric_loss` with its options."""

    loss = staticmethod(pointwise.asymmetric_loss)
    positional = ("gamma_pos", "gamma_neg", "clip")


class HardNegativeLoss(PointwiseLoss):
    """Binary cross entropy over hard examples: `imbalanced_jax.hard_negative_loss` with its options."""

    loss = staticmethod(pointwise.hard_negative_loss)
    positional = ("share", "axis")

"""Losses for imbalanced data as pure JAX functions."""

from imbalanced_core import __version__ as __version__
from imbalanced_core.losses.gated import Gate
from imbalanced_core.pool.queue import Queue
from imbalanced_jax import presets
from imbalanced_jax.calibration import prior_correction
from imbalanced_jax.class_weights import class_weights, pos_weight
from imbalanced_jax.pointwise import (
    asymmetric_loss,
    hard_negative_loss,
    ldam_loss,
    logit_adjusted_loss,
    ndcg_loss,
    poly1_loss,
    sigmoid_focal_loss,
    sigmoid_logit_adjusted_loss,
    softmax_focal_loss,
    symmetric_cross_entropy_loss,
    vector_scaling_loss,
)
from imbalanced_jax.pooled import RankingOptions, init_gate, init_queue
from imbalanced_jax.ranking import (
    auc_loss,
    pauc_at_budget_loss,
    precision_at_k_loss,
    precision_at_recall_loss,
    recall_at_k_loss,
    recall_at_precision_loss,
    recall_at_quantile_loss,
    smooth_ap_loss,
)
from imbalanced_jax.samplers import balanced_rows
from imbalanced_jax.validation import validate_targets
from imbalanced_jax.warmup import blend_schedule, temperature_schedule, warmup_blend

__all__ = [
    "Gate",
    "Queue",
    "RankingOptions",
    "asymmetric_loss",
    "auc_loss",
    "balanced_rows",
    "blend_schedule",
    "class_weights",
    "hard_negative_loss",
    "init_gate",
    "init_queue",
    "ldam_loss",
    "logit_adjusted_loss",
    "ndcg_loss",
    "pauc_at_budget_loss",
    "poly1_loss",
    "pos_weight",
    "precision_at_k_loss",
    "precision_at_recall_loss",
    "presets",
    "prior_correction",
    "recall_at_k_loss",
    "recall_at_precision_loss",
    "recall_at_quantile_loss",
    "sigmoid_focal_loss",
    "sigmoid_logit_adjusted_loss",
    "smooth_ap_loss",
    "softmax_focal_loss",
    "symmetric_cross_entropy_loss",
    "temperature_schedule",
    "validate_targets",
    "vector_scaling_loss",
    "warmup_blend",
]

"""The losses as stateless functions, with the names and arguments of `imbalanced_jax`.

Each takes a queue and returns the next one, so they work under `torch.func`: per-sample gradients, ensembles of models
under `vmap`, second passes over a batch. They use only the rows passed to them and run no collective.

    loss, aux = smooth_ap_loss(logits, targets, queue, temperature=0.1)
    queue = aux.queue

The classes of `imbalanced_torch` hold the queue, temperature and schedule, and gather the rows of all processes.
"""

from imbalanced_torch.functional.pointwise import (
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
from imbalanced_torch.functional.ranking import (
    RankingOptions,
    auc_loss,
    init_gate,
    init_queue,
    pauc_at_budget_loss,
    precision_at_k_loss,
    precision_at_recall_loss,
    recall_at_k_loss,
    recall_at_precision_loss,
    recall_at_quantile_loss,
    smooth_ap_loss,
)

__all__ = [
    "RankingOptions",
    "asymmetric_loss",
    "auc_loss",
    "hard_negative_loss",
    "init_gate",
    "init_queue",
    "ldam_loss",
    "logit_adjusted_loss",
    "ndcg_loss",
    "pauc_at_budget_loss",
    "poly1_loss",
    "precision_at_k_loss",
    "precision_at_recall_loss",
    "recall_at_k_loss",
    "recall_at_precision_loss",
    "recall_at_quantile_loss",
    "sigmoid_focal_loss",
    "sigmoid_logit_adjusted_loss",
    "smooth_ap_loss",
    "softmax_focal_loss",
    "symmetric_cross_entropy_loss",
    "vector_scaling_loss",
]

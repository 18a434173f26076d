"""Normalised discounted cumulative gain of lists with graded labels."""

from typing import Unpack

from jax import Array

from imbalanced_core.losses.ndcg import RULES, ndcg
from imbalanced_jax._pointwise import ListOptions, list_function, list_loss


@list_function
def ndcg_loss(scores: Array, relevance: Array, *, gain: str = "exponential", **options: Unpack[ListOptions]) -> Array:
    """One minus the smooth normalised discounted cumulative gain (NDCG), averaged over lists.

    A list holds the items of one query: scores and graded labels [..., n]. There are no classes and no queue.

        rank_i = 1 + Σ_{j≠i} σ((s_j − s_i)/τ),  DCG = Σ_i g_i / log₂(1 + rank_i),  loss = 1 − DCG / IDCG,

    where IDCG is the DCG of the ideal order.

    A list counts if its labels are not all equal.

    Args:
        scores: floating point [..., n].
        relevance: labels >= 0, of any dtype, in the shape of `scores`.
        gain: g = 2^y − 1 ("exponential") or g = y ("linear").
        **options: see `imbalanced_core.options.ListOptions`; `axis_name`: see `imbalanced_jax.pointwise`.

    Returns, Raises: as the functions of `imbalanced_jax.pointwise`.

    References:
        Järvelin, Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, TOIS 2002; Qin, Liu, Li, A General
        Approximation Framework for Direct Optimization of Information Retrieval Measures, Information Retrieval 2010.
    """
    return list_loss(ndcg, scores, relevance, rules=RULES, gain=gain, **options)

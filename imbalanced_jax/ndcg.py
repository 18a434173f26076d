"""Normalised discounted cumulative gain of lists with graded labels."""

from typing import Unpack

from jax import Array

from imbalanced_core.losses.ndcg import RULES, ndcg
from imbalanced_jax._pointwise import ListOptions, list_function, list_loss


@list_function
def ndcg_loss(scores: Array, relevance: Array, *, gain: str = "exponential", **options: Unpack[ListOptions]) -> Array:
    """One minus the smooth normalised discounted cumulative gain (NDCG), averaged over lists.

    A list holds the items of one query; there are no classes and no queue. It counts if its labels are not all equal.
    Formula and papers: `imbalanced_core.losses.ndcg.ndcg`. Result and errors as for `imbalanced_jax.pointwise`.

    Args:
        scores: floating point [..., n].
        relevance: labels >= 0, of any dtype, in the shape of `scores`.
        gain: 2^y − 1 ("exponential") or y ("linear").
        **options: see `imbalanced_core.options.ListOptions`; `axis_name`: see `imbalanced_jax.pointwise`.
    """
    return list_loss(ndcg, scores, relevance, rules=RULES, gain=gain, **options)

"""Normalised discounted cumulative gain of lists with graded labels."""

import jax
import jax.numpy as jnp

from imbalanced_core import checks
from imbalanced_core.losses.ndcg import ndcg
from imbalanced_jax import distributed, validation
from imbalanced_jax._pointwise import reduce
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.pointwise import Number
from imbalanced_jax.validation import readable


def ndcg_loss(
    scores: jax.Array,
    relevance: jax.Array,
    *,
    temperature: Number = 0.1,
    temperature_scale: str = "absolute",
    gain: str = "exponential",
    where: jax.Array | None = None,
    sample_weight: jax.Array | None = None,
    reduction: str = "mean",
    axis_name: AxisName = None,
) -> jax.Array:
    """One minus the smooth normalised discounted cumulative gain (NDCG), averaged over lists.

    A list is what one query ranks: scores and graded labels [..., n]. It has neither classes nor a queue.

        rank_i = 1 + Σ_{j≠i} σ((s_j − s_i)/τ),  DCG = Σ_i g_i / log₂(1 + rank_i),  loss = 1 − DCG / IDCG,

    where IDCG is the DCG of the best order.

    A list counts when its labels are not all the same.

    Args:
        scores: floating point [..., n].
        relevance: labels >= 0, of any dtype, in the shape of `scores`.
        temperature: τ > 0, in units of `temperature_scale`. A new value does not recompile.
        temperature_scale: the unit of the temperature: "absolute" is 1, or "iqr" or "std" of the scores of the list.
        gain: g = 2^y − 1 ("exponential") or g = y ("linear").
        where: bool, the shape of `scores`: the items that are there, as opposed to padding. None: all.
        sample_weight: >= 0, one per list, [...]; carries no gradient.
        reduction: "mean" over the lists that count, "sum", or "none": one loss per list, 0 where it does not count.
        axis_name: see `imbalanced_jax.pointwise`.

    Returns, Raises: as the functions of `imbalanced_jax.pointwise`.

    References:
        Järvelin, Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, TOIS 2002; Qin, Liu, Li, A General
        Approximation Framework for Direct Optimization of Information Retrieval Measures, Information Retrieval 2010.
    """
    checks.positive("temperature", validation.number(temperature))
    checks.one_of("reduction", reduction, ("mean", "sum", "none"))
    validation.check_arrays(scores=scores, relevance=relevance)
    validation.check_optional_arrays(where=where, sample_weight=sample_weight)
    validation.check_static(temperature_scale=temperature_scale, gain=gain)
    if where is None or validation.can_read(where):  # what a traced mask leaves out may hold anything
        checks.weights(readable(relevance), where=readable(where), name="relevance")
    checks.weights(readable(sample_weight))
    scores, relevance, where, sample_weight = distributed.replicate((scores, relevance, where, sample_weight))
    tau = jnp.asarray(temperature, dtype=jnp.result_type(float))  # always an array: a new value does not recompile
    options = {"temperature_scale": temperature_scale, "gain": gain}
    losses, counted = _ndcg(scores, relevance, temperature=tau, where=where, **options)
    return reduce(losses, counted, sample_weight, None, reduction=reduction, axis_name=axis_name)


_ndcg = jax.jit(ndcg, static_argnames=("temperature_scale", "gain"))

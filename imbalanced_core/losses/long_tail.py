"""Losses for long-tailed classes: cross entropy of logits shifted, scaled or given a margin by class counts.

Arguments and errors are those of `imbalanced_core.losses.pointwise`; and

- class_counts: items per class in the training data [C], > 0; only their ratios matter, so shares work too. A class
  without items has no prior and no finite loss: give it a count of 1, or drop it. Counts that are not > 0 and finite
  make every loss NaN.
"""

import math

from imbalanced_core import checks, ops
from imbalanced_core.losses.classes import cross_entropy, cross_entropy_and
from imbalanced_core.losses.pointwise import class_inputs, sigmoid_focal
from imbalanced_core.ops.namespace import Array, array_namespace, library_of

RULES = {
    "tau": checks.finite,
    "gamma": checks.non_negative,
    "max_margin": checks.non_negative,
    "scale": checks.positive,
    "positive_rate": checks.open_unit_interval,  # a single number
}


def logit_adjusted(
    logits: Array,
    targets: Array,
    *,
    class_counts: Array,
    tau: Array | float = 1.0,
    axis: int = -1,
    where: Array | None = None,
) -> Array:
    """Logit-adjusted cross entropy, one per position; with τ = 1 it is the balanced softmax.

    loss = CE(logits + τ log π, y) with π_c = n_c / Σn. The trained scores are those of balanced classes: omit the
    adjustment at prediction; `prior_correction(..., tau=τ)` gives the probabilities of the data.

    Logits, targets, axis, mask and result as for `softmax_focal`; `tau` is τ, finite; 0 gives the cross entropy.

    Cost: that of cross entropy, and one pass over the logits.

    References:
        Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, https://arxiv.org/abs/2007.07314
        Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020,
        https://arxiv.org/abs/2007.10740
    """
    checks.numbers(RULES, tau=tau)
    x, y, valid, axis = class_inputs(logits, targets, axis=axis, where=where)
    x = _centred(x, axis) + tau * _log_prior(_per_class(x, class_counts, axis))
    return cross_entropy(x, y, where, valid, axis=axis)


def vector_scaling(
    logits: Array,
    targets: Array,
    *,
    class_counts: Array,
    gamma: Array | float = 0.15,
    tau: Array | float = 1.0,
    axis: int = -1,
    where: Array | None = None,
) -> Array:
    """Vector-scaling loss, one per position: a multiplicative and an additive adjustment of the logits.

    loss = CE(Δ ⊙ logits + ι, y) with Δ_c = (n_c / max n)^γ and ι_c = τ log π_c, π_c = n_c / Σn.

    Arguments and results as for `logit_adjusted`, plus `gamma`, γ >= 0; 0 gives that loss.

    Cost: that of cross entropy, and two passes over the logits.

    References:
        Kini et al., Label-Imbalanced and Group-Sensitive Classification under Overparameterization, NeurIPS 2021,
        https://arxiv.org/abs/2103.01550
    """
    checks.numbers(RULES, gamma=gamma, tau=tau)
    x, y, valid, axis = class_inputs(logits, targets, axis=axis, where=where)
    counts = _per_class(x, class_counts, axis)
    scale = (counts / array_namespace(x).max(counts)) ** gamma
    x = _centred(x * scale, axis) + tau * _log_prior(counts)
    return cross_entropy(x, y, where, valid, axis=axis)


def ldam(
    logits: Array,
    targets: Array,
    *,
    class_counts: Array,
    max_margin: Array | float = 0.5,
    scale: Array | float = 30.0,
    axis: int = -1,
    where: Array | None = None,
) -> Array:
    """Label-distribution-aware margin loss, one per position: the rarer the class, the greater its margin.

    loss = CE(s · (logits − Δ_y e_y), y) with Δ_c = m (min n / n_c)^¼, so that the rarest class has margin m. In the
    paper the logits are cosines: normalised features times normalised class weights. For probabilities y it is the
    mix Σ_c y_c loss(c), as in mixup. It is computed as CE + log(1 + (exp(s Δ_y) − 1) (1 − p_y)) with p of s · logits.

    Arguments and results as for `logit_adjusted`, except `max_margin`, m >= 0 (0 gives the cross entropy of the scaled
    logits), and `scale`, s > 0. The product s · m must be at most 60, so that exp(s Δ) (1 − p_y) keeps its
    digits where 1 − p_y is tiny.

    Cost: that of cross entropy, and one pass over the logits; for probabilities some more.

    References:
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019,
        https://arxiv.org/abs/1906.07413
    """
    check_margin(max_margin, scale)
    x, y, valid, axis = class_inputs(logits, targets, axis=axis, where=where)
    xp, counts = array_namespace(x), _per_class(x, class_counts, axis)
    odds = xp.expm1(scale * max_margin * (xp.min(counts) / counts) ** 0.25)
    x = _centred(x, axis) * scale
    if y.ndim < x.ndim:
        loss = cross_entropy(x, y, where, valid, axis=axis)
        odds = ops.of_ids(xp.reshape(odds, (-1,)), y)
        return loss + xp.log1p(-odds * xp.expm1(-loss))
    return cross_entropy_and(lambda missed: xp.log1p(odds * missed), x, y, where, valid, axis=axis)


def check_margin(max_margin: Array | float, scale: Array | float) -> None:
    """Checks both numbers of LDAM, and their product if they can be read."""
    checks.numbers(RULES, max_margin=max_margin, scale=scale)
    if isinstance(scale, (int, float)) and isinstance(max_margin, (int, float)) and scale * max_margin > 60:
        raise ValueError(f"max_margin must be at most 60 / scale = {60 / scale:g}, got {max_margin!r}")


def sigmoid_logit_adjusted(
    logits: Array, targets: Array, *, positive_rate: Array | float, tau: Array | float = 1.0, where: Array | None = None
) -> Array:
    """Logit-adjusted binary cross entropy, elementwise.

    loss = BCE(logit + τ log(π / (1 − π)), y) with π the share of positives. The trained scores are those of balanced
    data; `prior_correction(..., tau=τ, binary=True)` gives the probabilities of the data.

    Logits, targets, mask and result as for `sigmoid_focal`; `positive_rate` is π in (0, 1), one number or one per label
    [logits.shape[-1]], and `tau` is τ, finite; 0 gives the binary cross entropy.

    Cost: that of binary cross entropy, and one pass over the logits.

    References:
        Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, https://arxiv.org/abs/2007.07314
    """
    checks.numbers(RULES, tau=tau)
    checks.floating("logits", logits)
    x = ops.widen(logits)
    xp = array_namespace(x)
    if library_of(positive_rate) is None:
        checks.numbers(RULES, positive_rate=positive_rate)
        shift = math.log(positive_rate) - math.log1p(-positive_rate)
    else:
        if checks.shape_of(positive_rate):
            checks.shaped("positive_rate", positive_rate, tuple(x.shape[-1:]), "[labels]")
        rate = xp.astype(positive_rate, x.dtype, copy=False)
        rate = ops.where((rate > 0) & (rate < 1), rate, math.nan)
        shift = xp.broadcast_to(xp.log(rate) - xp.log1p(-rate), x.shape)
    return sigmoid_focal(x + tau * shift, targets, alpha=None, gamma=0.0, where=where)


def _per_class(x: Array, class_counts: Array, axis: int) -> Array:
    """The counts in the dtype of x, reshaped to broadcast to it; NaN where out of range."""
    checks.shaped("class_counts", class_counts, (x.shape[axis],), "[classes]")
    xp = array_namespace(x, class_counts)
    counts = xp.astype(class_counts, x.dtype, copy=False)
    counts = ops.where((counts > 0) & (counts < xp.inf), counts, math.nan)
    return xp.reshape(counts, (1,) * axis + (-1,) + (1,) * (x.ndim - axis - 1))


def _centred(x: Array, axis: int) -> Array:
    """x − max x, with the same softmax: what is added to large logits would lose precision."""
    return x - ops.stop_gradient(array_namespace(x).max(x, axis=axis, keepdims=True))


def _log_prior(counts: Array) -> Array:
    xp = array_namespace(counts)
    return xp.log(counts / xp.sum(counts))

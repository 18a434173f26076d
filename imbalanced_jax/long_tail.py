"""Losses for long-tailed classes: cross entropy of logits shifted, scaled or given a margin by class counts.

Logits, targets and options as in `imbalanced_jax.pointwise`, with reductions "mean", "sum" and "none" (the binary loss
also has "mean_positive"). `class_counts` are the items per class in the training data [C], such as
`jnp.bincount(targets, length=C)`; a sequence or array, > 0. Only ratios matter, so frequencies work too. Use 1 for a
class without items. Formulas, other arguments and papers: the functions of `imbalanced_core.losses.long_tail`.
"""

from collections.abc import Sequence
from typing import Unpack

from jax import Array

from imbalanced_core import checks
from imbalanced_core.losses import long_tail
from imbalanced_core.losses.long_tail import RULES
from imbalanced_jax import validation
from imbalanced_jax._pointwise import ClassOptions, LabelOptions, class_function, class_loss, label_function, label_loss

Counts = Sequence[float] | Array
Number = float | Array
Rates = Number | Sequence[float]


@class_function
def logit_adjusted_loss(
    logits: Array, targets: Array, *, class_counts: Counts, tau: Number = 1.0, **options: Unpack[ClassOptions]
) -> Array:
    """Logit-adjusted cross entropy, CE(logits + τ log π, y) with π_c = n_c / Σn; with τ = 1 it is the balanced softmax.

    Predict without the adjustment: the logits are then those for balanced classes, and `prior_correction(logits,
    train_prior=shares, tau=τ)` gives those for the data. `class_counts` [C], > 0: see `imbalanced_jax.long_tail`. `tau`
    is finite; 0 gives the cross entropy. See `imbalanced_core.losses.long_tail.logit_adjusted`.
    """
    numbers = {"class_counts": class_counts, "tau": tau}
    return class_loss(long_tail.logit_adjusted, logits, targets, numbers, rules=RULES, **options)


@class_function
def vector_scaling_loss(
    logits: Array,
    targets: Array,
    *,
    class_counts: Counts,
    gamma: Number = 0.15,
    tau: Number = 1.0,
    **options: Unpack[ClassOptions],
) -> Array:
    """Vector-scaling loss, CE(Δ ⊙ logits + τ log π, y) with Δ_c = (n_c / max n)^γ and π_c = n_c / Σn.

    Arguments as for `logit_adjusted_loss`, plus `gamma`, γ >= 0; 0 gives that loss. See
    `imbalanced_core.losses.long_tail.vector_scaling`.
    """
    numbers = {"class_counts": class_counts, "gamma": gamma, "tau": tau}
    return class_loss(long_tail.vector_scaling, logits, targets, numbers, rules=RULES, **options)


@class_function
def ldam_loss(
    logits: Array,
    targets: Array,
    *,
    class_counts: Counts,
    max_margin: Number = 0.5,
    scale: Number = 30.0,
    **options: Unpack[ClassOptions],
) -> Array:
    """Label-distribution-aware margin loss, CE(s · (logits − Δ_y e_y), y) with the margins Δ_c = m (min n / n_c)^¼.

    In the paper the logits are cosines, and class reweighting starts late in training: pass it as `sample_weight`.
    Arguments as for `logit_adjusted_loss`, with `max_margin`, m >= 0, the margin of the rarest class, and `scale`, s >
    0, instead of `tau`; s · m must be at most 80. See `imbalanced_core.losses.long_tail.ldam`.
    """
    long_tail.check_margin(validation.number(max_margin), validation.number(scale))
    numbers = {"class_counts": class_counts, "max_margin": max_margin, "scale": scale}
    return class_loss(long_tail.ldam, logits, targets, numbers, rules=RULES, **options)


@label_function
def sigmoid_logit_adjusted_loss(
    logits: Array, targets: Array, *, positive_rate: Rates, tau: Number = 1.0, **options: Unpack[LabelOptions]
) -> Array:
    """Logit-adjusted binary cross entropy, BCE(logit + τ log(π / (1 − π)), y), for binary and multi-label problems.

    Predict without the adjustment: the logits are then those for balanced data, and `prior_correction(..., tau=τ,
    binary=True)` gives those for the data. `positive_rate` is π in (0, 1), the fraction of positives, one number or one
    per label [C]; `tau` is finite; 0 gives the binary cross entropy. See
    `imbalanced_core.losses.long_tail.sigmoid_logit_adjusted`.
    """
    rate = validation.number(positive_rate)
    if isinstance(rate, (Sequence, Array)) and not isinstance(rate, str) and getattr(rate, "ndim", True):
        rate = validation.as_floats("positive_rate", rate)
        checks.positive_values(validation.readable(rate), name="positive_rate", below=1.0)
    numbers = {"positive_rate": rate, "tau": tau}
    return label_loss(long_tail.sigmoid_logit_adjusted, logits, targets, numbers, rules=RULES, **options)

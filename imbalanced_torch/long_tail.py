"""Losses for long-tailed classes: cross entropy of logits shifted, scaled or given a margin by class counts.

Their `**options`, and calls, are described in `imbalanced_torch.pointwise`: reductions "mean", "sum" and "none" (the
binary loss also has "mean_positive"), `axis` 1 and `ignore_index` −100 (the binary loss: None) by default. And

- class_counts: items per class in the training data [C], such as `torch.bincount(targets)`; a sequence or tensor, > 0,
  moves with the module. Only ratios matter, so frequencies work too. Use 1 for a class without items.
"""

from collections.abc import Sequence
from functools import partial
from typing import Unpack

from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import long_tail
from imbalanced_torch import validation
from imbalanced_torch._pointwise import ClassLoss, ClassOptions, LabelLoss, LabelOptions
from imbalanced_torch.validation import holds_numbers, numbers_per_class

Counts = Sequence[float] | Tensor
Number = float | Tensor


class LogitAdjustedLoss(ClassLoss):
    """Logit-adjusted cross entropy; with τ = 1 it is the balanced softmax.

    loss = CE(logits + τ log π, y) with π_c = n_c / Σn. Predict without the adjustment: the logits are then those for
    balanced classes, and `prior_correction(logits, train_prior=shares, tau=τ)` gives those for the data. The paper:
    `imbalanced_core.losses.long_tail.logit_adjusted`.

    Args:
        class_counts, **options: see `imbalanced_torch.long_tail`.
        tau: τ, finite; 0 is the cross entropy.
    """

    function = staticmethod(long_tail.logit_adjusted)
    rules = long_tail.RULES

    def __init__(self, class_counts: Counts, tau: Number = 1.0, **options: Unpack[ClassOptions]) -> None:
        super().__init__({"class_counts": _counts(class_counts), "tau": tau}, **options)


class VectorScalingLoss(ClassLoss):
    """Vector-scaling loss: a multiplicative and an additive adjustment of the logits.

    loss = CE(Δ ⊙ logits + ι, y) with Δ_c = (n_c / max n)^γ and ι_c = τ log π_c, π_c = n_c / Σn. Arguments as for
    `LogitAdjustedLoss`, plus `gamma`, γ >= 0; 0 is that loss. The paper:
    `imbalanced_core.losses.long_tail.vector_scaling`.
    """

    function = staticmethod(long_tail.vector_scaling)
    rules = long_tail.RULES

    def __init__(
        self, class_counts: Counts, gamma: Number = 0.15, tau: Number = 1.0, **options: Unpack[ClassOptions]
    ) -> None:
        super().__init__({"class_counts": _counts(class_counts), "gamma": gamma, "tau": tau}, **options)


class LDAMLoss(ClassLoss):
    """Label-distribution-aware margin loss: the rarer the class, the greater its margin.

    loss = CE(s · (logits − Δ_y e_y), y) with Δ_c = m (min n / n_c)^¼. In the paper the logits are cosines of normalised
    features and class weights, and class reweighting starts late in training: pass it as `sample_weight`. The paper:
    `imbalanced_core.losses.long_tail.ldam`.

    Args:
        class_counts, **options: see `imbalanced_torch.long_tail`.
        max_margin: m >= 0, the margin of the rarest class.
        scale: s > 0; s · m must be at most 60.
    """

    function = staticmethod(long_tail.ldam)
    rules = long_tail.RULES

    def __init__(
        self, class_counts: Counts, max_margin: Number = 0.5, scale: Number = 30.0, **options: Unpack[ClassOptions]
    ) -> None:
        long_tail.check_margin(validation.number(max_margin), validation.number(scale))
        super().__init__({"class_counts": _counts(class_counts), "max_margin": max_margin, "scale": scale}, **options)


class SigmoidLogitAdjustedLoss(LabelLoss):
    """Logit-adjusted binary cross entropy, for binary and multi-label classification.

    loss = BCE(logit + τ log(π / (1 − π)), y) with π the fraction of positives. Predict without the adjustment: the
    logits are then those for balanced data, and `prior_correction(..., tau=τ, binary=True)` gives those for the data.
    The paper: `imbalanced_core.losses.long_tail.sigmoid_logit_adjusted`.

    Args:
        positive_rate: π in (0, 1): one number, or one per label [C], which moves with the module.
        tau: τ, finite; 0 is the binary cross entropy.
        **options: see `imbalanced_torch.long_tail`.
    """

    function = staticmethod(long_tail.sigmoid_logit_adjusted)
    rules = long_tail.RULES

    def __init__(self, positive_rate: Number | Sequence[float], tau: Number = 1.0, **options: Unpack[LabelOptions]):
        if holds_numbers(positive_rate):
            rule, check = "one number, or one per label [C]", partial(checks.positive_values, below=1.0)
            positive_rate = numbers_per_class("positive_rate", positive_rate, rule, check)
        super().__init__({"positive_rate": positive_rate, "tau": tau}, **options)


def _counts(class_counts: Counts) -> Tensor:
    return numbers_per_class("class_counts", class_counts, "one count per class, [C]", checks.positive_values)

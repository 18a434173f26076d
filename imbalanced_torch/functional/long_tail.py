"""Losses for long-tailed classes as functions; for their options see the classes of `imbalanced_torch`."""

from collections.abc import Sequence
from functools import partial
from typing import Unpack

from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import long_tail
from imbalanced_torch import validation
from imbalanced_torch.functional.pointwise import (
    ClassOptions,
    LabelOptions,
    class_function,
    class_loss,
    label_function,
    label_loss,
)
from imbalanced_torch.functional.ranking import Number
from imbalanced_torch.validation import readable

Counts = Tensor | Sequence[float]
Rates = Number | Sequence[float]


@class_function
def logit_adjusted_loss(
    logits: Tensor, targets: Tensor, *, class_counts: Counts, tau: Number = 1.0, **options: Unpack[ClassOptions]
) -> Tensor:
    """Logit-adjusted cross entropy: the loss of `imbalanced_torch.LogitAdjustedLoss`.

    Common arguments as for `softmax_focal_loss`, the others as for the class.
    """
    counts = _counts(class_counts, logits)
    return class_loss(partial(long_tail.logit_adjusted, class_counts=counts, tau=tau), logits, targets, **options)


@class_function
def vector_scaling_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Counts,
    gamma: Number = 0.15,
    tau: Number = 1.0,
    **options: Unpack[ClassOptions],
) -> Tensor:
    """Vector-scaling loss: the loss of `imbalanced_torch.VectorScalingLoss`.

    Common arguments as for `softmax_focal_loss`, the others as for the class.
    """
    function = partial(long_tail.vector_scaling, class_counts=_counts(class_counts, logits), gamma=gamma, tau=tau)
    return class_loss(function, logits, targets, **options)


@class_function
def ldam_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Counts,
    max_margin: Number = 0.5,
    scale: Number = 30.0,
    **options: Unpack[ClassOptions],
) -> Tensor:
    """Label-distribution-aware margin loss: the loss of `imbalanced_torch.LDAMLoss`.

    Common arguments as for `softmax_focal_loss`, the others as for the class.
    """
    counts = _counts(class_counts, logits)
    function = partial(long_tail.ldam, class_counts=counts, max_margin=max_margin, scale=scale)
    return class_loss(function, logits, targets, **options)


@label_function
def sigmoid_logit_adjusted_loss(
    logits: Tensor, targets: Tensor, *, positive_rate: Rates, tau: Number = 1.0, **options: Unpack[LabelOptions]
) -> Tensor:
    """Logit-adjusted binary cross entropy: the loss of `imbalanced_torch.SigmoidLogitAdjustedLoss`.

    Common arguments as for `sigmoid_focal_loss`, the others as for the class.
    """
    if not isinstance(positive_rate, (int, float)):
        positive_rate = validation.as_tensor("positive_rate", positive_rate).to(logits.device)
        checks.positive_values(readable(positive_rate), name="positive_rate", below=1.0)
    function = partial(long_tail.sigmoid_logit_adjusted, positive_rate=positive_rate, tau=tau)
    return label_loss(function, logits, targets, **options)


def _counts(class_counts: Counts, logits: Tensor) -> Tensor:
    counts = validation.as_tensor("class_counts", class_counts).to(logits.device)
    checks.positive_values(readable(counts), name="class_counts")
    return counts

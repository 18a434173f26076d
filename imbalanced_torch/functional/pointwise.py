"""Losses of single predictions and lists as functions, with the options of the classes of `imbalanced_torch`."""

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import numpy as np
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import hard_examples, long_tail, pointwise
from imbalanced_core.losses.ndcg import ndcg
from imbalanced_core.options import (
    CLASS_DEFAULTS,
    LABEL_DEFAULTS,
    LIST_DEFAULTS,
    ClassOptions,
    LabelOptions,
    ListOptions,
    with_options,
)
from imbalanced_torch import validation
from imbalanced_torch._pointwise import class_loss, label_loss, list_loss
from imbalanced_torch.functional.ranking import Number
from imbalanced_torch.validation import holds_numbers

Counts = Tensor | Sequence[float]
Rates = Number | Sequence[float]


label_function = with_options(LabelOptions, LABEL_DEFAULTS)
class_function = with_options(ClassOptions, CLASS_DEFAULTS)
list_function = with_options(ListOptions, LIST_DEFAULTS)


@label_function
def sigmoid_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Number | Sequence[float] | np.ndarray | None = 0.25,
    gamma: Number = 2.0,
    **options: Unpack[LabelOptions],
) -> Tensor:
    """Focal loss of independent binary predictions: the loss of `imbalanced_torch.SigmoidFocalLoss`, with its options.

    `logits` are floating point, of any shape; `targets` in [0, 1], of any dtype, in the shape of `logits`.
    """
    validation.check_tensors(logits=logits)
    alpha = None if isinstance(alpha, (int, float)) and alpha == -1 else alpha
    if holds_numbers(alpha):  # a copy of a number to an accelerator would wait for it
        alpha = validation.as_tensor("alpha", alpha, checks.probabilities).to(logits.device)
    return label_loss(partial(pointwise.sigmoid_focal, alpha=alpha, gamma=gamma), logits, targets, **options)


@class_function
def softmax_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Tensor | Sequence[float] | None = None,
    gamma: Number = 2.0,
    label_smoothing: Number = 0.0,
    background_class: int = 0,
    **options: Unpack[ClassOptions],
) -> Tensor:
    """Focal loss of mutually exclusive classes: the loss of `imbalanced_torch.SoftmaxFocalLoss`, with its options.

    `logits` are floating point, with C classes on `axis`, by default the last one, unlike in the class; `targets` class
    ids in the shape of `logits` without `axis`, or probabilities in the shape of `logits`.
    """
    validation.check_tensors(logits=logits)
    if alpha is not None:
        alpha = validation.as_tensor("alpha", alpha, checks.weights).to(logits.device)
    checks.at_least("background_class", background_class, 0)
    function = partial(pointwise.softmax_focal, alpha=alpha, gamma=gamma, label_smoothing=label_smoothing)
    return class_loss(function, logits, targets, background_class=background_class, **options)


@class_function
def symmetric_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    epsilon: float = 1e-8,
    **options: Unpack[ClassOptions],
) -> Tensor:
    """The loss of `imbalanced_torch.SymmetricCrossEntropyLoss`; logits and targets as for `softmax_focal_loss`."""
    function = partial(pointwise.symmetric_cross_entropy, alpha=alpha, beta=beta, epsilon=epsilon)
    return class_loss(function, logits, targets, **options)


@class_function
def logit_adjusted_loss(
    logits: Tensor, targets: Tensor, *, class_counts: Counts, tau: Number = 1.0, **options: Unpack[ClassOptions]
) -> Tensor:
    """The loss of `imbalanced_torch.LogitAdjustedLoss`; logits and targets as for `softmax_focal_loss`."""
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
    """The loss of `imbalanced_torch.VectorScalingLoss`; logits and targets as for `softmax_focal_loss`."""
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
    """The loss of `imbalanced_torch.LDAMLoss`; logits and targets as for `softmax_focal_loss`."""
    counts = _counts(class_counts, logits)
    function = partial(long_tail.ldam, class_counts=counts, max_margin=max_margin, scale=scale)
    return class_loss(function, logits, targets, **options)


@label_function
def sigmoid_logit_adjusted_loss(
    logits: Tensor, targets: Tensor, *, positive_rate: Rates, tau: Number = 1.0, **options: Unpack[LabelOptions]
) -> Tensor:
    """The loss of `imbalanced_torch.SigmoidLogitAdjustedLoss`; logits and targets as for `sigmoid_focal_loss`."""
    if not isinstance(positive_rate, (int, float)):
        check = partial(checks.positive_values, below=1.0)
        positive_rate = validation.as_tensor("positive_rate", positive_rate, check).to(logits.device)
    function = partial(long_tail.sigmoid_logit_adjusted, positive_rate=positive_rate, tau=tau)
    return label_loss(function, logits, targets, **options)


@class_function
def poly1_loss(logits: Tensor, targets: Tensor, *, epsilon: Number = 1.0, **options: Unpack[ClassOptions]) -> Tensor:
    """The loss of `imbalanced_torch.Poly1Loss`; logits and targets as for `softmax_focal_loss`."""
    return class_loss(partial(hard_examples.poly1, epsilon=epsilon), logits, targets, **options)


@label_function
def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_pos: Number = 1.0,
    gamma_neg: Number = 4.0,
    clip: float = 0.05,
    **options: Unpack[LabelOptions],
) -> Tensor:
    """The loss of `imbalanced_torch.AsymmetricLoss`; logits and targets as for `sigmoid_focal_loss`."""
    function = partial(hard_examples.asymmetric, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    return label_loss(function, logits, targets, **options)


@label_function
def hard_negative_loss(
    logits: Tensor, targets: Tensor, *, share: float = 0.25, axis: int | None = 0, **options: Unpack[LabelOptions]
) -> Tensor:
    """The loss of `imbalanced_torch.HardNegativeLoss`; logits and targets as for `sigmoid_focal_loss`."""
    return label_loss(partial(hard_examples.hard_negative, share=share, axis=axis), logits, targets, **options)


@list_function
def ndcg_loss(
    scores: Tensor, relevance: Tensor, *, gain: str = "exponential", **options: Unpack[ListOptions]
) -> Tensor:
    """The loss of `imbalanced_torch.NDCGLoss`: one minus the smooth NDCG of lists [..., n]."""
    return list_loss(ndcg, scores, relevance, gain=gain, **options)


def _counts(class_counts: Counts, logits: Tensor) -> Tensor:
    return validation.as_tensor("class_counts", class_counts, checks.positive_values).to(logits.device)

"""Losses that treat hard and easy examples differently; for their options see the classes of `imbalanced_torch`."""

from functools import partial
from typing import Unpack

from torch import Tensor

from imbalanced_core.losses import hard_examples
from imbalanced_torch.functional.pointwise import (
    ClassOptions,
    LabelOptions,
    class_function,
    class_loss,
    label_function,
    label_loss,
)
from imbalanced_torch.functional.ranking import Number


@class_function
def poly1_loss(logits: Tensor, targets: Tensor, *, epsilon: Number = 1.0, **options: Unpack[ClassOptions]) -> Tensor:
    """Poly-1 cross entropy: the loss of `imbalanced_torch.Poly1Loss`.

    Common arguments as for `softmax_focal_loss`, the others as for the class.
    """
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
    """Asymmetric loss: the loss of `imbalanced_torch.AsymmetricLoss`.

    Common arguments as for `sigmoid_focal_loss`, the others as for the class.
    """
    function = partial(hard_examples.asymmetric, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    return label_loss(function, logits, targets, **options)


@label_function
def hard_negative_loss(
    logits: Tensor, targets: Tensor, *, share: float = 0.25, axis: int | None = 0, **options: Unpack[LabelOptions]
) -> Tensor:
    """Binary cross entropy over positives and the hardest negatives: the loss of `imbalanced_torch.HardNegativeLoss`.

    Common arguments as for `sigmoid_focal_loss`, the others as for the class.
    """
    return label_loss(partial(hard_examples.hard_negative, share=share, axis=axis), logits, targets, **options)

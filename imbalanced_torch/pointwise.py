"""Focal losses and symmetric cross entropy as modules.

Arguments shared by all classes:

- reduction: "mean" over the counted positions, "sum" or "none". The focal losses also have "mean_positive": the sum
  over all positions, background included, divided by the number of positive (or non-background) positions. With sample
  weights, sums and counts are weighted; a divisor of exactly 0 counts as 1.
- ignore_index: target value of ignored positions: their loss and gradient are 0, whatever else they hold.
- axis: the class axis of the logits, such as −1 for [B, T, C].
- gather_distributed: whether a mean is taken over the positions of all processes: None in training mode with several
  processes, True always, False never. It takes one all-reduce and sends no logits; every rank must call the loss in
  every step. False gives a mean per rank, as in PyTorch's losses, which is the same if all ranks count equally many.
- process_group: processes to reduce over; None for all.
- grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".
- sample_weight, an argument of the call: >= 0; in the shape of the losses, one per row [N], or with N rows and further
  dimensions that broadcast to those of the losses, such as [N, 1, H, W] or [N, 1]; carries no gradient.

A call returns a 0-d tensor, or one loss per position for reduction "none", in float32 or float64; 0 with zero gradient
where no position is counted. It raises TypeError or ValueError on invalid dtypes or shapes, or (eager mode on the CPU)
if a target or weight is out of range; elsewhere such a value makes the loss NaN. Numbers may be 0-d tensors, which can
change without recompilation.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import pointwise
from imbalanced_core.reductions import ELEMENT_REDUCTIONS
from imbalanced_torch._pointwise import ClassLoss, ClassOptions, LabelLoss, LabelOptions
from imbalanced_torch.validation import holds_numbers, numbers_per_class


class SigmoidFocalLoss(LabelLoss):
    """Focal loss of independent binary predictions: binary or multi-label classification.

    loss = α_t (1 − p_t)^γ BCE(logit, y) with p = σ(logit), p_t = p·y + (1 − p)(1 − y), α_t = α·y + (1 − α)(1 − y).
    Start at the log odds, and compare with BCE from there. The paper: `imbalanced_core.losses.pointwise.sigmoid_focal`.

    Args:
        alpha: weight of the positive class in [0, 1], negatives get 1 − alpha; −1 or None for no weights. A sequence or
            array holds one weight per label (last axis) and moves with the module: use w / (1 + w) for
            `w = imbalanced_torch.pos_weight(...)`.
        gamma: focusing exponent, >= 0; 0 is the binary cross entropy.
        ignore_index: None for none.
        reduction, gather_distributed, process_group, grad_reduction: see `imbalanced_torch.pointwise`.
    """

    function = staticmethod(pointwise.sigmoid_focal)
    rules: ClassVar = {"alpha": checks.unit_interval_or_none, "gamma": checks.non_negative}
    alpha: float | Tensor | None

    def __init__(
        self,
        alpha: float | Sequence[float] | np.ndarray | Tensor | None = 0.25,
        gamma: float | Tensor = 2.0,
        reduction: str = "mean",
        gather_distributed: bool | None = None,
        *,
        ignore_index: int | None = None,
        process_group: Any = None,
        grad_reduction: str = "mean",
    ) -> None:
        if isinstance(alpha, (int, float)) and alpha == -1:
            alpha = None
        given: Any = alpha
        if holds_numbers(given):
            given = numbers_per_class("alpha", given, "one weight per label [C], or a number", checks.probabilities)
        options: LabelOptions = {"reduction": reduction, "ignore_index": ignore_index, "grad_reduction": grad_reduction}
        options |= {"gather_distributed": gather_distributed, "process_group": process_group}
        super().__init__({"alpha": given, "gamma": gamma}, **options)


class SoftmaxFocalLoss(ClassLoss):
    """Focal loss of mutually exclusive classes.

    Class ids: loss = α_y (1 − p_y)^γ CE(logits, y; label_smoothing). Probabilities: loss = Σ_c y_c α_c (1 − p_c)^γ
    (−log p_c), linear in y, with y mixed with the uniform distribution by `label_smoothing` first. With γ = 0 it equals
    `torch.nn.CrossEntropyLoss(reduction="none")`, except for class ids with both class weights and smoothing: α_y then
    weights the smoothed sum, whereas PyTorch weights each term by α_c. A mean is not divided by class weights. Start
    at the log of the class shares; compare with cross entropy. Paper: `imbalanced_core.losses.pointwise.softmax_focal`.

    Args:
        alpha: one weight per class, >= 0; moves with the module. None for no weights. See
            `imbalanced_torch.class_weights`.
        gamma: focusing exponent, >= 0; 0 is the cross entropy.
        label_smoothing: in [0, 1], as in `torch.nn.CrossEntropyLoss`; for class ids it acts on the cross entropy only.
        background_class: the class id that "mean_positive" does not count.
        reduction, ignore_index, axis, gather_distributed, process_group, grad_reduction: see
            `imbalanced_torch.pointwise`.
    """

    function = staticmethod(pointwise.softmax_focal)
    rules: ClassVar = {"gamma": checks.non_negative, "label_smoothing": checks.in_unit_interval}
    reductions = ELEMENT_REDUCTIONS
    alpha: Tensor | None

    def __init__(
        self,
        alpha: Sequence[float] | Tensor | None = None,
        gamma: float | Tensor = 2.0,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        background_class: int = 0,
        gather_distributed: bool | None = None,
        *,
        axis: int = 1,
        process_group: Any = None,
        grad_reduction: str = "mean",
    ) -> None:
        checks.at_least("background_class", background_class, 0)
        rule = "one weight per class, [C], or None"
        weights = None if alpha is None else numbers_per_class("alpha", alpha, rule, checks.weights)
        numbers = {"alpha": weights, "gamma": gamma, "label_smoothing": label_smoothing}
        options: ClassOptions = {"reduction": reduction, "ignore_index": ignore_index, "grad_reduction": grad_reduction}
        options |= {"gather_distributed": gather_distributed, "process_group": process_group, "axis": axis}
        super().__init__(numbers, **options)
        self.background_class = background_class
        self._shown = ("alpha", "gamma", "reduction", "label_smoothing", "ignore_index", "background_class", "axis")


class SymmetricCrossEntropyLoss(ClassLoss):
    """Cross entropy plus reverse cross entropy, for noisy labels, but not for rare positives: `docs/cross_entropy.md`.

    loss = α·CE + β·RCE with RCE = −Σ_c p_c log max(y_c, ε) and p_c clipped to [ε, 1]. The paper:
    `imbalanced_core.losses.pointwise.symmetric_cross_entropy`.

    Args:
        alpha: weight of the cross entropy, >= 0.
        beta: weight of the reverse cross entropy, >= 0.
        epsilon: lower bound of the probability inside the logarithm, in (0, 1); the paper's A = log ε = −4 is ε =
            exp(−4).
        num_classes: if given, the required C of the logits; the loss does not need it.
        reduction, ignore_index, axis, gather_distributed, process_group, grad_reduction: see
            `imbalanced_torch.pointwise`; reductions "mean", "sum" and "none".
    """

    function = staticmethod(pointwise.symmetric_cross_entropy)
    rules: ClassVar = {"alpha": checks.non_negative, "beta": checks.non_negative}

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        beta: float | Tensor = 1.0,
        epsilon: float = 1e-8,
        reduction: str = "mean",
        ignore_index: int = -100,
        gather_distributed: bool | None = None,
        *,
        num_classes: int | None = None,
        axis: int = 1,
        process_group: Any = None,
        grad_reduction: str = "mean",
    ) -> None:
        if num_classes is not None:
            checks.at_least("num_classes", num_classes, 1)
        checks.python_number("epsilon", epsilon, "(0, 1)")
        numbers = {"alpha": alpha, "beta": beta, "epsilon": epsilon}
        options: ClassOptions = {"reduction": reduction, "ignore_index": ignore_index, "grad_reduction": grad_reduction}
        options |= {"gather_distributed": gather_distributed, "process_group": process_group, "axis": axis}
        super().__init__(numbers, **options)
        self.num_classes = num_classes

    def _losses(self, inputs: Tensor, targets: Tensor, where: Tensor | None, **options: Any) -> Tensor:
        if self.num_classes is not None:
            rule = f"of shape [N, {self.num_classes}, *], as num_classes says"
            checks.require(inputs.shape[self.axis] == self.num_classes, "inputs", rule, tuple(inputs.shape))
        return super()._losses(inputs, targets, where, **options)

"""Focal losses and symmetric cross entropy as modules: configuration, checks of values, one call into the core."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import pointwise
from imbalanced_core.pool.labels import foreground, taking_part
from imbalanced_torch import validation
from imbalanced_torch._pointwise import ClassLoss, Parts, PointwiseLoss


class SigmoidFocalLoss(PointwiseLoss):
    """Focal loss of independent binary predictions: binary or multi-label classification.

    loss = α_t (1 − p_t)^γ BCE(logit, y) with p = σ(logit), p_t = p·y + (1 − p)(1 − y), α_t = α·y + (1 − α)(1 − y).

    Reductions: "mean" over the entries that take part; "mean_positive", their sum over their number of positives (the
    sum of the targets); "sum"; "none". With sample weights, sums and numbers are weighted; a divisor of exactly 0
    counts as 1.

    Args:
        alpha: weight of the positive class in [0, 1], negatives get 1 − alpha; −1 or None for no weights.
        gamma: focusing exponent, >= 0; 0 is the binary cross entropy. A 0-d tensor can change without a recompilation.
        reduction: "mean", "mean_positive", "sum" or "none".
        gather_distributed: whether the mean is taken over the entries of all processes: None in training mode when
            there are several, True always, False never. No logits are sent.
        ignore_index: target value of entries that take no part; None for none.
        process_group: the processes to reduce over; None for all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """

    def __init__(
        self,
        alpha: float | Tensor | None = 0.25,
        gamma: float | Tensor = 2.0,
        reduction: str = "mean",
        gather_distributed: bool | None = None,
        *,
        ignore_index: int | None = None,
        process_group: Any = None,
        grad_reduction: str = "mean",
    ) -> None:
        super().__init__(reduction, gather_distributed, process_group, grad_reduction)
        if isinstance(alpha, (int, float)) and alpha == -1:
            alpha = None
        if ignore_index is not None:
            checks.index("ignore_index", ignore_index)
        self.alpha = alpha
        self.gamma = gamma
        self.ignore_index = ignore_index
        self._check_parameters()

    def forward(self, inputs: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of logits against targets.

        Args:
            inputs: logits, floating point, any shape.
            targets: in [0, 1], of any dtype, in the shape of `inputs`.
            sample_weight: >= 0, one per entry, or one per row [inputs.shape[0]]; carries no gradient.

        Returns:
            0-d, or the shape of `inputs` for reduction "none"; float32 or float64. 0 with zero gradient where no entry
            takes part.

        Raises:
            TypeError, ValueError: if dtypes or shapes do not fit, or (eager mode on the CPU) a target or weight is out
                of range; elsewhere such a value makes the loss NaN.
        """
        return self._loss(inputs, targets, sample_weight)

    def _parts(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Parts:
        validation.check_tensors(inputs=inputs, targets=targets)
        validation.check_optional_tensors(sample_weight=sample_weight)
        checks.floating("inputs", inputs)
        checks.same_shape("targets", targets, "inputs", inputs)
        self._check_parameters()
        validation.check_unit_targets(targets, ignore_index=self.ignore_index)
        where = None if self.ignore_index is None else taking_part(targets, ignore_index=self.ignore_index)
        losses = pointwise.sigmoid_focal(inputs, targets, alpha=self.alpha, gamma=self.gamma, where=where)
        return Parts(losses, where, targets)

    def _check_parameters(self) -> None:
        """Checks what may be a tensor, at every call: it may have changed."""
        if self.alpha is not None:
            checks.in_unit_interval("alpha", validation.number(self.alpha))
        checks.non_negative("gamma", validation.number(self.gamma))

    def _options(self) -> dict[str, object]:
        return {
            "alpha": self.alpha,
            "gamma": self.gamma,
            "reduction": self.reduction,
            "ignore_index": self.ignore_index,
        }


class SoftmaxFocalLoss(ClassLoss):
    """Focal loss of mutually exclusive classes.

    loss = α_y (1 − p_t)^γ CE(logits, y; label_smoothing) with p_t = Σ_c y_c p_c, α_y = Σ_c y_c α_c.

    Reductions: "mean" over the positions that take part; "mean_positive", their sum, background included, over the
    number of them that are not background; "sum"; "none". With sample weights, sums and numbers are weighted; a divisor
    of exactly 0 counts as 1. Unlike in `torch.nn.CrossEntropyLoss`, class weights are no part of the divisor.

    Args:
        alpha: one weight per class, >= 0; a buffer, which moves with the module. None for no weights. See
            `imbalanced_torch.class_weights`.
        gamma: focusing exponent, >= 0; 0 is the cross entropy. A 0-d tensor can change without a recompilation.
        reduction: "mean", "mean_positive", "sum" or "none".
        label_smoothing: in [0, 1], as in `torch.nn.CrossEntropyLoss`; acts on the cross entropy only.
        ignore_index: the class id of positions that take no part.
        background_class: the class id that "mean_positive" does not count.
        gather_distributed: whether the mean is taken over the positions of all processes: None in training mode when
            there are several, True always, False never. No logits are sent.
        process_group: the processes to reduce over; None for all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """

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
        process_group: Any = None,
        grad_reduction: str = "mean",
    ) -> None:
        super().__init__(reduction, gather_distributed, process_group, grad_reduction)
        checks.at_least("background_class", background_class, 0)
        checks.index("ignore_index", ignore_index)
        self.register_buffer("alpha", _per_class(alpha), persistent=False)
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.background_class = background_class
        self._check_parameters()

    def _check_parameters(self) -> None:
        checks.non_negative("gamma", validation.number(self.gamma))
        checks.in_unit_interval("label_smoothing", validation.number(self.label_smoothing))

    def forward(self, inputs: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of logits against targets.

        Args:
            inputs: logits [N, C, *], floating point.
            targets: class ids [N, *] of any integer or bool dtype, or probabilities [N, C, *] in floating point.
            sample_weight: >= 0, one per position [N, *], or one per row [N]; carries no gradient.

        Returns:
            0-d, or [N, *] for reduction "none"; float32 or float64. 0 with zero gradient where no position takes part.

        Raises:
            TypeError, ValueError: if dtypes or shapes do not fit, or (eager mode on the CPU) a target or weight is out
                of range; elsewhere such a value makes the loss NaN.
        """
        return self._loss(inputs, targets, sample_weight)

    def _parts(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Parts:
        where = self._where(inputs, targets, sample_weight)
        losses = pointwise.softmax_focal(
            inputs,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            label_smoothing=self.label_smoothing,
            axis=1,
            where=where,
        )
        return Parts(losses, where, self._positives(inputs, targets))

    def _positives(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        if self.reduction != "mean_positive":
            return None
        return foreground(targets, num_classes=inputs.shape[1], background_class=self.background_class, axis=1)

    def _options(self) -> dict[str, object]:
        return {
            "alpha": None if self.alpha is None else self.alpha.tolist(),
            "gamma": self.gamma,
            "reduction": self.reduction,
            "label_smoothing": self.label_smoothing,
            "ignore_index": self.ignore_index,
            "background_class": self.background_class,
        }


class SymmetricCrossEntropyLoss(ClassLoss):
    """Cross entropy plus reverse cross entropy, for noisy labels.

    loss = α·CE + β·RCE with RCE = −Σ_c p_c log max(y_c, ε) and p_c clipped to [ε, 1].

    Args:
        alpha: weight of the cross entropy, >= 0.
        beta: weight of the reverse cross entropy, >= 0.
        epsilon: least probability inside the logarithm, in (0, 1); the paper's A = log ε = −4 is ε = exp(−4).
        reduction: "mean" over the positions that take part, "sum" or "none"; with sample weights, weighted.
        ignore_index: the class id of positions that take no part.
        gather_distributed: whether the mean is taken over the positions of all processes: None in training mode when
            there are several, True always, False never. No logits are sent.
        num_classes: if given, the C that logits must have; the loss does not need it.
        process_group: the processes to reduce over; None for all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".

    References:
        Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019,
        https://arxiv.org/abs/1908.06112
    """

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
        process_group: Any = None,
        grad_reduction: str = "mean",
    ) -> None:
        checks.one_of("reduction", reduction, ("mean", "sum", "none"))
        super().__init__(reduction, gather_distributed, process_group, grad_reduction)
        checks.index("ignore_index", ignore_index)
        if num_classes is not None:
            checks.at_least("num_classes", num_classes, 1)
        checks.require(isinstance(epsilon, float) and 0 < epsilon < 1, "epsilon", "a number in (0, 1)", epsilon)
        self.alpha = alpha
        self.beta = beta
        self.epsilon = epsilon
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._check_parameters()

    def _check_parameters(self) -> None:
        checks.non_negative("alpha", validation.number(self.alpha))
        checks.non_negative("beta", validation.number(self.beta))

    def forward(self, inputs: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of logits against targets; arguments, result and errors as in `SoftmaxFocalLoss.forward`."""
        return self._loss(inputs, targets, sample_weight)

    def _parts(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Parts:
        where = self._where(inputs, targets, sample_weight)
        if self.num_classes is not None:
            rule = f"of shape [N, {self.num_classes}, *], as num_classes says"
            checks.require(inputs.shape[1] == self.num_classes, "inputs", rule, tuple(inputs.shape))
        losses = pointwise.symmetric_cross_entropy(
            inputs, targets, alpha=self.alpha, beta=self.beta, epsilon=self.epsilon, axis=1, where=where
        )
        return Parts(losses, where, None)

    def _options(self) -> dict[str, object]:
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "epsilon": self.epsilon,
            "reduction": self.reduction,
            "ignore_index": self.ignore_index,
        }


def _per_class(alpha: Sequence[float] | Tensor | None) -> Tensor | None:
    """Class weights as a floating-point tensor of their own."""
    if alpha is None:
        return None
    weights = validation.as_tensor("alpha", alpha).detach().clone()
    weights = weights if weights.is_floating_point() else weights.to(torch.get_default_dtype())
    checks.require(weights.ndim == 1, "alpha", "one weight per class, [C], or None", alpha)
    validation.check_weights(weights, name="alpha")
    return weights

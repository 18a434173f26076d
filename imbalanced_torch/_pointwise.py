"""What the pointwise modules share: the reduction, over this process or over all, and the checks of class logits."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from imbalanced_core import checks, reductions
from imbalanced_core.pool.labels import taking_part
from imbalanced_torch import distributed, validation
from imbalanced_torch._group import GroupMember


class Parts(NamedTuple):
    """What a loss is made of before it is reduced."""

    losses: Tensor  # one per position
    where: Tensor | None  # which positions are counted
    positives: Tensor | None  # what "mean_positive" counts


class PointwiseLoss(GroupMember, ABC):
    """A loss that is a sum or a mean over positions."""

    _shown: tuple[str, ...]  # the options in `repr`

    def __init__(
        self,
        reduction: str,
        gather_distributed: bool | None,
        process_group: Any,
        grad_reduction: str,
        equal_rows: bool,
    ) -> None:
        super().__init__()
        checks.one_of("reduction", reduction, reductions.ELEMENT_REDUCTIONS)
        checks.one_of("gather_distributed", gather_distributed, (None, True, False))
        checks.one_of("grad_reduction", grad_reduction, distributed.GRAD_REDUCTIONS)
        checks.one_of("equal_rows", equal_rows, (True, False))
        fits = not equal_rows or (reduction in ("mean", "none") and grad_reduction == "mean")
        checks.require(fits, "equal_rows", "False unless reduction and grad_reduction are 'mean'", equal_rows)
        self.reduction = reduction
        self.gather_distributed = gather_distributed
        self.process_group = process_group
        self.grad_reduction = grad_reduction
        self.equal_rows = equal_rows

    @abstractmethod
    def _parts(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None, where: Tensor | None) -> Parts:
        """Checks of the arguments, of values too where that is free, and the loss of every position."""

    def _loss(
        self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None, where: Tensor | None = None
    ) -> Tensor:
        gather = not self.equal_rows and distributed.should_gather(
            self.gather_distributed,
            training=self.training and torch.is_grad_enabled(),
            process_group=self.process_group,
        )

        def options() -> dict[str, Any]:
            losses, counted, positives = self._parts(inputs, targets, sample_weight, where)
            if sample_weight is not None:
                reductions.spread_weights(sample_weight, losses)  # the shape first
                validation.check_weights(sample_weight, where=counted)
            return {
                "losses": losses,
                "reduction": self.reduction,
                "where": counted,
                "weights": sample_weight,
                "positives": positives,
                "is_masked": True,
            }

        if self.reduction == "none" or not gather:
            return reductions.reduce_elements(**options())
        tensors = [x for x in (inputs, targets, sample_weight) if isinstance(x, Tensor)]
        return distributed.global_ratio_of(
            lambda: reductions.element_sum_and_mass(**options()),
            device=tensors[0].device if tensors else torch.device("cpu"),
            process_group=self.process_group,
            grad_reduction=self.grad_reduction,
        )

    def extra_repr(self) -> str:
        def shown(value: Any) -> Any:
            return value.tolist() if isinstance(value, Tensor) and value.ndim else value

        return ", ".join(f"{name}={shown(getattr(self, name))!r}" for name in self._shown)


class ClassLoss(PointwiseLoss):
    """A loss of class logits, with the classes on `axis`."""

    ignore_index: int
    axis: int

    @abstractmethod
    def _check_parameters(self) -> None:
        """Checks what may be a tensor, at every call: it may have changed."""

    def _where(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Tensor | None:
        """Which positions are counted, None for all; checks shapes, and values where that is free."""
        self._check_parameters()
        validation.check_tensors(inputs=inputs, targets=targets)
        validation.check_optional_tensors(sample_weight=sample_weight)
        checks.floating("inputs", inputs)
        if self.axis == 1:
            checks.require(inputs.ndim >= 2, "inputs", "of shape [N, C] or [N, C, *]", tuple(inputs.shape))
        fits = -inputs.ndim <= self.axis < inputs.ndim
        checks.require(fits, "axis", f"an axis of {inputs.ndim}-d inputs", self.axis)
        checks.several_classes("inputs", inputs, axis=self.axis, instead="SigmoidFocalLoss")
        if targets.is_floating_point():
            if targets.shape == inputs.shape:  # else the core says what it takes
                validation.check_unit_targets(targets)
            return None
        num_classes = inputs.shape[self.axis]
        all_counted = validation.check_class_ids(targets, num_classes=num_classes, ignore_index=self.ignore_index)
        return None if all_counted else taking_part(targets, ignore_index=self.ignore_index)

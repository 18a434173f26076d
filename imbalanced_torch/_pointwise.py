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
    where: Tensor | None  # which positions take part
    positives: Tensor | None  # what "mean_positive" counts


class PointwiseLoss(GroupMember, ABC):
    """A loss that is a sum or a mean over positions."""

    def __init__(
        self, reduction: str, gather_distributed: bool | None, process_group: Any, grad_reduction: str
    ) -> None:
        super().__init__()
        checks.one_of("reduction", reduction, reductions.ELEMENT_REDUCTIONS)
        checks.one_of("gather_distributed", gather_distributed, (None, True, False))
        checks.one_of("grad_reduction", grad_reduction, distributed.GRAD_REDUCTIONS)
        self.reduction = reduction
        self.gather_distributed = gather_distributed
        self.process_group = process_group
        self.grad_reduction = grad_reduction

    @abstractmethod
    def _parts(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Parts:
        """Checks of the arguments, of values too where that is free, and the loss of every position."""

    def _loss(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Tensor:
        gather = distributed.should_gather(
            self.gather_distributed, training=self.training, process_group=self.process_group
        )

        def options() -> dict[str, Any]:
            losses, where, positives = self._parts(inputs, targets, sample_weight)
            validation.check_weights(sample_weight, where=where)
            return {
                "losses": losses,
                "reduction": self.reduction,
                "where": where,
                "weights": sample_weight,
                "positives": positives,
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

    @abstractmethod
    def _options(self) -> dict[str, object]:
        """The options that `repr` shows."""

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._options().items())


class ClassLoss(PointwiseLoss):
    """A loss of class logits [N, C, *]."""

    ignore_index: int

    @abstractmethod
    def _check_parameters(self) -> None:
        """Checks what may be a tensor, at every call: it may have changed."""

    def _where(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Tensor | None:
        """Which positions take part, None for all; checks shapes, and values where that is free."""
        self._check_parameters()
        validation.check_tensors(inputs=inputs, targets=targets)
        validation.check_optional_tensors(sample_weight=sample_weight)
        checks.floating("inputs", inputs)
        checks.require(inputs.ndim >= 2, "inputs", "of shape [N, C] or [N, C, *]", tuple(inputs.shape))
        checks.several_classes("inputs", inputs, axis=1, instead="SigmoidFocalLoss")
        if targets.is_floating_point():
            if targets.shape == inputs.shape:  # else the core says what it takes
                validation.check_unit_targets(targets)
            return None
        all_take_part = validation.check_class_ids(targets, num_classes=inputs.shape[1], ignore_index=self.ignore_index)
        return None if all_take_part else taking_part(targets, ignore_index=self.ignore_index)

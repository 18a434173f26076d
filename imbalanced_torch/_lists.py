"""Shared code of the list losses; a list holds the items of one query: scores and graded labels [..., n]."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from imbalanced_core import checks, reductions
from imbalanced_torch import validation
from imbalanced_torch._pointwise import Parts, PointwiseLoss
from imbalanced_torch.validation import readable


class ListLoss(PointwiseLoss):
    """Base class of list losses, whose core function returns the losses and the mask of lists that count."""

    reductions: ClassVar[tuple[str, ...]] = reductions.CLASS_REDUCTIONS

    def forward(
        self, scores: Tensor, relevance: Tensor, where: Tensor | None = None, *, sample_weight: Tensor | None = None
    ) -> Tensor:
        """The loss of lists of scores.

        Args:
            scores: floating point [..., n].
            relevance: labels >= 0, of any dtype, in the shape of `scores`.
            where: bool, the shape of `scores`; False marks padding. None: no padding.
            sample_weight: >= 0, one per list, [...]; carries no gradient.
        """
        return self._loss(scores, relevance, sample_weight, where)

    def _parts(self, inputs: Tensor, targets: Tensor, sample_weight: Tensor | None, where: Tensor | None) -> Parts:
        self._check_parameters()
        return list_parts(self._losses, inputs, targets, sample_weight, where)


def list_parts(
    function: Callable[..., Any],
    scores: Tensor,
    relevance: Tensor,
    sample_weight: Tensor | None,
    where: Tensor | None,
) -> Parts:
    """Losses of lists; checks the arguments, their values too where that is free."""
    validation.check_tensors(scores=scores, relevance=relevance)
    validation.check_optional_tensors(where=where, sample_weight=sample_weight)
    losses, counted = function(scores, relevance, where=where)
    checks.weights(readable(relevance), where=readable(where), name="relevance")
    return Parts(losses, counted, None)

"""What modules and functions of lists share: a list is what one query ranks, scores and graded labels [..., n]."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from imbalanced_core import checks, reductions
from imbalanced_torch import validation
from imbalanced_torch._pointwise import Parts, PointwiseLoss
from imbalanced_torch.validation import readable


class ListLoss(PointwiseLoss):
    """A loss of lists, whose function of the core returns which of them count beside the losses."""

    reductions: ClassVar[tuple[str, ...]] = reductions.CLASS_REDUCTIONS

    def forward(
        self, scores: Tensor, relevance: Tensor, where: Tensor | None = None, *, sample_weight: Tensor | None = None
    ) -> Tensor:
        """The loss of lists of scores.

        Args:
            scores: floating point [..., n].
            relevance: labels >= 0, of any dtype, in the shape of `scores`.
            where: bool, the shape of `scores`: the items that are there, as opposed to padding. None: all.
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
    """The losses of lists, with checks of the arguments, of values too where that is free."""
    validation.check_tensors(scores=scores, relevance=relevance)
    validation.check_optional_tensors(where=where, sample_weight=sample_weight)
    losses, counted = function(scores, relevance, where=where)
    checks.weights(readable(relevance), where=readable(where), name="relevance")
    return Parts(losses, counted, None)

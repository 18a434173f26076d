"""NDCG of lists as a module."""

from typing import Unpack

from torch import Tensor

from imbalanced_core.losses import ndcg
from imbalanced_core.reductions import CLASS_REDUCTIONS
from imbalanced_torch._pointwise import PointwiseLoss, PointwiseOptions, list_loss


class ListLoss(PointwiseLoss):
    """Base class of list losses, whose core function returns the losses and the mask of lists that count."""

    reductions = CLASS_REDUCTIONS

    def forward(
        self, scores: Tensor, relevance: Tensor, where: Tensor | None = None, *, sample_weight: Tensor | None = None
    ) -> Tensor:
        """The loss of lists: scores, floating point [..., n], and relevance, labels >= 0 of any dtype in that shape.

        `where` is bool, in that shape; False marks padding. `sample_weight` is >= 0, one per list, [...]; without
        gradient.
        """
        return self._loss(list_loss, scores, relevance, sample_weight=sample_weight, where=where)


class NDCGLoss(ListLoss):
    """One minus the smooth normalised discounted cumulative gain (NDCG), averaged over lists.

    A list holds the items of one query: scores and graded labels [..., n]. There are no classes and no queue.

        rank_i = 1 + Σ_{j≠i} σ((s_j − s_i)/τ),  DCG = Σ_i g_i / log₂(1 + rank_i),  loss = 1 − DCG / IDCG,

    where IDCG is the DCG of the ideal order. A list counts if its labels are not all equal. The paper:
    `imbalanced_core.losses.ndcg.ndcg`.

    Args:
        temperature: τ > 0, in units of `temperature_scale`; can be assigned at any time.
        temperature_scale: unit of the temperature: "absolute" (1), or the "iqr" or "std" of the list's scores.
        gain: g = 2^y − 1 ("exponential") or g = y ("linear").
        **options: `reduction` ("mean" over the lists that count, "sum", or "none": one loss per list, 0 where it does
            not count) and those of several processes, see `imbalanced_torch.pointwise`, with lists as rows.
    """

    function = staticmethod(ndcg.ndcg)
    rules = ndcg.RULES

    def __init__(
        self,
        temperature: float | Tensor = 0.1,
        temperature_scale: str = "absolute",
        gain: str = "exponential",
        **options: Unpack[PointwiseOptions],
    ) -> None:
        numbers = {"temperature": temperature, "temperature_scale": temperature_scale, "gain": gain}
        super().__init__(numbers, **options)

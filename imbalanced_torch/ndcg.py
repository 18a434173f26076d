"""Normalised discounted cumulative gain of lists with graded labels as a module."""

from typing import Any, ClassVar, Unpack

from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses.ndcg import GAINS, ndcg
from imbalanced_core.losses.ranking import TEMPERATURE_SCALES
from imbalanced_torch import validation
from imbalanced_torch._pointwise import Parts, PointwiseLoss, PointwiseOptions
from imbalanced_torch.validation import readable


class NDCGLoss(PointwiseLoss):
    """One minus the smooth normalised discounted cumulative gain (NDCG), averaged over lists.

    A list is what one query ranks: scores and graded labels [..., n]. It has neither classes nor a queue.

        rank_i = 1 + Σ_{j≠i} σ((s_j − s_i)/τ),  DCG = Σ_i g_i / log₂(1 + rank_i),  loss = 1 − DCG / IDCG,

    where IDCG is the DCG of the best order.

    A list counts when its labels are not all the same.

    Args:
        temperature: τ > 0, in units of `temperature_scale`; can be assigned at any time.
        temperature_scale: the unit of the temperature: "absolute" is 1, or "iqr" or "std" of the scores of the list.
        gain: g = 2^y − 1 ("exponential") or g = y ("linear").
        **options: `reduction` ("mean" over the lists that count, "sum", or "none": one loss per list, 0 where it does
            not count), `gather_distributed`, `process_group`, `grad_reduction` and `equal_rows`, see
            `imbalanced_torch.pointwise`; rows are lists.

    References:
        Järvelin, Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, TOIS 2002; Qin, Liu, Li, A General
        Approximation Framework for Direct Optimization of Information Retrieval Measures, Information Retrieval 2010.
    """

    rules: ClassVar = {"temperature": checks.positive}
    reductions = ("mean", "sum", "none")
    _shown = ("temperature", "temperature_scale", "gain", "reduction")

    def __init__(
        self,
        temperature: float | Tensor = 0.1,
        temperature_scale: str = "absolute",
        gain: str = "exponential",
        **options: Unpack[PointwiseOptions],
    ) -> None:
        super().__init__({"temperature": temperature}, **options)
        checks.one_of("temperature_scale", temperature_scale, TEMPERATURE_SCALES)
        checks.one_of("gain", gain, GAINS)
        self.temperature_scale = temperature_scale
        self.gain = gain

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
        options: dict[str, Any] = {"temperature_scale": self.temperature_scale, "gain": self.gain, "where": where}
        return Parts(*losses_of_lists(inputs, targets, sample_weight, temperature=self.temperature, **options), None)


def losses_of_lists(
    scores: Tensor, relevance: Tensor, sample_weight: Tensor | None, *, where: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """The loss of each list, and which of them count; checks values where that is free."""
    validation.check_tensors(scores=scores, relevance=relevance)
    validation.check_optional_tensors(where=where, sample_weight=sample_weight)
    checks.positive("temperature", validation.number(options["temperature"]))
    losses, counted = ndcg(scores, relevance, where=where, **options)
    checks.weights(readable(relevance), where=readable(where), name="relevance")
    return losses, counted

"""Smooth average precision, recall at a quantile and AUC, as modules."""

from typing import Any, Self, Unpack

from imbalanced_core.losses.ranking import average_precision, pairs_in_order, recall
from imbalanced_core.options import SMOOTH_AP_PRESET
from imbalanced_torch.options import CommonOptions, RankingOptions, ranking_module
from imbalanced_torch.pooled import PooledLoss


class SmoothAPLoss(PooledLoss):
    """One minus the smooth average precision, averaged over classes, of the batch and a queue of earlier rows.

    For each positive i of a class, among all rows V and positives P of batch and queue:

        rank_i = 1 + Σ_{j∈V, j≠i} σ((s_j − s_i)/τ),  rank⁺_i = the same over P,  loss = 1 − mean_i rank⁺_i / rank_i.

    A class counts if it has a positive (of weight > 0) and a negative. Exact, in O(n log n) time and O(n) memory for n
    = N + queue_size rows.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        queue_size: number of rows of earlier batches ranked with the batch; 0 for none.
        temperature: τ > 0 of the logistic function, in units of `temperature_scale`; smaller is closer to the true
            ranks and harder to optimise. Can be assigned at any time.
        reduction, ignore_index, update_queue_in_eval, gather_distributed, max_pool_size, pos_numerator: see
            `imbalanced_torch.options.CommonOptions`.
        **options: see `imbalanced_torch.options.RankingOptions`.

    References:
        Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV 2020,
        https://arxiv.org/abs/2007.12163
    """

    objective = staticmethod(average_precision)
    compares_pairs = True

    @ranking_module(RankingOptions)
    def __init__(
        self,
        num_classes: int,
        queue_size: int = 1024,
        temperature: float = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        max_pool_size: int | None = None,
        *,
        pos_numerator: str = "pool",
        **options: Unpack[RankingOptions],
    ) -> None:
        common: CommonOptions = {"reduction": reduction, "ignore_index": ignore_index, "max_pool_size": max_pool_size}
        common |= {"update_queue_in_eval": update_queue_in_eval, "gather_distributed": gather_distributed}
        common |= {"pos_numerator": pos_numerator, **options}
        super().__init__(num_classes, {}, queue_size, temperature, **common)

    @classmethod
    def recommended(cls, num_classes: int, **overrides: Any) -> Self:
        """The preset: three quarters of the loss and one quarter of a contrastive cross entropy.

        Sets temperature_scale="std", temperature=0.2 and gated=True. All else as for `PAUCAtBudgetLoss.recommended`,
        without a budget.
        """
        return cls(num_classes, **(SMOOTH_AP_PRESET | {"gated": True} | overrides))


class RecallAtQuantileLoss(PooledLoss):
    """One minus the smooth recall when the top `quantile` of the scores is flagged, averaged over classes.

    With θ the (1 − quantile)-quantile of a class's scores in batch and queue, without gradient:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ).

    The gradient pushes positives above the threshold. A class counts if it has a positive (of weight > 0). The pool
    needs several times 1/quantile rows for a meaningful threshold, and the quantile should exceed the fraction of
    positives. Use it half and half with BCE from the prior, with `temperature_scale="std", temperature=1.0`, and
    compare with that BCE alone. Arguments that are not listed are those of `SmoothAPLoss`.

    Args:
        quantile: the flagged fraction, in [0, 1].
        quantile_interpolation: "higher", "lower", "linear", "nearest" or "midpoint".
    """

    objective = staticmethod(recall)

    @ranking_module(RankingOptions)
    def __init__(
        self,
        num_classes: int,
        quantile: float = 0.005,
        queue_size: int = 1024,
        temperature: float = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        quantile_interpolation: str = "higher",
        max_pool_size: int | None = None,
        *,
        pos_numerator: str = "pool",
        **options: Unpack[RankingOptions],
    ) -> None:
        own = {"quantile": quantile, "quantile_interpolation": quantile_interpolation}
        common: CommonOptions = {"reduction": reduction, "ignore_index": ignore_index, "max_pool_size": max_pool_size}
        common |= {"update_queue_in_eval": update_queue_in_eval, "gather_distributed": gather_distributed}
        common |= {"pos_numerator": pos_numerator, **options}
        super().__init__(num_classes, own, queue_size, temperature, **common)


class AUCLoss(PooledLoss):
    """One minus the smooth area under the ROC curve, averaged over classes, of the batch and a queue of earlier rows.

    Mean of σ((s_j − s_i)/τ + margin) over the positives i and negatives j of a class: a smooth fraction of misordered
    pairs. A class counts if it has a positive (of weight > 0) and a negative. A constant model has loss ½, the minimum
    only if no model ranks better than chance. The paper: `imbalanced_core.losses.ranking.auc`.

    Args:
        num_classes, queue_size, temperature: as in `SmoothAPLoss`.
        **options: see `imbalanced_torch.options.CommonOptions`.
    """

    objective = staticmethod(pairs_in_order)
    compares_pairs = True

    @ranking_module()
    def __init__(
        self, num_classes: int, queue_size: int = 1024, temperature: float = 0.1, **options: Unpack[CommonOptions]
    ) -> None:
        super().__init__(num_classes, {}, queue_size, temperature, **options)

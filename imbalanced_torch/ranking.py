"""Smooth average precision, recall at a quantile, AUC, and recall and precision at operating points, as modules."""

from typing import Any, Self, Unpack

from imbalanced_core.losses.operating_point import precision_above, recall_above
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
        options: dict[str, Any] = SMOOTH_AP_PRESET | {"gated": True}
        return cls(num_classes, **(options | overrides))


class RecallAtQuantileLoss(PooledLoss):
    """One minus the smooth recall when the top `quantile` of the scores is flagged, averaged over classes.

    With θ the (1 − quantile)-quantile of a class's scores in batch and queue, without gradient:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ).

    The gradient pushes positives above the threshold. A class counts if it has a positive (of weight > 0). The pool
    needs several times 1/quantile rows for a meaningful threshold, and the quantile should exceed the fraction of
    positives. Arguments that are not listed are those of `SmoothAPLoss`.

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


class RecallAtKLoss(PooledLoss):
    """One minus the smooth recall when the k highest scores of batch and queue are flagged, averaged over classes.

    With θ halfway between the k-th highest score of a class and the next:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ − margin).

    The gradient raises positives only: combine it with a pointwise loss. Equal scores have loss ½, less than that of
    the best ranking if at most half of the positives can be among the k: see `docs/collapse.md`. A class counts if it
    has a positive (of weight > 0), a negative and more than k rows.

    Args:
        k: number of rows of batch and queue that are flagged, an integer >= 1.
        num_classes, queue_size, temperature, **options: as in `AUCLoss`.
    """

    objective = staticmethod(recall_above)

    @ranking_module()
    def __init__(
        self,
        num_classes: int,
        k: int,
        queue_size: int = 1024,
        temperature: float = 0.1,
        **options: Unpack[CommonOptions],
    ) -> None:
        super().__init__(num_classes, {"k": k}, queue_size, temperature, **options)


class PrecisionAtKLoss(PooledLoss):
    """One minus the smooth precision among the k highest scores of batch and queue, averaged over classes.

    With θ as in `RecallAtKLoss`, R the mean over positives i of σ((s_i − θ)/τ − margin), n₊ their number, and F the sum
    over negatives j of σ((s_j − θ)/τ + margin):

        loss = 1 − precision = F / (F + R n₊).

    The gradient raises positives and lowers negatives. The loss of equal scores is the fraction of negatives.
    Arguments, and which classes count, as in `RecallAtKLoss`.
    """

    objective = staticmethod(precision_above)

    @ranking_module()
    def __init__(
        self,
        num_classes: int,
        k: int,
        queue_size: int = 1024,
        temperature: float = 0.1,
        **options: Unpack[CommonOptions],
    ) -> None:
        super().__init__(num_classes, {"k": k}, queue_size, temperature, **options)


class PrecisionAtRecallLoss(PooledLoss):
    """One minus the smooth precision when as few rows are flagged as a given recall needs, averaged over classes.

    As `PrecisionAtKLoss`, with θ halfway between the lowest score of the top fraction `recall` of a class's positives
    and the next lower score. A class counts if it has a positive (of weight > 0) and a negative. The paper:
    `imbalanced_core.losses.operating_point.precision_at`.

    Args:
        recall: the minimum fraction of positives that is flagged, in (0, 1].
        num_classes, queue_size, temperature, **options: as in `AUCLoss`.
    """

    objective = staticmethod(precision_above)

    @ranking_module()
    def __init__(
        self,
        num_classes: int,
        recall: float,
        queue_size: int = 1024,
        temperature: float = 0.1,
        **options: Unpack[CommonOptions],
    ) -> None:
        super().__init__(num_classes, {"recall": recall}, queue_size, temperature, **options)


class RecallAtPrecisionLoss(PooledLoss):
    """One minus the smooth recall when as many rows are flagged as a given precision allows, averaged over classes.

    As `RecallAtKLoss`, with θ the lowest threshold of a class above which at least the fraction `precision` of the
    scores belong to positives, halfway between two scores; if there is none, the highest score. Equal scores have loss
    ½, less than that of the best ranking if at most half of the positives can be found at that precision. A class
    counts if it has a positive (of weight > 0) and a negative. The paper:
    `imbalanced_core.losses.operating_point.recall_at`.

    Args:
        precision: the minimum fraction of positives among the flagged rows, in (0, 1].
        num_classes, queue_size, temperature, **options: as in `AUCLoss`.
    """

    objective = staticmethod(recall_above)

    @ranking_module()
    def __init__(
        self,
        num_classes: int,
        precision: float,
        queue_size: int = 1024,
        temperature: float = 0.1,
        **options: Unpack[CommonOptions],
    ) -> None:
        super().__init__(num_classes, {"precision": precision}, queue_size, temperature, **options)

"""Recall at k and at a precision, and precision at k and at a recall, as modules."""

from typing import Unpack

from imbalanced_core.losses.operating_point import precision_above, recall_above
from imbalanced_torch.options import CommonOptions, ranking_module
from imbalanced_torch.pooled import PooledLoss


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

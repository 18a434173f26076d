"""Class weights from class counts, as tensors."""

from collections.abc import Sequence

from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import class_balance
from imbalanced_torch import validation


def class_weights(counts: Tensor | Sequence[float], *, scheme: str = "inverse", beta: float = 0.999) -> Tensor:
    """One weight per class, greater for rarer ones: `alpha` of `SoftmaxFocalLoss`, `weight` of a cross entropy.

    `imbalanced_core.losses.class_balance.class_weights` has the formulas of the schemes "inverse" (the rarest class has
    weight 1), "balanced" (the items have mean weight 1) and "effective", with its `beta`, and the paper. `counts` are
    items per class [C], such as `torch.bincount(targets)`; a tensor or a sequence of numbers. An empty class has weight
    0. A ValueError if the shape, an option or a readable count is out of range, or all are 0.
    """
    counts = validation.as_tensor("counts", counts)
    checks.counts(validation.readable(counts))
    return class_balance.class_weights(counts, scheme=scheme, beta=beta)


def pos_weight(
    positives: Tensor | Sequence[float] | float,
    total: Tensor | Sequence[float] | float,
    *,
    scheme: str = "balanced",
    beta: float = 0.999,
) -> Tensor:
    """The weight of positives relative to negatives: `pos_weight` of `torch.nn.BCEWithLogitsLoss`.

    `imbalanced_core.losses.class_balance.pos_weight`: n₋ / n₊, or with "effective" (1 − β^n₋) / (1 − β^n₊). The
    positives are per label [C] or a number, and so is the total of items; the result has the shape and device of
    `positives`. Errors as for `class_weights`.
    """
    labels = validation.as_tensor("positives", positives)
    items = total if isinstance(total, (int, float)) else validation.as_tensor("total", total).to(labels.device)
    checks.weights(validation.readable(labels), name="positives")
    checks.weights(validation.readable(class_balance.binary_counts(labels, items)[1]), name="total - positives")
    return class_balance.pos_weight(labels, items, scheme=scheme, beta=beta)

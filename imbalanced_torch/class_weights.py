"""Class weights from class counts, as tensors."""

from collections.abc import Sequence

from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import class_balance
from imbalanced_torch import validation
from imbalanced_torch.validation import readable


def class_weights(counts: Tensor | Sequence[float], *, scheme: str = "inverse", beta: float = 0.999) -> Tensor:
    """One weight per class, greater for rarer classes: `alpha` of `SoftmaxFocalLoss`, `weight` of a cross entropy.

    `imbalanced_core.losses.class_balance.class_weights`, which has the formulas, the options and the paper, of `counts`
    [C], such as `torch.bincount(targets)`, a tensor or a sequence of numbers. A readable count that is out of range, or
    counts that are all 0, are a ValueError too.
    """
    counts = validation.as_tensor("counts", counts)
    checks.counts(readable(counts))
    return class_balance.class_weights(counts, scheme=scheme, beta=beta)


def pos_weight(
    positives: Tensor | Sequence[float] | float,
    total: Tensor | Sequence[float] | float,
    *,
    scheme: str = "balanced",
    beta: float = 0.999,
) -> Tensor:
    """The weight of positives relative to negatives: `pos_weight` of `torch.nn.BCEWithLogitsLoss`.

    `imbalanced_core.losses.class_balance.pos_weight`, of tensors, sequences or numbers; a readable count that is out
    of range is a ValueError too.
    """
    labels = validation.as_tensor("positives", positives)
    items = total if isinstance(total, (int, float)) else validation.as_tensor("total", total).to(labels.device)
    checks.weights(readable(labels), name="positives")
    checks.weights(readable(class_balance.binary_counts(labels, items)[1]), name="total - positives")
    return class_balance.pos_weight(labels, items, scheme=scheme, beta=beta)

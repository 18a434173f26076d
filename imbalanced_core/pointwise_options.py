"""The keywords shared by all functions of single predictions: meaning, types and defaults."""

from typing import TypedDict

from imbalanced_core.ops.namespace import Array


class LabelOptions(TypedDict, total=False):
    """Keywords of the losses for independent labels.

    Attributes:
        where: bool, the shape of the logits; False masks an entry, which may then hold anything. None: no mask.
        ignore_index: target value of masked entries; None for no such value.
        sample_weight: >= 0, one per entry or per row; carries no gradient. None: all 1.
        reduction: "mean", "mean_positive", "sum" or "none".
    """

    where: Array | None
    ignore_index: int | None
    sample_weight: Array | None
    reduction: str


class ClassOptions(TypedDict, total=False):
    """Keywords of the losses for exclusive classes.

    Attributes:
        ignore_index: class id of masked positions.
        sample_weight: >= 0, one per position or per row; carries no gradient. None: all 1.
        reduction: "mean", "sum" or "none"; for the focal loss also "mean_positive".
        axis: the class axis.
    """

    ignore_index: int
    sample_weight: Array | None
    reduction: str
    axis: int


LABEL_DEFAULTS: LabelOptions = {"where": None, "ignore_index": None, "sample_weight": None, "reduction": "mean"}
CLASS_DEFAULTS: ClassOptions = {"ignore_index": -100, "sample_weight": None, "reduction": "mean", "axis": -1}

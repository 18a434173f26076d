"""What class targets say: which class, whether they take part, whether they are background."""

from imbalanced_core import checks
from imbalanced_core.ops.namespace import Array, array_namespace


def are_probabilities(targets: Array) -> bool:
    """Whether targets are probabilities (floating point) and not class ids (integers, bool)."""
    return array_namespace(targets).isdtype(targets.dtype, "real floating")


def class_ids(targets: Array) -> Array:
    """Ids of any integer or bool dtype as int32 or int64.

    Small and unsigned types cannot be compared with every id, nor with −100: in eight bits 156 == −100.
    """
    xp = array_namespace(targets)
    if xp.isdtype(targets.dtype, "bool") or xp.iinfo(targets.dtype).bits < 32:
        return xp.astype(targets, xp.int32)
    return xp.astype(targets, xp.int64) if xp.isdtype(targets.dtype, "unsigned integer") else targets


def taking_part(targets: Array, *, ignore_index: int) -> Array:
    """Bool, the shape of `targets`: which differ from `ignore_index`."""
    return (targets if are_probabilities(targets) else class_ids(targets)) != ignore_index


def foreground(targets: Array, *, num_classes: int, background_class: int = 0, axis: int = -1) -> Array:
    """How much each position counts in reduction "mean_positive": all but its share of the background class.

    Args:
        targets: class ids, or probabilities (floating point) with the classes on `axis`.
        num_classes: C.
        background_class: a class id in [0, C).
        axis: the class axis of probabilities.

    Returns:
        One per position: bool for class ids, 1 − y_background for probabilities.

    Raises:
        ValueError: if `background_class` is no class.
    """
    rule = f"a class id in [0, {num_classes})"
    checks.require(0 <= background_class < num_classes, "background_class", rule, background_class)
    if are_probabilities(targets):
        return 1.0 - targets[(slice(None),) * (axis % targets.ndim) + (background_class,)]
    return class_ids(targets) != background_class

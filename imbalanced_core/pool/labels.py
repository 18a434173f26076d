"""Interpretation of targets: class, ignored, background."""

from typing import Any

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace


def check_logits(logits: Array, num_classes: int | None = None) -> None:
    """ValueError unless the logits are [rows, classes], with at least one class, or as many as given."""
    rule = "of shape [rows, classes]" if num_classes is None else f"of shape [rows, num_classes] = [N, {num_classes}]"
    rule += " (for one class pass logits[:, None])" if logits.ndim == 1 and num_classes in (None, 1) else ""
    fits = logits.ndim == 2 and (logits.shape[1] > 0 if num_classes is None else logits.shape[1] == num_classes)
    checks.require(fits, "logits", rule, tuple(logits.shape))


def are_probabilities(targets: Array) -> bool:
    """Whether targets are probabilities (floating point), not class ids (integers, bool)."""
    return array_namespace(targets).isdtype(targets.dtype, "real floating")


def class_ids(targets: Array) -> Array:
    """Ids of any integer or bool dtype cast to int32 or int64.

    Small and unsigned dtypes cannot be compared with every id, nor with −100: in eight bits 156 == −100.
    """
    xp = array_namespace(targets)
    if xp.isdtype(targets.dtype, "bool") or xp.iinfo(targets.dtype).bits < 32:
        return xp.astype(targets, xp.int32)
    if not xp.isdtype(targets.dtype, "unsigned integer"):
        return targets
    ids = xp.astype(targets, xp.arange(0).dtype)  # JAX has int64 only on request
    return ops.where(ids < 0, 2**31 - 1, ids)  # an id that does not fit has wrapped around


def taking_part(targets: Array, *, ignore_index: int) -> Array:
    """Bool, the shape of `targets`: where they differ from `ignore_index`."""
    return (targets if are_probabilities(targets) else class_ids(targets)) != ignore_index


def foreground(targets: Array, *, num_classes: int, background_class: int = 0, axis: int = -1) -> Array:
    """The weight of each position in reduction "mean_positive": one minus its share of the background class.

    It is bool for class ids, and 1 − y_background for probabilities (floating point) with the classes on `axis`.
    ValueError if `background_class` is not a class.
    """
    rule = f"a class id in [0, {num_classes})"
    checks.require(0 <= background_class < num_classes, "background_class", rule, background_class)
    if are_probabilities(targets):
        return 1.0 - targets[(slice(None),) * (axis % targets.ndim) + (background_class,)]
    return class_ids(targets) != background_class


def read_labels(
    targets: Array, *, rows: int, num_classes: int, ignore_index: int, multilabel: bool
) -> tuple[Array, Array | None]:
    """The labels of a ranking loss, read from its targets.

    Targets are class ids [N] or [N, 1] of any integer or bool dtype (binary, C = 1: 0 or 1, floats too); with
    `multilabel` 0/1 per class, [N, C], of any dtype. Entries equal to `ignore_index` are ignored: a row, or with
    `multilabel` a row for that class only.

    Returns:
        Labels, int32 [N] or [N, C], −1 where ignored; and bool [N], the rows with a target that is neither a class nor
        ignored, whose labels are −1; None for the latter if all targets are known to be classes.
    """
    xp = array_namespace(targets)
    targets = _shaped(targets, rows, num_classes, multilabel=multilabel)
    is_float = are_probabilities(targets)
    if not is_float:
        targets = class_ids(targets)
    classes = 2 if multilabel else max(num_classes, 2)
    may_ignore = 0 <= ignore_index < classes
    if not is_float and not may_ignore and ops.known_within(targets, 0, classes - 1):
        return ops.astype(targets, xp.int32), None
    is_class = (targets >= 0) & (targets < classes)
    if is_float:
        is_class = is_class & (targets == xp.floor(targets))
    differs = targets != ignore_index
    if may_ignore:
        is_class = is_class & differs
    is_bad = differs != is_class
    labels = ops.astype(ops.where(is_class, targets, -1), xp.int32)
    if not multilabel:
        return labels, is_bad
    is_bad = xp.any(is_bad, axis=1)
    return ops.where(is_bad[:, None], -1, labels), is_bad


def _shaped(targets: Array, rows: int, num_classes: int, *, multilabel: bool) -> Array:
    checks.real("targets", targets)
    if multilabel:
        checks.shaped("targets", targets, (rows, num_classes), "[rows, classes] (multilabel=True)")
        return targets
    if tuple(targets.shape) == (rows, 1):
        targets = array_namespace(targets).reshape(targets, (rows,))
    is_table = tuple(targets.shape) == (rows, num_classes)  # one-hot, or a label for each class
    hint = "; one-hot: pass targets.argmax(1); a label for each class: multilabel=True" if is_table else ""
    checks.shaped("targets", targets, (rows,), "[rows]", hint)
    if are_probabilities(targets) and num_classes > 1:
        raise TypeError(f"targets must be integer class ids if C > 1, got dtype {targets.dtype}; cast them")
    return targets


def one_vs_rest(labels: Array, num_classes: int) -> Array:
    """The positive rows of each class, bool [C, M], from the labels of `read_labels`."""
    if labels.ndim == 2:
        return array_namespace(labels).matrix_transpose(labels == 1)
    if num_classes == 1:
        return (labels == 1)[None, :]
    return labels[None, :] == ops.arange(num_classes, like=labels)[:, None]


def positive_count(labels: Array, num_classes: int, dtype: Any, *, where: Array | None = None) -> Array:
    """The number of positives of each class, [C], among rows with these labels of `read_labels`; `where`: bool [M]."""
    positives = one_vs_rest(labels, num_classes)
    positives = positives if where is None else positives & where[None, :]
    return array_namespace(labels).sum(ops.astype(positives, dtype), axis=1)

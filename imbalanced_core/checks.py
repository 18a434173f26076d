"""Checks with one wording for every error: ``{name} must be {rule}, got {value}``.

Most need no array values, so they are free in a compiled function: a 0-d array is a number known only at run time.
Those from `batch` on check values, as numpy arrays; the adapters decide which can be read, and pass None for others,
which are not checked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from imbalanced_core.ops.namespace import Array, array_namespace


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raises the ValueError `{name} must be {rule}, got {value}` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def one_of(name: str, value: object, options: Sequence[object]) -> None:
    """The value is one of the options."""
    if shape_of(value) or value not in options:  # arrays compare elementwise
        require(False, name, "one of " + ", ".join(map(repr, options)), value)


def flag(name: str, value: object) -> None:
    """The value is True or False."""
    require(isinstance(value, (bool, np.bool_)), name, "True or False", value)


def _number(rule: str, holds: Callable[[float], bool]) -> Callable[[str, Array], None]:
    def check(name: str, value: Array) -> None:
        if _is_number(value):
            require(holds(float(value)), name, rule, value)
        else:
            shape = getattr(value, "shape", None)
            require(shape is not None and len(shape) == 0, name, rule + " or a 0-d array", value)

    return check


# Rules of numbers: a 0-d array passes, since its value is known only at run time.
positive = _number("a finite number > 0", lambda x: 0 < x < math.inf)
finite = _number("a finite number", lambda x: -math.inf < x < math.inf)
non_negative = _number("a finite number >= 0", lambda x: 0 <= x < math.inf)
at_least_minus_one = _number("a finite number >= -1", lambda x: -1 <= x < math.inf)
in_unit_interval = _number("a number in [0, 1]", lambda x: 0 <= x <= 1)
open_unit_interval = _number("a number in (0, 1)", lambda x: 0 < x < 1)


def unit_interval_or_none(name: str, value: Any) -> None:
    """As `in_unit_interval`; None passes."""
    if value is not None:
        in_unit_interval(name, value)


def python_number(name: str, value: Any, interval: str = "[0, 1]") -> None:
    """The value is a Python number, fixed at compile time, in an interval from 0 to 1."""
    rule = f"a Python number in {interval}"
    if not _is_number(value):
        hint = "; call .item()" if hasattr(value, "item") else ""
        raise ValueError(f"{name} must be {rule}, got {value!r}{hint}")
    require(0 < value < 1 or (value == 0 and "[" in interval) or (value == 1 and "]" in interval), name, rule, value)


def band(alpha: float, beta: float) -> None:
    """Python numbers with 0 <= alpha < beta <= 1; under `torch.compile` they may be symbolic and cannot be printed."""
    python_number("alpha", alpha)
    python_number("beta", beta)
    if not alpha < beta:
        raise ValueError(f"alpha must be less than beta, {beta}, got {alpha!r}")


def numbers(rules: Mapping[str, Callable[[str, Any], None]], **values: Any) -> None:
    """Each value fits the rule of its name."""
    for name, value in values.items():
        rules[name](name, value)


def at_least(name: str, value: Any, least: int) -> None:
    """The value is an integer >= `least`."""
    require(_is_integer(value) and value >= least, name, f"an integer >= {least}", value)


def index(name: str, value: Any) -> None:
    """The value is an integer that any class id can be compared with."""
    require(_is_integer(value) and -(2**31) <= value < 2**31, name, "an integer of 32 bits", value)


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_integer(value) or isinstance(value, (float, np.floating))


def balanced_batch(labels: Any, added: Mapping[int, int], name: str, size: int) -> tuple[Any, int]:
    """The labels, [N, 1] as [N], and the number of uniformly drawn rows in a batch; `name` is the name of `size`."""
    require(labels.ndim in (1, 2) and len(labels) > 0, "labels", "of shape [N], [N, 1] or [N, C]", tuple(labels.shape))
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    require(isinstance(added, Mapping), "added", "a mapping of classes to how many rows", added)
    classes = labels.shape[1] if labels.ndim == 2 else 2**31
    for c, count in added.items():
        fits = isinstance(c, (int, np.integer)) and 0 <= c < classes
        require(fits, "the classes of added", f"integers in [0, {classes})", c)
        at_least(f"added[{c}]", count, 1)
    at_least(name, size, 1)
    uniform = size - sum(added.values())
    require(uniform >= 1, name, f"greater than all added, {sum(added.values())}", size)
    return labels, uniform


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape; () for a number, which under `torch.compile` may be symbolic and have no attributes."""
    return () if isinstance(value, (int, float)) else tuple(getattr(value, "shape", ()))


def floating(name: str, array: Array, hint: str = "") -> None:
    """TypeError unless the array has a floating-point dtype; `hint` comes last."""
    if not array_namespace(array).isdtype(array.dtype, "real floating"):
        raise TypeError(f"{name} must be a floating-point array, got dtype {array.dtype}{hint}")


def real(name: str, array: Array) -> None:
    """TypeError unless the array holds bools, integers or floating-point numbers."""
    if not array_namespace(array).isdtype(array.dtype, ("real floating", "integral", "bool")):
        raise TypeError(f"{name} must be an array of bools, integers or floats, got dtype {array.dtype}")


def same_shape(name: str, array: Array, other_name: str, other: Array) -> None:
    """ValueError unless both arrays have the same shape: broadcasting here would hide a mistake."""
    shape, wanted = tuple(array.shape), tuple(other.shape)
    if shape != wanted:
        hint = f"; pass {name}[:, None]" if len(shape) == 1 and wanted == (*shape, 1) else ""
        raise ValueError(f"{name} must be of the same shape as {other_name}, {wanted}, got {shape}{hint}")


def shaped(name: str, array: Array, shape: tuple[int, ...], meaning: str, hint: str = "") -> None:
    """ValueError unless the array has exactly this shape; `meaning` names it, such as "[rows]"; `hint` comes last."""
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must be of shape {meaning} = {shape}, got {tuple(array.shape)}{hint}")


def several_classes(name: str, logits: Array, *, axis: int, instead: str) -> None:
    """ValueError unless there are at least two classes: a softmax over one is 1 and trains nothing."""
    if -logits.ndim <= axis < logits.ndim:
        rule = f"of at least 2 classes on axis {axis} (for one logit use {instead})"
        require(logits.shape[axis] >= 2, name, rule, tuple(logits.shape))


def logits_of_ids(name: str, logits: Array, targets: Array) -> None:
    """ValueError if logits of one position, [C], come with several class ids: their shape is wrong, not the ids'."""
    is_alone = logits.ndim == 1 and targets.ndim > 0
    if is_alone and not array_namespace(targets).isdtype(targets.dtype, "real floating"):
        require(False, name, "of shape [N, C] or [N, *, C] for several class ids", tuple(logits.shape))


def boolean(name: str, mask: Array | None, hint: str = "") -> None:
    """TypeError unless the mask has the bool dtype; None passes; `hint` comes last."""
    if mask is not None and not array_namespace(mask).isdtype(mask.dtype, "bool"):
        raise TypeError(f"{name} must be a bool array, got dtype {mask.dtype}; pass {name} == 1{hint}")


def broadcastable(name: str, array: Array | None, other_name: str, other: Array) -> None:
    """ValueError unless the array broadcasts to the shape of the other; None passes."""
    if array is None:
        return
    require(hasattr(array, "shape"), name, "an array", array)
    shape, target = tuple(array.shape), tuple(other.shape)
    fits = len(shape) <= len(target) and all(
        size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(target), strict=False)
    )
    require(fits, name, f"broadcastable to the shape of {other_name}, {target}", shape)


def batch(targets: np.ndarray | None, sample_weight: np.ndarray | None, *, ignore_index: int, **options: Any) -> None:
    """ValueError, naming values, if targets, or the weights of rows that are not ignored, are invalid."""
    are_targets(targets, ignore_index=ignore_index, **options)
    if targets is not None and sample_weight is not None:  # without targets, any row may be ignored
        counted = targets != ignore_index
        weights(sample_weight, where=counted.any(axis=tuple(range(1, counted.ndim))))


def are_targets(
    values: np.ndarray | None,
    *,
    num_classes: int,
    ignore_index: int | None,
    multilabel: bool,
    where: np.ndarray | None = None,
) -> None:
    """ValueError, naming values, if one is not a target of a loss with these options; `where` as for `all_within`."""
    if values is None:
        return
    at_least("num_classes", num_classes, 1)
    if ignore_index is not None:
        index("ignore_index", ignore_index)
    if multilabel or num_classes == 1:
        labels(values, ignore_index=ignore_index, where=where)
    else:
        class_ids(values, num_classes, ignore_index=ignore_index, where=where)


def class_ids(values: np.ndarray | None, num_classes: int, **exempt: Any) -> bool:
    """ValueError, naming values, if an id is not in [0, num_classes); keywords and result as for `all_within`."""
    if values is None:  # under `torch.compile`, the number of classes may be symbolic and cannot be printed
        return False
    rule = f"class ids in [0, {num_classes})"
    return all_within("targets", values, lambda x: (x >= 0) & (x < num_classes), rule, whole=True, **exempt)


def labels(values: np.ndarray | None, **exempt: Any) -> None:
    """ValueError, naming values, if a target is neither 0 nor 1; keywords as for `all_within`."""
    hint = " (for labels of -1 and 1 pass targets > 0)" if values is not None and np.isin(values, (-1, 1)).all() else ""
    all_within("targets", values, lambda x: (x >= 0) & (x <= 1), f"0 or 1{hint}", whole=True, **exempt)


def probabilities(values: np.ndarray | None, *, name: str = "targets", **exempt: Any) -> None:
    """ValueError, naming values, if one is not in [0, 1]; keywords as for `all_within`."""
    all_within(name, values, lambda x: (x >= 0) & (x <= 1), "in [0, 1]", **exempt)


def weights(values: np.ndarray | None, *, name: str = "sample_weight", where: np.ndarray | None = None) -> None:
    """ValueError, naming values, if a weight is negative or not finite; `where` as for `all_within`.

    A weight for several entries of `where`, such as one per row, is checked if any of them is True.
    """
    all_within(name, values, lambda x: (x >= 0) & (x < math.inf), "finite and >= 0", where=where)


def positive_values(values: np.ndarray | None, *, name: str, below: float = math.inf) -> None:
    """ValueError, naming values, if one is not in (0, below)."""
    rule = "finite and > 0" if below == math.inf else f"in (0, {below:g})"
    all_within(name, values, lambda x: (x > 0) & (x < below), rule)


def counts(values: np.ndarray | None) -> None:
    """ValueError, naming values, if a count is negative or not finite, or if all of a non-empty array are 0."""
    weights(values, name="counts")
    if values is not None and values.size > 0:
        require(bool(values.any()), "counts", "greater than 0 for some class", values.tolist())


def all_within(
    name: str,
    values: np.ndarray | None,
    holds: Callable[[Any], Any],
    rule: str,
    *,
    whole: bool = False,
    ignore_index: int | None = None,
    where: np.ndarray | None = None,
) -> bool:
    """ValueError, naming values, if one outside an interval is neither the `ignore_index` nor masked; None passes.

    `holds` tells elementwise whether numbers lie in the interval, and `rule` is its name; with `whole`, fractions lie
    outside. `where`, bool, are the entries to check, in the shape of `values` or one with more axes.

    Returns:
        Whether all values, including ignored and masked ones, are known to lie in the interval.
    """
    if values is None:
        return False
    if values.dtype.kind not in "biuf":  # bfloat16
        values = values.astype(np.float32)
    whole = whole and values.dtype.kind == "f"
    if values.size == 0:
        return True
    if holds(values.min()) and holds(values.max()) and not (whole and (values != np.round(values)).any()):
        return True  # two passes without a temporary array, for the usual case
    is_bad = ~holds(values)
    if whole:
        is_bad |= values != np.round(values)
    if ignore_index is not None:
        is_bad &= values != ignore_index
        rule = f"{rule} or the ignore_index {ignore_index}"
    if where is not None and (is_seen := _reduced(where, values.shape)) is not None:
        is_bad &= is_seen
    if is_bad.any():
        found = np.unique(values[is_bad])
        shown = ", ".join(map(str, found[:5].tolist())) + (", ..." if len(found) > 5 else "")
        raise ValueError(f"{name} must be {rule}, got {shown}")
    return False


def _reduced(where: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """`where` reduced to `shape` by any; None if the shapes do not fit."""
    if where.ndim > len(shape) == 1 and where.shape[:1] == shape:
        return np.asarray(where.reshape(len(where), -1).any(axis=1))
    if where.ndim != len(shape) or any(size not in (1, wide) for size, wide in zip(shape, where.shape, strict=True)):
        return None
    wide = tuple(axis for axis, size in enumerate(shape) if size == 1 < where.shape[axis])
    return np.asarray(where.any(axis=wide, keepdims=True))

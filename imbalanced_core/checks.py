"""Checks that need no array values, so they cost nothing in a compiled function. One wording for every error:
``{name} must be {rule}, got {value}``.

A 0-d array stands for a number that is only known at run time; its value is not looked at.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from imbalanced_core.ops.namespace import Array, array_namespace


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raises the ValueError `{name} must be {rule}, got {value}` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def one_of(name: str, value: object, options: Sequence[object]) -> None:
    """The value is one of the options."""
    require(value in options, name, "one of " + ", ".join(map(repr, options)), value)


def positive(name: str, value: Array) -> None:
    """The number is finite and > 0."""
    _number(name, value, lambda x: 0 < x < math.inf, "a finite number > 0")


def non_negative(name: str, value: Array) -> None:
    """The number is finite and >= 0."""
    _number(name, value, lambda x: 0 <= x < math.inf, "a finite number >= 0")


def in_unit_interval(name: str, value: Array) -> None:
    """The number lies in [0, 1]."""
    _number(name, value, lambda x: 0 <= x <= 1, "a number in [0, 1]")


def at_least(name: str, value: object, least: int) -> None:
    """The value is an integer that is no smaller than `least`."""
    require(_is_integer(value) and value >= least, name, f"an integer >= {least}", value)  # type: ignore[operator]


def index(name: str, value: object) -> None:
    """The value is an integer that any class id can be compared with."""
    fits = _is_integer(value) and -(2**31) <= value < 2**31  # type: ignore[operator]
    require(fits, name, "an integer of 32 bits", value)


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _number(name: str, value: Array, holds: Callable[[float], bool], rule: str) -> None:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        require(holds(float(value)), name, rule, value)
    else:
        shape = getattr(value, "shape", None)
        require(shape is not None and len(shape) == 0, name, rule + " or a 0-d array", value)


def floating(name: str, array: Array) -> None:
    """TypeError unless the array has a floating-point dtype."""
    if not array_namespace(array).isdtype(array.dtype, "real floating"):
        raise TypeError(f"{name} must be a floating-point array, got dtype {array.dtype}")


def real(name: str, array: Array) -> None:
    """TypeError unless the array holds bools, integers or floating-point numbers."""
    if not array_namespace(array).isdtype(array.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{name} must be an array of bools, integers or floats, got dtype {array.dtype}")


def same_shape(name: str, array: Array, other_name: str, other: Array) -> None:
    """ValueError unless both arrays have one shape: broadcasting here would hide a mistake."""
    rule = f"of the same shape as {other_name}, {tuple(other.shape)}"
    require(tuple(array.shape) == tuple(other.shape), name, rule, tuple(array.shape))


def shaped(name: str, array: Array, shape: tuple[int, ...], meaning: str) -> None:
    """ValueError unless the array has exactly this shape; `meaning` names it, such as "[rows]"."""
    require(tuple(array.shape) == shape, name, f"of shape {meaning} = {shape}", tuple(array.shape))


def several_classes(name: str, logits: Array, *, axis: int, instead: str) -> None:
    """ValueError unless there are two classes or more: a softmax over one is 1 and trains nothing."""
    if -logits.ndim <= axis < logits.ndim:
        rule = f"of at least 2 classes on axis {axis} (for one logit use {instead})"
        require(logits.shape[axis] >= 2, name, rule, tuple(logits.shape))


def boolean(name: str, mask: Array | None) -> None:
    """TypeError unless the mask has the bool dtype; None passes."""
    if mask is not None and not array_namespace(mask).isdtype(mask.dtype, "bool"):
        raise TypeError(f"{name} must be a bool array, got dtype {mask.dtype}")


def broadcastable(name: str, array: Array | None, other_name: str, other: Array) -> None:
    """ValueError unless the array broadcasts to the shape of the other; None passes."""
    if array is None:
        return
    shape, target = tuple(array.shape), tuple(other.shape)
    fits = len(shape) <= len(target) and all(
        size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(target), strict=False)
    )
    require(fits, name, f"broadcastable to the shape of {other_name}, {target}", shape)

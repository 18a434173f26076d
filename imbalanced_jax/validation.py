"""Checks that look at array values: done where looking is free, outside transformations and on the CPU.

Elsewhere (in `jit`, `grad`, `vmap`, on an accelerator) the values cannot be seen or would have to be waited for; there
the losses answer bad values with NaN, and `validate_targets` checks on request.
"""

from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbalanced_core import checks
from imbalanced_core.losses import class_balance as class_weights
from imbalanced_core.pool.labels import taking_part


def can_read(array: Any) -> bool:
    """Whether the values can be looked at without cost: a numpy array, or a JAX array on the CPU of this process."""
    if isinstance(array, jax.core.Tracer):
        return False
    if isinstance(array, jax.Array):
        return array.is_fully_addressable and all(device.platform == "cpu" for device in array.devices())
    return isinstance(array, (np.ndarray, np.generic))


def check_arrays(**inputs: Any) -> None:
    """TypeError, naming the argument, if one is no JAX or numpy array of real numbers."""
    for name, value in inputs.items():
        if not isinstance(value, (jax.Array, np.ndarray, np.generic)):
            kind = "None" if value is None else f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{name} must be a JAX or numpy array, got {kind}")
        if not jnp.isdtype(value.dtype, ("bool", "integral", "real floating")):
            raise TypeError(f"{name} must be an array of bools, integers or floats, got dtype {value.dtype}")


def check_optional_arrays(**inputs: Any) -> None:
    """`check_arrays` of those that are not None."""
    check_arrays(**{name: value for name, value in inputs.items() if value is not None})


def check_static(**options: Any) -> None:
    """ValueError, naming the option, if one is an array or otherwise cannot be part of what is compiled."""
    for name, value in options.items():
        is_fixed = isinstance(value, Hashable) and not isinstance(value, (jax.Array, np.ndarray))
        checks.require(is_fixed, name, "a Python value, fixed when compiled", value)


def as_floats(name: str, numbers: Any) -> jax.Array:
    """The floats of an array, a number or a sequence of numbers; TypeError, naming the argument, for anything else."""
    array = numbers if isinstance(numbers, (jax.Array, np.ndarray)) else np.asarray(numbers)
    check_arrays(**{name: array})
    return jnp.asarray(class_weights.as_floats(array))  # floats first: JAX would cut large numpy integers to 32 bits


def number(value: Any) -> Any:
    """A 0-d array that can be read as a Python number; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and can_read(value) else value


def check_class_ids(
    targets: Any, *, num_classes: int, ignore_index: int | None = None, where: Any = None, name: str = "targets"
) -> None:
    """ValueError, naming values, if a readable id is neither in [0, num_classes) nor `ignore_index`."""
    if can_read(targets):
        _class_ids(np.asarray(targets), num_classes, ignore_index, where, name)


def check_binary_targets(targets: Any, *, ignore_index: int | None = None, where: Any = None) -> None:
    """ValueError, naming values, if a readable target is neither 0, 1 nor `ignore_index`."""
    if can_read(targets):
        _binary(np.asarray(targets), ignore_index, where)


def check_unit_targets(
    targets: Any, *, ignore_index: int | None = None, where: Any = None, name: str = "targets"
) -> None:
    """ValueError, naming values, if a readable target is neither in [0, 1] nor `ignore_index`."""
    if can_read(targets):
        values = np.asarray(targets)
        _refuse(values, ~((values >= 0) & (values <= 1)), ignore_index, where, name, "in [0, 1]")


def check_weights(weights: Any, *, where: Any = None, name: str = "sample_weight") -> None:
    """ValueError, naming values, if a readable weight is negative or not finite, at an entry where `where` holds.

    A weight per row, of which `where` has several entries, counts if one of them does.
    """
    if weights is not None and can_read(weights):
        values = np.asarray(weights)
        if where is not None and can_read(where) and values.ndim == 1 < where.ndim and len(values) == len(where):
            where = np.asarray(where).reshape(len(where), -1).any(axis=1)
        elif where is not None and can_read(where) and values.ndim == where.ndim:
            broadcast = tuple(i for i, size in enumerate(values.shape) if size == 1)
            where = np.asarray(where).any(axis=broadcast, keepdims=True)
        _refuse(values, ~((values >= 0) & (values < np.inf)), None, where, name, "finite and >= 0")


def validate_targets(
    targets: Any, *, num_classes: int, ignore_index: int | None = -100, multilabel: bool = False
) -> None:
    """Checks concrete targets wherever they are, at the price of a transfer. Call it once on a sample of your data.

    Args:
        targets: class ids of any shape, 0 or 1 where `num_classes` is 1; with `multilabel` 0/1 labels of any shape.
        num_classes: the number of classes; 1 is binary.
        ignore_index: the target that marks an ignored entry, or None.
        multilabel: whether targets are 0/1 per class.

    Raises:
        ValueError: naming the values that are no target.
        TypeError: inside `jit` or another transformation, where there are no values to look at, and if `targets` are no
            real numbers.
    """
    if isinstance(targets, jax.core.Tracer):
        raise TypeError("targets must be concrete, got a tracer; call validate_targets outside jit, grad and vmap")
    targets = np.asarray(targets)
    check_arrays(targets=targets)
    checks.at_least("num_classes", num_classes, 1)
    if ignore_index is not None:
        checks.index("ignore_index", ignore_index)
    if multilabel or num_classes == 1:
        _binary(targets, ignore_index, None)
    else:
        _class_ids(targets, num_classes, ignore_index, None, "targets")


def _class_ids(values: np.ndarray, num_classes: int, ignore_index: int | None, where: Any, name: str) -> None:
    bad = ~((values >= 0) & (values < num_classes) & (values == np.round(values)))
    _refuse(values, bad, ignore_index, where, name, f"class ids in [0, {num_classes})")


def _binary(values: np.ndarray, ignore_index: int | None, where: Any) -> None:
    _refuse(values, (values != 0) & (values != 1), ignore_index, where, "targets", "0 or 1")


def _refuse(values: np.ndarray, bad: np.ndarray, ignore_index: int | None, where: Any, name: str, rule: str) -> None:
    if not bad.any():
        return
    if ignore_index is not None:
        bad = bad & taking_part(values, ignore_index=ignore_index)
        rule = f"{rule} or the ignore_index {ignore_index}"
    if where is not None and can_read(where) and np.shape(where) == bad.shape:
        bad = bad & np.asarray(where)
    if bad.any():
        found = np.unique(values[bad])
        shown = ", ".join(str(value) for value in found[:5].tolist()) + (", ..." if len(found) > 5 else "")
        raise ValueError(f"{name} must be {rule}, got {shown}")

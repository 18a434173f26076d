"""Checks that look at array values: done where looking is free, outside transformations and on the CPU.

Elsewhere (in `jit`, `grad`, `vmap`, on an accelerator) the values cannot be seen or would have to be waited for; there
the losses answer bad values with NaN, and `validate_targets` checks on request.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbalanced_core import checks
from imbalanced_core.losses import class_balance


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
    return jnp.asarray(class_balance.as_floats(array))  # floats first: JAX would cut large numpy integers to 32 bits


def number(value: Any) -> Any:
    """A 0-d array that can be read as a Python number; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and can_read(value) else value


def check_class_ids(
    targets: Any, *, num_classes: int, ignore_index: int | None = None, where: Any = None, name: str = "targets"
) -> None:
    """ValueError, naming values, if a readable id is neither in [0, num_classes) nor `ignore_index`."""
    if can_read(targets):
        checks.class_ids(np.asarray(targets), num_classes, name=name, ignore_index=ignore_index, where=_read(where))


def check_binary_targets(targets: Any, *, ignore_index: int | None = None, where: Any = None) -> None:
    """ValueError, naming values, if a readable target is neither 0, 1 nor `ignore_index`."""
    if can_read(targets):
        checks.labels(np.asarray(targets), ignore_index=ignore_index, where=_read(where))


def check_unit_targets(
    targets: Any, *, ignore_index: int | None = None, where: Any = None, name: str = "targets"
) -> None:
    """ValueError, naming values, if a readable target is neither in [0, 1] nor `ignore_index`."""
    if can_read(targets):
        checks.probabilities(np.asarray(targets), ignore_index=ignore_index, where=_read(where), name=name)


def check_weights(weights: Any, *, where: Any = None, name: str = "sample_weight") -> None:
    """ValueError, naming values, if a readable weight is negative or not finite, at an entry where `where` holds."""
    if weights is not None and can_read(weights):
        checks.weights(np.asarray(weights), name=name, where=_read(where))


def check_positive(numbers: Any, *, name: str, below: float = math.inf) -> None:
    """ValueError, naming values, if a readable number is not in (0, below)."""
    if can_read(numbers):
        checks.positive_values(np.asarray(numbers), name=name, below=below)


def check_counts(counts: Any) -> None:
    """ValueError, naming values, if a readable count is negative or not finite, or all are 0."""
    if can_read(counts):
        checks.counts(np.asarray(counts))


def positive_weight(alpha: Any) -> Any:
    """α of the sigmoid focal loss: a number, an array [C], or None for no weights, which −1 means as well."""
    if alpha is None or (isinstance(alpha, (int, float)) and alpha == -1):
        return None
    if isinstance(alpha, str) or (not isinstance(alpha, Sequence) and getattr(alpha, "ndim", 0) == 0):
        checks.in_unit_interval("alpha", number(alpha))
        return alpha
    alpha = as_floats("alpha", alpha)
    checks.require(alpha.ndim == 1, "alpha", "a number or one weight per label, [C]", alpha.shape)
    check_unit_targets(alpha, name="alpha")
    return alpha


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
    checks.targets(targets, num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel)


def _read(where: Any) -> np.ndarray | None:
    return np.asarray(where) if where is not None and can_read(where) else None

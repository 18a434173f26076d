"""Checks that look at array values: done where looking is free, outside transformations and on the CPU.

Elsewhere (in `jit`, `grad`, `vmap`, on an accelerator) the values cannot be seen or would have to be waited for; there
the losses answer bad values with NaN, and `validate_targets` checks on request.
"""

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


def readable(array: Any) -> np.ndarray | None:
    """The values if they can be looked at without cost, else None, which the checks of `imbalanced_core` pass over.

    In numpy: inside a transformation, JAX traces even what it computes from concrete arrays.
    """
    return np.asarray(array) if can_read(array) else None


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


def positive_weight(alpha: Any) -> Any:
    """α of the sigmoid focal loss: a number, an array [C], or None for no weights, which −1 means as well."""
    if alpha is None or (isinstance(alpha, (int, float)) and alpha == -1):
        return None
    if isinstance(alpha, str) or (not isinstance(alpha, Sequence) and getattr(alpha, "ndim", 0) == 0):
        checks.in_unit_interval("alpha", number(alpha))
        return alpha
    alpha = as_floats("alpha", alpha)
    checks.require(alpha.ndim == 1, "alpha", "a number or one weight per label, [C]", alpha.shape)
    checks.probabilities(readable(alpha), name="alpha")
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
    checks.are_targets(targets, num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel)

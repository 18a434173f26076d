"""Checks of array values, done where reading them is free: outside transformations and on the CPU.

Elsewhere (in `jit`, `grad`, `vmap`, on an accelerator) the values cannot be read, or not without a sync; there invalid
values make the losses NaN, and `validate_targets` checks on request.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from imbalanced_core import checks
from imbalanced_core.losses import class_balance

_OPTIONAL = ("where", "sample_weight", "iid_mask")  # arguments of every loss that may be None


def can_read(array: Any) -> bool:
    """Whether the values can be read without cost: a numpy array, or a JAX array on the CPU of this process."""
    if isinstance(array, jax.core.Tracer):
        return False
    if isinstance(array, Array):
        return array.is_fully_addressable and all(device.platform == "cpu" for device in array.devices())
    return isinstance(array, (np.ndarray, np.generic))


def readable(array: Any) -> np.ndarray | None:
    """The values if they can be read without cost, else None, which the checks of `imbalanced_core` skip.

    As numpy: inside a transformation JAX traces even computations on concrete arrays.
    """
    return np.asarray(array) if can_read(array) else None


def check_arrays(**inputs: Any) -> None:
    """Raises a TypeError, naming the argument, if one is not an array of real numbers, or None where optional."""
    for name, value in inputs.items():
        if value is None and name in _OPTIONAL:
            continue
        if not isinstance(value, (Array, np.ndarray, np.generic)):
            kind = "None" if value is None else f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{name} must be a JAX or numpy array, got {kind}")
        is_key = jnp.issubdtype(value.dtype, jax.dtypes.extended)
        if is_key or not jnp.isdtype(value.dtype, ("bool", "integral", "real floating")):
            raise TypeError(f"{name} must be an array of bools, integers or floats, got dtype {value.dtype}")


def check_key(key: Any) -> None:
    """Raises a TypeError unless it is an array; JAX checks the dtype and shape of a key."""
    if not isinstance(key, (Array, np.ndarray)):
        raise TypeError(f"key must be an array of jax.random.key, got {key!r}")


def check_static(**options: Any) -> None:
    """Raises a ValueError, naming the option, if one is an array or not hashable, so cannot be static under jit."""
    for name, value in options.items():
        is_fixed = isinstance(value, Hashable) and not isinstance(value, (Array, np.ndarray))
        checks.require(is_fixed, name, "a Python value, fixed when compiled", value)


def as_floats(name: str, numbers: Any, check: Callable[..., Any] | None = None) -> Array:
    """Floats from an array, number or sequence of numbers; anything else is a TypeError naming the argument.

    `check(values, name=name)` checks readable ones.
    """
    array = numbers if isinstance(numbers, (Array, np.ndarray)) else np.asarray(numbers)
    check_arrays(**{name: array})
    if check is not None:
        check(readable(array), name=name)
    return jnp.asarray(class_balance.as_floats(array))  # floats first: JAX would cut large numpy integers to 32 bits


def number(value: Any) -> Any:
    """A readable 0-d array as a Python number; anything else unchanged."""
    return value.item() if getattr(value, "shape", None) == () and can_read(value) else value


def holds_numbers(value: Any) -> bool:
    """Whether it is an array or sequence, not a number."""
    is_array = isinstance(value, (Sequence, Array, np.ndarray)) and not isinstance(value, str)
    return is_array and bool(getattr(value, "ndim", True))


def validate_targets(
    targets: Any, *, num_classes: int, ignore_index: int | None = -100, multilabel: bool = False
) -> None:
    """Checks concrete targets on any device, at the cost of a transfer. Call it once on a sample of your data.

    `targets` are class ids of any shape, 0 or 1 where `num_classes` is 1; with `multilabel` 0/1 labels of any shape.
    `ignore_index` marks an ignored entry; None for none. A ValueError names invalid values, and is
    raised for an array over several processes; a TypeError is raised inside `jit` or another transformation, and if
    `targets` are not real numbers.
    """
    if isinstance(targets, jax.core.Tracer):
        raise TypeError("targets must be concrete, got a tracer; call validate_targets outside jit, grad and vmap")
    if isinstance(targets, Array) and not targets.is_fully_addressable:
        rule = "in this process: pass [shard.data for shard in targets.addressable_shards] one by one"
        raise ValueError(f"targets must be {rule}, got an array over several processes")
    targets = np.asarray(targets)
    check_arrays(targets=targets)
    checks.are_targets(targets, num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel)

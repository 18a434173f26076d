"""Checks of tensor values, done where reading them is free: in eager mode on the CPU.

Elsewhere (in `torch.compile`, `vmap` and `torch.func` transforms, on an accelerator) reading values would break the
graph or sync with the device; there invalid values make the losses NaN, and `validate_targets` checks on request.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.ops.on_torch.order import readable, values_of
from imbalanced_core.ops.on_torch.pieces import is_eager_cpu as can_read

_OPTIONAL = ("where", "sample_weight", "iid_mask")  # arguments of every loss that may be None


def check_tensors(**inputs: Any) -> None:
    """Raises a TypeError, naming the argument, if one is not a dense tensor of real numbers, or None where optional."""
    for name, value in inputs.items():
        if value is None and name in _OPTIONAL:
            continue
        if not isinstance(value, Tensor):
            kind = "None" if value is None else f"{type(value).__module__}.{type(value).__name__}"
            hint = f"; pass torch.as_tensor({name})" if isinstance(value, (np.ndarray, list)) else ""
            raise TypeError(f"{name} must be a torch.Tensor, got {kind}{hint}")
        if value.layout is not torch.strided:
            raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}; call {name}.to_dense()")
        checks.real(name, value)


def refuse_sharded(**inputs: Any) -> None:
    """Raises a TypeError if one is a DTensor: the losses exchange the rows of ranks themselves."""
    for name, value in inputs.items():
        if hasattr(value, "full_tensor"):
            raise TypeError(f"{name} must be an ordinary tensor, got a DTensor; call {name}.full_tensor()")


def as_tensor(name: str, numbers: Any, check: Callable[..., Any] | None = None) -> Tensor:
    """A tensor from a tensor, number or sequence of numbers; anything else is a TypeError naming the argument.

    `check(values, name=name)` checks readable ones.
    """
    try:
        tensor = torch.as_tensor(numbers)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a tensor, a number or a sequence of numbers, got {numbers!r}") from error
    check_tensors(**{name: tensor})
    if check is not None:
        check(readable(tensor), name=name)
    return tensor


def holds_numbers(value: Any) -> bool:
    """Whether it is an array or sequence, not a number."""
    is_array = isinstance(value, (Sequence, np.ndarray, Tensor)) and not isinstance(value, str)
    return is_array and bool(getattr(value, "ndim", True))


def numbers_per_class(name: str, numbers: Any, rule: str, check: Callable[..., Any]) -> Tensor:
    """A floating-point copy of the numbers as a tensor [C]; `check(values, name=name)` checks them."""
    with torch.device("cpu") if torch.get_default_device().type == "meta" else contextlib.nullcontext():
        tensor = as_tensor(name, numbers, check).detach().clone()
    checks.require(tensor.ndim == 1, name, rule, numbers)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def number(value: Any) -> Any:
    """A readable 0-d tensor as a Python number; anything else unchanged."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 and can_read(value) else value


def validate_targets(
    targets: Tensor, *, num_classes: int, ignore_index: int | None = -100, multilabel: bool = False
) -> None:
    """Checks targets on any device, at the cost of a host sync. Call it once on a sample of your data.

    `targets` are class ids of any shape, 0 or 1 where `num_classes` is 1; with `multilabel` 0/1 labels of any shape.
    `ignore_index` marks an ignored entry; None for none. A ValueError names invalid values; a TypeError is raised if
    `targets` is not a tensor of real numbers.
    """
    check_tensors(targets=targets)
    checks.are_targets(values_of(targets), num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel)

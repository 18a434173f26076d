"""Checks that look at tensor values: done where looking is free, in eager mode on the CPU.

Elsewhere (in `torch.compile`, `vmap` and `torch.func` transforms, on an accelerator) a look would break the graph or
wait for the device; there the losses answer bad values with NaN, and `validate_targets` checks on request.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbalanced_core import checks


def can_read(tensor: Tensor) -> bool:
    """Whether the values can be looked at without cost: eager mode, on the CPU, outside function transforms."""
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def check_tensors(**inputs: Any) -> None:
    """TypeError, naming the argument, if one is no dense tensor of real numbers."""
    for name, value in inputs.items():
        if not isinstance(value, Tensor):
            kind = "None" if value is None else f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{name} must be a torch.Tensor, got {kind}")
        if value.layout is not torch.strided:
            raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}; call {name}.to_dense()")
        checks.real(name, value)


def check_optional_tensors(**inputs: Any) -> None:
    """`check_tensors` of those that are not None."""
    check_tensors(**{name: value for name, value in inputs.items() if value is not None})


def as_tensor(name: str, numbers: Any) -> Tensor:
    """A tensor, or the tensor of a sequence of numbers; TypeError, naming the argument, for anything else."""
    try:
        tensor = torch.as_tensor(numbers)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a tensor, a number or a sequence of numbers, got {numbers!r}") from error
    check_tensors(**{name: tensor})
    return tensor


def number(value: Any) -> Any:
    """A 0-d tensor that can be read as a Python number; anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 and can_read(value) else value


def check_class_ids(
    targets: Tensor, *, num_classes: int, ignore_index: int | None = None, where: Tensor | None = None
) -> bool:
    """ValueError, naming values, if a readable id is neither in [0, num_classes) nor `ignore_index`.

    Returns:
        Whether all ids were seen to be classes other than `ignore_index`.
    """
    if not can_read(targets):
        return False
    are_classes = checks.class_ids(_values(targets), num_classes, ignore_index=ignore_index, where=_read(where))
    return are_classes and not (ignore_index is not None and 0 <= ignore_index < num_classes)


def check_binary_targets(targets: Tensor, *, ignore_index: int | None = None) -> None:
    """ValueError, naming values, if a readable target is neither 0, 1 nor `ignore_index`."""
    if can_read(targets):
        checks.labels(_values(targets), ignore_index=ignore_index)


def check_unit_targets(
    targets: Tensor, *, ignore_index: int | None = None, where: Tensor | None = None, name: str = "targets"
) -> None:
    """ValueError, naming values, if a readable target is neither in [0, 1] nor `ignore_index`."""
    if can_read(targets):
        checks.probabilities(_values(targets), name=name, ignore_index=ignore_index, where=_read(where))


def check_weights(weights: Tensor | None, *, where: Tensor | None = None, name: str = "sample_weight") -> None:
    """ValueError, naming values, if a readable weight is negative or not finite, at an entry where `where` holds."""
    if weights is not None and can_read(weights):
        checks.weights(_values(weights), name=name, where=_read(where))


def check_positive(numbers: Tensor, *, name: str, below: float = math.inf) -> None:
    """ValueError, naming values, if a readable number is not in (0, below)."""
    if can_read(numbers):
        checks.positive_values(_values(numbers), name=name, below=below)


def check_counts(counts: Tensor) -> None:
    """ValueError, naming values, if a readable count is negative or not finite, or all are 0."""
    if can_read(counts):
        checks.counts(_values(counts))


def validate_targets(
    targets: Tensor, *, num_classes: int, ignore_index: int | None = -100, multilabel: bool = False
) -> None:
    """Checks targets wherever they are, at the price of a wait for the device. Call it once on a sample of your data.

    Args:
        targets: class ids of any shape, 0 or 1 where `num_classes` is 1; with `multilabel` 0/1 labels of any shape.
        num_classes: the number of classes; 1 is binary.
        ignore_index: the target that marks an ignored entry, or None.
        multilabel: whether targets are 0/1 per class.

    Raises:
        ValueError: naming the values that are no target.
        TypeError: if `targets` is no tensor of real numbers.
    """
    check_tensors(targets=targets)
    checks.targets(_values(targets), num_classes=num_classes, ignore_index=ignore_index, multilabel=multilabel)


def _values(tensor: Tensor) -> np.ndarray:
    """The values, of a tensor on the CPU without a copy; bfloat16, which numpy lacks, as float32."""
    with torch._C._DisableFuncTorch():  # inside `grad` or `vmap` even `detach` returns a tensor without storage
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)


def _read(where: Tensor | None) -> np.ndarray | None:
    return _values(where) if where is not None and can_read(where) else None

"""Checks that look at tensor values: done where looking is free, in eager mode on the CPU.

Elsewhere (in `torch.compile`, `vmap` and `torch.func` transforms, on an accelerator) a look would break the graph or
wait for the device; there the losses answer bad values with NaN, and `validate_targets` checks on request.
"""

from typing import Any

import torch
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.pool.labels import taking_part


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
            raise TypeError(f"{name} must be a torch.Tensor, got {_kind(value)}")
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


def _kind(value: Any) -> str:
    return "None" if value is None else f"{type(value).__module__}.{type(value).__name__}"


def check_class_ids(targets: Tensor, *, num_classes: int, ignore_index: int | None = None) -> bool:
    """ValueError, naming values, if a readable id is neither in [0, num_classes) nor `ignore_index`.

    Returns:
        Whether all ids were seen to be classes other than `ignore_index`.
    """
    if not can_read(targets):
        return False
    are_classes = _class_ids(_comparable(targets), num_classes, ignore_index)
    return are_classes and not (ignore_index is not None and 0 <= ignore_index < num_classes)


def check_binary_targets(targets: Tensor, *, ignore_index: int | None = None) -> None:
    """ValueError, naming values, if a readable target is neither 0, 1 nor `ignore_index`."""
    if can_read(targets):
        _binary(_comparable(targets), ignore_index)


def check_unit_targets(targets: Tensor, *, ignore_index: int | None = None, name: str = "targets") -> None:
    """ValueError, naming values, if a readable target is neither in [0, 1] nor `ignore_index`."""
    targets = _comparable(targets)
    if can_read(targets) and not _all_between(targets, 0, 1):
        _refuse(targets, ~_between(targets, 0, 1), ignore_index, name, "in [0, 1]")


def check_weights(weights: Tensor | None, *, where: Tensor | None = None, name: str = "sample_weight") -> None:
    """ValueError, naming values, if a readable weight is negative or not finite, at an entry where `where` holds.

    A weight per row, of which `where` has several entries, counts if one of them does.
    """
    if weights is None or not can_read(weights):
        return
    weights = _comparable(weights)
    bad = ~((weights >= 0) & torch.isfinite(weights))
    if where is not None and can_read(where) and weights.ndim == 1 < where.ndim and len(weights) == len(where):
        where = where.flatten(1).any(dim=1)
    elif where is not None and where.ndim == weights.ndim:
        for axis in (i for i, size in enumerate(weights.shape) if size == 1):
            where = where.any(dim=axis, keepdim=True)
    if where is not None and where.shape == weights.shape and can_read(where):
        bad &= where
    _refuse(weights, bad, None, name, "finite and >= 0")


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
    checks.at_least("num_classes", num_classes, 1)
    if ignore_index is not None:
        checks.index("ignore_index", ignore_index)
    targets = _comparable(targets)
    if multilabel or num_classes == 1:
        _binary(targets, ignore_index)
    else:
        _class_ids(targets, num_classes, ignore_index)


def _class_ids(targets: Tensor, num_classes: int, ignore_index: int | None) -> bool:
    """Whether all ids are in [0, num_classes); ValueError if one is not and is not `ignore_index` either."""
    whole = targets == targets.round() if targets.is_floating_point() else None
    if (whole is None or bool(whole.all())) and _all_between(targets, 0, num_classes - 1):
        return True
    bad = ~_between(targets, 0, num_classes - 1)
    _refuse(targets, bad if whole is None else bad | ~whole, ignore_index, "targets", _ids(num_classes))
    return False


def _ids(num_classes: int) -> str:
    return f"class ids in [0, {num_classes})"


def _binary(targets: Tensor, ignore_index: int | None) -> None:
    _refuse(targets, (targets != 0) & (targets != 1), ignore_index, "targets", "0 or 1")


def _comparable(values: Tensor) -> Tensor:
    """The larger unsigned types, which torch can store but not compare, as int64."""
    return values.to(torch.int64) if values.dtype in (torch.uint16, torch.uint32, torch.uint64) else values


def _all_between(values: Tensor, least: int, greatest: int) -> bool:
    """One pass for the usual case, that nothing is wrong and nothing is ignored."""
    if values.numel() == 0:
        return True
    low, high = values.aminmax()
    return bool(low >= least) and bool(high <= greatest)


def _between(values: Tensor, least: int, greatest: int) -> Tensor:
    return (values >= least) & (values <= greatest)


def _refuse(values: Tensor, bad: Tensor, ignore_index: int | None, name: str, rule: str) -> None:
    if ignore_index is not None:
        bad = torch.logical_and(bad, taking_part(values, ignore_index=ignore_index))
        rule = f"{rule} or the ignore_index {ignore_index}"
    if bad.any():
        found = torch.unique(values.detach()[bad])
        shown = ", ".join(str(value) for value in found[:5].tolist()) + (", ..." if len(found) > 5 else "")
        raise ValueError(f"{name} must be {rule}, got {shown}")

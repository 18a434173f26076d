"""Helpers for wrapping losses: what a loss accepts, and the form of what it returns."""

import inspect
import operator
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imbalanced_core import checks, ops
from imbalanced_core.pool.step import Diagnostics
from imbalanced_torch._pointwise import LabelLoss
from imbalanced_torch.validation import readable


def whole_number(name: str, value: Any, *, least: int = 0) -> int:
    """The value as an int; numpy integers and 0-d integer tensors are accepted."""
    if not isinstance(value, (bool, float)) and hasattr(value, "__index__"):
        value = operator.index(value)
    checks.at_least(name, value, least)
    return value


def warn_unless_it_has(loss: Any, attribute: str, option: str) -> bool:
    """Whether the loss has the attribute; if not, warns that the wrapper's option has no effect."""
    if not hasattr(loss, attribute):
        warnings.warn(f"{option} has no effect: {name_of(loss)} has no `{attribute}`", stacklevel=3)
    return hasattr(loss, attribute)


def name_of(loss: Any) -> str:
    """The name of a function or of a module's class."""
    return getattr(loss, "__name__", type(loss).__name__)


def takes(loss: Any, keyword: str) -> bool:
    """Whether the loss accepts a keyword."""
    loss = getattr(loss, "_orig_mod", loss)  # the signature of a compiled module accepts every keyword
    parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def reset(loss: Any) -> None:
    """Prepares a ranking loss for a new run; of another loss, empties the queue if it has one."""
    if hasattr(loss, "gated"):
        loss.reset()
    else:
        reset_queue(loss)


def reset_queue(loss: Any) -> None:
    """Empties the queue of a loss that has one."""
    if hasattr(loss, "reset_queue"):
        loss.reset_queue()


def targets_for(loss: Any, logits: Any, targets: Any) -> Any:
    """Converts targets of a ranking loss to the shape and dtype that a pointwise loss of torch requires.

    For losses of independent labels, [N] and [N, 1] are reshaped to the shape of the logits; for binary cross entropy
    integers and bools also become floats. For other losses the targets are returned unchanged. An ambiguous conversion
    is a ValueError that names the remedy.
    """
    loss = getattr(loss, "_orig_mod", loss)
    loss = getattr(loss, "func", loss)  # of a functools.partial
    if not isinstance(logits, Tensor) or not isinstance(targets, Tensor):
        return targets
    if loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss):
        _check_cross_entropy(name_of(loss), logits, targets)
        return targets
    is_bce = loss is F.binary_cross_entropy_with_logits or isinstance(loss, nn.BCEWithLogitsLoss)
    if not is_bce and not isinstance(loss, LabelLoss):
        return targets
    if (*targets.shape, 1) == logits.shape or targets.shape == (*logits.shape, 1):
        targets = targets.reshape(logits.shape)
    rule = (
        f"of the shape of the logits, {tuple(logits.shape)}, for {name_of(loss)} (class ids go with CrossEntropyLoss)"
    )
    checks.require(targets.shape == logits.shape, "targets", rule, tuple(targets.shape))
    if not is_bce:
        return targets
    # a value out of range, such as a missing label, raises or becomes NaN
    check = checks.probabilities if targets.is_floating_point() else checks.labels
    check(readable(targets))
    labels = targets.to(logits.dtype)
    return torch.where((labels >= 0) & (labels <= 1), labels, torch.nan)


def _check_cross_entropy(name: str, logits: Tensor, targets: Tensor) -> None:
    """Raises a ValueError if torch's cross entropy would fail or have no gradient (one class: softmax is always 1)."""
    rule = f"of shape [N, C, *] for {name} (for one logit use BCEWithLogitsLoss)"
    checks.require(logits.ndim >= 2, "logits", rule, tuple(logits.shape))
    checks.several_classes("logits", logits, axis=1, instead="BCEWithLogitsLoss")
    if targets.is_floating_point() and targets.shape == logits.shape:
        return  # probabilities
    shape = (logits.shape[0], *logits.shape[2:])
    rule = f"class ids of shape {shape} for {name} with logits {tuple(logits.shape)} (such as targets.squeeze(1))"
    checks.require(targets.shape == shape, "targets", rule, tuple(targets.shape))
    is_id = targets.dtype == torch.int64 or (targets.dtype == torch.uint8 and logits.ndim == 2)
    checks.require(is_id, "targets", f"class ids of dtype int64 for {name} (pass targets.long())", targets.dtype)


def with_absent_extras(main_loss: Any, loss: Tensor, logits: Any, keywords: dict[str, Any]) -> Any:
    """The loss, with NaN and False for the requested extras of a main loss that this step did not compute.

    TypeError if the main loss will not accept a keyword.
    """
    if keywords and not torch.compiler.is_compiling():
        for name in keywords:
            if not takes(main_loss, name):
                raise TypeError(f"{name_of(main_loss)} got an unexpected keyword argument {name!r}")
    requested = [name for name in ("return_per_class", "return_diagnostics") if keywords.get(name)]
    if not requested:
        return loss
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    rule = f"a tensor [N, C] for {requested[0]} while the main loss is not computed"
    checks.require(isinstance(logits, Tensor) and logits.ndim == 2, "logits", rule, shape)
    absent = ops.widen(logits.detach().new_full(logits.shape[-1:], torch.nan))
    extras: tuple = (absent, torch.zeros_like(absent, dtype=torch.bool)) if requested[0] == "return_per_class" else ()
    extras += (dict.fromkeys(Diagnostics._fields, absent),) if requested[-1] == "return_diagnostics" else ()
    return (loss, *extras)

"""What a wrapper has to know of the losses inside it: what they take, and what they would have returned."""

import inspect
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imbalanced_core import checks, ops
from imbalanced_core.pool.step import Diagnostics


def whole_number(name: str, value: Any, *, least: int = 0) -> int:
    """The value as an int, which numpy's integers count as too."""
    if not isinstance(value, (bool, float)) and hasattr(value, "__index__"):
        value = operator.index(value)
    checks.at_least(name, value, least)
    return value


def name_of(loss: Any) -> str:
    """The name of a function or of a module's class."""
    return getattr(loss, "__name__", type(loss).__name__)


def takes_sample_weight(loss: Any) -> bool:
    """Whether the loss can be called with the keyword sample_weight."""
    loss = getattr(loss, "_orig_mod", loss)  # a compiled module seems to take every keyword
    parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    return "sample_weight" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def check_several_classes(loss: Any, logits: Tensor) -> None:
    """ValueError if torch's cross entropy would find a single class on dimension 1, or no such dimension.

    The probability of a single class is always 1 and its gradient always 0. [N] without classes is no better: the
    softmax would run over the rows. The losses of this package look by themselves.
    """
    loss = getattr(loss, "_orig_mod", loss)
    loss = getattr(loss, "func", loss)  # of a functools.partial
    if loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss):
        instead = "BCEWithLogitsLoss"
        rule = f"of shape [N, C, *] for {name_of(loss)} (for one logit use {instead})"
        checks.require(logits.ndim >= 2, "logits", rule, tuple(logits.shape))
        checks.several_classes("logits", logits, axis=1, instead=instead)


def with_absent_extras(loss: Tensor, logits: Tensor, keywords: dict[str, Any]) -> Any:
    """The loss with what a ranking loss adds to it on request, for a step in which no ranking loss was computed."""
    per_class = ops.widen(logits.detach().new_full(logits.shape[-1:], torch.nan))
    extras: list[Any] = []
    if keywords.get("return_per_class"):
        extras += [per_class, torch.zeros_like(per_class, dtype=torch.bool)]
    if keywords.get("return_diagnostics"):
        extras.append(dict.fromkeys(Diagnostics._fields, per_class))
    return (loss, *extras) if extras else loss

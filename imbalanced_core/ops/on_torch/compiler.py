"""Functions that `torch.compile` had better not look into."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch

_REASON = "long rows are evaluated eagerly on the CPU: their sums would take the compiler minutes"


def outside_compiler(function: Callable, arrays: tuple) -> Any:
    is_cpu = all(x.device.type == "cpu" for x in arrays)
    if not is_cpu or not torch.compiler.is_compiling() or torch.compiler.is_exporting() or _needs_one_graph():
        return function(*arrays)
    return torch.compiler.disable(function, reason=_REASON)(*arrays)


def without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """Autocast would run the matrix products of the core in half precision."""
    if _has_autocast(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


@torch.compiler.assume_constant_result  # the compiler of torch 2.8 cannot trace it
def _has_autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type)


@torch.compiler.assume_constant_result
def _needs_one_graph() -> bool:
    """Whether the code that is being traced must be one graph, `fullgraph=True`; a break would be an error there."""
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        return bool(InstructionTranslator.current_tx().one_graph)
    except (ImportError, AttributeError):  # no public function tells
        return True

"""Functions that `torch.compile` had better not look into."""

import contextlib
from collections.abc import Callable, Iterator
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


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.device.type != "cuda" or a.dtype != torch.float32:
        return a @ b
    if torch.compiler.is_compiling():  # which makes it one loop, and has its own ways to use TF32
        return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(dim=-2)
    with _without_tf32():
        return a @ b


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Whatever the training script allows its model: TF32 would leave 3 of 7 digits of a count."""
    products = torch.backends.cuda.matmul
    name, exact = ("fp32_precision", "ieee") if hasattr(products, "fp32_precision") else ("allow_tf32", False)
    before = getattr(products, name)
    if before in ("none", exact):  # torch 2.8 has no "none"
        yield
        return
    setattr(products, name, exact)
    try:
        yield
    finally:
        setattr(products, name, before)


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

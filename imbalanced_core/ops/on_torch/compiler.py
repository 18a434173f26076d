"""What `torch.compile` does not trace, or traces in another form."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from imbalanced_core.ops.generic import UNTRACED

_OPERATORS = torch.library.Library("imbalanced", "FRAGMENT")
_OPERATORS.define("untraced(str name, Tensor[] arrays, int like) -> Tensor")


@torch.library.register_fake("imbalanced::untraced", lib=_OPERATORS)
def _form(name: str, arrays: list[torch.Tensor], like: int) -> torch.Tensor:
    return arrays[like].new_empty(arrays[like].shape)


@torch.no_grad()
def _evaluate(name: str, arrays: list[torch.Tensor], like: int) -> torch.Tensor:
    with without_autocast("cpu"):
        return UNTRACED[name](*arrays)


_OPERATORS.impl("untraced", _evaluate, "CPU")


def untraced(name: str, arrays: tuple, like: int) -> torch.Tensor:
    return torch.ops.imbalanced.untraced(name, arrays, like)


def prefers_untraced(x: torch.Tensor) -> bool:
    return _is_compiled_for_cpu(x) and not _is_transformed()


def may_leave_compiler(x: torch.Tensor) -> bool:
    """Whether x is being compiled for the CPU, with graph breaks allowed."""
    return _is_compiled_for_cpu(x) and not _needs_one_graph()


def _is_compiled_for_cpu(x: torch.Tensor) -> bool:
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting() and x.device.type == "cpu"


@torch.compiler.assume_constant_result
def _is_transformed() -> bool:
    return torch._C._are_functorch_transforms_active()


@torch.compiler.assume_constant_result
def _is_differentiated_twice() -> bool:
    """Whether `torch.func` nests derivatives here; compiled, torch 2.13 then takes the second of a function for 0."""
    kinds = torch._C._functorch.TransformType
    levels = torch._functorch.pyfunctorch.retrieve_all_functorch_interpreters()
    return sum(level.key() in (kinds.Grad, kinds.Jvp) for level in levels) > 1


def lean_in_eager_mode(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply`; outside the compiler and `torch.func` transforms, that of a copy without `setup_context`.

    The compiler and transforms need it, but with it PyTorch binds the arguments to a signature at every call.
    """

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = function.forward(*inputs)
        function.setup_context(ctx, inputs, output)
        return output

    members = {"forward": forward, "backward": function.backward, "jvp": function.jvp}
    twin: Any = type(function.__name__, (torch.autograd.Function,), {k: staticmethod(f) for k, f in members.items()})

    def apply(*inputs: Any) -> Any:
        if torch.compiler.is_compiling() and _is_differentiated_twice():
            return function.forward(*inputs)
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return function.apply(*inputs)
        return twin.apply(*inputs)

    return apply


@torch.compiler.disable(reason="on the CPU the steps of long rows run eagerly, where they keep more for backward")
def eagerly(function: Callable, *arguments: Any, **options: Any) -> Any:
    return function(*arguments, **options)


def without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """A context without autocast, which would run the core's matrix products in half precision."""
    if _has_autocast(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.device.type != "cuda" or a.dtype != torch.float32:
        return a @ b
    if torch.compiler.is_compiling():  # one fused loop; inductor has its own ways to use TF32
        return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(dim=-2)
    with _without_tf32():
        return a @ b


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """A context without TF32, which would leave 3 of 7 digits of a count, whatever the training script allows."""
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
    """Whether the traced code must be one graph (`fullgraph=True`), where a graph break is an error."""
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        return bool(InstructionTranslator.current_tx().one_graph)
    except (ImportError, AttributeError):  # there is no public API for this
        return True

"""Autograd functions that are cheaper to call in eager mode."""

from collections.abc import Callable
from typing import Any

import torch


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


@torch.compiler.assume_constant_result
def _is_differentiated_twice() -> bool:
    """Whether `torch.func` nests derivatives here; compiled, torch 2.13 then takes the second of a function for 0."""
    kinds = torch._C._functorch.TransformType
    levels = torch._functorch.pyfunctorch.retrieve_all_functorch_interpreters()
    return sum(level.key() in (kinds.Grad, kinds.Jvp) for level in levels) > 1

"""Functions with derivatives by hand, called at less cost where nothing looks into them."""

from collections.abc import Callable
from typing import Any

import torch


def lean_in_eager_mode(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply`; outside the compiler and the transforms of `torch.func` that of a twin without `setup_context`.

    Compiler and transforms need one, but with it PyTorch binds the arguments to a signature at every call.
    """

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = function.forward(*inputs)
        function.setup_context(ctx, inputs, output)
        return output

    members = {"forward": forward, "backward": function.backward, "jvp": function.jvp}
    twin = type(function.__name__, (torch.autograd.Function,), {k: staticmethod(f) for k, f in members.items()})

    def apply(*inputs: Any) -> Any:
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return function.apply(*inputs)
        return twin.apply(*inputs)

    return apply

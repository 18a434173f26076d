"""`clear` and the logistic functions of `ops` on torch tensors, with derivatives of few calls."""

import math
from typing import Any

import torch

from imbalanced_core.ops.on_torch import constants
from imbalanced_core.ops.on_torch.compiler import lean_in_eager_mode
from imbalanced_core.ops.on_torch.order import known_within
from imbalanced_core.ops.on_torch.pieces import is_eager_cpu, may_overwrite

# exp(±x) is neither 0 nor infinite up to here. Beyond, PyTorch takes five times as long on the CPU.
_FAR = {torch.float32: 80.0, torch.float64: 700.0}
# The derivative is 0 beyond this, so that its product with a small cotangent is not subnormal, which is as slow.
_FLAT = {torch.float32: 60.0, torch.float64: 660.0}


def sigmoid(x: torch.Tensor, *, reuse: bool = False, absolute: bool = False) -> torch.Tensor:
    if not may_overwrite(x):
        return torch.sigmoid(x)
    if absolute and is_eager_cpu(x) and x.dtype in _FAR:
        far = _FAR[x.dtype]
        return (x.clamp_(-far, far) if reuse else x.clamp(-far, far)).sigmoid_()
    return x.sigmoid_() if reuse else torch.sigmoid(x)


def times_logistic_derivative(
    x: torch.Tensor, at: torch.Tensor, *, reuse: bool = False, reuse_at: bool = False
) -> torch.Tensor:
    derivative = torch.ops.aten.sigmoid_backward  # at −|at|, where σ is small
    if not may_overwrite(x):
        return derivative(x, torch.sigmoid(torch.copysign(at, -1.0)))
    if is_eager_cpu(x) and x.dtype in _FAR:
        at = (at.abs_() if reuse_at else at.abs()).neg_()
        at = torch.nn.functional.threshold(at, -_FLAT[x.dtype], -math.inf, inplace=True).sigmoid_()
    else:
        at = at.copysign_(-1.0).sigmoid_() if reuse_at else torch.copysign(at, -1.0).sigmoid_()
    return derivative.grad_input(x, at, grad_input=x) if reuse else derivative(x, at)


def _cleared(x: torch.Tensor, where: torch.Tensor, largest: float) -> tuple[torch.Tensor, torch.Tensor]:
    kept = constants.where(where, x, 0.0)
    if torch.compiler.is_compiling():  # which evaluates isnan one by one
        is_nan = kept != kept
        return torch.where(is_nan, 0.0, kept.clamp(-largest, largest)), is_nan.any(dim=-1)
    return kept.clamp(-largest, largest).nan_to_num(nan=0.0), kept.isnan().any(dim=-1)


class _Clear(torch.autograd.Function):
    """`ops.clear`, with a derivative of few calls."""

    forward = staticmethod(_cleared)
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        clean, has_nan = output
        ctx.mark_non_differentiable(has_nan)
        ctx.set_materialize_grads(False)  # of `has_nan`
        kept = inputs[0] == clean  # not where NaN, clipped or masked; but a masked 0 is kept, and has no cotangent
        ctx.save_for_backward(kept)
        ctx.save_for_forward(kept)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor | None, _: None) -> tuple:
        (kept,) = ctx.saved_tensors
        return None if cotangent is None else constants.where(kept, cotangent, 0.0), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, *_: None) -> tuple:
        (kept,) = ctx.saved_tensors
        return constants.where(kept, tangent, 0.0), None


class _Logistic(torch.autograd.Function):
    """`ops.logistic`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return sigmoid(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return times_logistic_derivative(cotangent, x)

    jvp = backward  # the same product


def clear(x: torch.Tensor, where: torch.Tensor, largest: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.contiguous()  # scores of classes come as columns
    if known_within(x, -largest, largest):  # one check costs less than four operations
        return constants.where(where, x, 0.0), x.new_zeros(x.shape[:-1], dtype=torch.bool)
    if torch.compiler.is_compiling() or not x.requires_grad:
        return _cleared(x, where, largest)
    return _clear(x, where, largest)


def logistic(x: torch.Tensor) -> torch.Tensor:
    if torch.compiler.is_compiling():
        return torch.where(x > 0, 1.0 - torch.sigmoid(-x), torch.sigmoid(x))
    return _logistic(x)


_clear, _logistic = map(lean_in_eager_mode, (_Clear, _Logistic))

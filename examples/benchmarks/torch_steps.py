"""The contenders in PyTorch."""

import importlib.util
import itertools
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import imbalanced_torch
from imbalanced_core.losses.ranking import smooth_ap

from . import memory
from .cases import LOSSES, RANKING, Case, make_batches
from .contender import LARGEST_PAIRS, LARGEST_TABLE, Contender, all_pairs

Batches = list[tuple[Tensor, Tensor]]


def contenders(case: Case, device: str) -> dict[str, Contender]:
    """Everything that computes the case, by name: ours, the limit, then the others that are installed."""
    batches = [
        (torch.tensor(logits, device=device, requires_grad=True), torch.tensor(targets, device=device))
        for logits, targets in make_batches(case)
    ]
    if case.loss == "retrieval":
        return _retrieval(*batches[0])
    found = {"eager": Contender("ours", partial(_module_step, imbalanced_torch, case, batches))}
    if case.compiled:
        compiled = partial(_module_step, imbalanced_torch, case, batches, compiled=True)
        found["torch.compile"] = Contender("ours", compiled, is_compiled=True)
    found |= _limits(case, batches) | _others(case, batches)
    return found


def wait(outcome: tuple[Any, Tensor | None]) -> Any:
    """Waits until the device has finished."""
    if outcome[1] is not None and outcome[1].is_cuda:
        torch.cuda.synchronize(outcome[1].device)
    return outcome


def peak_growth(step: Callable[[], Any], device: str) -> int | None:
    """The bytes by which a step raises memory above what is allocated before it."""
    if not device.startswith("cuda"):
        return memory.of_process(step)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    wait(step())
    return torch.cuda.max_memory_allocated(device) - before


def device_name(device: str) -> str:
    """The name of the device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


class _Calls(TorchDispatchMode):
    """Counts the operations that Python dispatches to torch, and the host syncs among them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.reads = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        self.reads += _needs_values(func.overloadpacket.__name__, args)
        return func(*args, **(kwargs or {}))


def _needs_values(name: str, args: tuple) -> bool:
    """Whether an operation needs the values of an array: on an accelerator, a host sync."""
    if name == "index":
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique", "_unique2")


def count(step: Callable[[], Any]) -> dict[str, int]:
    """The operations of one step; for a compiled one, the kernels it was compiled to."""
    if isinstance(step, _CompiledStep):
        return {"kernels": step.kernels}
    with _Calls() as counter:
        step()
    return {"calls": counter.calls, "reads": counter.reads}


def _module_step(package: ModuleType, case: Case, batches: Batches, *, compiled: bool = False) -> Callable:
    """A step of a loss module; the packages share names and keywords. A queue is filled first."""
    module = _make_module(package, case).to(batches[0][0].device)
    for logits, targets in batches[1:]:
        module(logits.detach(), targets)
    return _CompiledStep(module, batches) if compiled else _step_over(module, batches)


def _make_module(package: ModuleType, case: Case) -> torch.nn.Module:
    _, name, options = LOSSES[case.loss]
    if case.loss in RANKING:
        options = {"num_classes": case.shape[1], "queue_size": case.queue, **options}
    return getattr(package, name)(**options)


def _step_over(loss_fn: Callable[..., Tensor], batches: Batches) -> Callable:
    """Each step takes the next batch, so that a queue does not fill with copies of one batch."""
    turn = itertools.cycle(batches)

    def step() -> tuple[Tensor, Tensor | None]:
        logits, targets = next(turn)
        loss = loss_fn(logits, targets)
        loss.backward()
        gradient, logits.grad = logits.grad, None  # the next step starts from the same memory as this one
        return loss.detach(), gradient

    return step


class _CompiledStep:
    """The step under torch.compile; the first call compiles and counts the resulting kernels."""

    def __init__(self, loss_fn: Callable[..., Tensor], batches: Batches) -> None:
        self._step, self.kernels = _step_over(torch.compile(loss_fn, dynamic=False), batches), 0

    def __call__(self) -> tuple[Tensor, Tensor | None]:
        if self.kernels:
            return self._step()
        from torch._inductor import metrics  # there is no public interface for the number

        metrics.reset()
        outcome = self._step()
        self.kernels = metrics.generated_kernel_count
        return outcome


def _limits(case: Case, batches: Batches) -> dict[str, Contender]:
    if case.loss in RANKING:
        rows = torch.cat([logits.detach() for logits, _ in batches]).T[:, : case.shape[0] + case.queue].contiguous()

        return {"torch.sort": Contender("limit", lambda: partial(_sort, rows))}
    name, loss_fn = {
        "sigmoid_focal": ("BCE", F.binary_cross_entropy_with_logits),
        "softmax_smooth": ("cross entropy", partial(F.cross_entropy, label_smoothing=0.1)),
    }.get(case.loss, ("cross entropy", F.cross_entropy))
    found = {name: Contender("limit", lambda: _step_over(loss_fn, batches))}
    if case.compiled:
        found[f"{name}, torch.compile"] = Contender("limit", lambda: _CompiledStep(loss_fn, batches), is_compiled=True)
    return found


def _sort(rows: Tensor) -> tuple[None, Tensor]:
    return None, torch.sort(rows, dim=-1).values


def _others(case: Case, batches: Batches) -> dict[str, Contender]:
    found = {}
    if importlib.util.find_spec("imbalanced_losses") and case.pairs <= LARGEST_PAIRS:
        import imbalanced_losses

        if hasattr(imbalanced_losses, LOSSES[case.loss][1]):  # early versions lack some losses
            step = partial(_module_step, imbalanced_losses, case, batches)
            found["imbalanced-losses"] = Contender("other", step)
            if case.compiled:
                settled = partial(_settled, partial(step, compiled=True), len(batches))
                found["imbalanced-losses, torch.compile"] = Contender("other", settled, is_compiled=True)
    if case.loss == "smooth_ap" and case.shape[1] == 1 and not case.queue and case.shape[0] ** 2 <= LARGEST_TABLE:

        def definition(logits: Tensor, targets: Tensor) -> Tensor:
            return all_pairs(torch.sigmoid, logits[:, 0], targets.to(logits.dtype))

        found["all pairs"] = Contender("other", lambda: _step_over(definition, batches))
    return found


def _settled(build: Callable[[], Callable], steps: int) -> Callable:
    """A step after some steps, for programs that recompile when the number of positives changes, up to a limit."""
    step = build()
    for _ in range(steps):
        step()
    return step


def _retrieval(embeddings: Tensor, classes: Tensor) -> dict[str, Contender]:
    """Each embedding is a query for the others of its class, which are ranked by their cosine with it."""
    same = classes[:, None] == classes

    def ours(embeddings: Tensor, _: Tensor) -> Tensor:
        directions = F.normalize(embeddings)
        return smooth_ap(directions @ directions.T, same)[0].mean()

    directions = F.normalize(embeddings.detach())
    cosines = directions @ directions.T
    batches = [(embeddings, classes)]
    found = {
        "eager": Contender("ours", lambda: _step_over(ours, batches)),
        "torch.sort": Contender("limit", lambda: partial(_sort, cosines)),
    }
    if importlib.util.find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning.losses import SmoothAPLoss

        found["pytorch-metric-learning"] = Contender("other", lambda: _step_over(SmoothAPLoss(), batches))
    return found

"""The rows of PyTorch."""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imbalanced_torch
from imbalanced_core.losses.ranking import smooth_ap
from imbalanced_core.pairwise import counts

from .accelerator import Sizes
from .quadratic import Quadratic
from .table import Step, Table, crossing

RANKING = {
    "smooth_ap": imbalanced_torch.SmoothAPLoss,
    "recall": imbalanced_torch.RecallAtQuantileLoss,
    "trapezoid": partial(imbalanced_torch.PAUCAtBudgetLoss, surrogate="trapezoid"),
    "pairwise": partial(imbalanced_torch.PAUCAtBudgetLoss, surrogate="pairwise"),
    "auc": imbalanced_torch.AUCLoss,
}
PRESETS = {
    "smooth_ap recommended": imbalanced_torch.SmoothAPLoss.recommended,
    "pAUC recommended": partial(imbalanced_torch.PAUCAtBudgetLoss.recommended, budget=0.01),
}
_LIMITS = ("_PAIRS_ACCELERATOR", "_PAIRS_EAGER_CPU")


def is_there(device: str) -> bool:
    """Whether the device can be used."""
    return device == "cpu" or torch.cuda.is_available()


def run(device: str, sizes: Sizes, *, seconds: float, limit: float) -> None:
    """Measures and prints everything, compiled steps last."""
    is_cpu = device == "cpu"
    table = Table((lambda _: None) if is_cpu else (lambda _: torch.cuda.synchronize()), seconds=seconds, limit=limit)
    name = "CPU" if is_cpu else torch.cuda.get_device_name(device)
    table.start(f"PyTorch {torch.__version__} on {name}")
    default = partial(_defaults, table, device, sizes)
    default(compiled=False)
    _beside_peer(table, device, sizes)
    _pool(table, device, *sizes.medium, most_ms=3.0)
    _pool(table, device, sizes.long, 1, most=12.0)
    compiled = _pointwise(table, device, sizes)
    for row in compiled:
        row()
    default(compiled=True)
    _sweep(table, device, sizes)


def _defaults(table: Table, device: str, sizes: Sizes, *, compiled: bool) -> None:
    """A step of 32 rows and a full queue, of one class."""
    for name, make in (RANKING | PRESETS).items():
        setting = f"{name}, 32 + {sizes.queue}"

        def step(make: Callable, fit: Callable = lambda module: module) -> Step:
            module = make().to(device)
            for seed in range(sizes.queue // 32):
                module(*_rows(32, 1, device, seed))
            return _gradient_step(fit(module), *_rows(32, 1, device))

        ours = partial(step, partial(make, 1, queue_size=sizes.queue))
        if compiled:
            options = {"backend": "aot_eager"} if device == "cpu" else {"mode": "reduce-overhead"}

            def fit(module: nn.Module, options: dict = options) -> Callable:
                torch.compiler.reset()
                return torch.compile(module, **options)

            table.row(setting, "compiled", partial(ours, fit), against="definition", most_ms=0.3, is_costly=True)
            continue
        if name in RANKING:
            definition = partial(step, partial(Quadratic, name, sizes.queue))
            table.row(setting, "definition", definition)
            table.row(setting, "eager", ours, against="definition", most=1.5)
        else:
            table.row(setting, "eager", ours)
        if device != "cpu":
            table.row(setting, "graphed", partial(ours, graphed), against="definition", most_ms=0.3)
            table.row(setting, "captured", lambda build=ours: captured(build()), against="definition", most_ms=0.3)


def _beside_peer(table: Table, device: str, sizes: Sizes) -> None:
    """The same losses of imbalanced-losses, if installed, which compares all pairs class by class."""
    if importlib.util.find_spec("imbalanced_losses") is None:
        return
    import imbalanced_losses as peer

    names = {"smooth_ap": "SmoothAPLoss", "recall": "RecallAtQuantileLoss", "pairwise": "PAUCAtBudgetLoss"}
    for name, other in names.items():
        for classes in (1, 4, 10):
            setting = f"{name}, 32 + {sizes.queue}, C = {classes}"
            options = {"surrogate": name} if name == "pairwise" else {}

            def step(make: Callable, classes: int = classes, options: dict = options) -> Step:
                module = make(classes, queue_size=sizes.queue, **options).to(device)
                for seed in range(sizes.queue // 32):
                    module(*_rows(32, classes, device, seed))
                return _gradient_step(module, *_rows(32, classes, device))

            table.row(setting, peer.__name__, partial(step, getattr(peer, other)))
            ours = partial(step, getattr(imbalanced_torch, other))
            table.row(setting, "eager", ours, against=peer.__name__, most=1.5)


def _pool(table: Table, device: str, n: int, classes: int, **aim: float) -> None:
    """A batch without a queue."""
    rows = _rows(n, classes, device)[0].detach().T.contiguous()
    keys = rows.view(torch.int32)

    def ours(make: Callable) -> Step:
        return _gradient_step(make(classes, queue_size=0).to(device), *_rows(n, classes, device))

    for name, make in RANKING.items():
        setting = f"{name}, n = {n}, C = {classes}"
        table.row(setting, "integer sort", lambda: partial(torch.sort, keys))
        if name == "smooth_ap":
            table.row(setting, "torch.sort", lambda: partial(torch.sort, rows), against="integer sort")
            table.row(setting, "copy", lambda: partial(rows.clone().copy_, rows), against="integer sort")
        table.row(setting, "eager", partial(ours, make), against="integer sort", **aim)
        if device != "cpu":
            build = partial(ours, make)
            table.row(setting, "captured", lambda build=build: captured(build()), against="integer sort", **aim)


def _pointwise(table: Table, device: str, sizes: Sizes) -> list[Callable[[], Any]]:
    """Sigmoid and softmax focal loss compared with their practical limits; returns the rows that compile."""
    n = sizes.elements
    setting = f"sigmoid focal, {n} elements"

    def sigmoid(loss_fn: Callable, fit: Callable = lambda x: x) -> Step:
        logits = torch.randn(n, device=device, requires_grad=True)
        return _gradient_step(fit(loss_fn), logits, (torch.rand(n, device=device) < 0.05).float())

    def copy() -> Step:  # the same traffic as logits, targets and gradient
        source = torch.randn(3 * n // 2, device=device)
        return partial(torch.empty_like(source).copy_, source)

    def softmax(loss_fn: Callable) -> Step:
        logits = torch.randn(n // 1024, 1024, device=device, requires_grad=True)
        return _gradient_step(loss_fn, logits, torch.randint(1024, (n // 1024,), device=device))

    focal, cross_entropy = imbalanced_torch.SigmoidFocalLoss(), F.binary_cross_entropy_with_logits
    table.row(setting, "copy", copy)
    table.row(setting, "BCE", partial(sigmoid, cross_entropy), against="copy")
    table.row(setting, "eager", partial(sigmoid, focal), against="copy", most=8.0)
    other = f"softmax focal, {n // 1024} × 1024"
    table.row(other, "cross entropy", partial(softmax, F.cross_entropy))
    table.row(other, "eager", partial(softmax, imbalanced_torch.SoftmaxFocalLoss()), against="cross entropy")
    fit = partial(torch.compile, backend="aot_eager") if device == "cpu" else torch.compile
    return [
        partial(table.row, setting, "compiled", partial(sigmoid, focal, fit), against="copy", most=3.0, is_costly=True),
        partial(table.row, setting, "BCE, compiled", partial(sigmoid, cross_entropy, fit), against="copy"),
    ]


def _sweep(table: Table, device: str, sizes: Sizes) -> None:
    """One matrix against blocks, for the limit `_PAIRS_ACCELERATOR` of the engine."""
    ways = {"eager": lambda step: step} | ({} if device == "cpu" else {"captured": captured})
    for way, fit in ways.items():
        times = {}
        for n, classes in sizes.swept:
            pairs = classes * n**2
            setting = f"smooth_ap, n = {n}, C = {classes}, {pairs:,} pairs"

            def build(limit: int, fit: Callable = fit, n: int = n, classes: int = classes) -> Step:
                return fit(_with_limit(limit, _smooth_ap_step(n, classes, device)))

            blocks = table.row(setting, f"blocks, {way}", partial(build, 0))
            matrix = table.row(setting, f"matrix, {way}", partial(build, 2**62), against=f"blocks, {way}")
            times[pairs] = matrix, blocks
        crossing(f"PyTorch, {way}", times)
        table.start(f"PyTorch, after the sweep ({way})")


def _smooth_ap_step(n: int, classes: int, device: str) -> Step:
    scores = torch.randn(classes, n, device=device, requires_grad=True)
    positives = torch.rand(classes, n, device=device) < 0.05
    return _gradient_step(lambda s, p: smooth_ap(s, p, temperature=0.05)[0].mean(), scores, positives)


def _with_limit(limit: int, step: Step) -> Step:
    def limited() -> Any:
        before = {name: getattr(counts, name) for name in _LIMITS}
        for name in _LIMITS:
            setattr(counts, name, limit)
        try:
            return step()
        finally:
            for name, value in before.items():
                setattr(counts, name, value)

    return limited


def _rows(n: int, classes: int, device: str, seed: int = 99) -> tuple[Tensor, Tensor]:
    """Logits, higher for positives, and labels of one class or class ids."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (n,), generator=generator)
    if classes == 1:
        targets = (torch.rand(n, generator=generator) < 0.05).long()
    is_target = targets[:, None] == (torch.ones(1) if classes == 1 else torch.arange(classes))
    logits = 3 * torch.randn(n, classes, generator=generator) + 2 * is_target
    return logits.to(device).requires_grad_(), targets.to(device)


def _gradient_step(loss_fn: Callable[..., Tensor], logits: Tensor, targets: Tensor) -> Step:
    return lambda: torch.autograd.grad(loss_fn(logits, targets), logits)


def graphed(module: nn.Module) -> Callable:
    """The module, with forward and backward replaced by CUDA graphs."""
    logits, targets = _rows(32, 1, "cuda")
    return torch.cuda.make_graphed_callables(module, (logits, targets))


def captured(step: Step) -> Step:
    """The step as a replayed CUDA graph, captured after warm-up calls on a side stream."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay

"""Performance targets of the losses, and whether they are met."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .cases import RANKING, RATE, Case, all_cases
from .timing import Ratio, ratio, spread

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]  # case name -> backend -> result of a child process


class Target(NamedTuple):
    """A bound on one figure of one case.

    Attributes:
        case: its name; for "growth" the name of a loss.
        backend: "torch" or "jax".
        ours: the contender that has to meet it.
        figure: "time", ours / reference; "speed-up", reference / ours; "memory", ours / reference; "bytes an item";
            "compile", seconds of the first step; or "growth", the exponent p of a fit time/(n log n) ~ n^p.
        reference: the contender to compare with, if any.
        bound: the maximum allowed, or for "speed-up" the minimum.
    """

    case: str
    backend: str
    ours: str
    figure: str
    reference: str
    bound: float


def all_targets() -> list[Target]:
    """Every target, in the order of the table."""
    largest, peer = "smooth_ap:1048576x1:5%", "imbalanced-losses"
    found = [
        Target(largest, "torch", "torch.compile", "time", "torch.sort", 3),
        Target(largest, "jax", "jit", "time", "jnp.sort", 3),
        Target(largest, "torch", "eager", "time", "torch.sort", 5),
        *(Target(largest, *way, "bytes an item", "", 300) for way in (("torch", "eager"), ("jax", "jit"))),
        *(Target("smooth_ap", *way, "growth", "", 0) for way in (("torch", "eager"), ("jax", "jit"))),
    ]
    for classes, bound in (("1", 1.5), ("4", 1), ("10", 1)):
        case = f"smooth_ap:32x{classes}+1024" + (":5%" if classes == "1" else "")
        found.append(Target(case, "torch", "eager", "time", peer, bound))
        found.append(Target(case, "torch", "torch.compile", "time", peer, 1))
        found.append(Target(case, "torch", "torch.compile", "time", f"{peer}, torch.compile", 0.8))
    for size, bound in (("16384x1:5%", 20), ("16384x1:50%", 200), ("16384x10", 50)):
        found.append(Target(f"smooth_ap:{size}", "torch", "eager", "speed-up", peer, bound))
    for loss in ("recall", "trapezoid"):
        million = f"{loss}:1000000x1:5%"
        found.append(Target(million, "torch", "eager", "time", "torch.sort", 2))
        found.append(Target(million, "torch", "torch.compile", "time", "torch.sort", 2))
        found.append(Target(million, "jax", "jit", "time", "jnp.sort", 2))
        found.append(Target(f"{loss}:16384x100", "torch", "eager", "speed-up", peer, 3))
    million, entropy = "pairwise:1000000x1:5%", "cross entropy"
    found += [
        Target(million, "torch", "eager", "time", "torch.sort", 5),
        Target(million, "torch", "torch.compile", "time", "torch.sort", 3),
        Target("sigmoid_focal:4194304:5%", "torch", "eager", "time", "BCE", 2.5),
        Target("sigmoid_focal:4194304:5%", "torch", "torch.compile", "time", "BCE", 1.2),
        Target("sigmoid_focal:4194304:5%", "torch", "eager", "memory", "BCE", 2),
        Target("sigmoid_focal:4194304:5%", "jax", "jit", "time", "optax", 0.8),
        Target("softmax_focal:65536x100", "torch", "eager", "time", entropy, 1.3),
        Target("softmax_focal:4x10x256x256", "torch", "eager", "time", entropy, 1.3),
    ]
    for loss in ("softmax_smooth", "softmax_soft", "symmetric"):
        found.append(Target(f"{loss}:512x32000", "torch", "eager", "time", entropy, 1.6))
        found.append(Target(f"{loss}:512x32000", "torch", "eager", "memory", entropy, 1.5))
        found.append(Target(f"{loss}:512x16000", "jax", "jit", "time", "plain formula", 1.1))
    for loss in RANKING:
        found.append(Target(f"{loss}:32x4+1024", "torch", "torch.compile", "compile", "", 40))
        found.append(Target(f"{loss}:32x4+1024", "jax", "jit", "compile", "", 3))
    return found


def evaluate(target: Target, results: Results) -> Ratio | str:
    """The figure and its spread, or a short reason why there is none."""
    if target.figure == "growth":
        points = sweep(target.case, results, target.backend, target.ours)
        if not {2**10, 2**20} <= {n for n, _ in points}:
            return "not measured from 2¹⁰ to 2²⁰"
        return Ratio(*[growth(points)] * 3)
    contenders = results.get(target.case, {}).get(target.backend, {}).get("contenders", {})
    for name in filter(None, (target.ours, target.reference)):
        if name not in contenders:
            return f"{name} not measured"
        if "error" in contenders[name]:
            return f"{name} failed"
    if target.figure == "compile":
        return Ratio(*[contenders[target.ours]["first"]] * 3)
    if target.figure in ("memory", "bytes an item"):
        return _memory(target, contenders)
    ours, reference = contenders[target.ours]["rounds"], contenders[target.reference]["rounds"]
    return ratio(ours, reference) if target.figure == "time" else ratio(reference, ours)


def is_met(target: Target, figure: Ratio) -> bool:
    """Whether the median satisfies the bound."""
    return figure.middle >= target.bound if target.figure == "speed-up" else figure.middle <= target.bound


def _memory(target: Target, contenders: Mapping[str, Any]) -> Ratio | str:
    memory = contenders[target.ours].get("memory")
    if target.figure == "memory":
        divisor = contenders[target.reference].get("memory")
    else:
        divisor = next(case.items for case in all_cases() if case.name == target.case)
    if memory is None or not divisor:
        return "memory not measured"
    return Ratio(*[memory / divisor] * 3)


def sweep(loss: str, results: Results, backend: str, contender: str) -> list[tuple[int, Ratio]]:
    """Row lengths and seconds of a loss over one row without a queue, at the usual fraction of positives."""
    points = {}
    for case in all_cases():
        measured = results.get(case.name, {}).get(backend, {}).get("contenders", {}).get(contender, {})
        if _is_of_sweep(case, loss) and measured.get("rounds"):
            points[case.shape[0]] = spread(measured["rounds"])
    return sorted(points.items())


def _is_of_sweep(case: Case, loss: str) -> bool:
    return case.loss == loss and case.rate == RATE and case.shape[1:] == (1,) and not case.queue


def growth(points: Sequence[tuple[int, Ratio]], *, least: int = 2**10) -> float:
    """The exponent p of the best fit of time/(n log n) ~ n^p from `least` items on; NaN for fewer than two points."""
    fitted = [(math.log(n), math.log(time.middle / (n * math.log(n)))) for n, time in points if n >= least]
    return _slope(fitted) if len(fitted) > 1 else math.nan


def _slope(points: Iterable[tuple[float, float]]) -> float:
    xs, ys = zip(*points, strict=True)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mean_x) ** 2 for x in xs)

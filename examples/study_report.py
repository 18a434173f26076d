"""Tables and plots of the study, from the file of its runs alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t as student
from study_methods import METHODS, POINTWISE
from study_metrics import METRICS
from study_problems import PROBLEMS
from study_runs import BEST, Store

_SHORT = dict(zip(METRICS, ("AP", "recall 0.5%", "recall 1%", "partial AUC", "coverage"), strict=True))


class Line(NamedTuple):
    """What a method reached on the test rows, and how far it is from the reference, paired by seed."""

    method: str
    trial: int
    options: str  # "chosen" by validation, "default", or both
    mean: float
    difference: float
    low: float  # 95% interval of the mean difference
    high: float
    seeds: int
    closed: tuple[float, float, float] | None  # of the gap from the reference to the best possible, with 95% interval


class Comparison(NamedTuple):
    """One metric of one problem in one backend."""

    problem: str
    backend: str
    metric: str
    reference: Line
    best: float | None
    lines: list[Line]


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float, float]:
    """Mean of a − b over the seeds of both, and its 95% interval by Student's t; NaN limits for fewer than 2 seeds."""
    differences = np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])
    mean = float(differences.mean()) if len(differences) else float("nan")
    if len(differences) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5)
    return mean, mean - half, mean + half


def gap_closed(
    a: Mapping[int, float], reference: Mapping[int, float], best: Mapping[int, float]
) -> tuple[float, float, float]:
    """(mean a − mean reference) / (mean best − mean reference), with a 95% bootstrap interval over the seeds."""
    seeds = sorted(a.keys() & reference.keys() & best.keys())
    table = np.array([[a[seed], reference[seed], best[seed]] for seed in seeds])
    picks = np.random.default_rng(0).integers(len(seeds), size=(2000, len(seeds)))
    means = np.concatenate([table.mean(0)[None], table[picks].mean(1)])
    ratios = (means[:, 0] - means[:, 1]) / (means[:, 2] - means[:, 1])
    return float(ratios[0]), *(float(x) for x in np.quantile(ratios[1:], (0.025, 0.975)))


def compare(store: Store, problem: str, backend: str, metric: str) -> Comparison | None:
    """All methods against the pointwise one that the validation rows of the final runs prefer."""
    valid = _of_backend(store.figures(problem, "final", f"valid {metric}"), backend)
    test = _of_backend(store.figures(problem, "final", f"test {metric}"), backend)
    best = test.pop((BEST, 0), None)
    chosen = {method: store.best_trial(problem, method, metric) for method, _ in test}
    pointwise = [key for key in test if key[0] in POINTWISE and key[1] == (chosen[key[0]] or 0)]
    if not pointwise:
        return None
    reference = max(pointwise, key=lambda key: np.mean(list(valid[key].values())))
    lines = {
        (method, trial): Line(
            method,
            trial,
            " = ".join(["chosen"] * (trial == chosen[method]) + ["default"] * (trial == 0)),
            float(np.mean(list(values.values()))),
            *paired_difference(values, test[reference]),
            len(values.keys() & test[reference].keys()),
            None if best is None else gap_closed(values, test[reference], best),
        )
        for (method, trial), values in test.items()
        if trial in (0, chosen[method])
    }
    order = sorted(lines, key=lambda key: (_place(key[0]), key[1] != chosen[key[0]]))
    best_mean = None if best is None else float(np.mean([best[seed] for seed in best if seed in test[reference]]))
    return Comparison(problem, backend, metric, lines[reference], best_mean, [lines[key] for key in order])


def _of_backend(figures: dict, backend: str) -> dict[tuple[str, int], dict[int, float]]:
    return {(method, trial): by_seed for (name, method, trial), by_seed in figures.items() if name == backend}


def _place(method: str) -> tuple[int, str]:
    name, _, variation = method.partition(" @")
    return METHODS.index(name), variation


def comparisons(store: Store) -> list[Comparison]:
    """Every problem, backend and metric that has final runs."""
    runs = {(row["problem"], row["backend"]) for row in store.rows() if row["phase"] == "final"}
    return [
        comparison
        for name, problem in PROBLEMS.items()
        for backend in ("jax", "torch")
        if (name, backend) in runs
        for metric in problem.metrics
        if (comparison := compare(store, name, backend, metric))
    ]


def as_text(comparison: Comparison) -> str:
    """A table for reading: the mean on the test rows, the difference from the reference and its interval."""
    problem, backend, metric, reference, best, lines = comparison
    title = f"{problem} ({backend}): {_SHORT[metric]}, difference from {reference.method} with 95% interval"
    if best is not None:
        title += f"; the best possible score has {best:.3f}"
    rows = [title, f"  {'method':32}{'options':>18}{'mean':>7}{'difference':>13}{'interval':>20}{'seeds':>7}"]
    for line in lines:
        row = f"  {line.method:32}{line.options:>18}{line.mean:7.3f}"
        if line.method == reference.method and line.trial == reference.trial:
            row += f"{'reference':>13}{'':20}{line.seeds:7}"
        else:
            row += f"{line.difference:+13.3f}{f'[{line.low:+.3f}, {line.high:+.3f}]':>20}{line.seeds:7}"
            if line.closed is not None:
                row += "   gap closed {:.0%} [{:.0%}, {:.0%}]".format(*line.closed)
        rows.append(row)
    return "\n".join(rows)


def as_report(found: list[Comparison]) -> str:
    """All tables."""
    return "\n\n".join(as_text(comparison) for comparison in found)


def write_report(store: Store, folder: Path, plots: Path) -> str:
    """Writes report.txt into the folder, and a plot of each problem and backend into another; returns the text."""
    found = comparisons(store)
    text = as_report(found)
    (folder / "report.txt").write_text(text + "\n")
    plots.mkdir(parents=True, exist_ok=True)
    for problem, backend in dict.fromkeys((c.problem, c.backend) for c in found):
        panels = [c for c in found if (c.problem, c.backend) == (problem, backend)]
        name = problem.replace(",", "").replace(" ", "_")
        draw(panels, plots / f"study_{name}_{backend}.png")
    return text


def draw(panels: list[Comparison], path: Path) -> None:
    """The differences of one problem with their intervals, a panel for each metric; far ones at the left edge."""
    methods = list(dict.fromkeys(line.method for panel in panels for line in panel.lines))
    figure = Figure(figsize=(3.4 + 3.6 * len(panels), 1.5 + 0.26 * len(methods)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        axis.axvline(0, color="0.6", linewidth=1)
        for line in panel.lines:
            _draw_line(axis, methods.index(line.method), line)
        if panel.best is not None:
            axis.axvline(panel.best - panel.reference.mean, color="C2", linestyle="--")
        axis.set(title=f"{_SHORT[panel.metric]}, against {panel.reference.method}", xlabel="difference (95% interval)")
        axis.set_xlim(left=_LEFT * 1.06)
        axis.locator_params(axis="x", nbins=6)
        axis.grid(axis="x", color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(methods)), methods)
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    title = f"{panels[0].problem[0].upper()}{panels[0].problem[1:]}, {panels[0].reference.seeds} seeds"
    key = "filled: options chosen on validation; hollow: defaults"
    key += "; dashed: best possible score" if panels[0].best is not None else ""
    figure.suptitle(f"{title}\n{key}", fontsize="medium")
    figure.savefig(path, dpi=120, format="png")


_LEFT = -0.15  # what lies further is drawn here, with its value


def _draw_line(axis: Any, place: float, line: Line) -> None:
    color = "C0" if line.method in POINTWISE else "C1"
    is_chosen = "chosen" in line.options
    place += 0.0 if line.options == "chosen = default" else -0.13 if is_chosen else 0.13
    if line.difference < _LEFT:
        axis.text(_LEFT, place, f"◂ {line.difference:+.2f}", color=color, va="center", fontsize="x-small")
        return
    axis.plot([max(line.low, _LEFT), line.high], [place, place], color=color, linewidth=1.5 if is_chosen else 0.8)
    axis.plot(line.difference, place, "o", color=color, markerfacecolor=color if is_chosen else "white", markersize=5)

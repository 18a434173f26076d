"""Tables and plots of the study, made only from the file of its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata, studentized_range, wilcoxon
from scipy.stats import t as student

from .methods import LOSSES, METHODS, POINTWISE, TORCH, TREES
from .problems import Problem
from .runs import Figures

FIGURES = ("AP", "AUC", "recall at 1%", "recall at 5%")  # of a KEEL set
_WON = 0.01  # a set counts as won or lost if the means differ by more

Runs = dict[tuple[str, str], list[Figures]]


class Comparison(NamedTuple):
    """Comparison of a method with another, over sets."""

    method: str
    difference: float  # mean over sets
    wins: int
    losses: int
    p: float  # Wilcoxon's signed-rank test, corrected by Holm


def figures_of(rows: list[Figures]) -> np.ndarray:
    """[splits, figures]: AP, AUC, and the recalls."""
    return np.array([[row.ap, row.auc, *row.recalls] for row in rows])


def table_of(runs: Runs, problems: Sequence[str], methods: Sequence[str], figure: int) -> tuple[list[str], np.ndarray]:
    """The problems that all methods have finished, and the means over their splits, [problems, methods]."""
    done = [name for name in problems if all((name, method) in runs for method in methods)]
    rows = [[figures_of(runs[name, method])[:, figure].mean() for method in methods] for name in done]
    return done, np.array(rows).reshape(len(done), len(methods))


def mean_ranks(means: np.ndarray) -> np.ndarray:
    """Mean over problems of each method's rank; 1 is best, ties share theirs."""
    return rankdata(-np.round(means, 6), axis=1).mean(0)


def critical_difference(methods: int, problems: int, level: float = 0.05) -> float:
    """The difference of mean ranks that is significant by the Nemenyi test (Demšar 2006)."""
    q = studentized_range.ppf(1 - level, methods, np.inf) / 2**0.5
    return float(q * (methods * (methods + 1) / (6 * problems)) ** 0.5)


def holm(p: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected by Holm's method."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate((len(p) - np.arange(len(p))) * np.asarray(p, float)[order])
    result = np.empty(len(p))
    result[order] = np.minimum(corrected, 1.0)
    return result.tolist()


def compare(means: np.ndarray, methods: Sequence[str], reference: str) -> list[Comparison]:
    """Compares every other method with the reference."""
    others = [method for method in methods if method != reference]
    differences = [means[:, methods.index(m)] - means[:, methods.index(reference)] for m in others]
    p = holm([wilcoxon(d).pvalue if np.any(np.abs(d) > 1e-12) else 1.0 for d in differences])
    return [
        Comparison(m, float(d.mean()), int(np.sum(d > _WON)), int(np.sum(d < -_WON)), value)
        for m, d, value in zip(others, differences, p, strict=True)
    ]


def keel_report(runs: Runs, problems: Sequence[str], title: str) -> str:
    """Mean ranks of all figures, and each method compared with the best pointwise one by AP."""
    networks = [m for m in LOSSES if any(method == m for name, method in runs if name in problems)]
    methods = [
        m for m in (*LOSSES, TREES) if m in networks or any(key == (name, m) for key in runs for name in problems)
    ]
    done, means = table_of(runs, problems, methods, 0)
    if len(done) < 2:
        return f"{title}: fewer than two sets that all methods have done"
    ranks = [mean_ranks(table_of(runs, done, networks, k)[1]) for k in range(len(FIGURES))]
    critical = critical_difference(len(networks), len(done))
    lines = [f"{title}: {len(done)} sets, means of {len(runs[done[0], methods[0]])} splits", ""]
    lines.append(f"Mean ranks of the networks, 1 is best; by AP they differ (Nemenyi, 5%) from {critical:.2f} on")
    lines.append(f"{'':28}{'mean AP':>9}" + "".join(f"{f'rank, {name}':>20}" for name in FIGURES))
    for k in np.argsort(ranks[0]):
        line = f"{networks[k]:28}{means[:, methods.index(networks[k])].mean():9.4f}"
        lines.append(line + "".join(f"{rank[k]:20.2f}" for rank in ranks))
    if TREES in methods:
        lines.append(f"{TREES + ' (context)':28}{means[:, methods.index(TREES)].mean():9.4f}")
    pointwise = [m for m in networks if m in POINTWISE]
    best = min(pointwise, key=lambda m: ranks[0][networks.index(m)])
    lines += [
        "",
        f"AP against {best}, the best pointwise loss by rank; p: Wilcoxon's signed-rank test, Holm's correction",
    ]
    lines.append(f"{'':28}{'difference':>11}{f'won by {_WON}':>14}{'lost':>6}{'p':>9}")
    of_networks = means[:, [methods.index(m) for m in networks]]
    for c in sorted(compare(of_networks, networks, best), key=lambda c: -c.difference):
        lines.append(f"{c.method:28}{c.difference:+11.4f}{c.wins:14}{c.losses:6}{c.p:9.3f}")
    return "\n".join(lines)


def per_set_report(runs: Runs, problems: Sequence[str]) -> str:
    """The mean AP of each set and method."""
    methods = [m for m in (*LOSSES, TREES) if any(key == (name, m) for key in runs for name in problems)]
    done, means = table_of(runs, problems, methods, 0)
    width = max((len(name) for name in done), default=0) + 2
    lines = [f"AP{'':{width - 2}}" + "".join(f"{m:>25}" for m in methods)]
    for name, row in zip(done, means, strict=True):
        best = row.max()
        lines.append(f"{name:{width}}" + "".join(f"{x:24.3f}{'*' if x == best else ' '}" for x in row))
    return "\n".join(lines)


def data_report(problems: Sequence[tuple[str, Problem]]) -> str:
    """Rows, positives and features of each problem, and rows and positives of the parts of its first split."""
    width = max(len(name) for name, _ in problems) + 2
    head = ("rows", "positives", "share", "features", "to train on", "positives", "to choose by", "positives")
    lines = [f"{'':{width}}" + "".join(f"{name:>13}" for name in (*head, "reported", "positives"))]
    for name, problem in problems:
        y = problem.y
        line = f"{name:{width}}{len(y):13}{y.sum():13}{y.mean():13.2%}{problem.x.shape[1]:13}"
        lines.append(line + "".join(f"{len(rows):13}{y[rows].sum():13}" for rows in problem.splits[0]))
    return "\n".join(lines)


def single_report(runs: Runs, problem: str, title: str, rates: Sequence[float], budget: float) -> str:
    """One problem: means over its seeds or folds, and differences from the best pointwise loss on validation.

    Args:
        runs: all runs.
        problem: its name in the runs.
        title: its name in the table.
        rates: the false-positive rates of the recalls.
        budget: the rate for which partial AUC is trained.
    """
    methods = [m for m in (*METHODS, TORCH) if (problem, m) in runs]
    pointwise = [m for m in methods if m in POINTWISE]
    if not pointwise:
        return f"{title}: no run of a pointwise loss"
    best = max(pointwise, key=lambda m: np.mean([row.valid_ap for row in runs[problem, m]]))
    names = ["AP", "AUC", *(f"recall {rate:.1%}" for rate in rates)]
    compared = (0, 2 + list(rates).index(budget))
    lines = [
        f"{title}: means of {len(runs[problem, best])} {'folds' if problem == 'caravan' else 'seeds'}",
        f"Differences from {best}, the pointwise loss of the best AP on validation, with 95% intervals",
        "",
        f"{'':28}" + "".join(f"{name:>13}" for name in names) + "".join(f"{names[k]:>27}" for k in compared),
    ]
    for method in methods:
        figures = figures_of(runs[problem, method])
        line = f"{method:28}" + "".join(f"{x:13.4f}" for x in figures.mean(0))
        if method != best:
            differences = (figures - figures_of(runs[problem, best]))[:, compared]
            line += "".join(f"{with_interval(d):>27}" for d in differences.T)
        lines.append(line)
    return "\n".join(lines)


def with_interval(d: np.ndarray) -> str:
    """The mean of paired differences, and Student's 95% interval."""
    half = student.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    return f"{d.mean():+.4f} [{d.mean() - half:+.4f}, {d.mean() + half:+.4f}]"


def draw_ranks(runs: Runs, problems: Sequence[str], title: str, path: Path) -> None:
    """The critical-difference diagram: mean ranks by AP; methods joined by a bar do not differ by the Nemenyi test."""
    methods = [m for m in LOSSES if any((name, m) in runs for name in problems)]
    done, means = table_of(runs, problems, methods, 0)
    if len(done) < 2:
        return
    ranks, critical = mean_ranks(means), critical_difference(len(methods), len(done))
    order = np.argsort(ranks)
    half = (len(order) + 1) // 2
    figure = Figure(figsize=(8, 1.6 + 0.3 * half), layout="constrained")
    axis = figure.subplots()
    for place, k in enumerate(order):
        on_left = place < half
        height = -1.0 - 0.6 * (place if on_left else len(order) - 1 - place)
        edge = 0.8 if on_left else len(methods) + 0.2
        color = "C0" if methods[k] in POINTWISE else "C1"
        axis.plot([ranks[k], ranks[k], edge], [0, height, height], color=color, linewidth=1)
        text = f" {methods[k]} ({ranks[k]:.2f}) "
        axis.text(edge, height, text, ha="right" if on_left else "left", va="center", color=color, fontsize="small")
    ordered, level, reach = ranks[order], -0.25, -1
    for first, rank in enumerate(ordered):
        last = int(np.searchsorted(ordered, rank + critical)) - 1
        if last > max(first, reach):
            axis.plot([rank - 0.03, ordered[last] + 0.03], [level, level], color="black", linewidth=3)
            level, reach = level - 0.15, last
    axis.plot([1, 1 + critical], [0.7, 0.7], color="black", linewidth=2)
    axis.text(1 + critical / 2, 0.85, f"critical difference {critical:.2f}", ha="center", fontsize="small")
    axis.set(xlim=(-1.5, len(methods) + 2.5), ylim=(-1.4 - 0.6 * (half - 1), 1.4), yticks=[])
    axis.spines[["left", "right", "bottom"]].set_visible(False)
    axis.spines["top"].set(position=("data", 0), bounds=(1, len(methods)))
    axis.xaxis.tick_top()
    axis.set_xticks(range(1, len(methods) + 1))
    text = f"{title}: mean rank by average precision over {len(done)} sets, 1 is best"
    figure.suptitle(f"{text}\nblue: pointwise losses; orange: ranking losses and presets", fontsize="medium")
    figure.savefig(path, dpi=120, format="png")

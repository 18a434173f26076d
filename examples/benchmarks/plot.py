"""Time against the length of the row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cases import size_text
from .report import BACKENDS
from .targets import sweep

CURVES = {  # contender: (label, colour, marker)
    "eager": ("this library", "#0b5394", "o"),
    "torch.compile": ("this library, torch.compile", "#3d85c6", "D"),
    "jit": ("this library, jit", "#0b5394", "o"),
    "torch.sort": ("torch.sort", "#7f7f7f", "s"),
    "jnp.sort": ("jnp.sort", "#7f7f7f", "s"),
    "imbalanced-losses": ("imbalanced-losses", "#cc0000", "^"),
    "all pairs": ("all pairs, as defined", "#e69138", "v"),
}


def draw(cases: Mapping[str, Any], path: Path) -> bool:
    """Plots Smooth-AP in each framework with the sort and the others; returns whether there was anything to draw."""
    backends = [name for name in BACKENDS if any(sweep("smooth_ap", cases, name, contender) for contender in CURVES)]
    if not backends:
        return False
    from matplotlib.figure import Figure  # not needed on an accelerator

    figure = Figure(figsize=(4.8 * len(backends) + 0.4, 4.4), layout="constrained")
    axes = figure.subplots(1, len(backends), sharex=True, sharey=True, squeeze=False)[0]
    for ax, backend in zip(axes, backends, strict=True):
        _panel(ax, cases, backend)
    axes[0].set_ylabel("milliseconds, value and gradient")
    figure.suptitle("Smooth-AP of one row, 5% positive", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, format="png", metadata={"Software": None})
    return True


def _panel(ax: Any, cases: Mapping[str, Any], backend: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for contender, (label, color, marker) in CURVES.items():
        points = sweep("smooth_ap", cases, backend, contender)
        if points:
            sizes, times = zip(*points, strict=True)
            middle = [1000 * time.middle for time in times]
            ax.plot(sizes, middle, color=color, marker=marker, markersize=5, linewidth=1.6, label=label)
            ax.fill_between(sizes, *([1000 * time[k] for time in times] for k in (1, 2)), color=color, alpha=0.2)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: size_text(round(n), least=1)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(title=BACKENDS[backend], xlabel="scores in the row")
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper left")

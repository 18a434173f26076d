"""Draws the plots of the guides into docs/images/.

    python docs/make_plots.py

Every curve is computed with the losses of `imbalanced_torch` and `imbalanced_core`; none is drawn by hand. The points
of `expected` are measurements, from docs/study/expected.csv.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from imbalanced_core import metrics
from imbalanced_core.pairwise.counts import soft_counts_above
from imbalanced_torch import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
    SymmetricCrossEntropyLoss,
)

COLORS = ("#0b5394", "#e69138", "#38761d", "#cc0000", "#674ea7")
GREY = "#999999"


def panels(count: int = 2, width: float = 4.2, height: float = 3.1) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, and its axes."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, axes


def value_and_slope(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The losses of single values and their derivatives."""
    x = x.clone().requires_grad_()
    values = loss(x)
    values.sum().backward()
    return values.detach().numpy(), x.grad.numpy()


def finish(axes: list[Axes], xlabels: list[str], ylabels: list[str]) -> None:
    """Labels all panels and adds a legend to each panel that has named curves but no legend."""
    for ax, xlabel, ylabel in zip(axes, xlabels, ylabels, strict=True):
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if ax.get_legend_handles_labels()[0] and ax.get_legend() is None:
            ax.legend(frameon=False, fontsize=8)


def sigmoid_focal() -> Figure:
    """Loss and gradient of a positive against its logit."""
    figure, axes = panels()
    logits = torch.linspace(-6, 6, 241, dtype=torch.float64)
    for gamma, color in zip((0.0, 0.5, 2.0, 5.0), COLORS, strict=False):
        loss_fn = SigmoidFocalLoss(alpha=None, gamma=gamma, reduction="none")
        values, slopes = value_and_slope(lambda x, f=loss_fn: f(x, torch.ones_like(x)), logits)
        label = f"γ = {gamma:g}" + (" (BCE)" if gamma == 0 else "")
        axes[0].plot(logits, values, color=color, label=label)
        axes[1].semilogy(logits, -slopes, color=color, label=label)
    axes[1].set_ylim(1e-6, 3)
    finish(axes, ["logit of a positive"] * 2, ["loss", "size of the gradient"])
    return figure


def softmax_focal() -> Figure:
    """Loss and gradient with respect to the true class's logit, against its probability, for three classes."""
    figure, axes = panels()
    p = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    x = torch.log(p) - torch.log((1 - p) / 2)
    curves = [(0.0, 0.0, "γ = 0 (cross entropy)"), (2.0, 0.0, "γ = 2"), (5.0, 0.0, "γ = 5"), (2.0, 0.1, "")]
    for (gamma, smoothing, label), color in zip(curves, COLORS, strict=False):
        loss_fn = SoftmaxFocalLoss(gamma=gamma, label_smoothing=smoothing, reduction="none")

        def of_true_class(x: Tensor, loss_fn: SoftmaxFocalLoss = loss_fn) -> Tensor:
            logits = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1)
            return loss_fn(logits, torch.zeros(len(x), dtype=torch.int64))

        values, slopes = value_and_slope(of_true_class, x)
        style = {"color": color, "label": label or "γ = 2, smoothing 0.1", "linestyle": "--" if smoothing else "-"}
        axes[0].plot(p, values, **style)
        axes[1].plot(p, slopes, **style)
    finish(axes, ["probability of the true class"] * 2, ["loss", "gradient by its logit"])
    return figure


def symmetric_cross_entropy() -> Figure:
    """Loss and gradient against the probability of the given label, for three classes."""
    figure, axes = panels()
    p = torch.linspace(0.002, 0.998, 199, dtype=torch.float64)
    x = torch.log(p) - torch.log((1 - p) / 2)
    epsilon = float(np.exp(-4))
    curves = [(1.0, 0.0, "cross entropy"), (0.0, 1.0, "reverse cross entropy"), (1.0, 1.0, "symmetric, α = β = 1")]
    for (alpha, beta, label), color in zip(curves, COLORS, strict=False):
        loss_fn = SymmetricCrossEntropyLoss(alpha, beta, epsilon, reduction="none")

        def of_label(x: Tensor, loss_fn: SymmetricCrossEntropyLoss = loss_fn) -> Tensor:
            logits = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1)
            return loss_fn(logits, torch.zeros(len(x), dtype=torch.int64))

        values, slopes = value_and_slope(of_label, x)
        axes[0].plot(p, values, color=color, label=label)
        axes[1].plot(p, slopes, color=color)
    finish(axes, ["probability of the given label"] * 2, ["loss (ε = e⁻⁴)", "gradient by its logit"])
    return figure


def one_positive_among(negatives: Tensor, loss_fn: SmoothAPLoss | PAUCAtBudgetLoss) -> Callable[[Tensor], Tensor]:
    """The loss of a single positive among fixed negatives, as a function of its score."""
    targets = torch.zeros(len(negatives) + 1, dtype=torch.int64)
    targets[0] = 1

    def losses(scores: Tensor) -> Tensor:
        return torch.stack([loss_fn(torch.cat([s[None], negatives])[:, None], targets) for s in scores])

    return losses


def smooth_ap() -> Figure:
    """Loss and gradient of one positive as it climbs past ten negatives."""
    figure, axes = panels()
    negatives = torch.arange(10, dtype=torch.float64) / 2.0
    scores = torch.linspace(-1.5, 6, 301, dtype=torch.float64)
    for tau, color in zip((0.01, 0.05, 0.2, 1.0), COLORS, strict=False):
        loss_fn = SmoothAPLoss(1, queue_size=0, temperature=tau)
        values, slopes = value_and_slope(one_positive_among(negatives, loss_fn), scores)
        axes[0].plot(scores, values, color=color, label=f"τ = {tau:g}")
        axes[1].plot(scores, np.maximum(-slopes, 1e-9), color=color, label=f"τ = {tau:g}")
    axes[1].set_yscale("log")
    axes[1].set_ylim(1e-5, 20)
    for ax in axes:
        ax.plot(negatives, np.full(10, ax.get_ylim()[0]), "|", color=GREY, markersize=14, clip_on=False)
    finish(axes, ["score of the positive (ticks: negatives)"] * 2, ["loss", "size of its gradient"])
    return figure


def recall_at_quantile() -> Figure:
    """Loss and gradient of a positive against its distance from the threshold."""
    figure, axes = panels()
    torch.manual_seed(0)
    negatives = torch.randn(999, dtype=torch.float64)
    threshold = float(negatives.sort().values[-10])
    distance = torch.linspace(-2, 2, 201, dtype=torch.float64)
    for tau, color in zip((0.01, 0.05, 0.2, 0.5), COLORS, strict=False):
        loss_fn = RecallAtQuantileLoss(1, quantile=0.01, queue_size=0, temperature=tau)
        values, slopes = value_and_slope(one_positive_among(negatives, loss_fn), threshold + distance)
        axes[0].plot(distance, values, color=color, label=f"τ = {tau:g}")
        axes[1].semilogy(distance, np.maximum(-slopes, 1e-12), color=color, label=f"τ = {tau:g}")
    axes[1].set_ylim(1e-5, 50)
    finish(axes, ["score of the positive − threshold"] * 2, ["loss", "size of its gradient"])
    return figure


def pauc_at_budget() -> Figure:
    """Both surrogates against the score of one positive, over the histogram of 2000 negatives."""
    figure, axes = panels()
    torch.manual_seed(0)
    negatives = torch.randn(2000, dtype=torch.float64)
    scores = torch.linspace(-1, 5, 181, dtype=torch.float64)
    t_alpha, t_beta = float(negatives.max()), float(negatives.quantile(0.95))
    for surrogate, color in zip(("trapezoid", "pairwise"), COLORS, strict=False):
        loss_fn = PAUCAtBudgetLoss(1, beta=0.05, surrogate=surrogate, queue_size=0, temperature=0.1)
        values, slopes = value_and_slope(one_positive_among(negatives, loss_fn), scores)
        axes[0].plot(scores, values, color=color, label=surrogate)
        axes[1].plot(scores, -slopes, color=color, label=surrogate)
    heights, edges = np.histogram(negatives, 60)
    axes[0].stairs(heights / heights.max() * 0.5, edges, color=GREY, fill=True, alpha=0.35, label="negatives")
    for ax in axes:
        ax.axvspan(t_beta, t_alpha, color=COLORS[1], alpha=0.12, label="band, β = 0.05")
        ax.set_xlim(-1, 5)
    finish(axes, ["score of the positive"] * 2, ["loss", "size of its gradient"])
    return figure


def warmup() -> Figure:
    """Main-loss weight and temperature at every step of a schedule."""
    figure, axes = panels()
    loss_fn = LossWarmupWrapper(
        SigmoidFocalLoss(),
        SmoothAPLoss(1),
        warmup_steps=200,
        blend_steps=200,
        temp_start=0.5,
        temp_end=0.05,
        temp_decay_steps=500,
    )
    weights, temperatures = [], []
    for step in range(1000):
        loss_fn.on_train_batch_start(step)
        weights.append(loss_fn.main_weight)
        temperatures.append(loss_fn.current_temperature)
    axes[0].plot(weights, color=COLORS[0])
    axes[1].semilogy(temperatures, color=COLORS[1])
    axes[1].set_yticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
    axes[1].minorticks_off()
    for ax in axes:
        ax.axvline(200, color=GREY, linestyle=":")
    axes[0].text(185, 0.15, "switch: the queue is emptied", color=GREY, fontsize=8, rotation=90, ha="right")
    finish(axes, ["step"] * 2, ["weight w of the ranking loss", "temperature"])
    return figure


def engine() -> Figure:
    """How the pairs of a sorted row are visited, and the error of the sums in float32 and float64."""
    figure, axes = panels(2, height=3.4)
    items, block = 64, 16
    place = np.arange(items) // block
    axes[0].imshow(place[:, None] == place, cmap="Blues", vmin=-0.35, vmax=1.3)
    for edge in range(block, items, block):
        axes[0].axhline(edge - 0.5, color="white", linewidth=2)
        axes[0].axvline(edge - 0.5, color="white", linewidth=2)
    axes[0].text(23.5, 23.5, "every\npair", ha="center", va="center", color="white", fontsize=8)
    axes[0].text(39.5, 7.5, "moments\nonly", ha="center", va="center", fontsize=8)
    axes[0].grid(False)
    axes[0].set_xticks(range(0, items + 1, block))
    axes[0].set_yticks(range(0, items + 1, block))
    sizes = 2 ** np.arange(5, 13)
    for dtype, color in ((torch.float32, COLORS[1]), (torch.float64, COLORS[0])):
        name = str(dtype).removeprefix("torch.")
        axes[1].loglog(sizes, [_error_of_counts(int(n), dtype) for n in sizes], "o-", color=color, label=name)
    axes[1].set_ylim(1e-17, 1e-4)
    finish(axes, ["item j, sorted by score", "items n"], ["item i, sorted by score", "largest relative error"])
    return figure


def _error_of_counts(n: int, dtype: torch.dtype) -> float:
    scores = torch.randn(n, dtype=dtype, generator=torch.Generator().manual_seed(n))
    tau = torch.tensor(0.05, dtype=dtype)
    counts = soft_counts_above(scores, torch.ones(1, n, dtype=dtype), tau)[0].double()
    exact_scores = scores.double()
    exact = torch.sigmoid((exact_scores - exact_scores[:, None]) / tau.double()).sum(1)
    return float(((counts - exact) / exact).abs().max())


def logit_scale() -> Figure:
    """Size of the gradient when the same ranking is expressed with ever larger logits."""
    figure, axes = panels()
    torch.manual_seed(0)
    targets = (torch.arange(2000) < 20).long()
    base = torch.randn(2000, dtype=torch.float64) + 1.5 * targets
    scales = torch.logspace(-2, 2, 33, dtype=torch.float64)
    for ax, loss_class in zip(axes, (SmoothAPLoss, RecallAtQuantileLoss), strict=True):
        for unit, color in (("absolute", COLORS[3]), ("std", COLORS[0])):
            loss_fn = loss_class(1, queue_size=0, temperature=0.1, temperature_scale=unit)
            sizes = []
            for scale in scales:
                logits = (base * scale)[:, None].requires_grad_()
                loss_fn(logits, targets).backward()
                sizes.append(float(logits.grad.norm() * scale))  # per unit of the unscaled logits
            ax.loglog(scales, sizes, color=color, label=f'temperature_scale="{unit}"')
        ax.set_title(loss_class.__name__, fontsize=9)
    finish(axes, ["factor on all logits"] * 2, ["gradient × factor"] * 2)
    return figure


def collapse() -> Figure:
    """Losses of the true ranking and of equal scores, and how a loss moves the spread, against the best pAUC."""
    figure, axes = panels()
    band = 0.02
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    negatives, positives = (normal.icdf((torch.arange(n, dtype=torch.float64) + 0.5) / n) for n in (4000, 40))
    targets = (torch.arange(4040) >= 4000).long()
    losses = {
        "pairs, τ = 1.0 std": PAUCAtBudgetLoss.recommended(1, band / 2, gated=False, queue_size=0),
        "pairs, τ = 0.1 std": PAUCAtBudgetLoss.recommended(1, band / 2, gated=False, queue_size=0, temperature=0.1),
        "Smooth-AP, τ = 0.2 std": SmoothAPLoss.recommended(1, gated=False, queue_size=0),
    }
    rows = [torch.cat([negatives, positives + shift]) for shift in np.linspace(0.2, 4.5, 44)]
    best = [float(metrics.partial_auc(row, targets == 1, beta=band)) for row in rows]
    for (name, loss_fn), color in zip(losses.items(), COLORS, strict=False):
        values, pulls = [], []
        for row in rows:
            scale = torch.ones((), dtype=torch.float64, requires_grad=True)
            loss = loss_fn((scale * row)[:, None], targets)
            values.append(loss.item())
            pulls.append(torch.autograd.grad(loss, scale)[0].item())  # the temperature is a constant here
        axes[0].plot(best, values, color=color, label=name)
        axes[1].plot(best, pulls, color=color, label=name)
    axes[0].plot([0, 1], [0.5, 0.5], color=GREY, linestyle="--", label="pairs, equal scores")
    axes[0].plot([0, 1], [0.99, 0.99], color=GREY, linestyle=":", label="Smooth-AP, equal scores")
    axes[1].axhline(0.0, color=GREY, linestyle="--")
    axes[0].set_title("loss of the true ranking", fontsize=9)
    axes[1].set_title("above 0 the loss shrinks the scores", fontsize=9)
    finish(axes, ["best achievable normalised pAUC"] * 2, ["loss", "derivative by a factor on the scores"])
    return figure


def expected() -> Figure:
    """Average precision of each loss relative to BCE from the prior, on each kind of data."""
    with (Path(__file__).parent / "study" / "expected.csv").open() as file:
        (_, baseline, *losses), *rows = csv.reader(file)
    figure, (ax,) = panels(1, width=7.5, height=5.2)
    least = 0.87  # points further to the left are drawn at the edge, with their value
    for column, (loss, marker, color) in enumerate(zip(losses, "soox", (GREY, *COLORS[:2], COLORS[3]), strict=True)):
        known = [(y, float(row[2 + column]) / float(row[1])) for y, row in enumerate(rows) if row[2 + column]]
        ax.plot(
            [max(x, least) for _, x in known], [y for y, _ in known], marker, color=color, label=loss, clip_on=False
        )
        for y, x in known:
            if x < least:
                ax.annotate(f"{x:.2f}", (least, y), (7, -3), textcoords="offset points", fontsize=8, color=color)
    ax.axvline(1.0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(left=least)
    ax.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.3, 1.0))
    ax.xaxis.set_major_formatter("{x:.2f}")
    ax.set_xticks(np.arange(0.88, 1.07, 0.02))
    ax.set_xlabel(f"average precision / that of {baseline}")
    return figure


PLOTS = {
    "sigmoid_focal": sigmoid_focal,
    "softmax_focal": softmax_focal,
    "symmetric_cross_entropy": symmetric_cross_entropy,
    "smooth_ap": smooth_ap,
    "recall_at_quantile": recall_at_quantile,
    "pauc_at_budget": pauc_at_budget,
    "warmup": warmup,
    "engine": engine,
    "logit_scale": logit_scale,
    "collapse": collapse,
    "expected": expected,
}


def main() -> None:
    """Draws all plots, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(PLOTS)}; none: all")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "images")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(PLOTS))
    if unknown:
        parser.error(f"name must be one of {', '.join(PLOTS)}, got {', '.join(unknown)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or PLOTS:
        path = options.folder / f"{name}.png"
        PLOTS[name]().savefig(path, dpi=110, format="png", metadata={"Software": None})
        print(path)


if __name__ == "__main__":
    main()

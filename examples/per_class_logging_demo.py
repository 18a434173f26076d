"""What a ranking loss can tell about each class while it trains, without a second forward pass.

Smooth-AP trains a network on long-tailed digits after a warm-up with cross entropy. At every step it gives the average
precision of each digit in the batch and its queue, and whether the digit counted at all (`return_per_class` in PyTorch,
`aux` in JAX). A partial-AUC loss looks on: it carries no gradient here, and its diagnostics say how many negatives lie
in the band of the budget and how many positives of the batch carry gradient.

The images are real (the handwritten digits of scikit-learn), their long tail is made. Prints a table of the last epoch
and draws the log of the whole training.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from demo_common import (
    BACKENDS,
    Run,
    new_figure,
    parse_options,
    per_class_average_precision,
    print_agreement,
    print_table,
    save,
    schedule,
    steps_per_epoch,
    train_all,
)
from demo_data import Problem, long_tailed_digits
from multiclass_demo import DEFAULTS as OF_MULTICLASS

DEFAULTS = {name: value for name, value in OF_MULTICLASS.items() if name != "gamma"} | {"budget": 0.05}


def losses_in_torch(problem, options):
    from torch import nn

    from imbalanced_torch import LossWarmupWrapper, PAUCAtBudgetLoss, SmoothAPLoss

    smooth_ap = SmoothAPLoss(problem.outputs, options.queue_size, temperature_scale="std")
    loss_fn = LossWarmupWrapper(nn.CrossEntropyLoss(), smooth_ap, **schedule(problem, options))
    onlooker = PAUCAtBudgetLoss(
        problem.outputs, beta=options.budget, surrogate="trapezoid", queue_size=options.queue_size
    )

    def logged(logits, targets):
        loss_fn.step()
        loss, per_class, valid = loss_fn(logits, targets, return_per_class=True)  # NaN, False in the warm-up
        _, stats = onlooker(logits.detach(), targets, return_diagnostics=True)
        return loss, {"average precision": 1 - per_class, "valid": valid, **stats}

    return {"Smooth-AP": logged}


def losses_in_jax(problem, options):
    import jax
    from demo_jax import Loss, cross_entropy

    from imbalanced_jax import init_queue, pauc_at_budget_loss, smooth_ap_loss, warmup_blend

    def logged(step, logits, targets, queues):
        loss, aux = warmup_blend(
            step,
            lambda: cross_entropy(logits, targets),
            lambda queue, temperature: smooth_ap_loss(
                logits, targets, queue, temperature=temperature, temperature_scale="std"
            ),
            queues[0],
            **schedule(problem, options),
        )
        _, seen = pauc_at_budget_loss(
            jax.lax.stop_gradient(logits), targets, queues[1], beta=options.budget, surrogate="trapezoid"
        )
        stats = {name: figure for name, figure in seen.diagnostics._asdict().items() if figure is not None}
        figures = {"average precision": 1 - aux.per_class, "valid": aux.valid, **stats}
        return loss, (aux.queue, seen.queue), figures

    empty = init_queue(options.queue_size, problem.outputs)
    return {"Smooth-AP": Loss(logged, (empty, empty))}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "per_class_logging_demo", arguments, **DEFAULTS)
    problem = long_tailed_digits(options.seed, ratio=options.ratio)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax})

    per_epoch = steps_per_epoch(problem, options)
    logs = {backend: mean_by_epoch(by_loss["Smooth-AP"], per_epoch) for backend, by_loss in runs.items()}
    print(
        f"\nMeans over the {per_epoch} steps of the last epoch: average precision in batch and queue, the share of the "
        f"steps in which\nthe digit counted, the negatives within the budget of {options.budget:.1%}, and the "
        "positives of the batch"
    )
    columns = ["", "training images", "AP, training", "AP, held out", "valid", "band_neg_count", "grad_pos_count"]
    tables = {backend: last_epoch(problem, runs[backend]["Smooth-AP"], log) for backend, log in logs.items()}
    counts = np.bincount(problem.train_y, minlength=problem.outputs)
    for backend, table in tables.items():
        rows = [[f"digit {digit}", counts[digit], *row] for digit, row in enumerate(table.tolist())]
        print_table(backend, columns, rows)
    print_agreement(runs, tables)
    draw(logs, counts, options.output)


def mean_by_epoch(run: Run, per_epoch: int) -> dict[str, np.ndarray]:
    """Each logged figure [epochs, digits], averaged over the steps in which it is not NaN; NaN if there is none."""
    means = {}
    for name, values in run.logged.items():
        steps = values.astype(np.float64).reshape(-1, per_epoch, values.shape[1])
        known = np.isfinite(steps)
        total = np.sum(np.where(known, steps, 0), axis=1)
        count = known.sum(axis=1)
        means[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def last_epoch(problem: Problem, run: Run, log: dict[str, np.ndarray]) -> np.ndarray:
    """The columns of the table, [digits, 5]."""
    held_out = per_class_average_precision(problem, run.scores[-1])
    names = ("average precision", "valid", "band_neg_count", "grad_pos_count")
    training, *others = (log[name][-1] for name in names)
    return np.stack([training, held_out, *others], axis=1)


def draw(logs: dict[str, dict[str, np.ndarray]], counts: np.ndarray, path: Path) -> None:
    """Above: average precision in training; below: positives of the batch. One line per digit, the rare ones red."""
    figure, axes = new_figure(len(logs), rows=2, title="What the loss reports about each digit")
    from matplotlib import colormaps

    colors = colormaps["coolwarm"](np.linspace(0, 1, len(counts)))
    for column, (backend, log) in enumerate(logs.items()):
        for row, name in enumerate(("average precision", "grad_pos_count")):
            for digit, (color, line) in enumerate(zip(colors, log[name].T, strict=True)):
                label = f"digit {digit}: {counts[digit]} images"
                axes[row, column].plot(np.arange(1, len(line) + 1), line, color=color, linewidth=1.5, label=label)
        axes[0, column].set_title(BACKENDS[backend])
        axes[1, column].set(xlabel="epoch", yscale="symlog")
    axes[0, 0].set_ylabel("average precision in training")
    axes[1, 0].set_ylabel("positives of a batch, mean")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save(figure, path)


if __name__ == "__main__":
    main()

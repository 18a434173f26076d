"""One run through all phases: binary cross entropy, a blend, then Smooth-AP, on rare positives.

Prints for every epoch the phase, the weight of Smooth-AP, its temperature, the mean loss, and the average precision of
held-out rows; and draws them.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from demo_common import (
    BACKENDS,
    FROM_RARE_POSITIVES,
    Run,
    Runs,
    average_precision,
    new_figure,
    parse_options,
    print_agreement,
    print_table,
    save,
    schedule,
    steps_per_epoch,
    train_all,
)
from demo_data import Problem, rare_positives

from imbalanced_core.losses.schedules import blend_weight, geometric_decay

DEFAULTS = FROM_RARE_POSITIVES | {"warmup_epochs": 3, "blend_epochs": 2, "total_epochs": 15}


def losses_in_torch(problem, options):
    from torch import nn

    from imbalanced_torch import LossWarmupWrapper, SmoothAPLoss

    smooth_ap = SmoothAPLoss(num_classes=1, queue_size=options.queue_size, temperature_scale="std")
    return {"warm-up + blend": LossWarmupWrapper(nn.BCEWithLogitsLoss(), smooth_ap, **schedule(problem, options))}


def losses_in_jax(problem, options):
    from functools import partial

    from demo_jax import bce, warm_started

    from imbalanced_jax import init_queue, smooth_ap_loss

    smooth_ap, queue = partial(smooth_ap_loss, temperature_scale="std"), init_queue(options.queue_size, num_classes=1)
    return {"warm-up + blend": warm_started(bce, smooth_ap, queue, schedule(problem, options))}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "toy_demo", arguments, **DEFAULTS)
    problem = rare_positives(options.rows, options.pos_rate, options.seed)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax})

    print(f"\nAverage precision of the held-out rows; chance is {problem.test_y.mean():.3f}")
    traces = {backend: trace(problem, options, by_loss["warm-up + blend"]) for backend, by_loss in runs.items()}
    columns = ["epoch", "phase", "main weight", "temperature", "loss", "average precision"]
    for backend, rows in traces.items():
        print_table(backend, columns, [[epoch, phase(options, epoch - 1), *row] for epoch, *row in rows])
    print_agreement(runs, {backend: np.array(rows) for backend, rows in traces.items()})
    draw(options, traces, runs)


def trace(problem: Problem, options: argparse.Namespace, run: Run) -> list[list]:
    """For each epoch: its number, weight and temperature at its last step, mean loss and average precision."""
    plan, per_epoch = schedule(problem, options), steps_per_epoch(problem, options)
    rows = []
    for epoch, scores in enumerate(run.scores):
        step = (epoch + 1) * per_epoch - 1
        weight = blend_weight(step, warmup=plan["warmup_steps"], blend=plan["blend_steps"])
        temperature = geometric_decay(
            step - plan["warmup_steps"], start=plan["temp_start"], end=plan["temp_end"], steps=plan["temp_decay_steps"]
        )
        loss = float(run.losses[epoch * per_epoch : step + 1].mean())
        rows.append([epoch + 1, weight, temperature, loss, average_precision(problem, scores)])
    return rows


def phase(options: argparse.Namespace, epoch: int) -> str:
    """The phase of an epoch, counted from 0."""
    if epoch < options.warmup_epochs:
        return "warm-up"
    return "blend" if epoch < options.warmup_epochs + options.blend_epochs else "Smooth-AP"


def draw(options: argparse.Namespace, traces: dict[str, list[list]], runs: Runs) -> None:
    """Above: average precision; below: loss, weight and temperature. The phases are shaded."""
    figure, axes = new_figure(len(runs), rows=2, title="Warm-up, blend, Smooth-AP")
    for column, (backend, rows) in enumerate(traces.items()):
        epoch, weight, temperature, loss, precision = np.array(rows).T
        axes[0, column].plot(epoch, precision, marker="o", markersize=3, color="black", label="average precision")
        for values, name in ((loss, "loss"), (weight, "weight of Smooth-AP"), (temperature, "temperature")):
            axes[1, column].plot(epoch, values, marker="o", markersize=3, label=name)
        for axis in axes[:, column]:
            start = 0.5 + options.warmup_epochs
            axis.axvspan(0.5, start, color="0.9", label="warm-up")
            axis.axvspan(start, start + options.blend_epochs, color="0.95", label="blend")
            axis.set_xlim(0.5, options.total_epochs + 0.5)
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0, column].set_title(BACKENDS[backend])
        axes[1, column].set_xlabel("epoch")
    axes[0, 0].set_ylabel("average precision")
    labelled = {
        label: line for axis in axes[:, 0] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside right center", frameon=False)
    save(figure, options.output)


if __name__ == "__main__":
    main()

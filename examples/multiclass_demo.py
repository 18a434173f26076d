"""Ten digits with a long tail: which loss finds the rare ones? Macro average precision counts every digit alike.

- cross entropy;
- weighted CE: the same, classes weighted inversely to their frequency;
- softmax focal: cross entropy that turns to the hard examples, with the same weights;
- Smooth-AP: average precision of each digit against the rest, after a warm-up with cross entropy and a blend.

The images are real (the handwritten digits of scikit-learn), their long tail is made. Prints macro average precision
on held-out images after every epoch and the average precision of each digit at the end, and draws both.
"""

from collections.abc import Sequence

import numpy as np
from demo_common import (
    BACKENDS,
    Runs,
    by_epoch,
    new_figure,
    parse_options,
    per_class_average_precision,
    print_agreement,
    print_table,
    save,
    schedule,
    train_all,
)
from demo_data import Problem, long_tailed_digits

DEFAULTS = {
    "ratio": 30.0,
    "warmup_epochs": 30,
    "blend_epochs": 15,
    "total_epochs": 90,
    "batch_size": 64,
    "queue_size": 512,
    "gamma": 2.0,
    "temp_start": 0.5,
    "temp_end": 0.1,
    "lr": 3e-3,
    "seed": 0,
}


def losses_in_torch(problem, options):
    import torch
    from torch import nn

    from imbalanced_torch import LossWarmupWrapper, SmoothAPLoss, SoftmaxFocalLoss, class_weights

    weights = class_weights(torch.from_numpy(np.bincount(problem.train_y)), scheme="balanced")
    smooth_ap = SmoothAPLoss(problem.outputs, options.queue_size, temperature_scale="std")
    return {
        "cross entropy": nn.CrossEntropyLoss(),
        "weighted CE": SoftmaxFocalLoss(alpha=weights, gamma=0.0),
        "softmax focal": SoftmaxFocalLoss(alpha=weights, gamma=options.gamma),
        "Smooth-AP": LossWarmupWrapper(nn.CrossEntropyLoss(), smooth_ap, **schedule(problem, options)),
    }


def losses_in_jax(problem, options):
    from functools import partial

    from demo_jax import cross_entropy, warm_started, without_state

    from imbalanced_jax import class_weights, init_queue, smooth_ap_loss, softmax_focal_loss

    weights = class_weights(np.bincount(problem.train_y), scheme="balanced")
    smooth_ap = partial(smooth_ap_loss, temperature_scale="std")
    queue = init_queue(options.queue_size, problem.outputs)
    return {
        "cross entropy": without_state(cross_entropy),
        "weighted CE": without_state(partial(softmax_focal_loss, alpha=weights, gamma=0.0)),
        "softmax focal": without_state(partial(softmax_focal_loss, alpha=weights, gamma=options.gamma)),
        "Smooth-AP": warm_started(cross_entropy, smooth_ap, queue, schedule(problem, options)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "multiclass_demo", arguments, **DEFAULTS)
    problem = long_tailed_digits(options.seed, ratio=options.ratio)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax})

    macro, names = by_epoch(problem, runs), list(next(iter(runs.values())))
    print("\nAverage precision of each digit against the rest, and macro: their mean")
    counts = np.bincount(problem.train_y, minlength=problem.outputs)
    tables = {backend: at_the_end(problem, by_loss) for backend, by_loss in runs.items()}
    for backend, table in tables.items():
        rows = [[f"digit {digit}", counts[digit], *row] for digit, row in enumerate(table.tolist())]
        print_table(backend, ["", "training images", *names], [*rows, ["macro", counts.sum(), *macro[backend][-1]]])
    print_agreement(runs, tables)
    draw(macro, tables, names, options.output)


def at_the_end(problem: Problem, by_loss: Runs) -> np.ndarray:
    """Average precision [digits, losses] after the last epoch."""
    return np.array([per_class_average_precision(problem, run.scores[-1]) for run in by_loss.values()]).T


def draw(macro: dict[str, np.ndarray], tables: dict[str, np.ndarray], names: Sequence[str], path) -> None:
    """Above: macro average precision by epoch. Below: the digits at the end, from the frequent to the rare."""
    figure, axes = new_figure(len(tables), rows=2, title="Long-tailed digits", share_x=False)
    for column, backend in enumerate(tables):
        for name, by_epoch_, by_digit in zip(names, macro[backend].T, tables[backend].T, strict=True):
            axes[0, column].plot(range(1, len(by_epoch_) + 1), by_epoch_, linewidth=1.7, label=name)
            axes[1, column].plot(by_digit, marker="o", markersize=4, linewidth=1.7)
        axes[0, column].set(title=BACKENDS[backend], xlabel="epoch")
        axes[1, column].set(xlabel="digit, from the most to the least frequent in training", xticks=range(10))
    axes[0, 0].set_ylabel("macro average precision")
    axes[1, 0].set_ylabel("average precision")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save(figure, path)


if __name__ == "__main__":
    main()

"""Four pointwise losses on the same rare positives: what does each part of the focal loss change?

- BCE: binary cross entropy; easy negatives dominate;
- weighted BCE: positives weighted by negatives / positives;
- focal: focused on hard examples by gamma, classes weighted by alpha and 1 - alpha;
- focal, no alpha: focused only.

Prints the average precision of held-out rows after every epoch, and draws it.
"""

from collections.abc import Sequence

from demo_common import (
    FROM_RARE_POSITIVES,
    by_epoch,
    draw_by_epoch,
    parse_options,
    print_agreement,
    print_table_by_epoch,
    train_all,
)
from demo_data import rare_positives

RANKING_ONLY = ("warmup_epochs", "blend_epochs", "queue_size", "temp_start", "temp_end")
DEFAULTS = {name: value for name, value in FROM_RARE_POSITIVES.items() if name not in RANKING_ONLY}
DEFAULTS |= {"alpha": 0.25, "gamma": 2.0}


def losses_in_torch(problem, options):
    from torch import nn

    from imbalanced_torch import SigmoidFocalLoss, pos_weight

    weight = pos_weight(float(problem.train_y.sum()), len(problem.train_y))
    return {
        "BCE": nn.BCEWithLogitsLoss(),
        "weighted BCE": nn.BCEWithLogitsLoss(pos_weight=weight),
        "focal": SigmoidFocalLoss(alpha=options.alpha, gamma=options.gamma),
        "focal, no alpha": SigmoidFocalLoss(alpha=-1, gamma=options.gamma),
    }


def losses_in_jax(problem, options):
    from functools import partial

    from demo_jax import bce, without_state

    from imbalanced_jax import pos_weight, sigmoid_focal_loss

    weight = pos_weight(problem.train_y.sum(), len(problem.train_y))
    return {
        "BCE": without_state(bce),
        "weighted BCE": without_state(partial(bce, pos_weight=weight)),
        "focal": without_state(partial(sigmoid_focal_loss, alpha=options.alpha, gamma=options.gamma)),
        "focal, no alpha": without_state(partial(sigmoid_focal_loss, alpha=None, gamma=options.gamma)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "focal_demo", arguments, **DEFAULTS)
    problem = rare_positives(options.rows, options.pos_rate, options.seed)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax})

    tables, names = by_epoch(problem, runs), list(next(iter(runs.values())))
    print(f"\nAverage precision of the held-out rows; chance is {problem.test_y.mean():.3f}")
    for backend, table in tables.items():
        print_table_by_epoch(backend, names, table)
    print_agreement(runs, tables)
    draw_by_epoch(tables, names, title="The parts of the focal loss", ylabel="average precision", path=options.output)


if __name__ == "__main__":
    main()

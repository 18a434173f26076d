"""Does a ranking loss need its warm-up? Three networks on the same rare positives, from the same weights and batches.

- warm-up only: binary cross entropy to the end;
- AP only: Smooth-AP from the first step, on random scores;
- warm-up + blend: binary cross entropy, a linear blend, then Smooth-AP.

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
    schedule,
    train_all,
)
from demo_data import rare_positives


def losses_in_torch(problem, options):
    from torch import nn

    from imbalanced_torch import LossWarmupWrapper, SmoothAPLoss

    def smooth_ap():
        return SmoothAPLoss(1, options.queue_size, temperature_scale="std")

    plan = schedule(problem, options)
    from_the_start = plan | {"warmup_steps": 0, "blend_steps": 0}
    bce = nn.BCEWithLogitsLoss()
    return {
        "warm-up only": bce,
        "AP only": LossWarmupWrapper(bce, smooth_ap(), **from_the_start),
        "warm-up + blend": LossWarmupWrapper(bce, smooth_ap(), **plan),
    }


def losses_in_jax(problem, options):
    from functools import partial

    from demo_jax import bce, warm_started, without_state

    from imbalanced_jax import init_queue, smooth_ap_loss

    smooth_ap = partial(smooth_ap_loss, temperature_scale="std")
    queue = init_queue(options.queue_size, num_classes=1)
    plan = schedule(problem, options)
    from_the_start = plan | {"warmup_steps": 0, "blend_steps": 0}
    return {
        "warm-up only": without_state(bce),
        "AP only": warm_started(bce, smooth_ap, queue, from_the_start),
        "warm-up + blend": warm_started(bce, smooth_ap, queue, plan),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "compare_demo", arguments, **FROM_RARE_POSITIVES)
    problem = rare_positives(options.rows, options.pos_rate, options.seed)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax})

    tables = by_epoch(problem, runs)
    names = list(next(iter(runs.values())))
    print(f"\nAverage precision of the held-out rows; chance is {problem.test_y.mean():.3f}")
    for backend, table in tables.items():
        print_table_by_epoch(backend, names, table)
    print_agreement(runs, tables)
    draw_by_epoch(tables, names, title="With and without a warm-up", ylabel="average precision", path=options.output)


if __name__ == "__main__":
    main()

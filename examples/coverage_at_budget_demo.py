"""Coverage at a budget of false alarms, on extremely rare positives with a contested top.

Decoys, negatives that look like positives until two features are combined, outnumber the positives and fill the top of
a naive ranking; see contested_top.py. Coverage is the share of the positives above the threshold that only the budget,
0.5% (50 basis points) of the negatives, exceeds. Weighted cross entropy is compared with Smooth-AP and with partial AUC
at the budget, with both surrogates ("trap": trapezoid, "pair": pairwise) and both numerators ("pool": all positives,
"live": those of the batch). All ranking losses start from the same warm-up with weighted cross entropy.

The data are synthetic, so the best possible coverage is known; it is in the last line of the table. `--cue` chooses how
positives differ from decoys. By default it takes the product of two features; with `--cue linear`, where weighted cross
entropy by itself comes close to the best, try what the ranking losses still add.
"""

from collections.abc import Sequence

import numpy as np
from contested_top import CUES, contested_top, coverage_at_budget, log_likelihood_ratio
from demo_common import draw_by_epoch, parse_options, print_agreement, print_table, schedule, train_all
from demo_data import Problem

DEFAULTS = {
    "rows": 40_000,
    "test_rows": 200_000,
    "pos_rate": 0.0015,
    "budget": 0.005,
    "warmup_epochs": 10,
    "blend_epochs": 5,
    "total_epochs": 30,
    "batch_size": 2048,
    "queue_size": 8192,
    "temp_start": 0.5,
    "temp_end": 0.1,
    "lr": 1e-2,
    "seed": 0,
}
_HELD_OUT = 1_000_000  # from the seed of the training rows to that of the held-out ones
_CUES = sorted(CUES, key=lambda cue: cue != "product")  # the first is the default
SURROGATES = {"trap": "trapezoid", "pair": "pairwise"}


def losses_in_torch(problem, options):
    from torch import nn

    from imbalanced_torch import LossWarmupWrapper, PAUCAtBudgetLoss, SmoothAPLoss, pos_weight

    def warm_started(main_loss):
        return LossWarmupWrapper(weighted, main_loss, **schedule(problem, options))

    weighted = nn.BCEWithLogitsLoss(pos_weight=pos_weight(float(problem.train_y.sum()), len(problem.train_y)))
    of_all = {"num_classes": 1, "queue_size": options.queue_size, "temperature_scale": "std"}
    losses = {"weighted CE": weighted, "Smooth-AP": warm_started(SmoothAPLoss(**of_all))}
    for short, surrogate in SURROGATES.items():
        for numerator in ("pool", "live"):
            partial_auc = PAUCAtBudgetLoss(**of_all, beta=options.budget, surrogate=surrogate, pos_numerator=numerator)
            losses[f"pAUC {short} {numerator}"] = warm_started(partial_auc)
    return losses


def losses_in_jax(problem, options):
    from functools import partial

    import demo_jax

    from imbalanced_jax import init_queue, pauc_at_budget_loss, pos_weight, smooth_ap_loss

    def warm_started(main_loss):
        queue = init_queue(options.queue_size, num_classes=1)
        return demo_jax.warm_started(weighted, main_loss, queue, schedule(problem, options))

    weighted = partial(demo_jax.bce, pos_weight=pos_weight(problem.train_y.sum(), len(problem.train_y)))
    of_all = {"temperature_scale": "std"}
    losses = {"weighted CE": demo_jax.without_state(weighted)}
    losses["Smooth-AP"] = warm_started(partial(smooth_ap_loss, **of_all))
    for short, surrogate in SURROGATES.items():
        for numerator in ("pool", "live"):
            partial_auc = partial(
                pauc_at_budget_loss, **of_all, beta=options.budget, surrogate=surrogate, pos_numerator=numerator
            )
            losses[f"pAUC {short} {numerator}"] = warm_started(partial_auc)
    return losses


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "coverage_at_budget_demo", arguments, cue=_CUES, **DEFAULTS)
    problem = contested(options)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax})

    def coverage(scores: np.ndarray) -> float:
        return coverage_at_budget(scores.ravel(), problem.test_y.ravel(), options.budget)

    names = list(next(iter(runs.values())))
    by_epoch = {
        backend: np.array([[coverage(scores) for scores in run.scores] for run in by_loss.values()]).T
        for backend, by_loss in runs.items()
    }
    best = coverage(log_likelihood_ratio(problem.test_x, options.cue))
    print(f"\nCoverage of the held-out positives when {options.budget:.2%} of the negatives may be flagged")
    after = max(options.warmup_epochs, 1)
    for backend, table in by_epoch.items():
        rows = [[name, table[after - 1, place], table[-1, place]] for place, name in enumerate(names)]
        print_table(backend, ["loss", f"epoch {after}", f"epoch {len(table)}"], [*rows, ["best possible", "", best]])
    print_agreement(runs, by_epoch)
    title = f"Coverage at a budget of {options.budget:.2%}; best possible {best:.2f}"
    draw_by_epoch(by_epoch, names, title=title, ylabel="coverage", path=options.output)


def contested(options) -> Problem:
    """Rows to learn from and rows held out, drawn anew."""
    train_x, train_y = contested_top(options.rows, options.cue, options.seed, positive_rate=options.pos_rate)
    test_x, test_y = contested_top(
        options.test_rows, options.cue, options.seed + _HELD_OUT, positive_rate=options.pos_rate
    )
    return Problem(
        *(train_x, train_y[:, None], test_x, test_y[:, None]),
        outputs=1,
        description=f"Synthetic (contested_top.py, {options.cue} cue): {len(train_y)} rows to train on, "
        f"{int(train_y.sum())} of them positive; {len(test_y)} held out, {int(test_y.sum())} positive.",
    )


if __name__ == "__main__":
    main()

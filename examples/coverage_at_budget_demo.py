"""Coverage at a budget of false alarms, on extremely rare positives with a contested top.

Decoys, negatives that look like positives until two features are combined, outnumber the positives and fill the top of
a naive ranking; see contested_top.py. Coverage is the share of the positives above the threshold that only the budget,
0.5% (50 basis points) of the negatives, exceeds. Compared are weighted cross entropy, the presets of Smooth-AP and of
partial AUC, which are used alone, and partial AUC with both surrogates, pairs and trapezoid, after a warm-up with
weighted cross entropy. The trapezoid lifts positives only: it shows why the presets compare pairs.

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
_HELD_OUT = 1_000_000  # offset from the seed of the training rows to that of the held-out rows
_CUES = sorted(CUES, key=lambda cue: cue != "product")  # the first is the default
SURROGATES = {"pairs": "pairwise", "trapezoid": "trapezoid"}


def losses_in_torch(problem, options):
    from torch import nn

    from imbalanced_torch import LossWarmupWrapper, PAUCAtBudgetLoss, SmoothAPLoss, pos_weight

    weighted = nn.BCEWithLogitsLoss(pos_weight=pos_weight(float(problem.train_y.sum()), len(problem.train_y)))
    losses = {
        "weighted CE": weighted,
        "Smooth-AP preset": SmoothAPLoss.recommended(1, queue_size=options.queue_size),
        "pAUC preset": PAUCAtBudgetLoss.recommended(1, options.budget, queue_size=options.queue_size),
    }
    for name, surrogate in SURROGATES.items():
        partial_auc = PAUCAtBudgetLoss(
            1, beta=options.budget, surrogate=surrogate, queue_size=options.queue_size, tau_scale="std"
        )
        losses[f"warm-up, {name}"] = LossWarmupWrapper(weighted, partial_auc, **schedule(problem, options))
    return losses


def losses_in_jax(problem, options):
    from functools import partial

    from demo_jax import Loss, bce, warm_started, without_state

    from imbalanced_jax import init_queue, pauc_at_budget_loss, pos_weight, presets

    def preset(loss_of):
        def call(step, logits, targets, state):  # noqa: ARG001 - the form that all losses share
            loss, (state, _) = loss_of(logits, targets, state)
            return loss, state, {}

        return Loss(call, presets.init_state(1, queue_size=options.queue_size))

    weighted = partial(bce, pos_weight=pos_weight(problem.train_y.sum(), len(problem.train_y)))
    losses = {
        "weighted CE": without_state(weighted),
        "Smooth-AP preset": preset(presets.smooth_ap),
        "pAUC preset": preset(partial(presets.pauc_at_budget, budget=options.budget)),
    }
    for name, surrogate in SURROGATES.items():
        partial_auc = partial(pauc_at_budget_loss, beta=options.budget, surrogate=surrogate, tau_scale="std")
        queue = init_queue(options.queue_size, num_classes=1)
        losses[f"warm-up, {name}"] = warm_started(weighted, partial_auc, queue, schedule(problem, options))
    return losses


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(__doc__, "coverage_at_budget_demo", arguments, cue=_CUES, **DEFAULTS)
    problem = contested(options)
    print(problem.description)
    runs = train_all(problem, options, {"torch": losses_in_torch, "jax": losses_in_jax}, from_prior=False)  # weighted

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
    """Freshly drawn training and held-out rows."""
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

"""Rows for `test_ranking_*.py`, and helpers that call every ranking objective of the table on them."""

import numpy as np

from imbalanced_core.ops.namespace import array_namespace


def options_of(case, rng, shape):
    """Random values for every optional array; `is_iid` only for objectives that accept it."""
    options = {"where": rng.random(shape) < 0.8}
    if case.kind == "lists":
        return options
    options |= {
        "weights": rng.random(shape) + 0.1,
        "multiplicity": rng.random(shape) * 3 + 0.2,
        "live": rng.random(shape[-1:]) < 0.6,
    }
    if case.takes_is_iid:
        options["is_iid"] = rng.random(shape) < 0.7
    return options


def draw(rng, shape, dtype=np.float64, rate=0.3):
    positives = rng.random(shape) < rate
    return (rng.standard_normal(shape) + positives).astype(dtype), positives


def labels_of(case, positives):
    """The labels that the loss expects: the positives, or grades of 0 to 3 for a listwise loss."""
    return positives * (1 + np.arange(positives.shape[-1]) % 3) if case.kind == "lists" else positives


def call(case, *keys):
    """The objective with its optional arrays passed by position, as backends need it; without diagnostics."""
    return lambda scores, positives, *arrays: case.objective(scores, positives, **dict(zip(keys, arrays, strict=True)))[
        :2
    ]


def gradient_of(case, backend, scores, positives, **options):
    function = call(case, *options)

    def total(*arrays):
        loss = function(*arrays)[0]
        return array_namespace(loss).sum(loss)

    return backend.value_and_grad(total, scores, positives, *options.values())


def run(case, backend, scores, positives, **options):
    return backend.run(call(case, *options), scores, positives, *options.values())


def degenerate_rows(rng, n=12):
    """Name -> (scores, positives, where): rows without a loss, and all-positive rows, whose loss ranks nothing."""
    scores, positives = draw(rng, (n,))
    positives[:3] = True
    everywhere = np.ones(n, bool)
    return {
        "everything is masked": (np.full(n, np.nan), positives, ~everywhere),
        "no positive": (scores, ~everywhere, everywhere),
        "every positive is masked": (np.where(positives, np.inf, scores), positives, ~positives),
        "all positive": (scores, everywhere, everywhere),
        "one item": (scores, everywhere, np.arange(n) == 2),
    }

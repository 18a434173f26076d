"""One list of objectives for `test_ranking_*.py`, which share one list of properties."""

from functools import partial

import numpy as np
import pytest
import reference

from imbalanced_core.losses.partial_auc import partial_auc
from imbalanced_core.losses.ranking import recall_at_quantile, smooth_ap
from imbalanced_core.ops.namespace import array_namespace

OBJECTIVES = {
    "smooth_ap": partial(smooth_ap, temperature=0.2),
    "smooth_ap iqr": partial(smooth_ap, temperature=0.1, temperature_scale="iqr"),
    "smooth_ap std live": partial(smooth_ap, temperature=0.1, temperature_scale="std", pos_numerator="live"),
    "recall": partial(recall_at_quantile, quantile=0.1, temperature=0.3),
    "recall linear std live": partial(
        recall_at_quantile,
        quantile=0.3,
        interpolation="linear",
        temperature=0.3,
        temperature_scale="std",
        pos_numerator="live",
    ),
    "pauc trapezoid": partial(partial_auc, beta=0.2),
    "pauc trapezoid band population live": partial(
        partial_auc,
        alpha=0.05,
        beta=0.5,
        n_knots=5,
        temperature_scale="band",
        budget_basis="population",
        pos_numerator="live",
    ),
    "pauc pairwise": partial(partial_auc, alpha=0.05, beta=0.5, surrogate="pairwise"),
    "pauc pairwise std population": partial(
        partial_auc, beta=0.5, surrogate="pairwise", temperature_scale="std", budget_basis="population"
    ),
    "pauc absolute live": partial(
        partial_auc, beta=0.5, temperature=0.4, temperature_scale="absolute", pos_numerator="live"
    ),
}
SHORT_LIST = ("smooth_ap", "recall linear std live", "pauc trapezoid", "pauc pairwise")

every_objective = pytest.mark.parametrize("name", OBJECTIVES)
some_objectives = pytest.mark.parametrize("name", SHORT_LIST)


def options_of(name, rng, shape):
    """Every optional array, drawn; `is_iid` for those that know it."""
    options = {
        "where": rng.random(shape) < 0.8,
        "weights": rng.random(shape) + 0.1,
        "multiplicity": rng.random(shape) * 3 + 0.2,
        "live": rng.random(shape[-1:]) < 0.6,
    }
    if name.startswith("pauc"):
        options["is_iid"] = rng.random(shape) < 0.7
    return options


def draw(rng, shape, dtype=np.float64, rate=0.3):
    positives = rng.random(shape) < rate
    return (rng.standard_normal(shape) + positives).astype(dtype), positives


def reference_rows(name, scores, positives, **options):
    """(losses, valid, gradients) of the reference, row by row, and of its figures what there is."""
    objective = OBJECTIVES[name]
    of_row = getattr(reference, objective.func.__name__)
    options = {key: np.broadcast_to(value, scores.shape) for key, value in options.items() if value is not None}
    rows = [
        of_row(scores[r], positives[r], **objective.keywords, **{key: value[r] for key, value in options.items()})
        for r in range(len(scores))
    ]
    return tuple(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))


def call(name, *keys):
    """The objective with its optional arrays as positional ones, as a backend runs it; without diagnostics."""
    return lambda scores, positives, *arrays: OBJECTIVES[name](
        scores, positives, **dict(zip(keys, arrays, strict=True))
    )[:2]


def gradient_of(name, backend, scores, positives, **options):
    function = call(name, *options)

    def total(*arrays):
        loss = function(*arrays)[0]
        return array_namespace(loss).sum(loss)

    return backend.value_and_grad(total, scores, positives, *options.values())


def run(name, backend, scores, positives, **options):
    return backend.run(call(name, *options), scores, positives, *options.values())


def degenerate_rows(rng, n=12):
    """Name -> (scores, positives, where): rows without a loss."""
    scores, positives = draw(rng, (n,))
    positives[:3] = True
    everywhere = np.ones(n, bool)
    return {
        "nothing takes part": (np.full(n, np.nan), positives, ~everywhere),
        "no positive": (scores, ~everywhere, everywhere),
        "no positive takes part": (np.where(positives, np.inf, scores), positives, ~positives),
        "all positive": (scores, everywhere, everywhere),
        "one item": (scores, everywhere, np.arange(n) == 2),
        "constant scores": (np.full(n, 0.1), positives, everywhere),
    }

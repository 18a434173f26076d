"""The problems of the study: how each is trained and judged, and what is tried on it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from contested_top import CUES, log_likelihood_ratio
from study_data import Data, breast_cancer, contested, digits, digits_long_tail, rare_events, rare_logits


class Problem(NamedTuple):
    """A source of data, and what all methods have in common on it."""

    load: Callable[[int], Data]  # of a seed
    passes: float  # over the training rows, the same for every method
    batch: int
    checks: int  # how often validation may choose the network of the moment
    hidden: tuple[int, ...]
    budget: float  # the highest false-positive rate that counts for partial AUC and coverage
    metrics: tuple[str, ...]  # what options are chosen for
    queue: int  # rows of earlier batches that the rankings remember
    best_score: Callable[[np.ndarray], np.ndarray] | None = None  # of features, where it is known
    methods: tuple[str, ...] = ()  # none: all
    variations: tuple[str, ...] = ()  # of methods, see `study_methods.VARIATIONS`
    tuning_seeds: tuple[int, ...] = (100, 103, 107)
    outputs: int = 1  # number of logits; 1 is binary
    decays: bool = True  # whether the learning rate falls to 0 along a cosine


def _varied(method: str, *variations: str) -> tuple[str, ...]:
    return tuple(f"{method} @{variation}" for variation in variations)


def _contested(cue: str) -> Problem:
    return Problem(
        load=partial(contested, cue=cue),
        best_score=partial(log_likelihood_ratio, cue=cue),
        passes=16,
        batch=512,
        checks=8,
        hidden=(64, 64),
        budget=0.005,
        metrics=("coverage",),
        queue=2048,
        methods=(
            "cross entropy",
            "weighted",
            "resampled",
            "focal",
            "pAUC pairwise, alone",
            "pAUC pairwise, warm-up",
            "pAUC pairwise, mix",
            "Smooth-AP, alone",
            "Smooth-AP, warm-up",
            "recall, mix",
            "pAUC trapezoid, mix",
        ),
        variations=_varied("pAUC pairwise, alone", "soft", "slow"),
    )


def _as_published(cue: str) -> Problem:
    methods = ("weighted", "pAUC pairwise, warm-up")
    common = _contested(cue)
    return common._replace(passes=15, batch=4096, checks=1, decays=False, queue=8192, methods=methods, variations=())


_SMALL = Problem(
    load=digits,
    passes=60,
    batch=64,
    checks=10,
    hidden=(32,),
    budget=0.01,
    metrics=("average_precision", "partial_auc"),
    queue=512,
    variations=(
        *_varied("Smooth-AP, alone", "extra", "live", "no queue", "absolute", "absolute 0.01"),
        *_varied("Smooth-AP, alone", "sharp", "sharp std", "std 0.2"),
        *_varied("pAUC pairwise, alone", "live", "no queue", "no extra", "absolute", "soft 1.0", "iqr 0.1", "std 0.1"),
        "pAUC trapezoid, alone @iqr 0.1",  # partial AUC without any option
    ),
)

PROBLEMS = {
    "contested product": _contested("product"),
    "contested radial": _contested("radial")._replace(
        variations=_varied("pAUC pairwise, alone", "soft", "slow", "no queue", "queue 512"),
        tuning_seeds=(100, 103, 107, 109, 113, 127),
    ),
    **{f"published {cue}": _as_published(cue) for cue in CUES},
    "digits": _SMALL,
    "breast cancer": _SMALL._replace(load=breast_cancer, passes=120, budget=0.05),
    "digits, long tail": _SMALL._replace(load=digits_long_tail, passes=100, outputs=10, variations=()),
    "rare events": Problem(
        load=rare_events,
        best_score=rare_logits,
        passes=3,
        batch=512,
        checks=6,
        hidden=(64, 64),
        budget=0.001,
        metrics=("coverage",),
        queue=2048,
        methods=("weighted", "resampled", "pAUC pairwise, alone", "pAUC pairwise, warm-up"),
        variations=(
            *_varied("pAUC pairwise, alone", "soft", "slow", "no queue", "queue 8192"),
            *_varied("pAUC pairwise, warm-up", "no queue", "queue 8192"),
        ),
        tuning_seeds=(100,),
    ),
}

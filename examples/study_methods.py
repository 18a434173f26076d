"""The methods of the study, and the options that validation chooses from: as many trials for every method."""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from study_problems import Problem

POINTWISE = ("cross entropy", "weighted", "resampled", "focal")
RANKINGS = ("Smooth-AP", "recall", "pAUC trapezoid", "pAUC pairwise")
MODES = ("alone", "warm-up", "mix")
METHODS = (*POINTWISE, *(f"{ranking}, {mode}" for ranking in RANKINGS for mode in MODES))
TRIALS_OF_A_ROUND = 8  # the default is among those of the first


class Options(NamedTuple):
    """Everything that a trial fixes. The first group belongs to all methods."""

    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    class_weight: float = 0.0  # exponent: the pointwise loss counts a class (n_largest / n_class)^this
    extra: float = 0.0  # rows drawn evenly from the rarer classes that join each batch, per row of the batch

    alpha: float = 0.5  # focal
    gamma: float = 0.0

    ranking: str = ""  # one of RANKINGS, or none
    warmup: float = 0.0  # share of the steps
    blend: float = 0.0
    final: float = 1.0  # weight of the ranking loss after both
    temperatures: tuple[float, float] = (1.0, 0.3)  # from the end of the warm-up to the last step
    scale: str = "iqr"  # unit of the temperature
    numerator: str = "pool"
    queue: int = 0
    band: float = 1.0  # partial AUC is trained on, and recall flags, this many times the budget


_SOFT: dict[str, Any] = {  # what validation preferred on most problems
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
    "temperatures": (2.0, 1.0),
    "scale": "std",
    "band": 2.0,
    "extra": 0.0,
    "class_weight": 0.0,
}

# What becomes of the default options of a ranking when one of them changes.
VARIATIONS: dict[str, dict[str, Any]] = {
    "live": {"numerator": "live"},
    "no extra": {"extra": 0.0},
    "extra": {"extra": 1 / 32},
    "no queue": {"queue": 0},
    "queue 512": {"queue": 512},
    "queue 8192": {"queue": 8192},
    "soft": _SOFT,
    "soft 1.0": _SOFT | {"temperatures": (1.0, 1.0)},  # without a schedule
    "slow": {  # what did best on the contested radial when single options were varied on seeds of their own
        "learning_rate": 2.5e-4,
        "weight_decay": 16.0,
        "temperatures": (2.0, 1.0),
        "band": 2.0,
        "extra": 1 / 8,
        "queue": 8192,
    },
    "sharp": {"temperatures": (0.5, 0.1)},
    "sharp std": {"temperatures": (0.5, 0.1), "scale": "std"},
    "iqr 0.1": {"temperatures": (0.1, 0.1)},
    "std 0.2": {"temperatures": (0.2, 0.2), "scale": "std"},
    "std 0.1": {"temperatures": (0.1, 0.1), "scale": "std"},
    "absolute 0.01": {"scale": "absolute", "temperatures": (0.01, 0.01)},  # Smooth-AP without any option
    "absolute": {"scale": "absolute", "temperatures": (0.05, 0.005)},  # the defaults of the torch wrapper
}

# For one method and one problem: the settings of the literature that the study looks at again.
PUBLISHED = {
    "weighted": Options(learning_rate=1e-3, weight_decay=0.0, class_weight=1.0),
    "pAUC pairwise, warm-up": Options(
        learning_rate=1e-3,
        weight_decay=0.0,
        class_weight=0.0,
        ranking="pAUC pairwise",
        warmup=0.3,
        blend=0.15,
        temperatures=(0.5, 0.1),
        queue=8192,
    ),
}


def trials(problem: Problem, method: str, count: int) -> list[Options]:
    """The options of trial 0, a default by our best knowledge, and of `count - 1` random ones.

    Trials 8 to 15 are a second round, drawn around what did well in the first, and trials 16 and up a third, drawn
    around what did well when single options were varied on seeds of their own. The same method draws the same trials
    on every problem, but for the size of the queue. "METHOD @VARIATION" is the default of METHOD with other options,
    and has no other trial.
    """
    if not problem.decays:
        return [PUBLISHED[method]]
    method, _, variation = method.partition(" @")
    drawn = [recommended(problem, method)]
    if variation:
        return [drawn[0]._replace(**VARIATIONS[variation])]
    for number, (name, draw) in enumerate(_ROUNDS.items(), start=1):
        one_of = partial(_one_of, np.random.default_rng(zlib.crc32(f"{method}{name}".encode())))
        while len(drawn) < min(count, number * TRIALS_OF_A_ROUND):
            options = draw(problem, method, one_of)
            if options not in drawn:
                drawn.append(options)
    return drawn


def _one_of(random: np.random.Generator, *values: Any) -> Any:
    return values[random.integers(len(values))]


def recommended(problem: Problem, method: str) -> Options:
    """What we would start with."""
    if method in POINTWISE:
        return Options(**_POINTWISE_DEFAULTS[method])
    ranking, mode = method.split(", ")
    options = Options(**_RANKING_DEFAULTS[mode], ranking=ranking, queue=problem.queue, class_weight=0.5)
    return options._replace(extra=1 / 32) if _takes_extra(problem, ranking) else options


def _takes_extra(problem: Problem, ranking: str) -> bool:
    """Whether rows that are not drawn as the population is leave the objective what it is."""
    return ranking.startswith("pAUC") and problem.outputs == 1


_POINTWISE_DEFAULTS: dict[str, dict[str, Any]] = {
    "cross entropy": {},
    "weighted": {"class_weight": 0.5},
    "resampled": {"extra": 1 / 8},
    "focal": {"alpha": 0.75, "gamma": 2.0},
}
_RANKING_DEFAULTS: dict[str, dict[str, Any]] = {
    "alone": {},
    "warm-up": {"warmup": 0.2, "blend": 0.1},
    "mix": {"warmup": 0.2, "blend": 0.1, "final": 0.5},
}

# What needs a compilation of its own is drawn together, so that few compilations serve many trials.
_STYLES = (
    Options(scale="iqr", band=1.0, extra=1 / 32, warmup=0.2),
    Options(scale="iqr", band=1.0, extra=1 / 8, warmup=0.3),
    Options(scale="std", band=2.0, extra=0.0, warmup=0.1),
)


def _draw(problem: Problem, method: str, one_of: Callable) -> Options:
    options = Options(learning_rate=one_of(1e-3, 3e-3, 1e-2), weight_decay=one_of(0.0, 0.1, 0.3, 1.0))
    if method == "weighted":
        return options._replace(class_weight=one_of(0.25, 0.5, 0.75, 1.0))
    if method == "resampled":
        return options._replace(extra=one_of(1 / 32, 1 / 8, 1 / 2, 1.0))
    if method == "focal":
        return options._replace(alpha=one_of(0.25, 0.5, 0.75, 0.9), gamma=one_of(0.5, 1.0, 2.0, 3.0))
    if method == "cross entropy":
        return options
    ranking, mode = method.split(", ")
    style = one_of(*_STYLES)
    options = options._replace(
        ranking=ranking,
        class_weight=one_of(0.0, 0.5),
        temperatures=one_of((0.5, 0.1), (1.0, 0.3), (2.0, 1.0)),
        scale=style.scale,
        queue=problem.queue,
        band=1.0 if ranking == "Smooth-AP" else style.band,
        extra=style.extra if _takes_extra(problem, ranking) else 0.0,
    )
    if mode == "alone":
        return options
    return options._replace(warmup=style.warmup, blend=0.1, final=one_of(0.25, 0.5, 0.75) if mode == "mix" else 1.0)


def _draw_near(problem: Problem, method: str, one_of: Callable) -> Options:
    start = recommended(problem, method)
    options = start._replace(learning_rate=one_of(2e-3, 5e-3, 1e-2), weight_decay=one_of(0.03, 0.1, 0.3, 1.0))
    if method == "weighted":
        return options._replace(class_weight=one_of(0.25, 0.5, 0.75))
    if method == "resampled":
        return options._replace(extra=one_of(1 / 32, 1 / 8, 1 / 4))
    if method == "focal":
        return options._replace(alpha=one_of(0.5, 0.75, 0.9), gamma=one_of(1.0, 2.0, 3.0))
    if method == "cross entropy":
        return options
    extra = one_of(0.0, 1 / 32, 1 / 8, 1 / 4)
    return options._replace(
        temperatures=one_of((1.0, 0.3), (2.0, 1.0)), extra=extra if _takes_extra(problem, options.ranking) else 0.0
    )


def _draw_third(problem: Problem, method: str, one_of: Callable) -> Options:
    start = recommended(problem, method)
    if method in POINTWISE:
        options = start._replace(learning_rate=one_of(5e-3, 7e-3, 1e-2, 2e-2), weight_decay=one_of(0.05, 0.1, 0.2, 0.3))
        if method == "weighted":
            return options._replace(class_weight=one_of(0.25, 0.4))
        if method == "resampled":
            return options._replace(extra=one_of(1 / 128, 1 / 32, 1 / 8))
        if method == "focal":
            return options._replace(alpha=one_of(0.75, 0.9), gamma=one_of(1.0, 2.0))
        return options
    return start._replace(
        learning_rate=one_of(2.5e-4, 5e-4),
        weight_decay=one_of(8.0, 16.0),
        temperatures=one_of((1.0, 0.3), (2.0, 0.5), (2.0, 1.0)),
        band=1.0 if start.ranking == "Smooth-AP" else one_of(1.0, 2.0),
        extra=one_of(1 / 16, 1 / 8) if _takes_extra(problem, start.ranking) else 0.0,
        queue=4 * problem.queue,
    )


_ROUNDS = {"": _draw, ", second round": _draw_near, ", third round": _draw_third}

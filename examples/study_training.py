"""What both halves of the study share: initial weights, batches, weights of classes, and the choice of a checkpoint."""

import importlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from study_data import Data
from study_methods import Options
from study_metrics import METRICS, measure
from study_problems import Problem

Score = Callable[[np.ndarray], np.ndarray]  # features [n, d] -> logits [n, C]


class Plan(NamedTuple):
    """A run in numbers that the data and the options settle."""

    steps: int  # in all
    chunk: int  # steps between two checks
    extra: int  # rows that join each batch
    flagged: float  # the share of the rows that recall at a quantile flags
    class_weights: np.ndarray  # float32 [classes]


class Outcome(NamedTuple):
    """The figures of a run; test is None while tuning.

    A metric that options are chosen for is taken at the checkpoint where validation has it highest, the others
    at that of the first of these.
    """

    valid: dict[str, float]
    test: dict[str, float] | None


def make_plan(problem: Problem, data: Data, options: Options) -> Plan:
    """What follows from problem, data and options together."""
    n = len(data.train.y)
    chunk = max(1, int(problem.passes * n / problem.batch) // problem.checks)
    counts = np.bincount(data.train.y)
    share_of_positives = counts[1] / n if problem.outputs == 1 else 1 / problem.outputs
    return Plan(
        steps=chunk * problem.checks,
        chunk=chunk,
        extra=round(options.extra * problem.batch),
        flagged=float(min(0.5, share_of_positives + options.band * problem.budget)),
        class_weights=((counts.max() / counts) ** options.class_weight).astype(np.float32),
    )


def initial_weights(sizes: tuple[int, ...], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel [inputs, outputs] and bias [outputs] of each layer of a network with ReLUs, float32."""
    random = np.random.default_rng(seed)
    return [
        (random.normal(0, (2 / n_in) ** 0.5, (n_in, n_out)).astype(np.float32), np.zeros(n_out, np.float32))
        for n_in, n_out in pairwise(sizes)
    ]


def chunks_of_batches(problem: Problem, data: Data, plan: Plan, seed: int) -> Iterator[np.ndarray]:
    """The training rows of every step, [chunk, batch + extra] for each check: shuffled passes, then the extra rows.

    Extra rows are drawn with replacement: each takes a class other than the largest at random, then a row of it.
    """
    random = np.random.default_rng([seed, 1])
    y, size = data.train.y, plan.chunk * problem.batch
    largest = np.bincount(y).argmax()
    rarer = [np.flatnonzero(y == label) for label in np.unique(y) if label != largest]
    waiting = np.empty(0, np.int64)
    for _ in range(problem.checks):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(len(y))])
        rows, waiting = waiting[:size].reshape(plan.chunk, problem.batch), waiting[size:]
        if plan.extra:
            shape = (plan.chunk, plan.extra)
            which, place = random.integers(len(rarer), size=shape), random.random(shape)
            extra = np.zeros(shape, np.int64)
            for label, members in enumerate(rarer):
                extra = np.where(which == label, members[(place * len(members)).astype(np.int64)], extra)
            rows = np.concatenate([rows, extra], axis=1)
        yield rows.astype(np.int32)


def run(problem: Problem, data: Data, options: Options, seed: int, *, backend: str, tuning: bool) -> Outcome:
    """Trains a network; validation chooses the checkpoint of each metric, and only those meet the test rows."""
    half = importlib.import_module(f"study_{backend}")
    best: dict[str, tuple[dict[str, float], Score]] = {}
    for score in half.fit(problem, data, options, seed):
        figures = measure(data.valid, _scores(problem, score, data.valid.x), problem.budget)
        for name in problem.metrics:
            if name not in best or figures[name] > best[name][0][name]:
                best[name] = figures, score
    first = problem.metrics[0]
    owner = {name: name if name in best else first for name in METRICS}
    valid = {name: best[owner[name]][0][name] for name in METRICS}
    if tuning:
        return Outcome(valid, None)
    test = {}
    for chosen in problem.metrics:
        figures = measure(data.test, _scores(problem, best[chosen][1], data.test.x), problem.budget)
        test |= {name: figures[name] for name in METRICS if owner[name] == chosen}
    return Outcome(valid, test)


def run_best(problem: Problem, data: Data) -> Outcome:
    """The figures of the score that no other can beat."""
    assert problem.best_score
    valid, test = (measure(part, problem.best_score(part.x), problem.budget) for part in data[1:])
    return Outcome(valid, test)


def _scores(problem: Problem, score: Score, x: np.ndarray) -> np.ndarray:
    logits = score(x)
    return logits[:, 0] if problem.outputs == 1 else logits

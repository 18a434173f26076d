"""The runs of the study: which are to do, how one is done, and the file that keeps them."""

import csv
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from study_data import Data
from study_methods import POINTWISE, trials
from study_metrics import METRICS
from study_problems import PROBLEMS
from study_training import run, run_best

KEY = ("problem", "backend", "phase", "method", "trial", "seed")
FIGURES = (*(f"valid {name}" for name in METRICS), *(f"test {name}" for name in METRICS))
BEST = "best possible score"  # where the distribution of the data is known
_SEEDS_OF_A_JOB = 10


class Job(NamedTuple):
    """Runs that differ in the seed alone; one compilation serves them."""

    problem: str
    backend: str
    phase: str  # "tuning" or "final"
    method: str
    trial: int
    seeds: tuple[int, ...]


class Store:
    """The file of finished runs, one line each. A last line that an interruption has cut off is removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[int, list[dict[str, str]]] = (0, [])
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(",".join((*KEY, *FIGURES)) + "\n")
        text = path.read_text()
        if not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1])

    def rows(self) -> list[dict[str, str]]:
        """All lines, as the names of the columns to their text."""
        size = self.path.stat().st_size  # the file only grows
        if self._read[0] != size:
            with self.path.open(newline="") as file:
                self._read = size, list(csv.DictReader(file))
        return self._read[1]

    def missing(self, job: Job) -> Job | None:
        """The job without the seeds that are done; None if all are. Another backend's tuning counts as well."""
        same = {"problem": job.problem, "phase": job.phase, "method": job.method, "trial": str(job.trial)}
        if job.phase == "final":
            same["backend"] = job.backend
        done = {int(row["seed"]) for row in self.rows() if all(row[name] == value for name, value in same.items())}
        seeds = tuple(seed for seed in job.seeds if seed not in done)
        return job._replace(seeds=seeds) if seeds else None

    def figures(self, problem: str, phase: str, figure: str) -> dict[tuple[str, str, int], dict[int, float]]:
        """One figure of the runs of a problem: (backend, method, trial) to seed to value."""
        result: dict[tuple[str, str, int], dict[int, float]] = {}
        for row in self.rows():
            if row["problem"] == problem and row["phase"] == phase:
                key = row["backend"], row["method"], int(row["trial"])
                result.setdefault(key, {})[int(row["seed"])] = float(row[figure])
        return result

    def best_trial(self, problem: str, method: str, metric: str) -> int | None:
        """The trial with the highest mean of the metric on the validation rows of the tuning runs; None if none ran."""
        means = {
            trial: np.mean(list(by_seed.values()))
            for (_, name, trial), by_seed in self.figures(problem, "tuning", f"valid {metric}").items()
            if name == method
        }
        return max(means, key=lambda trial: means[trial], default=None)


def tuning_jobs(name: str, methods: Iterable[str], count: int, backend: str, store: Store) -> list[Job]:
    """The runs that choose the options of each method; none where there is no choice."""
    problem = PROBLEMS[name]
    jobs = []
    for method in methods:
        number = len(trials(problem, method, count))
        if number > 1:
            jobs += [Job(name, backend, "tuning", method, trial, problem.tuning_seeds) for trial in range(number)]
    return [left for job in jobs if (left := store.missing(job))]


def final_jobs(name: str, methods: Iterable[str], seeds: int, backend: str, store: Store) -> list[Job]:
    """The runs of the chosen options of each method, and of the default options of the rankings."""
    jobs = []
    for start in range(0, seeds, _SEEDS_OF_A_JOB):
        block = tuple(range(start, min(seeds, start + _SEEDS_OF_A_JOB)))
        if PROBLEMS[name].best_score:
            jobs.append(Job(name, backend, "final", BEST, 0, block))
        for method in methods:
            chosen = {store.best_trial(name, method, metric) or 0 for metric in PROBLEMS[name].metrics}
            if method not in POINTWISE:
                chosen.add(0)
            jobs += [Job(name, backend, "final", method, trial, block) for trial in sorted(chosen)]
    return [left for job in jobs if (left := store.missing(job))]


def do(job: Job, store: Store, count: int) -> Iterator[int]:
    """Does the runs of a job; each is in the store when its seed is yielded.

    Args:
        job: what to do.
        store: where it goes.
        count: how many trials the method has.
    """
    problem = PROBLEMS[job.problem]
    for seed in job.seeds:
        data = _load(job.problem, seed)
        if job.method == BEST:
            outcome = run_best(problem, data)
        else:
            options = trials(problem, job.method, count)[job.trial]
            outcome = run(problem, data, options, seed, backend=job.backend, tuning=job.phase == "tuning")
        test = outcome.test or dict.fromkeys(METRICS, float("nan"))
        figures = [f"{part[name]:.4f}" for part in (outcome.valid, test) for name in METRICS]
        key = [job.problem, job.backend, job.phase, job.method, str(job.trial), str(seed)]
        with store.path.open("a", newline="") as file:  # one short write: the lines of several processes do not mix
            csv.writer(file, lineterminator="\n").writerow([*key, *figures])
        yield seed


def do_all(job: Job, store: Store, count: int) -> None:
    """`do` for another process, which cannot be watched as it goes."""
    for _ in do(job, store, count):
        pass


@lru_cache(maxsize=1)
def _load(name: str, seed: int) -> Data:
    return PROBLEMS[name].load(seed)

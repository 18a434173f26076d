"""Random calls of every public function of both backends against the float64 reference.

    python -m tests.fuzz --cases 100000 --seed 0

prints, per public function, the number of cases, the worst error of value and gradient (1 is the tolerance of the
dtype) and the failures, each with a line that repeats it. The exit status is 1 if there is a failure.
"""

import argparse
import itertools
import os
import sys
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "1")
sys.path.append(str(Path(__file__).parent))

import numpy as np
from fuzz_cases import Errors, Plan, run
from fuzz_small import FUNCTIONS
from losses import LOSSES as TABLE
from losses import with_variants

LOSSES = {case.name: case for case in TABLE}
MANY = 50  # failures of one function, after which it is not run any further
SMALL, MEDIUM, LARGE = (6, 5), (20, 12), (50, 0)  # rows of batch and queue
RANKING_FORMS = [  # shape, dtype: JAX compiles each once
    (SMALL, "float32"),
    (MEDIUM, "float32"),
    (LARGE, "float32"),
    (MEDIUM, "float64"),
    (MEDIUM, "bfloat16"),
    (MEDIUM, "float16"),
]
POINTWISE_FORMS = [  # shape, dtype, kind of targets
    ((64, 5), "float32", "hard"),
    ((64, 5), "float64", "hard"),
    ((64, 3), "float32", "soft"),
    ((64, 2), "float64", "soft"),
    ((64, 5), "bfloat16", "hard"),
    ((64, 5), "float16", "hard"),
]


def make_plans(name: str) -> list[Plan]:
    """The plans of one loss, cycling through its variants and forms."""
    variants = list(with_variants((LOSSES[name],)))
    if LOSSES[name].margin_raises_scores:  # lost at scores of 1e4 and temperature 0.005: see its own tests
        variants = [replace(case, options=case.options | {"margin": 0.0}) for case in variants]
    forms = RANKING_FORMS if LOSSES[name].ranks else POINTWISE_FORMS
    count = max(len(variants), len(forms))
    return [Plan(f"{name}[{i}]", variants[i % len(variants)], i, *forms[i % len(forms)]) for i in range(count)]


class Row:
    """The results of one public function."""

    def __init__(self, name: str) -> None:
        self.name, self.cases, self.value, self.gradient = name, 0, 0.0, 0.0
        self.failures: list[str] = []

    def add(self, errors: Errors, repeat: str) -> int:
        """Adds the cases of one batch; returns how many."""
        value, gradient = errors.value / errors.tolerance[0], errors.gradient / errors.tolerance[1]
        self.cases += len(value)
        self.value = max(self.value, value.max(initial=0.0))
        self.gradient = max(self.gradient, gradient.max(initial=0.0))
        bad = np.flatnonzero((value > 1) | (gradient > 1))
        if len(bad):
            worst = f"value {value.max():.3g}, gradient {gradient.max():.3g} times the tolerance"
            self.failures.append(f"{repeat}  # {len(bad)} cases, such as {bad[0]}: {worst}")
        return len(value)


def batches(family: str, library: str, seed: int) -> Any:
    """Endless pairs (line that repeats the batch, function that runs it) for one loss."""
    plans = make_plans(family)
    for number in itertools.count():
        plan = plans[number % len(plans)]
        batch_seed = seed * 1_000_000 + number
        yield (
            f"'{family}' {library} {number % len(plans)} {batch_seed}",
            lambda p=plan, s=batch_seed: run(p, library, s),
        )


def small_batches(names: tuple[str, str], library: str, seed: int) -> Any:
    """As `batches`, for the functions around the losses."""
    function = FUNCTIONS[names][0]
    for number in itertools.count():
        batch_seed = seed * 1_000_000 + number
        yield (
            f"{function.__name__} {library} 0 {batch_seed}",
            lambda s=batch_seed: function(library, np.random.default_rng(s)),
        )


def fuzz(cases: int, seed: int, bar: Any) -> list[Row]:
    """Runs all functions until each has run its share of the cases."""
    table = []
    work = [(case.name, case.name, 0.2 if case.ranks else 0.1, batches, case.name) for case in TABLE]
    work += [(*names, share, small_batches, names) for names, (_, share) in FUNCTIONS.items()]
    total = sum(share for _, _, share, _, _ in work)
    for of_torch, of_jax, share, source, key in work:
        for library, name in (("torch", of_torch), ("jax", of_jax)):
            row = Row(f"{library}: {name}")
            table.append(row)
            wanted = share / total * cases / 2
            bar.set_postfix_str(row.name)
            for repeat, function in source(key, library, seed):
                if row.cases >= wanted or len(row.failures) >= MANY:
                    break
                try:
                    bar.update(row.add(function(), repeat))
                except Exception:
                    row.cases += 1
                    row.failures.append(f"{repeat}  # {traceback.format_exc(limit=-2)}")
            bar.write(f"{row.name}: {row.cases} cases, {len(row.failures)} failures")
    return table


def report(table: list[Row]) -> bool:
    """Prints the table; returns whether there are no failures."""
    print(f"{'function':<62}{'cases':>8}{'value':>10}{'gradient':>10}{'failures':>10}")
    for row in table:
        print(f"{row.name:<62}{row.cases:>8}{row.value:>10.3f}{row.gradient:>10.3f}{len(row.failures):>10}")
    print(f"{sum(row.cases for row in table)} cases; errors are in units of the tolerance")
    for row in table:
        for failure in row.failures[:5]:
            print(f"\n{row.name}\n  python -m tests.fuzz --repeat {failure}")
    return not any(row.failures for row in table)


def repeat(family: str, library: str, plan: str, seed: str) -> Errors:
    """Repeats one batch."""
    if family in LOSSES:
        return run(make_plans(family)[int(plan)], library, int(seed))
    functions = {function.__name__: function for function, _ in FUNCTIONS.values()}
    return functions[family](library, np.random.default_rng(int(seed)))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", nargs=4, metavar=("FUNCTION", "LIBRARY", "PLAN", "SEED"))
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    if arguments.repeat:
        print(repeat(*arguments.repeat))
        return 0
    from tqdm import tqdm

    with tqdm(total=arguments.cases, unit=" cases", smoothing=0.05) as bar:
        table = fuzz(arguments.cases, arguments.seed, bar)
    return 0 if report(table) else 1


if __name__ == "__main__":
    sys.exit(main())

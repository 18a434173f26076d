"""Does it help? Trains small networks with pointwise and with ranking losses, and compares what they find.

Every method of a problem gets the same passes over the data and the same number of trials to choose its options from.
Trials are judged by validation alone, on seeds of their own; the best of them, and the default options, then run on
fresh seeds with fresh splits, and only these runs look at the test rows. Every finished run is a line of `runs.csv` in
the output folder; a rerun skips what is there. Ends with tables of the paired differences and plots.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

from study_methods import METHODS
from study_problems import PROBLEMS
from study_report import write_report
from study_runs import Job, Store, do, do_all, final_jobs, tuning_jobs
from tqdm import tqdm

_QUICK_METHODS = ("weighted", "resampled", "Smooth-AP, alone", "pAUC pairwise, alone")


def main() -> None:
    options = parse_options()
    for name, value in {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}.items():
        os.environ.setdefault(name, value)  # one thread for each worker; read when the frameworks are imported
    store = Store(options.output / "runs.csv")
    if not options.report:
        do_missing(options, store)
    print(write_report(store, options.output, options.plots or options.output))


def do_missing(options: argparse.Namespace, store: Store) -> None:
    """Does the runs that were asked for and are not in the store."""
    for name in options.problems:
        all_methods = (PROBLEMS[name].methods or METHODS) + PROBLEMS[name].variations
        methods = [method for method in all_methods if not options.methods or method in options.methods]
        jobs = tuning_jobs(name, methods, options.trials, options.backend, store)
        work_through(f"{name}: tuning", jobs, options, store)
        jobs = final_jobs(name, methods, options.seeds, options.backend, store)
        work_through(f"{name}: final", jobs, options, store)


def work_through(title: str, jobs: list[Job], options: argparse.Namespace, store: Store) -> None:
    """Does the jobs, in several processes if asked to, with a progress bar over their runs."""
    with tqdm(total=sum(len(job.seeds) for job in jobs), desc=f"{title:28}", unit="run", ncols=100) as bar:
        if options.workers == 1:
            for job in jobs:
                for _ in do(job, store, options.trials):
                    bar.update()
            return
        before = len(store.rows())
        context = multiprocessing.get_context("spawn")  # a fork of a process that has started JAX may hang
        with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
            waiting = {pool.submit(do_all, job, store, options.trials) for job in jobs}
            while waiting:
                finished, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                bar.update(len(store.rows()) - before - bar.n)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute: 2 problems, 4 methods, 2 trials, 2 seeds")
    parser.add_argument("--report", action="store_true", help="only the tables and plots of the runs that are there")
    parser.add_argument("--backend", choices=("jax", "torch"), default="jax", help="of the final runs (jax)")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, help="default: all")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="default: all")
    parser.add_argument("--trials", type=int, choices=range(1, 25), metavar="1..24", help="for each method (8)")
    parser.add_argument("--seeds", type=int, help="final runs of each method (10)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output" / "study", help="a folder")
    parser.add_argument("--plots", type=Path, help="a folder for the plots (that of --output)")
    options = parser.parse_args()
    quick = options.quick
    options.methods = options.methods or (_QUICK_METHODS if quick else None)
    options.problems = options.problems or (["digits", "breast cancer"] if quick else list(PROBLEMS))
    options.trials = options.trials or (2 if quick else 8)
    options.seeds = options.seeds if options.seeds is not None else (2 if quick else 10)
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2, got {options.seeds}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    return options


if __name__ == "__main__":
    main()

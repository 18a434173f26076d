"""Time and memory of value and gradient of the ranking losses, beside a sort of the same scores.

    python examples/benchmarks/ranking_at_scale.py --backend torch
    python examples/benchmarks/ranking_at_scale.py --backend jax --rows 10 --items 16384

Times are medians of several runs, each loss beside the sort in the same process. Memory is that of the process above
what it held before the first loss (torch, eager), or what the compiler sets aside (JAX).
"""

import argparse
import functools
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

from imbalanced_core.partial_auc import partial_auc
from imbalanced_core.ranking import recall_at_quantile, smooth_ap

OBJECTIVES = {
    "recall at quantile": recall_at_quantile,
    "partial AUC, trapezoid": partial_auc,
    "Smooth-AP": smooth_ap,
    "partial AUC, pairwise": functools.partial(partial_auc, surrogate="pairwise"),
}


def seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def torch_steps(scores: np.ndarray, positives: np.ndarray) -> tuple[Callable, Callable]:
    """A sort, and for an objective a step and a function that measures the step's memory."""
    import torch

    s, y = torch.tensor(scores, requires_grad=True), torch.tensor(positives)

    def step(objective: Callable) -> None:
        s.grad = None
        objective(s, y)[0].sum().backward()

    def of(objective: Callable) -> tuple[Callable, int]:
        before = peak_bytes()
        step(objective)
        return functools.partial(step, objective), peak_bytes() - before

    return lambda: torch.sort(s.detach(), dim=-1), of


def jax_steps(scores: np.ndarray, positives: np.ndarray) -> tuple[Callable, Callable]:
    """The same, compiled."""
    import jax
    import jax.numpy as jnp

    s, y = jnp.asarray(scores), jnp.asarray(positives)

    def of(objective: Callable) -> tuple[Callable, int]:
        value_and_grad = jax.jit(jax.value_and_grad(lambda s: objective(s, y)[0].sum()))
        compiled = value_and_grad.lower(s).compile()
        analysis = compiled.memory_analysis()
        return lambda: jax.block_until_ready(compiled(s)), analysis.temp_size_in_bytes + analysis.output_size_in_bytes

    sort = jax.jit(jnp.sort)
    return lambda: sort(s).block_until_ready(), of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("torch", "jax"), default="torch")
    parser.add_argument("--rows", type=int, default=1, help="classes")
    parser.add_argument("--items", type=int, default=2**20, help="scores in a row")
    parser.add_argument("--positives", type=float, default=0.05, help="share of positives")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    shape = (options.rows, options.items)
    positives = rng.random(shape) < options.positives
    scores = (rng.standard_normal(shape) * 3 + positives * 2).astype(np.float32)
    sort, of = (torch_steps if options.backend == "torch" else jax_steps)(scores, positives)
    sort_seconds = seconds(sort, options.repeats)
    print(f"{options.backend}, {options.rows} x {options.items} float32 scores; sort {sort_seconds * 1e3:.1f} ms")
    print(f"{'value and gradient of':<24}{'ms':>10}{'/ sort':>9}{'MiB more':>10}{'bytes an item':>15}")
    # torch's figure is a high-water mark, so the losses come in the order of their need
    for name, objective in OBJECTIVES.items():
        step, memory = of(objective)
        time_taken = seconds(step, options.repeats)
        figures = f"{time_taken * 1e3:>10.1f}{time_taken / sort_seconds:>9.1f}"
        print(f"{name:<24}{figures}{memory / 2**20:>10.0f}{memory / scores.size:>15.0f}", flush=True)


if __name__ == "__main__":
    main()

"""Runs every demo in both backends, in small or at its defaults, and sums up which of them ran.

The small size trains for a moment only: it shows that everything works, not which loss is better.
"""

import argparse
import contextlib
import importlib
import io
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from demo_common import BACKENDS, OUTPUT, installed
from tqdm import tqdm

_EPOCHS = ["--warmup-epochs", "1", "--blend-epochs", "1", "--total-epochs", "3"]
_ROWS = ["--rows", "400", "--pos-rate", "0.1", "--batch-size", "100"]
DEMOS = {  # name: its options at the small size
    "toy_demo": [*_ROWS, *_EPOCHS, "--queue-size", "64"],
    "focal_demo": [*_ROWS, "--total-epochs", "3"],
    "compare_demo": [*_ROWS, *_EPOCHS, "--queue-size", "64"],
    "coverage_at_budget_demo": [*_ROWS, *_EPOCHS, "--queue-size", "64", "--test-rows", "400", "--budget", "0.05"],
    "multiclass_demo": [*_EPOCHS, "--queue-size", "64"],
    "per_class_logging_demo": [*_EPOCHS, "--queue-size", "64"],
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    backends = installed(options.backend)
    demos = options.only or list(DEMOS)
    results = []
    with tqdm(total=len(demos) * len(backends), unit="demo", ncols=100, disable=options.no_progress) as bar:
        for name in demos:
            for backend in backends:
                bar.set_description(f"{BACKENDS[backend]:7}  {name:24}")
                results.append((name, backend, *run(name, backend, options)))
                bar.update()
    print(f"\n{'demo':26}{'backend':10}{'seconds':>8}   result")
    for name, backend, seconds, result in results:
        print(f"{name:26}{BACKENDS[backend]:10}{seconds:8.1f}   {result.splitlines()[0]}")
    failures = [result for *_, result in results if result.startswith("failed")]
    for failure in failures:
        print(f"\n{failure}")
    if failures:
        raise SystemExit(1)


def run(name: str, backend: str, options: argparse.Namespace) -> tuple[float, str]:
    """The seconds and the paths of the plot and the printed table; or the error."""
    plot = options.output / f"{name}_{backend}.png"
    given = [] if options.full else DEMOS[name]
    printed = io.StringIO()
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(printed):
            demo = importlib.import_module(name)
            demo.main([*given, "--backend", backend, "--output", str(plot), "--no-progress"])
        result = f"{plot} and .txt"
    except Exception:
        result = f"failed: {name} --backend {backend}\n{traceback.format_exc()}"
    plot.parent.mkdir(parents=True, exist_ok=True)
    plot.with_suffix(".txt").write_text(printed.getvalue())
    return time.perf_counter() - start, result


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=(*BACKENDS, "both"), default="both", help="(default: both)")
    parser.add_argument("--only", nargs="+", choices=DEMOS, metavar="DEMO", help="(default: all of them)")
    parser.add_argument("--full", action="store_true", help="at the defaults of the demos: minutes, not seconds")
    parser.add_argument("--output", type=Path, default=OUTPUT / "demos", help="folder of plots and tables")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

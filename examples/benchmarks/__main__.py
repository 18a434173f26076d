"""Time and memory of every loss beside the best that can be hoped for and beside other libraries.

    python -m examples.benchmarks
    python -m examples.benchmarks --quick
    python -m examples.benchmarks --backend torch --cases 'smooth_ap:*' recall
    python -m examples.benchmarks --device cuda            # another table, in five minutes; --quick: in two

Prints a Markdown table of targets and of all measurements (value and gradient, medians of several rounds in which all
contenders take their turn) and writes it, the numbers as JSON and a plot. Other libraries are compared if they are
installed: imbalanced-losses, pytorch-metric-learning. Run it on a computer that has nothing else to do.
"""

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from . import accelerator, plot, report, runner
from .cases import all_cases, select

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PLOT = Path("images") / "speed" / "smooth_ap.png"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    if options.device != "cpu" and not (options.cases or options.list or options.results):
        quick = ["--quick"] if options.quick else []
        accelerator.main(["--device", options.device, "--backend", *options.backend, *quick])
        return
    if options.list:
        print(report.settings(options.selected))
        return
    if options.results:
        results = json.loads(options.results.read_text(encoding="utf-8"))
    else:
        results = runner.run(
            options.selected,
            options.backend,
            {
                "device": options.device,
                "seconds": options.seconds,
                "most": options.rounds,
                "compiled": not options.no_compile,
                "memory": not options.no_memory,
            },
            progress=not options.no_progress,
        )
    write(results, options.output, docs=DOCS if options.docs else None)


def write(results: dict, output: Path, docs: Path | None = None) -> None:
    """Prints the report and writes it, with numbers and plot, to a folder; with `docs` also to its pages."""
    text = report.markdown(results)
    print(text)
    output.mkdir(parents=True, exist_ok=True)
    (output / "speed.md").write_text(text, encoding="utf-8")
    (output / "results.json").write_text(json.dumps(results), encoding="utf-8")
    drawn = plot.draw(results["cases"], output / PLOT.name)
    print(f"Written: speed.md, results.json{f', {PLOT.name}' if drawn else ''} in {output}")
    if docs is not None:
        report.write_between_marks(docs / "speed.md", report.summary(results))
        report.write_between_marks(docs / "measurements.md", report.measurements_table(results["cases"]))
        plot.draw(results["cases"], docs / PLOT)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    installed = [name for name in report.BACKENDS if importlib.util.find_spec(name)]
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a few cases, without torch.compile and memory, for a first look")
    add("--backend", nargs="+", choices=tuple(report.BACKENDS), default=installed, help="(default: what is installed)")
    add("--cases", nargs="+", default=[], metavar="PATTERN", help="names of losses, or of cases such as 'recall:*'")
    add("--list", action="store_true", help="print the names of the cases and stop")
    add("--device", default="cpu", help="cpu, or an accelerator such as cuda (default: cpu), see docs/speed.md")
    add("--seconds", type=float, help="of measuring for each contender of a case (default: 3; quick: 0.5)")
    add("--rounds", type=int, default=30, help="the most for each contender (default: 30)")
    add("--no-compile", action="store_true", help="leave torch.compile out")
    add("--no-memory", action="store_true", help="leave memory out")
    add("--output", type=Path, default=ROOT / "examples" / "output" / "benchmarks", help="folder of table and plot")
    add("--docs", action="store_true", help="write the table and the plot into docs/ too")
    add("--results", type=Path, metavar="FILE", help="report an earlier results.json instead of measuring")
    add("--no-progress", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    if options.quick:
        options.no_compile = options.no_memory = True
    if options.seconds is None:
        options.seconds = 0.5 if options.quick else 3.0
    for name in ("seconds", "rounds"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name} must be > 0, got {getattr(options, name)}")
    if missing := [name for name in options.backend if name not in installed]:
        parser.error(f"--backend must be installed, got {' '.join(missing)}")
    try:
        options.selected = select(all_cases(), options.cases, quick=options.quick)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()

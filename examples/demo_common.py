"""Framework-independent code of the demos: options, the order of batches, figures, tables and plots."""

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from demo_data import Problem
from matplotlib.figure import Figure
from quickstart_data import batch_rows, initial_weights
from sklearn.metrics import average_precision_score
from tqdm import tqdm

BACKENDS = {"torch": "PyTorch", "jax": "JAX"}
OUTPUT = Path(__file__).parent / "output"


class Run(NamedTuple):
    """The results of training one network."""

    losses: np.ndarray  # [steps]
    scores: np.ndarray  # [epochs, test rows, outputs], the logits after every epoch
    logged: dict[str, np.ndarray]  # what the loss reports besides its value, [steps, outputs] each


Runs = dict[str, dict[str, Run]]  # by backend and by loss
MakeLosses = Callable[[Problem, argparse.Namespace], Mapping[str, Any]]  # the losses of one backend, by name


# ------------------------------------------------------------------------------------------------------------- options

FROM_RARE_POSITIVES = {  # the defaults of the demos on `rare_positives`
    "pos_rate": 0.01,
    "rows": 20_000,
    "warmup_epochs": 5,
    "blend_epochs": 3,
    "total_epochs": 15,
    "batch_size": 256,
    "queue_size": 1024,
    "temp_start": 0.5,
    "temp_end": 0.1,
    "lr": 3e-3,
    "seed": 0,
}

FLAGS: dict[str, tuple[type, Callable[[Any], bool], str, str]] = {  # name: (type, holds, rule, meaning)
    "pos_rate": (float, lambda v: 0 < v <= 0.5, "in (0, 0.5]", "share of the positives"),
    "rows": (int, lambda v: v >= 200, "at least 200", "rows of data"),
    "test_rows": (int, lambda v: v >= 200, "at least 200", "held-out rows"),
    "warmup_epochs": (int, lambda v: v >= 0, "at least 0", "epochs before the ranking loss has a weight"),
    "blend_epochs": (int, lambda v: v >= 0, "at least 0", "epochs in which it gains weight; 0 is a hard switch"),
    "total_epochs": (int, lambda v: v >= 1, "at least 1", "epochs in all"),
    "batch_size": (int, lambda v: v >= 2, "at least 2", "rows of a batch"),
    "queue_size": (int, lambda v: v >= 0, "at least 0", "rows of earlier batches that are ranked along"),
    "temp_start": (float, lambda v: 0 < v < np.inf, "> 0", "temperature when the ranking loss starts"),
    "temp_end": (float, lambda v: 0 < v < np.inf, "> 0", "temperature at the end"),
    "lr": (float, lambda v: 0 < v < np.inf, "> 0", "learning rate of Adam"),
    "seed": (int, lambda v: 0 <= v < 2**31, "in [0, 2**31)", "of data, weights and batches"),
    "alpha": (float, lambda v: 0 <= v <= 1, "in [0, 1]", "weight of the positives in the focal loss"),
    "gamma": (float, lambda v: 0 <= v < np.inf, "at least 0", "focusing exponent of the focal loss"),
    "budget": (float, lambda v: 0 < v < 1, "in (0, 1)", "share of the negatives that may be flagged"),
    "ratio": (
        float,
        lambda v: 1 <= v < np.inf,
        "at least 1",
        "images of the most frequent digit per one of the rarest",
    ),
}


def parse_options(
    description: str | None, name: str, arguments: Sequence[str] | None, *, cue: Sequence[str] = (), **defaults: Any
) -> argparse.Namespace:
    """Reads the command line of a demo and checks it.

    Args:
        description: what `--help` says.
        name: name of the plot, `examples/output/<name>.png`.
        arguments: the command-line arguments; None: those of the process.
        cue: the choices of `--cue`, the first by default; empty if there is no such option.
        **defaults: the options of `FLAGS` that the demo has, with their default values.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=(*BACKENDS, "both"), default="torch", help="(default: torch)")
    for option, default in defaults.items():
        kind, _, _, meaning = FLAGS[option]
        parser.add_argument(flag(option), type=kind, default=default, help=f"{meaning} (default: {default})")
    if cue:
        parser.add_argument("--cue", choices=cue, default=cue[0], help=f"(default: {cue[0]})")
    parser.add_argument("--output", type=Path, default=OUTPUT / f"{name}.png", help="the plot")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    for option in defaults:
        _, holds, rule, _ = FLAGS[option]
        if not holds(getattr(options, option)):
            parser.error(f"{flag(option)} must be {rule}, got {getattr(options, option)}")
    if "warmup_epochs" in options and options.warmup_epochs + options.blend_epochs > options.total_epochs:
        parser.error(
            f"--warmup-epochs and --blend-epochs must add up to at most --total-epochs {options.total_epochs}, "
            f"got {options.warmup_epochs} and {options.blend_epochs}"
        )
    return options


def flag(option: str) -> str:
    """The option as written on the command line."""
    return "--" + option.replace("_", "-")


def installed(backend: str) -> list[str]:
    """The requested backends that are installed; prints which are not."""
    asked = list(BACKENDS) if backend == "both" else [backend]
    found = [name for name in asked if importlib.util.find_spec(name)]
    for name in asked:
        if name not in found:
            print(f'{BACKENDS[name]} is not installed and is left out: python -m pip install ".[{name},examples]"')
    if not found:
        raise SystemExit("Nothing to run. Another --backend may be installed.")
    return found


# ------------------------------------------------------------------------------------------------------------ training


def steps_per_epoch(problem: Problem, options: argparse.Namespace) -> int:
    """The number of full batches in the training rows; a smaller remainder starts the next epoch."""
    return max(1, len(problem.train_y) // options.batch_size)


def schedule(problem: Problem, options: argparse.Namespace) -> dict[str, Any]:
    """Warm-up, blend and temperature, for both `LossWarmupWrapper` and `warmup_blend`."""
    per_epoch = steps_per_epoch(problem, options)
    main_epochs = options.total_epochs - options.warmup_epochs
    return {
        "warmup_steps": options.warmup_epochs * per_epoch,
        "blend_steps": options.blend_epochs * per_epoch,
        "temp_start": options.temp_start,
        "temp_end": options.temp_end,
        "temp_decay_steps": max(1, main_epochs * per_epoch),
    }


def train_all(
    problem: Problem,
    options: argparse.Namespace,
    make_losses: Mapping[str, MakeLosses],
    *,
    hidden: int = 32,
    from_prior: bool = True,
) -> Runs:
    """Trains one network per backend and loss; with the same seed all have the same initial weights and batches.

    Args:
        problem: the data.
        options: the options of the demo.
        make_losses: for each backend, the function that makes its losses.
        hidden: width of the one hidden layer.
        from_prior: whether the last biases start at the log odds of the positives, or the logarithms of the class
            shares; those of a "weighted" loss, whose weights balance the classes, start at 0.
    """
    steps = options.total_epochs * steps_per_epoch(problem, options)
    batch_size = min(options.batch_size, len(problem.train_y))
    sizes = (problem.train_x.shape[1], hidden, problem.outputs)
    *layers, (kernel, bias) = initial_weights(sizes, seed=options.seed)
    logs = np.log(np.bincount(problem.train_y.ravel().astype(int)) / len(problem.train_y)).astype(np.float32)
    prior = logs if problem.outputs > 1 else logs[1:] - logs[:1]
    batches = batch_rows(len(problem.train_y), steps, batch_size, seed=options.seed)
    epochs = np.split(batches, options.total_epochs)
    runs: Runs = {}
    for backend in installed(options.backend):
        losses = make_losses[backend](problem, options)
        trainer = importlib.import_module(f"demo_{backend}")
        runs[backend] = {}
        total = len(losses) * steps
        with tqdm(total=total, unit="step", ncols=100, miniters=1, disable=options.no_progress) as bar:
            for name, loss_fn in losses.items():
                bar.set_description(f"{BACKENDS[backend]:7}  {name:24}")
                start = bias + prior if from_prior and not name.startswith("weighted") else bias
                counted = [_counted(epoch, bar) for epoch in epochs]
                runs[backend][name] = Run(
                    *trainer.train(loss_fn, problem, [*layers, (kernel, start)], counted, options.lr)
                )
            bar.set_description(f"{BACKENDS[backend]:7}  {'done':24}")
    return runs


def _counted(batches: np.ndarray, bar: tqdm) -> Iterator[np.ndarray]:
    for rows in batches:
        yield rows
        bar.update()


# ------------------------------------------------------------------------------------------------- figures and tables


def average_precision(problem: Problem, scores: np.ndarray) -> float:
    """AP on the test rows: of the positives, or averaged over the classes (macro). scores is [test rows, outputs]."""
    return float(np.mean(per_class_average_precision(problem, scores)))


def per_class_average_precision(problem: Problem, scores: np.ndarray) -> np.ndarray:
    """One-vs-rest AP, [outputs]."""
    classes = [1] if problem.outputs == 1 else range(problem.outputs)
    labels = [problem.test_y.ravel() == label for label in classes]
    return np.array([average_precision_score(y, scores[:, column]) for column, y in enumerate(labels)])


def by_epoch(problem: Problem, runs: Runs) -> dict[str, np.ndarray]:
    """Average precision [epochs, losses] of each backend."""
    return {
        backend: np.array([[average_precision(problem, scores) for scores in run.scores] for run in by_loss.values()]).T
        for backend, by_loss in runs.items()
    }


def print_table(backend: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, digits: int = 3) -> None:
    """Prints a table under the name of the backend: the first column aligned left, the others right."""
    cells = [[f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(f"\n{BACKENDS[backend]}")
    for row in (columns, *cells):
        first, *rest = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("   ".join((first, *rest)).rstrip())


def print_table_by_epoch(backend: str, names: Sequence[str], values: np.ndarray) -> None:
    """Prints a line per epoch and a column per loss; `values` is [epochs, losses]."""
    print_table(backend, ["epoch", *names], [[epoch, *row] for epoch, row in enumerate(values.tolist(), start=1)])


def print_agreement(runs: Runs, tables: Mapping[str, np.ndarray]) -> None:
    """Prints the largest difference between two backends, if both were run: in the tables and the final scores."""
    if len(runs) < 2:
        return
    in_table = np.nanmax(np.ptp(np.array(list(tables.values())), axis=0))
    pairs = zip(*(by_loss.values() for by_loss in runs.values()), strict=True)
    in_scores = max(np.abs(first.scores[-1] - second.scores[-1]).max() for first, second in pairs)
    print(f"\nBetween the frameworks: at most {in_table:.6f} in this table, {in_scores:.1e} in the score of a test row")


# --------------------------------------------------------------------------------------------------------------- plots


def new_figure(panels: int, *, rows: int = 1, title: str, share_x: bool = True) -> tuple[Figure, np.ndarray]:
    """A figure with one column of panels for each backend, and its axes [rows, panels]."""
    figure = Figure(figsize=(4.6 * panels + 2.2, 3.6 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, panels, sharex="col" if share_x else False, sharey="row", squeeze=False)
    figure.suptitle(title)
    for axis in axes.flat:
        axis.grid(color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_by_epoch(
    tables: Mapping[str, np.ndarray], names: Sequence[str], *, title: str, ylabel: str, path: Path
) -> None:
    """Plots a line per loss over the epochs, in a panel per backend."""
    figure, axes = new_figure(len(tables), title=title)
    for axis, (backend, values) in zip(axes[0], tables.items(), strict=True):
        for name, line in zip(names, values.T, strict=True):
            axis.plot(np.arange(1, len(line) + 1), line, marker="o", markersize=3, linewidth=1.7, label=name)
        axis.set(title=BACKENDS[backend], xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel(ylabel)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes the plot and prints its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, format="png")
    print(f"\nPlot: {path}")

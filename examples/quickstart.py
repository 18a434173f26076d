"""Trains one small network with several losses, in PyTorch and in JAX, and compares the results.

The data are real: the handwritten digits of scikit-learn, one digit against the rest. The imbalance is artificial: the
training images of that digit are thinned to about 2%. Both frameworks start from the same weights and see the same
batches, so their columns agree; "from the prior" means that the last bias starts at the log odds of the positives.
Prints a table for held-out images and draws their precision-recall curves.
"""

import argparse
import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from quickstart_data import Problem, average_precision, batch_rows, imbalanced_digits, recall_at, starting_weights
from sklearn.metrics import precision_recall_curve
from tqdm import tqdm

FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX"}
Scores = dict[str, dict[str, np.ndarray]]  # scores of the test images, by framework and by loss


def main() -> None:
    options = parse_options()
    frameworks = [name for name in FRAMEWORKS if importlib.util.find_spec(name)]
    for name in FRAMEWORKS.keys() - frameworks:
        print(f"{FRAMEWORKS[name]} is not installed and is left out.")
    if not frameworks:
        raise SystemExit('Install PyTorch or JAX first: python -m pip install ".[torch,examples]"')

    problem = imbalanced_digits(options.digit, seed=options.seed)
    describe(problem, options.digit)
    scores = train_all(problem, frameworks, options.steps, options.seed)
    print_table(problem, scores)
    draw(problem, scores, options.output)
    print(f"Precision-recall curves: {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent / "output" / "quickstart.png"
    parser.add_argument(
        "--digit", type=int, default=8, choices=range(10), metavar="0..9", help="what is looked for (8)"
    )
    parser.add_argument("--steps", type=int, default=600, help="training steps for each loss (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, weights and batches (default: 0)")
    parser.add_argument(
        "--output", type=Path, default=default, help="the plot (default: examples/output/quickstart.png)"
    )
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    return options


def describe(problem: Problem, digit: int) -> None:
    """Prints the data and the meaning of the figures."""
    total, positives = len(problem.train_y), int(problem.train_y.sum())
    test_total, test_negatives = len(problem.test_y), int(np.sum(problem.test_y == 0))
    print(
        f"Digit {digit} against the rest, from the handwritten digits of scikit-learn.\n"
        f"  training           {total} images, {positives} positive: {positives / total:.1%}, thinned from about 10%\n"
        f"  test               {test_total} images, {test_total - test_negatives} positive: all kept\n"
        "  average precision  with positives weighted down to 2% of the test set; chance is 0.02\n"
        "  recall at 0.5%     share of the positives found when at most 0.5% of the negatives, "
        f"{int(0.005 * test_negatives)} of {test_negatives}, are flagged\n"
    )


def train_all(problem: Problem, frameworks: Iterable[str], steps: int, seed: int) -> Scores:
    """Trains one network per framework and loss, with a progress bar per framework."""
    batches = batch_rows(len(problem.train_y), steps, seed=seed)
    scores: Scores = {}
    for framework in frameworks:
        half = importlib.import_module(f"quickstart_{framework}")
        losses = half.make_losses(problem)
        scores[framework] = {}
        with tqdm(total=len(losses) * steps, unit="step", ncols=100, miniters=1) as bar:
            for name, loss_fn in losses.items():
                bar.set_description(f"{FRAMEWORKS[framework]:7}  {name:20}")
                weights = starting_weights(name, problem, seed)
                _, scores[framework][name] = half.train(loss_fn, problem, weights, counted(batches, bar))
            bar.set_description(f"{FRAMEWORKS[framework]:7}  {'done':20}")
    return scores


def counted(batches: np.ndarray, bar: tqdm) -> Iterator[np.ndarray]:
    """Yields the batches and advances the progress bar."""
    for rows in batches:
        yield rows
        bar.update()


def print_table(problem: Problem, scores: Scores) -> None:
    """Prints a line per loss: both figures in every framework, and the difference between frameworks."""
    frameworks, figures = list(scores), (average_precision, recall_at)
    width = 11 if len(frameworks) > 1 else 20
    titles = "".join(f"{title:>{width * len(frameworks)}}" for title in ("average precision", "recall at 0.5%"))
    print(
        f"\n{'':20}{titles}\n{'loss':20}"
        + "".join(f"{FRAMEWORKS[name]:>{width}}" for name in frameworks * len(figures))
    )
    largest = 0.0
    for loss in scores[frameworks[0]]:
        values = np.array([[figure(problem, scores[name][loss]) for name in frameworks] for figure in figures])
        print(f"{loss:20}" + "".join(f"{value:{width}.3f}" for value in values.ravel()))
        largest = max(largest, np.ptp(values, axis=1).max())
    if len(frameworks) > 1:
        apart = max(
            np.abs(np.subtract(*pair)).max() for pair in zip(*(scores[f].values() for f in frameworks), strict=True)
        )
        print(f"Between the frameworks: at most {largest:.6f} in this table, {apart:.1e} in the score of an image")
    print()


def draw(problem: Problem, scores: Scores, path: Path) -> None:
    """Plots the precision-recall curves of every loss to a PNG, one panel per framework."""
    figure = Figure(figsize=(4.6 * len(scores) + 1.8, 4.4), layout="constrained")
    axes = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axis, (framework, by_loss) in zip(axes, scores.items(), strict=True):
        for loss, values in by_loss.items():
            precision, recall, _ = precision_recall_curve(problem.test_y, values, sample_weight=problem.test_weights)
            axis.step(recall, precision, where="post", linewidth=1.7, label=loss)
        axis.set(title=FRAMEWORKS[framework], xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        axis.grid(color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("precision (2% positives)")
    figure.suptitle("Held-out digits: precision and recall by training loss")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, format="png")


if __name__ == "__main__":
    main()

"""Trains a Flax NNX network on rare digits with optax: cross entropy, and the preset of Smooth-AP.

The data are real, the handwritten digits of scikit-learn; the long tail is artificial: every digit keeps fewer training
images than the one before it. Smooth-AP averages over the digits, and so counts the rare ones as much as the others.
Prints macro average precision and draws the average precision of each digit.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from demo_common import OUTPUT, average_precision, new_figure, per_class_average_precision, save
from demo_data import Problem, long_tailed_digits
from flax import nnx
from quickstart_data import batch_rows
from tqdm import tqdm

from imbalanced_jax.nnx import SmoothAPLoss, SoftmaxFocalLoss


class Network(nnx.Module):
    """A multilayer perceptron with one hidden layer."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(inputs, hidden, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.output = nnx.Linear(hidden, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The logits [n, outputs] of x [n, inputs]."""
        return self.output(self.dropout(nnx.relu(self.hidden(x))))


def make_losses(classes: int) -> dict[str, nnx.Module]:
    """Cross entropy (a softmax focal loss with gamma 0), and the preset."""
    return {"cross entropy": SoftmaxFocalLoss(gamma=0.0), "Smooth-AP": SmoothAPLoss.recommended(classes)}


@nnx.jit
def train_step(model: nnx.Module, loss_fn: nnx.Module, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array):
    """One training step. The loss is an argument, so that NNX carries its queue and gate from call to call."""

    def objective(model, loss_fn):
        return loss_fn(model(x), y)

    loss, gradients = nnx.value_and_grad(objective)(model, loss_fn)  # with respect to the model's parameters
    optimizer.update(model, gradients)
    return loss


def train(problem: Problem, loss_fn: nnx.Module, batches: np.ndarray, seed: int, bar: tqdm) -> np.ndarray:
    """The logits of the test images after training, [images, digits]."""
    model = Network(problem.train_x.shape[1], 64, problem.outputs, rngs=nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    x, y = jnp.asarray(problem.train_x), jnp.asarray(problem.train_y)
    for rows in batches:
        train_step(model, loss_fn, optimizer, x[rows], y[rows])
        bar.update()
    model.eval()
    return np.asarray(model(jnp.asarray(problem.test_x)))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    problem = long_tailed_digits(options.seed)
    print(problem.description)
    batches = batch_rows(len(problem.train_y), options.steps, batch_size=64, seed=options.seed)
    losses, scores = make_losses(problem.outputs), {}
    with tqdm(total=len(losses) * options.steps, unit="step", ncols=100, disable=options.no_progress) as bar:
        for name, loss_fn in losses.items():
            bar.set_description(f"{name:13}")
            scores[name] = train(problem, loss_fn, batches, options.seed, bar)
    print(f"\n{'loss':22}macro average precision on the test images")
    for name, values in scores.items():
        print(f"{name:22}{average_precision(problem, values):.3f}")
    draw(problem, scores, options.output)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900, help="training steps of each network (default: 900)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, weights and batches (default: 0)")
    parser.add_argument("--output", type=Path, default=OUTPUT / "train_nnx.png", help="the plot")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, got {options.seed}")
    return options


def draw(problem: Problem, scores: dict[str, np.ndarray], path: Path) -> None:
    """Plots the average precision of each digit, from frequent to rare."""
    figure, axes = new_figure(1, title="Long-tailed digits, Flax NNX: average precision of each digit")
    for name, values in scores.items():
        precision = per_class_average_precision(problem, values)
        axes[0, 0].plot(range(problem.outputs), precision, marker="o", markersize=4, linewidth=1.7, label=name)
    counts = np.bincount(problem.train_y)
    labels = [f"{digit}\n{count}" for digit, count in enumerate(counts)]
    axes[0, 0].set_xticks(range(problem.outputs), labels)
    axes[0, 0].set(xlabel="digit, and its training images", ylabel="average precision")
    axes[0, 0].legend(frameon=False)
    save(figure, path)


if __name__ == "__main__":
    main()

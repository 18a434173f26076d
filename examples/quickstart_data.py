"""Shared code of both halves of the quickstart: the problem, initial weights, the order of batches, and metrics."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_curve
from sklearn.model_selection import train_test_split

Layers = list[tuple[np.ndarray, np.ndarray]]


class Problem(NamedTuple):
    """Images [n, 64] in [0, 1] and labels [n], 1.0 for the target digit; all float32.

    Only the training positives are thinned. The test set keeps every positive, for less noisy figures, and
    `test_weights` [m] weights positives down to their rate in training.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    test_weights: np.ndarray


def imbalanced_digits(digit: int = 8, positive_rate: float = 0.02, seed: int = 0) -> Problem:
    """The digits of scikit-learn, one digit against the rest, with its training images thinned to `positive_rate`."""
    images, digits = load_digits(return_X_y=True)
    x, y = (images / 16).astype(np.float32), (digits == digit).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, stratify=y, random_state=seed)

    odds = positive_rate / (1 - positive_rate)
    positives, negatives = np.flatnonzero(train_y == 1), np.flatnonzero(train_y == 0)
    keep = np.concatenate([positives[: round(odds * len(negatives))], negatives])  # the split already shuffled the rows
    weight_of_positive = odds * np.sum(test_y == 0) / np.sum(test_y == 1)
    return Problem(train_x[keep], train_y[keep], test_x, test_y, np.where(test_y == 1, weight_of_positive, 1.0))


def initial_weights(sizes: tuple[int, ...] = (64, 32, 1), seed: int = 0) -> Layers:
    """Kernel [inputs, outputs] and bias [outputs] of each layer of a small network, float32."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(0, n_in**-0.5, (n_in, n_out)).astype(np.float32), np.zeros(n_out, np.float32))
        for n_in, n_out in pairwise(sizes)
    ]


def starting_weights(name: str, problem: Problem, seed: int = 0) -> Layers:
    """The initial weights for a loss; of those "from the prior" the last bias is at the log odds of the positives."""
    *hidden, (kernel, bias) = initial_weights(seed=seed)
    share = problem.train_y.mean(dtype=float)
    start = np.log(share / (1 - share)) if name.endswith("from the prior") else 0.0
    return [*hidden, (kernel, bias + np.float32(start))]


def batch_rows(n: int, steps: int, batch_size: int = 128, seed: int = 0) -> np.ndarray:
    """The training rows of every step, [steps, batch_size]: shuffled passes over all n rows."""
    rng = np.random.default_rng(seed)
    passes = [rng.permutation(n) for _ in range(-(-steps * batch_size // n))]
    return np.concatenate(passes)[: steps * batch_size].reshape(steps, batch_size)


def average_precision(problem: Problem, scores: np.ndarray) -> float:
    """Average precision on the test set at the positive rate of training."""
    return float(average_precision_score(problem.test_y, scores, sample_weight=problem.test_weights))


def recall_at(problem: Problem, scores: np.ndarray, false_positive_rate: float = 0.005) -> float:
    """The largest recall on the test set with at most this fraction of the negatives flagged."""
    false_positives, recall, _ = roc_curve(problem.test_y, scores, drop_intermediate=False)
    return float(recall[false_positives <= false_positive_rate].max())

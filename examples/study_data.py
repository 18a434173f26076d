"""The data of the study: every problem in three disjoint parts."""

from typing import NamedTuple

import numpy as np
from contested_top import contested_top
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split


class Part(NamedTuple):
    """Rows of a problem: features float32 [n, d], class ids int32 [n] (1 is positive if binary), weights [n].

    Metrics count a row by its weight. It gives the positives of validation and test, all of which are kept, the share
    that the thinned positives have in training.
    """

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray


class Data(NamedTuple):
    """The three parts: to train on, to choose by, and to report."""

    train: Part
    valid: Part
    test: Part


def three_parts(y: np.ndarray, seed: int, *, test: float = 0.4, valid: float = 0.2) -> tuple[np.ndarray, ...]:
    """Row numbers of training, validation and test, stratified by y. The test rows are the same for every seed."""
    rows = np.arange(len(y))
    rest, test_rows = train_test_split(rows, test_size=test, stratify=y, random_state=0)
    train, valid_rows = train_test_split(rest, test_size=valid / (1 - test), stratify=y[rest], random_state=seed)
    return train, valid_rows, test_rows


def digits(seed: int, positive_rate: float = 0.02) -> Data:
    """One of the handwritten digits of scikit-learn, seed modulo 10, against the rest; training positives thinned."""
    images, labels = load_digits(return_X_y=True)
    y = (labels == seed % 10).astype(np.int32)
    parts = three_parts(labels, seed)
    negatives = int(np.sum(y[parts[0]] == 0))
    return _thinned(images / 16, y, parts, round(negatives * positive_rate / (1 - positive_rate)))


def breast_cancer(seed: int, positives: int = 6) -> Data:
    """Malignant (positive) and benign tumours, from scikit-learn; all but a few training positives are left out."""
    x, y = load_breast_cancer(return_X_y=True)
    y = (y == 0).astype(np.int32)
    parts = three_parts(y, seed)
    kept = _keep(y, parts[0], {1: positives})
    x = (x - x[kept].mean(0)) / x[kept].std(0)
    return _thinned(x, y, parts, positives)


def _thinned(x: np.ndarray, y: np.ndarray, parts: tuple[np.ndarray, ...], positives: int) -> Data:
    train = _keep(y, parts[0], {1: positives})
    odds = positives / np.sum(y[train] == 0)
    return Data(_part(x, y, train), *(_part(x, y, rows, odds) for rows in parts[1:]))


def digits_long_tail(seed: int, most: int = 70, ratio: float = 0.7) -> Data:
    """All ten digits, of which training has 70, 49, 34, ... 3 images; which digit is how rare depends on the seed."""
    images, labels = load_digits(return_X_y=True)
    y = labels.astype(np.int32)
    parts = three_parts(y, seed)
    order = np.random.default_rng(seed).permutation(10)
    train = _keep(y, parts[0], {int(digit): round(most * ratio**k) for k, digit in enumerate(order)})
    return Data(*(_part(images / 16, y, rows) for rows in (train, *parts[1:])))


def _keep(y: np.ndarray, rows: np.ndarray, most: dict[int, int]) -> np.ndarray:
    """The rows, those of each named class cut to so many."""
    return np.concatenate([rows[y[rows] == label][: most.get(int(label))] for label in np.unique(y)])


def _part(x: np.ndarray, y: np.ndarray, rows: np.ndarray, odds: float | None = None) -> Part:
    """These rows, positives weighted to `odds` times the number of negatives."""
    labels = y[rows]
    weight = 1.0 if odds is None else odds * np.sum(labels == 0) / np.sum(labels == 1)
    return Part(x[rows].astype(np.float32), labels, np.where(labels == 1, weight, 1.0))


def contested(seed: int, cue: str, rows: tuple[int, int, int] = (150_000, 150_000, 300_000)) -> Data:
    """Decoys that look like the positives; see `contested_top`."""
    draws = (contested_top(n, cue, seed=3 * seed + part) for part, n in enumerate(rows))
    return Data(*(Part(x, y.astype(np.int32), np.ones(len(y))) for x, y in draws))


def rare_events(seed: int, rows: tuple[int, int, int] = (2**20, 2**18, 2**19)) -> Data:
    """Events of 0.1%, of probability σ(f(x)) for a fixed network f of 24 features: not even f foresees them all."""
    return Data(*(_rare_part(3 * seed + part, n) for part, n in enumerate(rows)))


def _rare_part(seed: int, n: int) -> Part:
    random = np.random.default_rng(1000 + seed)
    x = random.standard_normal((n, 24), dtype=np.float32)
    y = random.random(n) < 1 / (1 + np.exp(-rare_logits(x)))
    return Part(x, y.astype(np.int32), np.ones(n))


def rare_logits(x: np.ndarray) -> np.ndarray:
    """The logits of the probabilities of `rare_events`: the best score there is, [n]."""
    fixed = np.random.default_rng(0)
    first, last = (fixed.standard_normal(shape).astype(np.float32) for shape in ((24, 16), 16))
    return 12 / 16**0.5 * np.tanh(2 / 24**0.5 * x @ first) @ last - 19

"""The data sets of the demos, with their training and held-out rows."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import train_test_split


class Problem(NamedTuple):
    """Features float32 [n, d]; targets float32 [n, 1] of 0 and 1, or int32 class ids [n]."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    outputs: int  # number of logits: 1, or the number of classes
    description: str


def rare_positives(rows: int, pos_rate: float, seed: int) -> Problem:
    """Synthetic: scikit-learn's `make_classification` with few positives, half of the rows held out."""
    x, y = make_classification(
        rows,
        n_features=20,
        n_informative=8,
        n_redundant=4,
        n_clusters_per_class=2,
        weights=[1 - pos_rate],
        flip_y=0,  # flipped labels would outnumber the positives
        class_sep=1.0,
        random_state=seed,
    )
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    y = y.astype(np.float32)[:, None]
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, stratify=y, random_state=seed)
    return Problem(
        *(train_x, train_y, test_x, test_y),
        outputs=1,
        description=f"Synthetic (make_classification): {len(train_y)} rows to train on, {int(train_y.sum())} of them "
        f"positive; {len(test_y)} held out, {int(test_y.sum())} positive.",
    )


def long_tailed_digits(seed: int, *, ratio: float = 30.0) -> Problem:
    """The handwritten digits of scikit-learn; each digit keeps fewer training images than the one before it.

    Args:
        seed: seed of the split and of the thinning.
        ratio: how many times more images the first digit keeps than the last. The images are real; the imbalance is
            artificial. The test set, half of all images, is not thinned.
    """
    images, digits = load_digits(return_X_y=True)
    x, y = (images / 16).astype(np.float32), digits.astype(np.int32)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, stratify=y, random_state=seed)
    counts = np.bincount(train_y).min() * ratio ** -(np.arange(10) / 9)
    keep = np.concatenate([np.flatnonzero(train_y == digit)[: max(2, round(counts[digit]))] for digit in range(10)])
    kept = ", ".join(map(str, np.bincount(train_y[keep])))
    return Problem(
        *(train_x[keep], train_y[keep], test_x, test_y),
        outputs=10,
        description=f"Handwritten digits (real), thinned to a long tail (made): {len(keep)} images to train on, of the "
        f"digits 0 to 9 {kept}; {len(test_y)} held out, not thinned.",
    )

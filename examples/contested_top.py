"""A problem with contested top scores: decoys look like the rare positives until two features are combined.

Twenty standard-normal features. Positives are rare and shifted in features 0 to 2. Some negatives, the decoys, have the
same shift and outnumber the positives, so ranking by the shift alone fills the top with decoys. Only features 5 and 6
separate the two, in one of three ways, the `CUES`:

- "linear": both are raised in a positive;
- "product": both are raised or both are lowered, so only their product separates;
- "radial": each is raised or lowered independently, so only their distance from 0 separates.

The distribution is known, and so is the best possible score, `log_likelihood_ratio`.
"""

import numpy as np

CUES = ("linear", "product", "radial")
FEATURES = 20
_SHIFTED, _SHIFT = slice(0, 3), 2.5
_FIRST, _SECOND, _MOVE = 5, 6, 1.7


def contested_top(
    rows: int, cue: str, seed: int, *, positive_rate: float = 0.0015, decoy_rate: float = 0.012
) -> tuple[np.ndarray, np.ndarray]:
    """Draws rows of the problem.

    Args:
        rows: number of rows.
        cue: how positives differ from decoys, one of `CUES`.
        seed: random seed.
        positive_rate: fraction of positive rows; their number is exact, at least 1.
        decoy_rate: fraction of decoys among the negatives, also exact.

    Returns:
        The features, float32 [rows, 20], and the labels, float32 [rows], in random order.
    """
    if cue not in CUES:
        raise ValueError(f"cue must be one of {CUES}, got {cue!r}")
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, FEATURES))
    positives = max(1, round(rows * positive_rate))
    decoys = round((rows - positives) * decoy_rate)
    x[: positives + decoys, _SHIFTED] += _SHIFT
    first, second = random.choice([-1.0, 1.0], (2, positives))
    if cue == "linear":
        first = second = np.ones(positives)
    elif cue == "product":
        second = first
    x[:positives, _FIRST] += _MOVE * first
    x[:positives, _SECOND] += _MOVE * second
    order = random.permutation(rows)
    return x[order].astype(np.float32), (order < positives).astype(np.float32)


def log_likelihood_ratio(x: np.ndarray, cue: str, *, decoy_rate: float = 0.012) -> np.ndarray:
    """Log of p(x | positive) / p(x | negative), the best possible score; [rows] in float64."""
    x = x.astype(np.float64)
    shifted = np.sum(_SHIFT * x[:, _SHIFTED] - _SHIFT**2 / 2, axis=1)  # relative to unshifted features
    first, second = _MOVE * x[:, _FIRST], _MOVE * x[:, _SECOND]
    if cue == "linear":
        moved = first + second
    elif cue == "product":
        moved = np.logaddexp(first + second, -first - second) - np.log(2)
    else:
        moved = np.logaddexp(first, -first) + np.logaddexp(second, -second) - 2 * np.log(2)
    negative = np.logaddexp(np.log1p(-decoy_rate), np.log(decoy_rate) + shifted)
    return shifted + moved - _MOVE**2 - negative


def coverage_at_budget(scores: np.ndarray, labels: np.ndarray, budget: float = 0.005) -> float:
    """Fraction of the positives scored above the (1 − budget) quantile of the negatives; 0.005 is 50 basis points."""
    threshold = np.quantile(scores[labels == 0], 1 - budget)
    return float(np.mean(scores[labels == 1] > threshold))

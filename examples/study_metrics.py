"""What the study measures: figures of the top of a ranking."""

import numpy as np
from sklearn.metrics import average_precision_score, roc_curve
from study_data import Part

METRICS = ("average_precision", "recall_at_0.5%", "recall_at_1%", "partial_auc", "coverage")


def measure(part: Part, scores: np.ndarray, budget: float) -> dict[str, float]:
    """All `METRICS` of scores [n] (binary) or [n, C] (the mean over classes, each against the rest).

    Args:
        part: the labels and weights.
        scores: higher is more likely positive; NaN counts as the lowest of all.
        budget: the highest false-positive rate of partial AUC and coverage.

    Returns:
        Each within [0, 1]. Recall at a rate is the largest with no more than that share of the negatives flagged;
        partial AUC the mean recall over the false-positive rates up to the budget; coverage the recall at it.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    if scores.ndim == 1:
        return _binary(part.y == 1, scores, part.weights, budget)
    rows = [_binary(part.y == label, scores[:, label], part.weights, budget) for label in range(scores.shape[1])]
    return {name: float(np.mean([row[name] for row in rows])) for name in METRICS}


def _binary(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray, budget: float) -> dict[str, float]:
    scores = np.clip(scores, -1e30, 1e30)
    false, found, _ = roc_curve(positive, scores, drop_intermediate=False)
    return {
        "average_precision": float(average_precision_score(positive, scores, sample_weight=weights)),
        "recall_at_0.5%": float(found[false <= 0.005].max()),
        "recall_at_1%": float(found[false <= 0.01].max()),
        "partial_auc": partial_auc(false, found, budget),
        "coverage": float(found[false <= budget].max()),
    }


def partial_auc(false: np.ndarray, found: np.ndarray, budget: float) -> float:
    """Area under the ROC curve up to a false-positive rate, divided by that rate: within [0, 1], no correction."""
    rates = np.append(false[false < budget], budget)
    recall = np.append(found[false < budget], np.interp(budget, false, found))
    return float(np.trapezoid(recall, rates) / budget)

"""Sums over pairs straight from their definitions: every pair is visited."""

import numpy as np


def dense_counts(scores, weights, temperature):
    """Σ_j weights[k, j] σ((s_j − s_i)/τ), visiting all pairs."""
    x = (scores[..., None, :] - scores[..., :, None]) / np.float64(temperature)
    return np.einsum("...ij,...kj->...ki", 0.5 * (1 + np.tanh(0.5 * x)), weights.astype(np.float64))


def dense_gradients(cotangent, scores, weights, temperature):
    """Gradients of Σ cotangent · counts with respect to scores, weights and temperature, visiting all pairs."""
    x = (scores[None, :] - scores[:, None]) / np.float64(temperature)
    t = np.exp(-np.abs(x))
    pulls = np.einsum("ki,kj,ij->ij", cotangent, weights, t / (1 + t) ** 2)  # effect of item j on the count of item i
    by_scores = (pulls.sum(axis=0) - pulls.sum(axis=1)) / temperature
    by_weights = np.einsum("ki,ij->kj", cotangent, 0.5 * (1 + np.tanh(0.5 * x)))
    return by_scores, by_weights, -(pulls * x).sum() / temperature

"""Tests specific to NDCG: its limit, the best order, and invalid labels. The table of losses covers the rest."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from imbalanced_core.losses.ndcg import ndcg


@pytest.mark.parametrize(("gain", "of_label"), [("linear", lambda y: y), ("exponential", lambda y: 2.0**y - 1)])
def test_it_tends_to_the_ndcg_of_scikit_learn_which_the_best_order_brings_to_one(rng, gain, of_label):
    scores, relevance = rng.standard_normal((4, 60)), rng.integers(0, 5, (4, 60))
    expected = [ndcg_score(of_label(y)[None], s[None]) for s, y in zip(scores, relevance, strict=True)]
    np.testing.assert_allclose(1 - ndcg(scores, relevance, gain=gain, temperature=1e-9)[0], expected, rtol=1e-12)
    assert np.abs(ndcg(scores + 100 * relevance, relevance, gain=gain, temperature=1e-9)[0]).max() < 1e-12


def test_broken_lists_are_nan_and_leave_others_alone():
    scores, relevance = np.tile([1.0, 2.0, 3.0], (4, 1)), np.tile([2.0, 0.0, 1.0], (4, 1))
    scores[0, 1], relevance[1, 0], relevance[2, 2] = np.nan, -1.0, np.nan
    np.testing.assert_array_equal(np.isnan(ndcg(scores, relevance)), [[True, True, True, False], [False] * 4])
    assert ndcg(np.zeros((2, 0)), np.zeros((2, 0)))[1].tolist() == [False, False]
    with pytest.raises(ValueError, match=r"scores must be of shape \[\.\.\., n\], got \(\)"):
        ndcg(np.array(0.0), np.array(0.0))


def test_powers_of_great_labels_do_not_overflow():
    scores, labels = np.array([0.5, 1.0, -1.0, 2.0]), np.array([50.0, 49.0, 0.0, 51.0])
    great = np.where(labels > 0, labels + 150, 0)
    assert ndcg(scores.astype(np.float32), great)[0] == pytest.approx(ndcg(scores, labels)[0], abs=1e-6)

"""Recall and precision at an operating point: the metrics they converge to, ties, and unreachable targets."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from imbalanced_core import metrics
from imbalanced_core.losses.operating_point import precision_at, recall_at

RATE = {"temperature": 1e-9}


def drawn(rng, rows=4, n=150):
    positives = rng.random((rows, n)) < 0.2
    return rng.standard_normal((rows, n)) + positives, positives


@pytest.mark.parametrize("k", [1, 10, 60])
def test_they_tend_to_recall_and_precision_at_k(rng, k):
    scores, positives = drawn(rng)
    precision = metrics.precision_at_k(scores, positives, k=k)
    np.testing.assert_allclose(1 - precision_at(scores, positives, k=k, **RATE)[0], precision, atol=1e-12)
    recall = precision * k / positives.sum(axis=-1)
    np.testing.assert_allclose(1 - recall_at(scores, positives, k=k, **RATE)[0], recall, atol=1e-12)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_they_tend_to_the_points_of_the_curve_of_scikit_learn(rng, share):
    scores, positives = drawn(rng)
    precision_loss = precision_at(scores, positives, recall=share, **RATE)[0]
    recall_loss = recall_at(scores, positives, precision=share, **RATE)[0]
    for row in range(len(scores)):
        precision, recall, _ = precision_recall_curve(positives[row], scores[row])
        wanted = precision[recall >= share][-1]  # at the highest threshold
        assert 1 - precision_loss[row] == pytest.approx(wanted, abs=1e-12)
        assert 1 - recall_loss[row] == pytest.approx(recall[precision >= share].max(), abs=1e-12)


def test_tied_items_are_flagged_together_or_count_one_half():
    scores, positives = np.array([3.0, 2.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False, True])
    # k: the tie straddles the threshold, so each tied item counts one half
    assert 1 - recall_at(scores, positives, k=2, **RATE)[0] == pytest.approx(1.5 / 3)
    assert 1 - precision_at(scores, positives, k=2, **RATE)[0] == pytest.approx(1.5 / 2.5)
    # two thirds of the positives need the whole tie: 2 of 4
    assert 1 - precision_at(scores, positives, recall=2 / 3, **RATE)[0] == pytest.approx(0.5)
    # the best item alone has a precision of at least 2/3; neither the tie nor any lower threshold does
    assert 1 - recall_at(scores, positives, precision=2 / 3, **RATE)[0] == pytest.approx(1 / 3)
    assert 1 - recall_at(scores, positives, precision=0.5, **RATE)[0] == pytest.approx(2.5 / 3)  # 3 of 5; the last is θ


def test_a_precision_that_no_threshold_reaches_is_sought_at_the_highest_score():
    scores, positives = np.array([2.0, 1.0, 0.0]), np.array([False, True, False])
    loss, valid = recall_at(scores, positives, precision=0.9, temperature=1.0)
    assert valid
    assert loss == pytest.approx(1 / (1 + np.exp(-1.0)))  # σ(2 − 1)


def test_rows_of_no_more_than_k_items_have_no_loss():
    scores, positives = np.array([2.0, 1.0, 0.0]), np.array([False, True, False])
    for function in (recall_at, precision_at):
        assert [bool(function(scores, positives, k=k)[1]) for k in (1, 2, 3, 9)] == [True, True, False, False]
        assert function(scores, positives, k=3, multiplicity=np.array([1.0, 3.0, 1.0]))[1]


def test_equal_scores_have_one_half_of_recall_and_the_prevalence_as_precision():
    scores, positives = np.zeros(10), np.arange(10) < 2
    for options in ({"k": 3}, {"precision": 0.7}):
        assert recall_at(scores, positives, **options)[0] == 0.5
    for options in ({"k": 3}, {"recall": 0.7}):
        assert precision_at(scores, positives, **options)[0] == pytest.approx(0.8)


def test_a_share_is_reached_in_spite_of_rounding():
    """A recall of 0.55 needs 55 of 100 positives, although 0.55 · 100 = 55.00000000000001."""
    scores, positives = -np.arange(200.0), np.arange(200) % 2 == 0
    assert 1 - precision_at(scores, positives, recall=0.55, **RATE)[0] == pytest.approx(55 / 109)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (recall_at, {}, "k must be an integer >= 1, got None"),
        (recall_at, {"k": 0}, "k must be an integer >= 1, got 0"),
        (precision_at, {"k": 2.0}, "k must be an integer >= 1, got 2.0"),
        (precision_at, {"k": 2, "recall": 0.5}, "k must be None where a recall is given, got 2"),
        (recall_at, {"precision": 0.0}, r"precision must be a Python number in \(0, 1\], got 0.0"),
        (precision_at, {"recall": 1.1}, r"recall must be a Python number in \(0, 1\], got 1.1"),
    ],
)
def test_bad_options_are_named(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(np.zeros(3), np.array([True, False, False]), **options)

"""The contrastive cross entropy of the presets; tests/parity/test_gated_parity.py has whole steps of them."""

import numpy as np
import pytest
import reference

from imbalanced_core.losses.gated import contrast, opened, with_gate
from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.losses.ranking import average_precision
from imbalanced_core.pool.items import make_items
from imbalanced_core.pool.queue import empty
from imbalanced_core.pool.step import pooled_loss


def batch(rng, rows=3, n=40, rate=0.2):
    """Scores, positives, weights, multiplicities and a mask of the batch among the items."""
    positives = rng.random((rows, n)) < rate
    positives[:, :2] = [True, False]
    weights, multiplicity = rng.uniform(0.5, 2, (rows, n)), rng.integers(1, 4, (rows, n)).astype(float)
    return rng.standard_normal((rows, n)) * 3, positives, weights, multiplicity, rng.random((rows, n)) < 0.7


def of_batch(scores, positives, weights=None, multiplicity=None, live=None):
    live = scores == scores if live is None else live
    return contrast(make_items(scores, positives, weights=weights, multiplicity=multiplicity, live=live))


def test_it_is_the_mean_over_positives_against_all_negatives_of_the_batch(grad_backend, rng):
    arrays = batch(rng)
    loss, gradient = grad_backend.value_and_grad(lambda *a: of_batch(*a)[0].sum(), *arrays)
    total = 0.0
    for s, p, w, m, live, slopes in zip(*arrays, gradient, strict=True):
        value, expected = reference.contrast(s[live], p[live], weights=w[live], multiplicity=m[live])
        total += value
        np.testing.assert_allclose(slopes[live], expected, rtol=1e-10, atol=1e-14)
        assert (slopes[~live] == 0).all()
    assert loss == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_a_step_moves_no_intercept(value_grad_backend, rng, offset):
    scores, positives, *_ = batch(rng)
    loss, gradient = value_grad_backend.value_and_grad(lambda s, p: of_batch(s, p)[0].sum(), scores + offset, positives)
    assert loss == pytest.approx(sum(map(lambda s, p: reference.contrast(s, p)[0], scores, positives)), rel=1e-9)
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)
    assert (gradient[positives] < 0).all()


@pytest.mark.parametrize("kind", ["no positive", "no negative", "no weight", "no row"])
def test_without_a_comparison_it_is_zero_and_invalid(value_grad_backend, rng, kind):
    scores, positives, weights, multiplicity, live = batch(rng)
    positives = np.full_like(positives, kind == "no negative") if kind in ("no positive", "no negative") else positives
    weights, live = weights * (kind != "no weight"), live & (kind != "no row")

    arrays = scores, positives, weights, multiplicity, live
    loss, gradient = value_grad_backend.value_and_grad(lambda *a: of_batch(*a)[0].sum(), *arrays)
    assert loss == 0
    assert (gradient == 0).all()
    assert not value_grad_backend.run(lambda *a: of_batch(*a)[1], *arrays).any()


def test_extreme_scores_are_finite(value_grad_backend):
    scores = np.array([[np.inf, -np.inf, 1e4], [-np.inf, np.inf, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    positives = np.array([[True, False, False]] * 3)
    loss, gradient = value_grad_backend.value_and_grad(lambda s, p: of_batch(s, p)[0].sum(), scores, positives)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[2], [-1, 0.5, 0.5])


def test_equal_scores_are_not_its_minimum():
    scores, positives = np.zeros((1, 100)), np.arange(100)[None] % 20 == 0
    (equal,), _ = of_batch(scores, positives)
    (apart,), _ = of_batch(scores + positives, positives)
    assert apart < equal == pytest.approx(np.log1p(95 / 5))


@pytest.mark.parametrize("ranking", [average_precision, band_auc])
def test_a_step_without_rows_has_a_loss_of_zero(ranking):
    objective = with_gate(ranking, opened(3, xp=np), temperature=0.1)
    nothing = np.zeros((0, 3), np.float32), np.zeros(0, int), empty(0, 3, xp=np)
    loss, result = pooled_loss(objective, *nothing, live_aware=True)
    assert loss == 0
    assert not result.valid.any()
    assert np.isfinite(result.gate.reached).all()


def test_a_nan_leaves_the_gate_of_its_class_as_it_was(rng):
    scores = rng.standard_normal((20, 2)).astype(np.float32)
    scores[0, 0] = np.nan
    gate = opened(2, xp=np)._replace(reached=np.float32([0.7, 0.5]))
    objective = with_gate(band_auc, gate, temperature=0.1)
    _, result = pooled_loss(objective, scores, np.arange(20) % 2, empty(0, 2, xp=np), live_aware=True)
    assert (result.gate.reached == gate.reached).tolist() == [True, False]

"""Smooth average precision and recall: their limits, and their accuracy at all scales."""

import numpy as np
import pytest
import reference
from losses import OBJECTIVES, each, with_variants
from sklearn.metrics import average_precision_score, recall_score

from imbalanced_core.losses.ranking import recall_at_quantile, smooth_ap


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_smooth_ap_tends_to_average_precision(value_backend, rng, rate):
    scores, positives = rng.standard_normal((2, 200)), rng.random((2, 200)) < rate
    scores += positives
    loss, _ = value_backend.run(lambda s, p: smooth_ap(s, p, temperature=1e-9), scores, positives)
    expected = [average_precision_score(p, s) for s, p in zip(scores, positives, strict=True)]
    np.testing.assert_allclose(1 - loss, expected, rtol=1e-12)


def test_average_precision_of_weighted_positives_by_hand():
    """Ranks 1 and 3 with precisions 1 and 2/3, weighted 1 : 3."""
    scores, positives = np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False])
    loss, _ = smooth_ap(scores, positives, temperature=1e-6, weights=np.array([1.0, 9.0, 3.0, 9.0]))
    assert 1 - loss == pytest.approx((1 + 3 * 2 / 3) / 4, rel=1e-12)


@pytest.mark.parametrize("quantile", [0.01, 0.1, 0.5])
def test_recall_tends_to_recall_among_the_flagged(value_backend, rng, quantile):
    scores, positives = rng.standard_normal((2, 150)), rng.random((2, 150)) < 0.2
    scores += positives
    # `>=` counts an item at the threshold as flagged; the loss counts it as one half, corrected below
    thresholds = np.quantile(scores, 1 - quantile, axis=-1, method="higher")
    expected = [recall_score(p, s >= t) for s, p, t in zip(scores, positives, thresholds, strict=True)]
    at_threshold = positives & (scores == thresholds[:, None])
    loss, _ = value_backend.run(
        lambda s, p: recall_at_quantile(s, p, quantile=quantile, temperature=1e-9), scores, positives
    )
    np.testing.assert_allclose(1 - loss, expected - 0.5 * at_threshold.sum(-1) / positives.sum(-1), rtol=1e-12)


def test_the_gradient_of_recall_reaches_positives_only(value_grad_backend, rng):
    scores, positives = rng.standard_normal((2, 40)), rng.random((2, 40)) < 0.3
    _, gradient = value_grad_backend.value_and_grad(
        lambda s, p: recall_at_quantile(s, p, quantile=0.2, temperature=1.0)[0].sum(), scores, positives
    )
    np.testing.assert_array_equal(gradient[~positives], 0.0)
    assert (gradient[positives] < 0).all()  # every positive is pushed up


def test_multiplicity_counts_in_the_threshold_of_recall():
    scores, positives = np.arange(10.0), np.arange(10) == 8
    one = recall_at_quantile(scores, positives, quantile=0.1, interpolation="lower", temperature=1e-6)[0]
    many = recall_at_quantile(
        scores,
        positives,
        quantile=0.1,
        interpolation="lower",
        temperature=1e-6,
        multiplicity=np.where(scores == 9, 5, 1),
    )[0]
    assert one == pytest.approx(0.5)  # it is the threshold
    assert many == pytest.approx(1.0)  # the five copies above it are flagged instead


def test_gradient_does_not_vanish_with_the_scale_of_the_scores(rng):
    """The purpose of `temperature_scale`."""
    torch = pytest.importorskip("torch")
    scores, positives = rng.standard_normal((1, 500)), rng.random((1, 500)) < 0.05

    def pull(scale, **options):
        s = torch.tensor(scores * scale, requires_grad=True)
        recall_at_quantile(s, torch.tensor(positives), quantile=0.05, **options)[0].sum().backward()
        return float(s.grad.abs().sum()) * scale  # per unit of the unscaled scores

    absolute = {"temperature": 0.1}
    assert pull(1000.0, **absolute) < 1e-3 * pull(1.0, **absolute)
    relative = {"temperature": 0.1, "temperature_scale": "iqr"}
    assert pull(1000.0, **relative) == pytest.approx(pull(1.0, **relative), rel=1e-6)


def test_quantile_must_be_a_number_in_the_unit_interval():
    scores, positives = np.zeros(3), np.array([True, False, False])
    for bad in (-0.1, 1.5, float("nan"), np.zeros(2), "0.1"):
        with pytest.raises(ValueError, match=r"quantile must be a Python number in \[0, 1\], got"):
            recall_at_quantile(scores, positives, quantile=bad)
    with pytest.raises(ValueError, match="interpolation must be one of"):
        recall_at_quantile(scores, positives, interpolation="highest")


# -------------------------------------------------------------------------------- accuracy against all pairs, float64


def _drawn_case(seed, dtype):
    """1 to 5000 items in 1 to 3 rows, spreads 1e-3 to 1e4, temperatures 1e-4 to 10, with and without ties and masks."""
    rng = np.random.default_rng(seed)
    n, rows = int(np.exp(rng.uniform(0, np.log(5000)))), rng.integers(1, 4)
    spread, temperature = 10 ** rng.uniform(-3, 4), 10 ** rng.uniform(-4, 1)
    positives = rng.random((rows, n)) < rng.choice([0.01, 0.1, 0.5])
    if seed % 8:  # the reference loops slowly over each positive
        positives &= np.cumsum(positives, axis=-1) <= 200
    scores = rng.standard_normal((rows, n)) * spread + positives * spread
    if seed % 3 == 0:
        scores = np.round(scores / spread * 4) * spread / 4
    where = rng.random((rows, n)) < (0.9 if seed % 2 else 1.0)
    return scores.astype(dtype), positives, where, temperature


@each(case for case in with_variants(OBJECTIVES) if case.scale in ("absolute", "iqr"))
@pytest.mark.parametrize(
    ("dtype", "value_error", "gradient_error"), [(np.float32, 1e-6, 5e-6), (np.float64, 1e-11, 1e-11)]
)
def test_accuracy_at_every_size_spread_and_temperature(case, dtype, value_error, gradient_error):
    """The error of the gradient is relative to its norm or, where that vanishes, to 1e-6/τ.

    A margin is added to the scores of negatives, which rounds them once more, by half a unit in the last place.
    """
    torch = pytest.importorskip("torch")
    checked = 0
    for seed in range(24):
        scores, positives, where, temperature = _drawn_case(seed, dtype)
        s = torch.tensor(scores, requires_grad=True)
        loss, valid, *_ = case.objective(s, torch.tensor(positives), where=torch.tensor(where), temperature=temperature)
        loss.sum().backward()
        for r in range(len(scores)):
            expected, expected_valid, gradient, *_ = case.definition(
                scores[r], positives[r], where=where[r], temperature=temperature
            )
            assert bool(valid[r]) == bool(expected_valid)
            tau = temperature * max(_unit(case, scores[r], positives[r], where[r]), 1e-12)
            has_margin = case.options.get("margin", 0.0) > 0
            rounding = 0.5 * np.spacing(np.abs(scores[r]).max()) / tau if has_margin else 0.0
            assert abs(float(loss[r].detach()) - expected) <= value_error + 0.25 * rounding
            error = np.linalg.norm(s.grad[r].numpy() - gradient)
            assert error * tau <= (gradient_error + rounding) * (1e-6 + np.linalg.norm(gradient) * tau), seed
            checked += bool(expected_valid)
    assert checked > 20


@pytest.mark.parametrize("spread", [1e-3, 0.02])
def test_scores_far_inside_the_temperature_keep_their_digits(spread):
    """All decays are near 1 there, and summing their powers with coefficients of either sign would lose precision."""
    torch = pytest.importorskip("torch")
    for seed, (n, count) in enumerate([(60, 3), (330, 3), (543, 61), (2100, 13), (4800, 280)]):
        rng = np.random.default_rng(seed)
        scores = (rng.standard_normal((1, n)) * spread).astype(np.float32)
        positives = np.arange(n)[None] < count
        s = torch.tensor(scores, requires_grad=True)
        smooth_ap(s, torch.tensor(positives), temperature=1.0)[0].sum().backward()
        gradient = reference.smooth_ap(scores[0], positives[0], temperature=1.0)[2]
        assert np.linalg.norm(s.grad[0].numpy() - gradient) <= 2e-6 * np.linalg.norm(gradient), seed


def _unit(case, scores, positives, where):
    if case.scale == "absolute" or not (where & ~positives).any():
        return 1.0
    return reference.row_quantile(scores[where & ~positives], 0.75) - reference.row_quantile(
        scores[where & ~positives], 0.25
    )


def test_the_gradient_of_hopeless_positives_keeps_its_precision(rng):
    """A positive 40 τ below the threshold has a gradient of e^-40, and no other gradient hides its error."""
    torch = pytest.importorskip("torch")
    for scores in ([-40.0, 0.0, 1.0], [40.0, 0.0, -1.0]):
        s = torch.tensor(scores, requires_grad=True)
        positives = torch.tensor([True, False, False])
        recall_at_quantile(s, positives, quantile=0.5, temperature=1.0, interpolation="nearest")[0].backward()
        expected = reference.recall_at_quantile(
            scores, positives, quantile=0.5, temperature=1.0, interpolation="nearest"
        )[2]
        np.testing.assert_allclose(s.grad, expected, rtol=1e-5)
        assert s.grad[0] < 0

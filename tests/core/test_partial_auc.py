"""Partial AUC: its limits, its band, its budget and its diagnostics."""

import numpy as np
import pytest
import reference
from backends import _DIFFERENTIABLE
from sklearn.metrics import roc_auc_score

from imbalanced_core.losses.partial_auc import partial_auc

FIGURES = "t_alpha", "t_beta", "tau_eff", "band_neg_count", "pauc_var"  # in the order that the reference returns them


def drawn(rng, shape=(2, 200), rate=0.2):
    positives = rng.random(shape) < rate
    return rng.standard_normal(shape) + positives, positives


def partial_auc_by_pairs(scores, positives, alpha, beta):
    """The fraction of correctly ordered pairs of a positive and a negative between the two thresholds."""
    negatives = scores[~positives]
    t_alpha, t_beta = np.quantile(negatives, [1 - alpha, 1 - beta], method="higher")
    band = negatives[(t_beta <= negatives) & (negatives <= t_alpha)]
    difference = scores[positives][:, None] - band[None, :]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.005), (0.0, 0.3), (0.1, 0.25), (0.0, 1.0)])
def test_pairwise_tends_to_the_share_of_right_pairs(rng, alpha, beta):
    scores, positives = drawn(rng)
    loss, *_ = partial_auc(scores, positives, alpha=alpha, beta=beta, surrogate="pairwise", temperature=1e-9)
    expected = [partial_auc_by_pairs(s, p, alpha, beta) for s, p in zip(scores, positives, strict=True)]
    np.testing.assert_allclose(1 - loss, expected, rtol=1e-12)


def test_pairwise_over_all_rates_tends_to_the_roc_auc_of_scikit_learn(value_backend, rng):
    scores, positives = drawn(rng)
    loss = value_backend.run(
        lambda s, p: partial_auc(s, p, beta=1.0, surrogate="pairwise", temperature=1e-9)[0], scores, positives
    )
    expected = [roc_auc_score(p, s) for s, p in zip(scores, positives, strict=True)]
    np.testing.assert_allclose(1 - loss, expected, rtol=1e-12)


@pytest.mark.parametrize("surrogate", ["trapezoid", "pairwise"])
def test_both_surrogates_tend_to_the_partial_auc_of_scikit_learn(rng, surrogate):
    """scikit-learn standardises the area (McClish); the test undoes it. One step of the curve is 1/2000 wide."""
    scores, positives = drawn(rng, (1, 2400))
    budget = 0.2
    loss, *_ = partial_auc(
        scores, positives, beta=budget, surrogate=surrogate, n_knots=400, temperature=1e-9, temperature_scale="absolute"
    )
    least = budget**2 / 2
    standardised = roc_auc_score(positives[0], scores[0], max_fpr=budget)
    area = least + (2 * standardised - 1) * (budget - least)
    np.testing.assert_allclose(1 - loss, area / budget, atol=5e-3)


def test_the_edges_of_the_band_are_quantiles_bit_for_bit(value_backend, rng):
    scores, positives = drawn(rng, (3, 101))
    for n_knots in (2, 3, 8):
        *_, figures = value_backend.run(
            lambda s, p, k=n_knots: partial_auc(s, p, alpha=0.1, beta=0.7, n_knots=k), scores, positives
        )
        for r in range(3):
            negatives = scores[r, ~positives[r]]
            assert figures["t_alpha"][r] == np.quantile(negatives, 1 - 0.1, method="higher")
            assert figures["t_beta"][r] == np.quantile(negatives, 1 - 0.7, method="higher")


def test_diagnostics_are_those_of_the_reference(backend, rng):
    scores, positives = drawn(rng, (3, 60))
    positives[1] = False
    arrays = {
        "where": rng.random((3, 60)) < 0.9,
        "weights": rng.random((3, 60)),
        "multiplicity": rng.random((3, 60)) * 3 + 0.2,
        "live": rng.random((3, 60)) < 0.5,
        "is_iid": rng.random((3, 60)) < 0.7,
    }
    options = {
        "alpha": 0.05,
        "beta": 0.4,
        "surrogate": "trapezoid",
        "temperature_scale": "band",
        "pos_numerator": "live",
    }

    def diagnose(s, p, *values):
        return partial_auc(s, p, **options, **dict(zip(arrays, values, strict=True)))[2]

    actual = backend.run(diagnose, scores, positives, *arrays.values())
    for r in range(3):
        row = {key: value[r] for key, value in arrays.items()}
        figures = reference.partial_auc(scores[r], positives[r], **options, **row)[3]
        np.testing.assert_allclose([actual[name][r] for name in FIGURES], figures, rtol=1e-10)
    assert np.isnan(actual["pauc_var"][1])


def test_diagnostics_tell_why_there_is_no_loss():
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 4.9], [1.0, 2.0, 3.0, np.nan]])
    positives = np.array([[True] * 4, [False, False, False, True], [False, False, False, True]])
    loss, valid, figures = partial_auc(scores, positives, beta=0.5)
    np.testing.assert_allclose(loss, [0.0, reference.sigmoid(0.1 / 0.1), np.nan], rtol=1e-12)
    np.testing.assert_array_equal(valid, [False, True, True])
    np.testing.assert_array_equal(figures["band_neg_count"], [0, 3, np.nan])
    np.testing.assert_array_equal(figures["t_alpha"], [np.nan, 5.0, np.nan])
    np.testing.assert_array_equal(figures["tau_eff"], [0.1, 0.1, np.nan])  # the unit is 1 for equal scores and for none


def test_hand_picked_negatives_set_no_threshold_but_are_in_the_band():
    scores = np.array([[0.0, 1.0, 2.0, 3.0, 2.5, 9.0, 2.6]])
    positives = np.arange(7)[None] == 6
    is_iid = np.array([True, True, True, True, False, False, True])
    options = {"beta": 1 / 3, "surrogate": "pairwise", "temperature": 1e-9, "is_iid": is_iid}
    loss, _, figures = partial_auc(scores, positives, **options)
    assert (figures["t_alpha"][0], figures["t_beta"][0]) == (3.0, 2.0)
    assert figures["band_neg_count"][0] == 2
    assert loss[0] == pytest.approx(1 / 3)  # one of 2, 2.5 and 3 is above 2.6; 9 is outside the band
    assert not partial_auc(scores, positives, is_iid=np.zeros(7, bool))[1][0]


def test_a_population_budget_flags_a_share_of_all_items():
    scores, positives = np.arange(11.0)[None], np.arange(11)[None] >= 8
    by_rate = partial_auc(scores, positives, beta=0.2)[2]
    by_population = partial_auc(scores, positives, beta=0.2, budget_basis="population")[2]
    assert (by_rate["t_alpha"][0], by_rate["t_beta"][0]) == (7.0, 6.0)
    assert (by_population["t_alpha"][0], by_population["t_beta"][0]) == (10.0, 8.0)


def test_an_empty_band_is_no_loss_for_pairwise_only():
    """The top fifth of the population contains only positives."""
    scores, positives = np.arange(11.0)[None], np.arange(11)[None] >= 8
    options = {"beta": 0.2, "budget_basis": "population"}
    assert partial_auc(scores, positives, **options)[1][0]
    loss, valid, figures = partial_auc(scores, positives, surrogate="pairwise", **options)
    assert not valid[0]
    assert loss[0] == 0
    assert figures["band_neg_count"][0] == 0


@pytest.mark.parametrize("differentiable", _DIFFERENTIABLE[::3], ids=lambda b: b.name)
def test_who_carries_gradient(differentiable, rng):
    scores, positives = drawn(rng, (1, 60))
    negatives = scores[0, ~positives[0]]
    in_band = ~positives & (scores >= np.quantile(negatives, 0.7, method="higher"))
    for surrogate, movers in (("trapezoid", positives), ("pairwise", positives | in_band)):
        _, gradient = differentiable.value_and_grad(
            lambda s, p, how=surrogate: partial_auc(s, p, beta=0.3, surrogate=how, temperature=3.0)[0].sum(),
            scores,
            positives,
        )
        np.testing.assert_array_equal(gradient != 0, movers)
        assert (gradient[positives] < 0).all()
        assert (gradient[~positives] >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.2, "beta": 0.1}, "alpha must be less than beta, 0.1, got 0.2"),
        ({"alpha": 0.1, "beta": 0.1}, "alpha must be less than beta"),
        ({"alpha": -0.1}, r"alpha must be a Python number in \[0, 1\], got -0.1"),
        ({"beta": 1.5}, r"beta must be a Python number in \[0, 1\], got 1.5"),
        ({"beta": float("nan")}, "beta must be a Python number"),
        ({"n_knots": 1}, "n_knots must be an integer >= 2, got 1"),
        ({"n_knots": 2.0}, "n_knots must be an integer >= 2, got 2.0"),
        ({"surrogate": "pairs"}, "surrogate must be one of 'trapezoid', 'pairwise', got 'pairs'"),
        ({"budget_basis": "tpr"}, "budget_basis must be one of 'fpr', 'population', got 'tpr'"),
        ({"temperature_scale": "mad"}, "temperature_scale must be one of 'iqr', 'band', 'std', 'absolute', got 'mad'"),
        ({"is_iid": np.ones(4, bool)}, "is_iid must be broadcastable to the shape of scores"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        partial_auc(np.zeros((2, 5)), np.zeros((2, 5), bool), **options)


def test_two_way_is_the_mean_over_hard_positives_and_hard_negatives(rng):
    scores, positives = rng.standard_normal(200), rng.random(200) < 0.3
    lowest, highest = np.sort(scores[positives]), np.sort(scores[~positives])[::-1]
    kept = lowest[: int(0.4 * (len(lowest) - 1)) + 1]
    band = highest[highest >= np.quantile(highest, 0.75, method="higher")]
    options = {"surrogate": "pairwise", "beta": 0.25, "min_tpr": 0.6, "temperature": 1e-9}
    loss, valid, _ = partial_auc(scores, positives, **options)
    assert valid
    assert 1 - loss == pytest.approx((kept[:, None] > band).mean(), abs=1e-12)
    assert partial_auc(scores * 0, positives, **options)[0] == 0.5
    with pytest.raises(ValueError, match=r"min_tpr must be a Python number in \[0, 1\), got 1.0"):
        partial_auc(scores, positives, min_tpr=1.0)

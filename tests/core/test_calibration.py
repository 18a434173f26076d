"""Prior correction exactly inverts the effect of weights, resampling and logit adjustment on the optimal logits."""

import numpy as np
import pytest

from imbalanced_core.losses.calibration import prior_correction

PRIOR = np.array([0.9, 0.08, 0.02])


def population(rng):
    """The joint distribution of 50 inputs and 3 classes with class shares PRIOR, and p(c|x)."""
    joint = rng.dirichlet(np.ones(50), size=3).T * PRIOR
    return joint, joint / joint.sum(axis=1, keepdims=True)


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_softmax_of_weighted_resampled_and_adjusted_training(every_backend, rng):
    joint, expected = population(rng)
    weights, train_prior, tau = np.array([1.0, 3.0, 9.0]), np.array([0.5, 0.3, 0.2]), 0.7
    seen = joint / PRIOR * train_prior * weights  # the weight of each input and class in the loss
    logits = np.log(seen) - tau * np.log(train_prior) + rng.normal(size=(50, 1))  # unique up to a shift in a softmax

    def corrected(*arrays):
        return prior_correction(arrays[0], weights=arrays[1], train_prior=arrays[2], prior=arrays[3], tau=tau)

    values = every_backend.run(corrected, logits, weights, train_prior, PRIOR)
    np.testing.assert_allclose(softmax(values), expected, rtol=1e-12)


def test_adjustment_alone_takes_either_prior(rng):
    joint, expected = population(rng)
    logits = np.log(joint) - np.log(PRIOR)
    for name in ("train_prior", "prior"):
        np.testing.assert_allclose(softmax(prior_correction(logits, tau=1.0, **{name: PRIOR})), expected)


def test_sigmoid_of_several_labels(rng):
    """Each label has its own share and weight; the joint tables are [input, label]."""
    share, train_share, weights, tau = np.array([0.01, 0.2]), np.array([0.3, 0.4]), np.array([5.0, 2.0]), 0.5
    positive, negative = (
        rng.dirichlet(np.ones(20), size=2).T * share,
        rng.dirichlet(np.ones(20), size=2).T * (1 - share),
    )
    seen = positive / share * train_share * weights, negative / (1 - share) * (1 - train_share)
    logits = np.log(seen[0] / seen[1]) - tau * np.log(train_share / (1 - train_share))
    values = prior_correction(logits, weights=weights, train_prior=train_share, prior=share, tau=tau, binary=True)
    np.testing.assert_allclose(1 / (1 + np.exp(-values)), positive / (positive + negative), rtol=1e-12)


def test_half_precision_does_not_round_shares_and_weights(value_backend, rng):
    if value_backend.name == "strict":
        pytest.skip("no half precision in the standard")
    logits, weights, prior = rng.normal(size=(5, 2)).astype(np.float16), np.array([1e5, 1.0]), np.array([1e-8, 0.5])

    def corrected(logits, weights, prior):
        return prior_correction(logits, weights=weights, train_prior=weights / weights.sum(), prior=prior)

    values = value_backend.run(corrected, logits, weights, prior)
    assert values.dtype == np.float16
    np.testing.assert_allclose(values, corrected(logits.astype(np.float64), weights, prior), rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 1.0, "weights": np.ones(3)}, "tau must be 0 unless"),
        ({"tau": 1.0}, "tau must be 0 unless"),
        ({"weights": np.ones(2)}, "weights must be broadcastable"),
        ({}, "weights, or train_prior and prior, must be given, got None"),
        ({"prior": PRIOR, "tau": np.nan}, "^tau must be a finite number, got nan"),
        ({"prior": PRIOR}, "^train_prior must be given together with prior, got None"),
        ({"train_prior": PRIOR, "weights": np.ones(3)}, "^prior must be given together with train_prior, got None"),
        ({"logits": np.zeros((2, 1)), "weights": np.ones(1)}, r"at least 2 classes .* use binary=True\), got \(2, 1\)"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        prior_correction(**{"logits": np.zeros((2, 3))} | options)

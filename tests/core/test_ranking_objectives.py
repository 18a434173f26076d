"""Every ranking objective: its value, its gradient, its arguments."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import (
    OBJECTIVES,
    OF_ROWS,
    each,
    every_objective,
    every_objective_variant,
    every_row_loss_variant,
    with_variants,
)
from ranking_cases import (
    draw,
    gradient_of,
    labels_of,
    options_of,
    run,
)


@every_row_loss_variant
def test_value_is_the_reference(every_backend, rng, case):
    backend = every_backend
    if case not in OF_ROWS and backend.name not in ("numpy", "strict", "torch"):
        pytest.skip("every kind of objective is compiled once")
    if case is not OBJECTIVES[0] and backend.name == "jax":
        pytest.skip("the operations of jax.jit")
    scores, positives = draw(rng, (4, 40))
    positives[2] = False
    positives = labels_of(case, positives)
    options = options_of(case, rng, scores.shape)
    expected, expected_valid, *_ = case.definition_of_rows(scores, positives, **options)
    loss, valid = run(case, backend, scores, positives, **options)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(valid, expected_valid)
    assert valid.tolist() == [True, True, False, True]
    assert loss.dtype == np.float64


@every_row_loss_variant
def test_gradient_is_that_of_the_reference(rng, eager, case):
    scores, positives = draw(rng, (4, 40))
    positives[2] = False
    positives = labels_of(case, positives)
    options = options_of(case, rng, scores.shape)
    expected = case.definition_of_rows(scores, positives, **options)[2]
    gradient = gradient_of(case, eager, scores, positives, **options)[1]
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
    assert np.abs(expected[0]).max() > 1e-3
    np.testing.assert_array_equal(gradient[~np.broadcast_to(options["where"], scores.shape)], 0.0)


@each(case for case in OBJECTIVES if case.threshold_of != "all items")
def test_the_reference_gradient_is_that_of_the_reference_loss(rng, case):
    """By central differences, moving only scores that do not determine a constant (threshold or scale)."""
    scores, positives = draw(rng, (1, 25))
    options = options_of(case, rng, scores.shape)
    gradient = case.definition_of_rows(scores, positives, **options)[2]
    moves_all = case.threshold_of == "no item" and case.scale == "absolute"
    for i in range(25) if moves_all else np.flatnonzero(positives[0]):
        step = 1e-6 * (np.arange(25) == i)
        up, down = (case.definition_of_rows(scores + sign * step, positives, **options)[0][0] for sign in (1, -1))
        assert (up - down) / 2e-6 == pytest.approx(gradient[0, i], abs=1e-8)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data(), case=st.sampled_from(list(with_variants(OBJECTIVES))))
def test_any_row_mask_and_ties(data, case):
    n = data.draw(st.integers(1, 30))
    drawn = st.lists(st.booleans(), min_size=n, max_size=n)
    scores = np.array([data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))], np.float64)
    positives, where, live = (np.array([data.draw(drawn)]) for _ in range(3))
    expected, expected_valid, *_ = case.definition_of_rows(scores, positives, where=where, live=live)
    loss, valid, *_ = case.objective(scores, positives, where=where, live=live)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(valid, expected_valid)


@every_objective_variant
def test_half_and_single_precision_agree_with_double(rng, case):
    torch = pytest.importorskip("torch")
    scores, positives = draw(rng, (2, 50))
    scores = scores.astype(np.float16).astype(np.float64)
    expected = case.objective(scores, positives)[0]
    for dtype in (torch.float16, torch.float32):
        loss, valid, *_ = case.objective(torch.tensor(scores, dtype=dtype), torch.tensor(positives))
        assert loss.dtype == torch.float32
        assert valid.all()
        np.testing.assert_allclose(loss, expected, atol=1e-6)


# -------------------------------------------------------------------------------------------------------- arguments


@every_objective
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "temperature must be a finite number > 0, got 0.0"),
        ({"temperature": np.ones(3)}, ValueError, "temperature must be a finite number > 0 or a 0-d array"),
        ({"temperature_scale": "mad"}, ValueError, "(temperature|tau)_scale must be one of .*'std'.*, got 'mad'"),
        ({"pos_numerator": "all"}, ValueError, "pos_numerator must be one of 'pool', 'live', got 'all'"),
        (
            {"where": np.ones(3, bool)},
            ValueError,
            r"where must be broadcastable to the shape of scores, \(2, 5\), got \(3,\)",
        ),
        ({"weights": np.ones((3, 2, 5))}, ValueError, "weights must be broadcastable"),
        ({"where": np.ones(5)}, TypeError, "where must be a bool array, got dtype float64"),
        ({"live": np.ones(5, int)}, TypeError, "live must be a bool array, got dtype int64"),
    ],
)
def test_bad_options_are_named(case, options, error, message):
    with pytest.raises(error, match=message):
        case.objective.func(np.zeros((2, 5)), np.zeros((2, 5), bool), **case.objective.keywords | options)


@every_objective
def test_bad_data_is_named(case):
    objective = case.objective
    with pytest.raises(TypeError, match="scores must be a floating-point array, got dtype int64"):
        objective(np.zeros((2, 5), int), np.zeros((2, 5), bool))
    with pytest.raises(TypeError, match="positives must be a bool array, got dtype float64"):
        objective(np.zeros((2, 5)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"positives must be of the same shape as scores, \(2, 5\), got \(5,\)"):
        objective(np.zeros((2, 5)), np.zeros(5, bool))


@every_row_loss_variant
def test_values_stay_in_the_unit_interval(rng, case):
    scores, positives = draw(rng, (50, 30))
    loss = case.objective(scores, labels_of(case, positives))[0]
    assert ((loss >= 0) & (loss <= 1)).all()
    assert not math.isclose(loss.std(), 0)

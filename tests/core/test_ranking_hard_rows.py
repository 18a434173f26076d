"""Every ranking objective on masked, degenerate, extreme and NaN rows."""

import numpy as np
import pytest
from losses import OBJECTIVES, every_objective, every_objective_variant, every_row_loss_variant
from ranking_cases import (
    degenerate_rows,
    draw,
    gradient_of,
    labels_of,
    options_of,
    run,
)

from imbalanced_core.ops.namespace import array_namespace


@every_objective
def test_hard_and_ordinary_rows_in_one_compiled_batch(value_grad_backend, rng, case):
    degenerate = degenerate_rows(rng)
    scores, positives, where = map(np.stack, zip(*degenerate.values(), strict=True))
    ordinary, ordinary_positives = draw(rng, (4, 12))
    ordinary_positives[:, :2] = [True, False]
    ordinary[2, :2], ordinary[3, 1] = [-np.inf, np.inf], np.nan
    scores = np.concatenate([scores, ordinary])
    positives = np.concatenate([positives, ordinary_positives])
    where = np.concatenate([where, np.ones((4, 12), bool)])
    comparable = [*range(len(degenerate) + 2)]
    expected = case.definition_of_rows(scores[comparable], positives[comparable], where=where[comparable])

    def total(s, p, w):
        loss = case.objective(s, p, where=w)[0]
        return array_namespace(loss).sum(loss[:-1])

    value, gradient = value_grad_backend.value_and_grad(total, scores, positives, where)
    np.testing.assert_allclose(gradient[comparable], expected[2], atol=1e-12)
    assert np.isfinite(value)
    assert np.isfinite(gradient[:-1]).all()


@every_row_loss_variant
def test_masked_is_absent_whatever_it_holds(eager, rng, case):
    scores, positives = draw(rng, (1, 40))
    positives = labels_of(case, positives)
    options = options_of(case, rng, scores.shape)
    kept = options["where"][0]
    expected = gradient_of(
        case,
        eager,
        scores[:, kept],
        positives[:, kept],
        **{key: value[..., kept] for key, value in options.items() if key != "where"},
    )
    garbage = rng.choice([np.nan, np.inf, -np.inf, 1e4], 40)
    scores = np.where(kept, scores, garbage)
    for key in options.keys() & {"weights", "multiplicity"}:
        options[key] = np.where(kept, options[key], np.nan)
    value, gradient = gradient_of(case, eager, scores, positives, **options)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient[:, kept], expected[1], atol=1e-12)
    np.testing.assert_array_equal(gradient[:, ~kept], 0.0)


@every_objective_variant
def test_degenerate_rows_have_loss_zero_and_zero_gradient_and_leave_others_alone(eager, rng, case):
    rows = degenerate_rows(rng)
    good_scores, good_positives = draw(rng, (12,))
    good_positives[:2] = [True, False]
    scores, positives, where = map(
        np.stack, zip(*rows.values(), (good_scores, good_positives, good_positives | True), strict=True)
    )
    expected, expected_valid, *_ = case.definition_of_rows(scores, positives, where=where)
    loss, valid = run(case, eager, scores, positives, where=where)
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(loss[~valid], 0.0)
    _, gradient = gradient_of(case, eager, scores, positives, where=where)
    np.testing.assert_array_equal(gradient[~valid], 0.0)
    assert np.abs(gradient[-1]).max() > 0
    for row, is_valid in zip(rows, valid, strict=False):
        ranks_nothing = row in ("all positive", "one item")
        assert is_valid == (ranks_nothing and not case.needs_a_negative), row


@every_objective_variant
def test_a_head_that_starts_at_zero_gets_a_gradient(eager, rng, case):
    """A row of equal scores has no spread; the temperature is then absolute."""
    _, positives = draw(rng, (3, 30))
    positives[:, :2] = [True, False]
    scores = np.repeat([[0.0], [0.1], [-7.7]], 30, axis=1)
    expected, expected_valid, expected_gradient, *_ = case.definition_of_rows(scores, positives)
    loss, valid = run(case, eager, scores, positives)
    _, gradient = gradient_of(case, eager, scores, positives)
    assert valid.all()
    assert expected_valid.all()
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)
    assert (gradient[positives] < 0).all()  # every positive is pushed up


@every_objective_variant
def test_no_items_at_all(eager, case):
    value, gradient = gradient_of(case, eager, np.zeros((3, 0)), np.zeros((3, 0), bool), where=np.zeros((3, 0), bool))
    assert value == 0
    assert gradient.shape == (3, 0)
    loss, valid = run(case, eager, np.zeros((3, 0)), np.zeros((3, 0), bool))
    assert loss.shape == (3,)
    assert not valid.any()


@every_objective_variant
def test_numerator_weights_of_zero_make_a_row_invalid(eager, rng, case):
    scores, positives = draw(rng, (2, 20))
    weights = np.stack([np.where(positives[0], 0.0, 1.0), np.where(positives[1], 1.0, 0.0)])
    loss, valid = run(case, eager, scores, positives, weights=weights)
    assert valid.tolist() == [False, True]
    assert loss[0] == 0
    gradient = gradient_of(case, eager, scores, positives, weights=weights)[1]
    np.testing.assert_array_equal(gradient[0], 0.0)
    np.testing.assert_allclose(loss[1], run(case, eager, scores, positives)[0][1], rtol=1e-12)


# -------------------------------------------------------------------------------------------------- extreme numbers


@every_objective_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores_have_finite_losses_and_gradients(eager, rng, case, dtype):
    scores, positives = draw(rng, (6, 30), dtype)
    positives[:, :4] = [True, False, True, False]
    scores[0] *= 1e4
    scores[1, :2] = [-np.inf, np.inf]
    scores[2, :4] = [np.inf, np.inf, -np.inf, -np.inf]
    scores[3, 1::2] = np.inf
    scores[4] = np.where(positives[4], np.inf, -np.inf)
    scores[5] *= np.finfo(dtype).max / 100
    loss, valid = run(case, eager, scores, positives)
    assert ((loss >= -1e-6) & (loss <= 1 + 1e-6)).all()
    assert valid[:3].all()
    assert np.isfinite(gradient_of(case, eager, scores, positives)[1]).all()


@every_objective_variant
def test_nan_scores_and_unfit_weights_give_nan_in_their_row_alone(eager, rng, case):
    scores, positives = draw(rng, (7, 20))
    positives[:, :2] = [True, False]
    positives[3] = False  # a NaN shows even in a row without positives
    weights = np.ones((7, 20))
    scores[0, 1], scores[1, 0], scores[3, 5] = np.nan, np.nan, np.nan
    weights[2, 1], weights[4, 0], weights[5, 0] = -1.0, np.inf, 1e300
    loss, valid = run(case, eager, scores, positives, weights=weights)
    assert np.isnan(loss[:6]).all()
    assert np.isfinite(loss[6])
    assert valid.all()
    gradient = gradient_of(case, eager, scores, positives, weights=weights)[1]
    assert np.isnan(gradient[[0, 1, 2, 4, 5]]).any(axis=1).all()
    assert np.isfinite(gradient[6]).all()


@every_objective_variant
def test_a_temperature_known_at_run_time_only(backend, rng, case):
    if backend.name != "numpy" and (case not in OBJECTIVES or backend.name == "torch.compile"):
        pytest.skip("every kind of objective is traced once")
    scores, positives = draw(rng, (2, 25))

    def function(scores, positives, temperature):
        return case.objective(scores, positives, temperature=temperature)[0]

    expected = case.objective(scores, positives, temperature=0.25)[0]
    actual = backend.run(function, scores, positives, np.asarray(0.25, np.float32))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    if backend.name != "jax.jit":
        assert np.isnan(backend.run(function, scores, positives, np.asarray(-0.1))).all()


@every_objective
def test_gradient_by_the_temperature(eager, rng, case):
    scores, positives = draw(rng, (1, 25))

    def function(temperature, scores, positives):
        return case.objective(scores, positives, temperature=temperature)[0][0]

    _, gradient = eager.value_and_grad(function, np.asarray(0.3), scores, positives)
    up, down = (function(0.3 + step, scores, positives) for step in (1e-6, -1e-6))
    assert gradient == pytest.approx((up - down) / 2e-6, rel=1e-5)

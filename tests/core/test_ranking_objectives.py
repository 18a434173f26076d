"""One list of objectives, one list of properties that each of them has."""

import math
from functools import partial

import numpy as np
import pytest
import reference
from conftest import _DIFFERENTIABLE
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalanced_core._namespace import array_namespace
from imbalanced_core.partial_auc import partial_auc
from imbalanced_core.ranking import recall_at_quantile, smooth_ap

OBJECTIVES = {
    "smooth_ap": partial(smooth_ap, temperature=0.2),
    "smooth_ap iqr": partial(smooth_ap, temperature=0.1, temperature_scale="iqr"),
    "smooth_ap std live": partial(smooth_ap, temperature=0.1, temperature_scale="std", pos_numerator="live"),
    "recall": partial(recall_at_quantile, quantile=0.1, temperature=0.3),
    "recall linear std live": partial(
        recall_at_quantile,
        quantile=0.3,
        interpolation="linear",
        temperature=0.3,
        temperature_scale="std",
        pos_numerator="live",
    ),
    "pauc trapezoid": partial(partial_auc, beta=0.2),
    "pauc trapezoid band population live": partial(
        partial_auc,
        alpha=0.05,
        beta=0.5,
        n_knots=5,
        temperature_scale="band",
        budget_basis="population",
        pos_numerator="live",
    ),
    "pauc pairwise": partial(partial_auc, alpha=0.05, beta=0.5, surrogate="pairwise"),
    "pauc pairwise std population": partial(
        partial_auc, beta=0.5, surrogate="pairwise", temperature_scale="std", budget_basis="population"
    ),
    "pauc absolute live": partial(
        partial_auc, beta=0.5, temperature=0.4, temperature_scale="absolute", pos_numerator="live"
    ),
}
SHORT_LIST = ("smooth_ap", "recall linear std live", "pauc trapezoid", "pauc pairwise")

every_objective = pytest.mark.parametrize("name", OBJECTIVES)
some_objectives = pytest.mark.parametrize("name", SHORT_LIST)


def options_of(name, rng, shape):
    """Every optional array, drawn; `is_iid` for those that know it."""
    options = {
        "where": rng.random(shape) < 0.8,
        "weights": rng.random(shape) + 0.1,
        "multiplicity": rng.random(shape) * 3 + 0.2,
        "live": rng.random(shape[-1:]) < 0.6,
    }
    if name.startswith("pauc"):
        options["is_iid"] = rng.random(shape) < 0.7
    return options


def draw(rng, shape, dtype=np.float64, rate=0.3):
    positives = rng.random(shape) < rate
    return (rng.standard_normal(shape) + positives).astype(dtype), positives


def reference_rows(name, scores, positives, **options):
    """(losses, valid, gradients) of the reference, row by row, and of its figures what there is."""
    objective = OBJECTIVES[name]
    of_row = getattr(reference, objective.func.__name__)
    options = {key: np.broadcast_to(value, scores.shape) for key, value in options.items() if value is not None}
    rows = [
        of_row(scores[r], positives[r], **objective.keywords, **{key: value[r] for key, value in options.items()})
        for r in range(len(scores))
    ]
    return tuple(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))


def call(name, *keys):
    """The objective with its optional arrays as positional ones, as a backend runs it; without diagnostics."""
    return lambda scores, positives, *arrays: OBJECTIVES[name](
        scores, positives, **dict(zip(keys, arrays, strict=True))
    )[:2]


def gradient_of(name, backend, scores, positives, **options):
    function = call(name, *options)

    def total(*arrays):
        loss = function(*arrays)[0]
        return array_namespace(loss).sum(loss)

    return backend.value_and_grad(total, scores, positives, *options.values())


def run(name, backend, scores, positives, **options):
    return backend.run(call(name, *options), scores, positives, *options.values())


@pytest.fixture
def eager():
    """One way to differentiate, where the library makes no difference: compiling every case costs seconds each."""
    return next(backend for backend in _DIFFERENTIABLE if backend.name in ("torch", "jax.jit"))


# ---------------------------------------------------------------------------------------------- value and gradient


@every_objective
def test_value_is_the_reference(backend, rng, name):
    if name not in SHORT_LIST and backend.name not in ("numpy", "strict", "torch"):
        pytest.skip("every kind of objective is compiled once")
    scores, positives = draw(rng, (4, 40))
    positives[2] = False
    options = options_of(name, rng, scores.shape)
    expected, expected_valid, *_ = reference_rows(name, scores, positives, **options)
    loss, valid = run(name, backend, scores, positives, **options)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(valid, expected_valid)
    assert valid.tolist() == [True, True, False, True]
    assert loss.dtype == np.float64


@every_objective
def test_gradient_is_that_of_the_reference(rng, eager, name):
    scores, positives = draw(rng, (4, 40))
    positives[2] = False
    options = options_of(name, rng, scores.shape)
    expected = reference_rows(name, scores, positives, **options)[2]
    gradient = gradient_of(name, eager, scores, positives, **options)[1]
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
    assert np.abs(expected[0]).max() > 1e-3
    np.testing.assert_array_equal(gradient[~np.broadcast_to(options["where"], scores.shape)], 0.0)


@some_objectives
def test_hard_and_ordinary_rows_in_one_compiled_batch(grad_backend, rng, name):
    if grad_backend.name == "jax":
        pytest.skip("covered by jax.jit")
    degenerate = _degenerate_rows(rng)
    scores, positives, where = map(np.stack, zip(*degenerate.values(), strict=True))
    ordinary, ordinary_positives = draw(rng, (4, 12))
    ordinary_positives[:, :2] = [True, False]
    ordinary[2, :2], ordinary[3, 1] = [-np.inf, np.inf], np.nan
    scores = np.concatenate([scores, ordinary])
    positives = np.concatenate([positives, ordinary_positives])
    where = np.concatenate([where, np.ones((4, 12), bool)])
    comparable = [*range(len(degenerate) + 2)]
    expected = reference_rows(name, scores[comparable], positives[comparable], where=where[comparable])

    def total(s, p, w):
        loss = OBJECTIVES[name](s, p, where=w)[0]
        return array_namespace(loss).sum(loss[:-1])

    value, gradient = grad_backend.value_and_grad(total, scores, positives, where)
    np.testing.assert_allclose(gradient[comparable], expected[2], atol=1e-12)
    assert np.isfinite(value)
    assert np.isfinite(gradient[:-1]).all()


@pytest.mark.parametrize("name", ["smooth_ap", "pauc trapezoid", "pauc pairwise"])
def test_the_reference_gradient_is_that_of_the_reference_loss(rng, name):
    """By central differences, moving only scores that no constant (threshold or scale) hangs on."""
    scores, positives = draw(rng, (1, 25))
    options = options_of(name, rng, scores.shape)
    gradient = reference_rows(name, scores, positives, **options)[2]
    for i in np.flatnonzero(positives[0]) if name.startswith("pauc") else range(25):
        step = 1e-6 * (np.arange(25) == i)
        up, down = (reference_rows(name, scores + sign * step, positives, **options)[0][0] for sign in (1, -1))
        assert (up - down) / 2e-6 == pytest.approx(gradient[0, i], abs=1e-8)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(OBJECTIVES)))
def test_any_row_mask_and_ties(data, name):
    n = data.draw(st.integers(1, 30))
    drawn = st.lists(st.booleans(), min_size=n, max_size=n)
    scores = np.array([data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))], np.float64)
    positives, where, live = (np.array([data.draw(drawn)]) for _ in range(3))
    expected, expected_valid, *_ = reference_rows(name, scores, positives, where=where, live=live)
    loss, valid, *_ = OBJECTIVES[name](scores, positives, where=where, live=live)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(valid, expected_valid)


@every_objective
def test_half_and_single_precision_agree_with_double(rng, name):
    torch = pytest.importorskip("torch")
    scores, positives = draw(rng, (2, 50))
    scores = scores.astype(np.float16).astype(np.float64)
    expected = OBJECTIVES[name](scores, positives)[0]
    for dtype in (torch.float16, torch.float32):
        loss, valid, *_ = OBJECTIVES[name](torch.tensor(scores, dtype=dtype), torch.tensor(positives))
        assert loss.dtype == torch.float32
        assert valid.all()
        np.testing.assert_allclose(loss, expected, atol=1e-6)


# --------------------------------------------------------------------------------------------------------- masking


@every_objective
def test_masked_is_absent_whatever_it_holds(eager, rng, name):
    scores, positives = draw(rng, (1, 40))
    options = options_of(name, rng, scores.shape)
    kept = options["where"][0]
    expected = gradient_of(
        name,
        eager,
        scores[:, kept],
        positives[:, kept],
        **{key: value[..., kept] for key, value in options.items() if key != "where"},
    )
    garbage = rng.choice([np.nan, np.inf, -np.inf, 1e4], 40)
    scores = np.where(kept, scores, garbage)
    for key in ("weights", "multiplicity"):
        options[key] = np.where(kept, options[key], np.nan)
    value, gradient = gradient_of(name, eager, scores, positives, **options)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient[:, kept], expected[1], atol=1e-12)
    np.testing.assert_array_equal(gradient[:, ~kept], 0.0)


def _degenerate_rows(rng, n=12):
    """Name -> (scores, positives, where): rows without a loss."""
    scores, positives = draw(rng, (n,))
    positives[:3] = True
    everywhere = np.ones(n, bool)
    return {
        "nothing takes part": (np.full(n, np.nan), positives, ~everywhere),
        "no positive": (scores, ~everywhere, everywhere),
        "no positive takes part": (np.where(positives, np.inf, scores), positives, ~positives),
        "all positive": (scores, everywhere, everywhere),
        "one item": (scores, everywhere, np.arange(n) == 2),
        "constant scores": (np.full(n, 0.1), positives, everywhere),
    }


@every_objective
def test_degenerate_rows_have_loss_zero_and_zero_gradient_and_leave_others_alone(eager, rng, name):
    rows = _degenerate_rows(rng)
    good_scores, good_positives = draw(rng, (12,))
    good_positives[:2] = [True, False]
    scores, positives, where = map(
        np.stack, zip(*rows.values(), (good_scores, good_positives, good_positives | True), strict=True)
    )
    expected, expected_valid, *_ = reference_rows(name, scores, positives, where=where)
    loss, valid = run(name, eager, scores, positives, where=where)
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(loss[~valid], 0.0)
    _, gradient = gradient_of(name, eager, scores, positives, where=where)
    np.testing.assert_array_equal(gradient[~valid], 0.0)
    assert np.abs(gradient[-1]).max() > 0
    for row, is_valid in zip(rows, valid, strict=False):
        lenient = (name == "recall" and row in ("all positive", "one item", "constant scores")) or (
            row == "constant scores" and name in ("smooth_ap", "pauc absolute live")
        )
        assert is_valid == lenient, row


@every_objective
def test_no_items_at_all(eager, name):
    value, gradient = gradient_of(name, eager, np.zeros((3, 0)), np.zeros((3, 0), bool), where=np.zeros((3, 0), bool))
    assert value == 0
    assert gradient.shape == (3, 0)
    loss, valid = run(name, eager, np.zeros((3, 0)), np.zeros((3, 0), bool))
    assert loss.shape == (3,)
    assert not valid.any()


@every_objective
def test_numerator_weights_of_zero_make_a_row_invalid(eager, rng, name):
    scores, positives = draw(rng, (2, 20))
    weights = np.stack([np.where(positives[0], 0.0, 1.0), np.where(positives[1], 1.0, 0.0)])
    loss, valid = run(name, eager, scores, positives, weights=weights)
    assert valid.tolist() == [False, True]
    assert loss[0] == 0
    gradient = gradient_of(name, eager, scores, positives, weights=weights)[1]
    np.testing.assert_array_equal(gradient[0], 0.0)
    np.testing.assert_allclose(loss[1], run(name, eager, scores, positives)[0][1], rtol=1e-12)


# -------------------------------------------------------------------------------------------------- extreme numbers


@every_objective
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores_have_finite_losses_and_gradients(eager, rng, name, dtype):
    scores, positives = draw(rng, (6, 30), dtype)
    positives[:, :4] = [True, False, True, False]
    scores[0] *= 1e4
    scores[1, :2] = [-np.inf, np.inf]
    scores[2, :4] = [np.inf, np.inf, -np.inf, -np.inf]
    scores[3, 1::2] = np.inf
    scores[4] = np.where(positives[4], np.inf, -np.inf)
    scores[5] *= np.finfo(dtype).max / 100
    loss, valid = run(name, eager, scores, positives)
    assert ((loss >= -1e-6) & (loss <= 1 + 1e-6)).all()
    assert valid[:3].all()
    assert np.isfinite(gradient_of(name, eager, scores, positives)[1]).all()


@every_objective
def test_nan_scores_and_unfit_weights_give_nan_in_their_row_alone(eager, rng, name):
    scores, positives = draw(rng, (6, 20))
    positives[:, :2] = [True, False]
    positives[3] = False  # even a row without positives does not hide a NaN
    weights = np.ones((6, 20))
    scores[0, 1], scores[1, 0], scores[3, 5] = np.nan, np.nan, np.nan
    weights[2, 1], weights[4, 0] = -1.0, np.inf
    loss, valid = run(name, eager, scores, positives, weights=weights)
    assert np.isnan(loss[:5]).all()
    assert np.isfinite(loss[5])
    assert valid.all()
    gradient = gradient_of(name, eager, scores, positives, weights=weights)[1]
    assert np.isnan(gradient[[0, 1, 2, 4]]).any(axis=1).all()
    assert np.isfinite(gradient[5]).all()


@every_objective
def test_a_temperature_known_at_run_time_only(backend, rng, name):
    if backend.name != "numpy" and (name not in SHORT_LIST or backend.name in ("jax", "torch.compile")):
        pytest.skip("every kind of objective is traced once")
    scores, positives = draw(rng, (2, 25))
    objective = OBJECTIVES[name]
    temperature = objective.keywords.get("temperature", 0.1)

    def function(scores, positives, temperature):
        return objective.func(scores, positives, **objective.keywords | {"temperature": temperature})[0]

    expected = backend.run(call(name), scores, positives)[0]
    actual = backend.run(function, scores, positives, np.asarray(temperature, np.float32))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    if backend.name != "jax.jit":
        assert np.isnan(backend.run(function, scores, positives, np.asarray(-0.1))).all()


@some_objectives
def test_gradient_by_the_temperature(eager, rng, name):
    scores, positives = draw(rng, (1, 25))
    objective = OBJECTIVES[name]

    def function(temperature, scores, positives):
        return objective.func(scores, positives, **objective.keywords | {"temperature": temperature})[0][0]

    _, gradient = eager.value_and_grad(function, np.asarray(0.3), scores, positives)
    up, down = (function(0.3 + step, scores, positives) for step in (1e-6, -1e-6))
    assert gradient == pytest.approx((up - down) / 2e-6, rel=1e-5)


# ------------------------------------------------------------------------------------------------------ invariances


@every_objective
def test_order_shift_and_scale_of_the_scores(rng, name):
    scores, positives = draw(rng, (3, 40))
    options = options_of(name, rng, scores.shape)
    options["live"] = np.broadcast_to(options["live"], scores.shape)
    expected = OBJECTIVES[name](scores, positives, **options)[0]
    order = rng.permutation(40)
    permuted = {key: value[:, order] for key, value in options.items()}
    np.testing.assert_allclose(
        OBJECTIVES[name](scores[:, order], positives[:, order], **permuted)[0], expected, rtol=1e-12
    )
    np.testing.assert_allclose(OBJECTIVES[name](scores + 100, positives, **options)[0], expected, rtol=1e-9)
    scaled = OBJECTIVES[name](scores * 1000, positives, **options)[0]
    is_absolute = (
        OBJECTIVES[name].keywords.get("temperature_scale", "iqr" if "pauc" in name else "absolute") == "absolute"
    )
    assert np.allclose(scaled, expected, rtol=1e-9) != is_absolute


@every_objective
def test_rows_are_independent(rng, name):
    scores, positives = draw(rng, (2, 3, 30))
    options = options_of(name, rng, scores.shape)
    loss, valid, *_ = OBJECTIVES[name](scores, positives, **options)
    options["live"] = np.broadcast_to(options["live"], scores.shape)
    for index in np.ndindex(2, 3):
        row = {key: value[index] for key, value in options.items()}
        one, one_valid, *_ = OBJECTIVES[name](scores[index], positives[index], **row)
        assert one.shape == ()
        np.testing.assert_allclose(one, loss[index], rtol=1e-12)
        assert one_valid == valid[index]


@every_objective
def test_vmap_is_a_batch_of_rows(rng, name):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    scores, positives = draw(rng, (3, 30))
    where = rng.random((3, 30)) < 0.8
    expected = OBJECTIVES[name](scores, positives, where=where)[0]

    def row(s, p, w):
        return OBJECTIVES[name](s, p, where=w)[0]

    np.testing.assert_allclose(
        torch.func.vmap(row)(*map(torch.tensor, (scores, positives, where))), expected, rtol=1e-12
    )
    if name in SHORT_LIST:
        arrays = map(jax.numpy.asarray, (scores, positives, where))
        np.testing.assert_allclose(jax.jit(jax.vmap(row))(*arrays), expected, rtol=1e-12)
    by_vmap = torch.func.vmap(torch.func.grad(row))(*map(torch.tensor, (scores, positives, where)))
    gradients = reference_rows(name, scores, positives, where=where)[2]
    np.testing.assert_allclose(by_vmap, gradients, atol=1e-12)


@every_objective
def test_whole_weights_repeat_positives_in_the_mean(rng, name):
    """A weight of 2 counts a positive's contribution twice, and changes no rank and no threshold."""
    scores, positives = draw(rng, (1, 30))
    weights = rng.integers(0, 4, (1, 30)).astype(np.float64)
    alone = [
        OBJECTIVES[name](scores, positives, weights=(np.arange(30) == i).astype(np.float64))[0][0]
        for i in np.flatnonzero(positives[0])
    ]
    expected = np.mean(np.repeat(alone, weights[positives].astype(int)))
    np.testing.assert_allclose(OBJECTIVES[name](scores, positives, weights=weights)[0], expected, rtol=1e-12)


@every_objective
def test_whole_multiplicity_repeats_items(rng, name):
    """Exactly, where an item is not ranked against itself. In smooth AP a repeated negative is exact as well, while the
    copies of a positive would also rank softly above each other, which a multiplicity does not."""
    scores, positives = draw(rng, (30,))
    repeats = rng.integers(1, 4, 30)
    if name.startswith("smooth_ap"):
        repeats = np.where(positives, 1, repeats)
    live = rng.random(30) < 0.6
    expected = OBJECTIVES[name](
        np.repeat(scores, repeats), np.repeat(positives, repeats), live=np.repeat(live, repeats)
    )
    actual = OBJECTIVES[name](scores, positives, live=live, multiplicity=repeats)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-12)
    if name.startswith("pauc"):
        np.testing.assert_allclose(actual[2], expected[2], rtol=1e-9)


@every_objective
def test_the_queue_keeps_ranks_but_leaves_the_mean_when_live(rng, name):
    scores, positives = draw(rng, (1, 40))
    live = np.arange(40) < 10
    positives[0, :2], positives[0, 2] = True, False
    with_queue = OBJECTIVES[name](scores, positives, live=live)[0]
    weights = np.where(live, 1.0, 0.0) if "live" in name else None
    np.testing.assert_allclose(with_queue, OBJECTIVES[name](scores, positives, weights=weights)[0], rtol=1e-12)
    if "live" in name:
        valid = OBJECTIVES[name](scores, positives, live=live & ~positives)[1]
        assert not valid.any()


@every_objective
def test_weights_multiplicity_and_masks_carry_no_gradient(rng, name):
    torch = pytest.importorskip("torch")
    scores, positives = map(torch.tensor, draw(rng, (1, 20)))
    scores.requires_grad_()
    weights, multiplicity = (torch.ones(20, dtype=torch.float64, requires_grad=True) for _ in range(2))
    OBJECTIVES[name](scores, positives, weights=weights, multiplicity=multiplicity)[0].sum().backward()
    assert scores.grad.abs().max() > 0
    assert weights.grad is None
    assert multiplicity.grad is None


# -------------------------------------------------------------------------------------------------------- arguments


@some_objectives
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "temperature must be a finite number > 0, got 0.0"),
        ({"temperature": np.ones(3)}, ValueError, "temperature must be a finite number > 0 or a 0-d array"),
        ({"temperature_scale": "mad"}, ValueError, "temperature_scale must be one of .*'std'.*, got 'mad'"),
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
def test_bad_options_are_named(name, options, error, message):
    objective = OBJECTIVES[name]
    with pytest.raises(error, match=message):
        objective.func(np.zeros((2, 5)), np.zeros((2, 5), bool), **objective.keywords | options)


@some_objectives
def test_bad_data_is_named(name):
    objective = OBJECTIVES[name]
    with pytest.raises(TypeError, match="scores must be a floating-point array, got dtype int64"):
        objective(np.zeros((2, 5), int), np.zeros((2, 5), bool))
    with pytest.raises(TypeError, match="positives must be a bool array, got dtype float64"):
        objective(np.zeros((2, 5)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"positives must be of the same shape as scores, \(2, 5\), got \(5,\)"):
        objective(np.zeros((2, 5)), np.zeros(5, bool))


def test_values_stay_in_the_unit_interval(rng):
    for name in OBJECTIVES:
        scores, positives = draw(rng, (50, 30))
        loss = OBJECTIVES[name](scores, positives)[0]
        assert ((loss >= 0) & (loss <= 1)).all()
        assert not math.isclose(loss.std(), 0)

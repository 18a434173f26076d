import math

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalanced_core import metrics, quantile
from imbalanced_core.losses.hard_examples import hard_negative
from imbalanced_core.losses.partial_auc import partial_auc
from imbalanced_core.losses.ranking import recall_at_quantile
from imbalanced_core.quantile import INTERPOLATIONS, masked_quantile

LEVELS = (0.0, 0.005, 0.25, 1 / 3, 0.5, 0.75, 0.995, 1.0)
TRICKY_LEVELS = (0.0, 1.0, 0.5, 0.25, 0.995, 0.005, 1 - 0.7, 1 / 3, 2 / 3, 0.07, 0.55, 0.1, 0.999999, 1e-9, 1e-20)
EDGE_LEVELS = (1 - 2.0**-53, 2.0**-53, math.nextafter(0.5, 0), math.nextafter(0.5, 1), 5e-324)


def _as_numpy_does(values, interpolation, levels=LEVELS):
    """Row by row over the kept values, in float64, since numpy's levels are only float64 if the values are."""
    return np.stack([np.quantile(row.astype(np.float64), levels, method=interpolation) for row in values])


def in_all_ways(levels=LEVELS, *keys):
    """The quantiles of one or more rows by every interpolation, as one function to compile."""

    def function(values, *arrays):
        options = dict(zip(keys, arrays, strict=True))
        return tuple(masked_quantile(values, levels, **options, interpolation=how) for how in INTERPOLATIONS)

    return function


def test_unmasked_rows_agree_with_numpy(backend, rng):
    values = rng.standard_normal((2, 3, 41))
    for how, actual in zip(INTERPOLATIONS, backend.run(in_all_ways(), values), strict=True):
        expected = _as_numpy_does(values.reshape(6, 41), how).reshape(2, 3, -1)
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_rows_agree_with_numpy_whatever_the_masked_entries_hold(backend, rng, dtype):
    values = rng.integers(-4, 5, (8, 31)).astype(dtype)  # many ties
    where = rng.random((8, 31)) < np.linspace(0.05, 1, 8)[:, None]
    where[:, 7] = True
    garbage = np.where(where, values, rng.choice([np.nan, np.inf, -np.inf, 1e30], (8, 31))).astype(dtype)
    for how, actual in zip(INTERPOLATIONS, backend.run(in_all_ways(LEVELS, "where"), garbage, where), strict=True):
        assert actual.dtype == dtype
        expected = np.stack([_as_numpy_does([v[w]], how)[0] for v, w in zip(values, where, strict=True)])
        np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data(), interpolation=st.sampled_from(INTERPOLATIONS))
def test_any_row_and_mask(data, interpolation):
    n = data.draw(st.integers(1, 40))
    values = np.array(data.draw(st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n)))
    where = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    levels = data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=3))
    actual = masked_quantile(values, levels, where=where, interpolation=interpolation)
    if where.any():
        np.testing.assert_allclose(actual, np.quantile(values[where], levels, method=interpolation), rtol=1e-12)
    else:
        assert np.isnan(actual).all()


def test_whole_multiplicity_is_repetition(value_backend, rng):
    values = rng.standard_normal((4, 23))
    repeats = rng.integers(0, 6, (4, 23))
    where = rng.random((4, 23)) < 0.8
    arrays = np.where(where, values, np.nan), np.where(where, repeats, np.nan), where
    results = value_backend.run(in_all_ways(LEVELS, "multiplicity", "where"), *arrays)
    for how, actual in zip(INTERPOLATIONS, results, strict=True):
        repeated = (np.repeat(v, r * w) for v, r, w in zip(values, repeats, where, strict=True))
        expected = np.stack([np.quantile(row, LEVELS, method=how) for row in repeated])
        np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_multiplicity_one_is_exactly_no_multiplicity(backend, rng):
    values = rng.standard_normal((3, 57)).astype(np.float32)
    plain = backend.run(in_all_ways(TRICKY_LEVELS), values)
    once = backend.run(in_all_ways(TRICKY_LEVELS, "multiplicity"), values, np.ones(57, np.float32))
    np.testing.assert_array_equal(once, plain)


def test_fractional_multiplicity(value_backend, rng):
    values, repeats = rng.standard_normal((5, 30)), rng.random((5, 30)) * 7 + 0.1
    expected = [
        [reference.row_quantile(v, q, multiplicity=m) for q in LEVELS] for v, m in zip(values, repeats, strict=True)
    ]
    np.testing.assert_array_equal(
        value_backend.run(lambda v, m: masked_quantile(v, LEVELS, multiplicity=m), values, repeats), expected
    )


def test_inverse_inclusion_probabilities_restore_the_quantiles_of_the_whole(rng):
    values = rng.standard_normal(20_000)
    inclusion = np.where(values > 1.5, 1.0, 0.05)  # all of the tail is kept, the bulk is subsampled
    kept = rng.random(20_000) < inclusion
    estimate = masked_quantile(values, (0.5, 0.99), where=kept, multiplicity=1 / inclusion)
    np.testing.assert_allclose(estimate, np.quantile(values, (0.5, 0.99)), atol=0.1)
    assert masked_quantile(values, (0.5,), where=kept)[0] > 0.4  # the result if it is ignored


def test_nothing_takes_part(value_backend):
    values, nowhere = np.array([[1.0, np.nan], [2.0, 3.0]]), np.zeros((2, 2), bool)
    assert np.isnan(value_backend.run(lambda v, w: masked_quantile(v, LEVELS, where=w), values, nowhere)).all()
    with_multiplicity = value_backend.run(
        lambda v, w, m: masked_quantile(v, LEVELS, where=w, multiplicity=m), values, nowhere, np.ones(2)
    )
    assert np.isnan(with_multiplicity).all()
    empty = value_backend.run(lambda v: masked_quantile(v, LEVELS), np.zeros((3, 0)))
    assert empty.shape == (3, len(LEVELS))
    assert np.isnan(empty).all()


def test_a_participating_nan_is_not_passed_over(value_backend):
    values = np.array([[1.0, np.nan, 2.0, 3.0], [1.0, 4.0, 2.0, np.nan]])
    where = np.array([[True, True, True, True], [True, True, True, False]])
    for multiplicity in (None, np.full(4, 2.0)):
        result = value_backend.run(
            lambda v, w, m: masked_quantile(v, (0.0, 0.5), where=w, multiplicity=m), values, where, multiplicity
        )
        assert np.isnan(result[0]).all()
        np.testing.assert_array_equal(result[1], [1.0, 2.0])


def test_infinite_values_are_values(value_backend):
    values = np.array([np.inf, -np.inf, 1.0, np.inf, 5.0, -np.inf])
    where = np.array([True, True, True, True, True, False])
    function = in_all_ways((0.0, 0.1, 0.6, 0.9, 1.0), "where")
    linear, lower, higher, _, midpoint = value_backend.run(function, values, where)
    np.testing.assert_array_equal(lower, [-np.inf, -np.inf, 5.0, np.inf, np.inf])
    np.testing.assert_array_equal(higher, [-np.inf, 1.0, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(linear, [-np.inf, -np.inf, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(midpoint, linear)


def test_constant_values_have_no_spread_at_all(backend):
    values = np.full((1, 10), 0.1, np.float32)
    for quartiles in backend.run(in_all_ways((0.2, 0.77)), values):
        assert quartiles[0, 0] == quartiles[0, 1]


def _last_places(rng):
    powers = 2 ** np.arange(31)
    near_powers = np.concatenate([powers - 1, powers, np.maximum(powers - 2, 0)])
    drawn = rng.integers(0, 2**31 - 1, 2000)
    return np.concatenate([np.arange(1500), near_powers, 2**31 - 1 - np.arange(30), drawn]).astype(np.int32)


def test_positions_of_few_entries_are_those_of_float64(backend, rng):
    levels = TRICKY_LEVELS + EDGE_LEVELS + tuple(map(float, rng.random(20)))
    counts = np.array([1, 2, 3, 4, 5, 11, 21, 101, 201, 401, 1001, *rng.integers(1, 1200, 30)])
    where = np.arange(1200) < counts[:, None]
    values = np.broadcast_to(np.arange(1200.0), where.shape)
    positions = np.array(levels) * (counts - 1)[:, None]
    for round_ in (np.floor, np.ceil, np.round):
        how = {np.floor: "lower", np.ceil: "higher", np.round: "nearest"}[round_]
        found = backend.run(lambda v, w, h=how: masked_quantile(v, levels, where=w, interpolation=h), values, where)
        np.testing.assert_array_equal(found, round_(positions))


def test_positions_are_exactly_those_of_float64_up_to_2_to_the_31(backend, rng):
    if backend.name in ("strict", "torch.compile") or backend.name.startswith("jax"):
        pytest.skip("not in the strict standard; compilation is covered elsewhere; JAX has no exact float64")
    levels = TRICKY_LEVELS + EDGE_LEVELS + tuple(rng.random(20))
    last = _last_places(rng)
    values = np.zeros(1, np.float32)
    place = np.array([[level * int(n) for level in levels] for n in last])
    for how, expected in (("lower", np.floor(place)), ("higher", np.ceil(place)), ("nearest", np.round(place))):
        indices, fraction = backend.run(lambda n, v, h=how: quantile.positions(levels, n, h, v), last, values)
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(fraction, place - np.floor(place), atol=1e-7)
    both, _ = backend.run(lambda n, v: quantile.positions(levels, n, "linear", v), last, values)
    np.testing.assert_array_equal(both, np.concatenate([np.floor(place), np.ceil(place)], axis=-1))


def test_positions_without_float64_are_multiples_of_2_to_the_minus_22(backend, rng):
    if backend.name in ("strict", "torch.compile"):
        pytest.skip("not in the strict standard; compilation is covered elsewhere")
    levels = TRICKY_LEVELS + EDGE_LEVELS + tuple(rng.random(20))
    last = _last_places(rng)

    def as_rounded(n):
        lower, fraction = quantile.positions_in_integers(levels, n)
        return lower, fraction, *(quantile.rounded(lower, fraction, how) for how in ("higher", "nearest"))

    lower, fraction, upper, nearest = backend.run(as_rounded, last)
    place = np.array([[level * int(n) for level in levels] for n in last])
    np.testing.assert_allclose(lower + fraction.astype(np.float64), place, atol=2.0**-21)
    np.testing.assert_array_equal(upper - lower, fraction > 0)
    np.testing.assert_array_equal(nearest, np.round(lower + fraction.astype(np.float64)))
    is_whole = (place == np.round(place)) & (last[:, None] < 2**28)  # including those that are whole only by rounding
    assert is_whole.sum() > 1000
    np.testing.assert_array_equal(lower[is_whole], place[is_whole])
    np.testing.assert_array_equal(upper[is_whole], place[is_whole])
    is_away = np.abs(place - np.round(place)) > 2.0**-21
    np.testing.assert_array_equal(lower[is_away], np.floor(place)[is_away])


def test_many_entries_agree_with_numpy(monkeypatch, grad_backend, rng):
    """More entries than are tabulated."""
    monkeypatch.setattr(quantile, "_MOST_TABULATED", 100)
    values, where = rng.standard_normal((4, 301)), rng.random((4, 301)) < 0.7
    where[3] = False
    for how in INTERPOLATIONS:
        found = grad_backend.run(
            lambda v, w, h=how: masked_quantile(v, LEVELS, where=w, interpolation=h), values, where
        )
        expected = [_as_numpy_does([v[w]], how)[0] for v, w in zip(values[:3], where, strict=False)]
        np.testing.assert_allclose(found[:3], expected, rtol=1e-6)
        assert np.isnan(found[3]).all()


def test_masked_quantiles_are_few_device_calls():
    """On the device `meta`, where values cannot be read and any host sync raises."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function._schema.name.split("::")[1]
            is_view = name in {"view", "expand", "slice", "unsqueeze", "detach", "alias", "_unsafe_view"}
            self.names += [] if is_view else [name]
            return function(*args, **(kwargs or {}))

    scores = torch.empty(10, 1056, device="meta")
    where = torch.empty(10, 1056, dtype=torch.bool, device="meta")
    for most, options in ((8, {"where": where}), (4, {}), (20, {"where": where, "interpolation": "linear"})):
        masked_quantile(scores, (0.995, 0.5), **options)  # fills the caches
        with Calls() as calls:
            masked_quantile(scores, (0.995, 0.5), **options)
        assert len(calls.names) <= most, calls.names


def test_places_are_exact_without_64_bit_types(rng):
    jax = pytest.importorskip("jax")
    values = rng.standard_normal((3, 400)).astype(np.float32)
    where = rng.random((3, 400)) < 0.7
    with jax.enable_x64(False):
        arrays = tuple(map(jax.numpy.asarray, (values, where, np.ones(400, np.float32))))
        results = jax.jit(in_all_ways(TRICKY_LEVELS, "where"))(*arrays[:2])
        with_multiplicity = jax.jit(in_all_ways(TRICKY_LEVELS, "where", "multiplicity"))(*arrays)
    for how, actual, repeated in zip(INTERPOLATIONS, results, with_multiplicity, strict=True):
        expected = [_as_numpy_does([v[w]], how, TRICKY_LEVELS)[0] for v, w in zip(values, where, strict=True)]
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(repeated, actual)


def test_counts_above_2_to_the_24_are_exact():
    n = 2**24 + 3
    values = np.arange(n, dtype=np.float64)
    where = np.ones(n, bool)
    where[0] = False
    assert masked_quantile(values, (1.0,), where=where)[0] == n - 1
    assert masked_quantile(values, (1 - 1 / (n - 2),), where=where, interpolation="nearest")[0] == n - 2


@pytest.mark.parametrize("tenths", range(1, 10))
def test_shares_of_whole_items_are_whole(tenths):
    """For eleven items, whatever the rounding of 1 − share."""
    share, scores, is_one = tenths / 10, np.arange(11.0), np.ones(11, bool)
    recall = metrics.recall_at_quantile(scores, is_one, quantile=share)
    loss, _ = recall_at_quantile(scores, is_one, quantile=share, temperature=1e-9)  # counts the last as one half
    np.testing.assert_allclose([recall, 1 - loss + 0.5 / 11], (tenths + 1) / 11)
    assert hard_negative(scores, ~is_one, share=share)[1].sum() == tenths + 1
    all_scores, positives = np.append(scores, 0.5), np.append(is_one, False)  # the negative is above one positive
    loss, *_ = partial_auc(all_scores, positives, min_tpr=share, temperature=1e-9, temperature_scale="absolute")
    assert loss == pytest.approx(1 / (11 - tenths))  # one of the 11 − tenths lowest positives


def test_no_gradient_flows(value_grad_backend, rng):
    def total(values):
        return (masked_quantile(values, (0.3, 0.9)) * 2.0).sum() + values.sum()

    _, gradient = value_grad_backend.value_and_grad(total, rng.standard_normal((2, 9)))
    np.testing.assert_array_equal(gradient, 1.0)


def test_vmap_over_rows(rng):
    values, where = rng.standard_normal((4, 19)), rng.random((4, 19)) < 0.6
    where[:, 0] = True
    expected = masked_quantile(values, LEVELS, where=where)

    def row(v, w):
        return masked_quantile(v, LEVELS, where=w)

    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(torch.func.vmap(row)(torch.tensor(values), torch.tensor(where)), expected)
    jax = pytest.importorskip("jax")
    np.testing.assert_array_equal(jax.vmap(row)(jax.numpy.asarray(values), jax.numpy.asarray(where)), expected)


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        ((0.5, 1.5), {}, r"levels must be a Python number in \[0, 1\], got 1.5"),
        ((float("nan"),), {}, "levels must be a Python number"),
        ((0.5,), {"interpolation": "cubic"}, "interpolation must be one of 'linear', .*, got 'cubic'"),
        (
            (0.5,),
            {"where": np.ones(4, bool)},
            r"where must be broadcastable to the shape of values, \(2, 3\), got \(4,\)",
        ),
        ((0.5,), {"multiplicity": np.ones((3, 2))}, "multiplicity must be broadcastable"),
    ],
)
def test_bad_arguments_are_named(levels, options, message):
    with pytest.raises(ValueError, match=message):
        masked_quantile(np.zeros((2, 3)), levels, **options)


def test_wrong_dtypes_are_named():
    with pytest.raises(TypeError, match="values must be a floating-point array, got dtype int64"):
        masked_quantile(np.arange(3), (0.5,))
    with pytest.raises(TypeError, match="where must be a bool array, got dtype int64"):
        masked_quantile(np.zeros(3), (0.5,), where=np.ones(3, np.int64))

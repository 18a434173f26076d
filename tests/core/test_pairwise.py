"""The engine against the sum over all pairs, in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairwise_cases import dense_counts, dense_gradients

from imbalanced_core.ops.namespace import array_namespace
from imbalanced_core.pairwise import counts as _counts
from imbalanced_core.pairwise.counts import soft_counts_above

REGIMES = [  # n, spread of the scores, temperature
    (1, 1.0, 1.0),
    (2, 1.0, 0.1),
    (16, 1.0, 1.0),
    (17, 1e-3, 10.0),
    (300, 1e4, 1e-4),
    (1056, 3.0, 0.01),
    (2500, 1e-3, 10.0),
    (3000, 1.0, 0.5),
]


@pytest.fixture(params=["one matrix", "blocks"], autouse=True)
def way(request, monkeypatch):
    """Both implementations of the engine, for every row length and backend."""
    most = {"one matrix": 2**24, "blocks": 0}[request.param]
    for limit in ("_PAIRS_EAGER_CPU", "_PAIRS_CPU", "_PAIRS_JAX_CPU"):
        monkeypatch.setattr(_counts, limit, most)


def above():
    """A new function object, so that no code compiled for the other implementation is reused."""
    return lambda *arrays: soft_counts_above(*arrays)


def drawn(n, spread, dtype, ties=False):
    rng = np.random.default_rng(n)
    scores = rng.standard_normal(n) * spread
    if ties:
        scores = np.round(scores / spread * 3) * spread
    weights = np.stack([np.ones(n), rng.random(n) < 0.3, rng.random(n)])
    return scores.astype(dtype), weights.astype(dtype), rng.standard_normal((3, n)).astype(dtype)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "spread", "temperature"), REGIMES)
def test_counts_equal_the_sum_over_all_pairs(n, spread, temperature, ties):
    for dtype, tolerance in [(np.float32, 2e-6), (np.float64, 1e-13)]:
        scores, weights, _ = drawn(n, spread, dtype, ties)
        expected = dense_counts(scores.astype(np.float64), weights, dtype(temperature))
        counts = soft_counts_above(scores, weights, temperature)
        assert counts.dtype == dtype
        np.testing.assert_allclose(counts, expected, atol=tolerance * n, rtol=tolerance)


def test_counts_on_every_backend(every_backend):
    scores, weights, _ = drawn(200, 1.0, np.float64)
    counts = every_backend.run(lambda s, w: soft_counts_above(s, w, 0.3), scores, weights)
    np.testing.assert_allclose(counts, dense_counts(scores, weights, 0.3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "spread", "temperature"), [(40, 1.0, 0.3), (1300, 1.0, 0.1), (1300, 1e-3, 10.0)])
def test_gradients_equal_those_of_all_pairs(grad_backend, n, spread, temperature):
    if n > 40 and grad_backend.name == "torch.compile":
        pytest.skip("slow to trace, and the same operations as in torch and jax.jit")
    scores, weights, cotangent = drawn(n, spread, np.float64)
    expected = dense_gradients(cotangent, scores, weights, temperature)

    def total(s, w, t, c):
        return array_namespace(s).sum(c * soft_counts_above(s, w, t))

    def by(position):
        return lambda first, *rest: total(*rest[:position], first, *rest[position:])

    inputs = [scores, weights, np.array(temperature), cotangent]
    if grad_backend.name.startswith("jax"):  # JAX's derivative computes all three, whichever is requested
        import jax

        gradients = grad_backend.run(jax.grad(total, argnums=(0, 1, 2)), *inputs)
    else:
        others = [inputs[:position] + inputs[position + 1 :] for position in range(3)]
        gradients = [grad_backend.value_and_grad(by(i), inputs[i], *others[i])[1] for i in range(3)]
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=1e-11 * np.linalg.norm(wanted), rtol=0)


def test_rows_are_independent_and_each_may_have_its_temperature(backend):
    rng = np.random.default_rng(3)
    scores, weights = rng.standard_normal((2, 3, 50)), rng.random((2, 3, 4, 50))
    temperature = rng.uniform(0.01, 1.0, (2, 3))
    counts = backend.run(above(), scores, weights, temperature)
    assert counts.shape == weights.shape
    for row in np.ndindex(2, 3):
        np.testing.assert_allclose(counts[row], dense_counts(scores[row], weights[row], temperature[row]), rtol=1e-11)


@pytest.mark.parametrize("width", [0.0, 1e-2, 1e-4])
def test_rounding_does_not_gather_over_many_blocks(width):
    """A quarter of a million scores within 0.01 τ, or tied: the counts follow their Taylor series in (s_j − s_i)/τ."""
    n = 2**18
    scores = np.random.default_rng(0).uniform(0, width, n).astype(np.float32)
    s, m1, m2, m3 = scores.astype(np.float64), *(np.mean(scores.astype(np.float64) ** p) for p in (1, 2, 3))
    expected = n * (0.5 + (m1 - s) / 4 - (m3 - 3 * m2 * s + 3 * m1 * s**2 - s**3) / 48)
    counts = soft_counts_above(scores, np.ones((1, n), np.float32), 1.0)
    np.testing.assert_allclose(counts[0], expected, rtol=5e-6)


def test_infinite_scores_are_the_ends_of_the_ranking(every_grad_backend):
    scores = np.array([0.0, np.inf, -np.inf, 1.0, np.inf], np.float32)
    weights = np.ones((1, 5), np.float32)
    value, gradient = every_grad_backend.value_and_grad(
        lambda s, w: array_namespace(s).sum(soft_counts_above(s, w, 0.5)[0, ...] ** 2), scores, weights
    )
    finite = np.clip(scores, -1e6, 1e6)
    np.testing.assert_allclose(value, (dense_counts(finite.astype(np.float64), weights, 0.5) ** 2).sum(), rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_nan_scores_and_temperatures_that_are_not_positive_give_nan(backend):
    scores = np.tile(np.linspace(-1, 1, 100), (5, 1))  # one row per case, in one program
    scores[4, 40] = np.nan
    counts = backend.run(above(), scores, np.ones((5, 1, 100)), np.array([0.1, 0.0, -1.0, np.nan, 0.1]))
    assert not np.isnan(counts[0]).any()
    assert np.isnan(counts[1:]).all()


def test_no_items(backend):
    assert backend.run(above(), np.ones((2, 0)), np.ones((2, 3, 0)), np.array(1.0)).shape == (2, 3, 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 1200),
    spread=st.floats(1e-3, 1e4),
    temperature=st.floats(1e-4, 10.0),
    ties=st.booleans(),
)
def test_any_row(n, spread, temperature, ties):
    scores, weights, _ = drawn(n, spread, np.float32, ties)
    expected = dense_counts(scores.astype(np.float64), weights, np.float32(temperature))
    np.testing.assert_allclose(soft_counts_above(scores, weights, temperature), expected, atol=1e-6 * n, rtol=2e-6)


def test_second_derivative(grad_backend):
    """The second derivative, against central differences of the first."""
    scores, weights, cotangent = drawn(40, 1.0, np.float64)
    direction = np.random.default_rng(1).standard_normal(40)

    def slope(shift):
        return dense_gradients(cotangent, scores + shift * direction, weights, 0.5)[0] @ direction

    expected = (slope(1e-5) - slope(-1e-5)) / 2e-5

    if grad_backend.name.startswith("jax"):
        import jax
        import jax.numpy as jnp

        def total(shift):
            moved = jnp.asarray(scores) + shift * jnp.asarray(direction)
            return jnp.sum(jnp.asarray(cotangent) * soft_counts_above(moved, jnp.asarray(weights), 0.5))

        second = grad_backend.transform(jax.grad(jax.grad(total)))(jnp.asarray(0.0))
    else:
        import torch

        s, d = torch.tensor(scores, requires_grad=True), torch.tensor(direction)
        total = torch.sum(torch.tensor(cotangent) * soft_counts_above(s, torch.tensor(weights), 0.5))
        (first,) = torch.autograd.grad(total, s, create_graph=True)
        (second,) = torch.autograd.grad(first @ d, s)
        second = second @ d
    np.testing.assert_allclose(second, expected, rtol=1e-6)


def test_vmap(grad_backend):
    rng = np.random.default_rng(5)
    scores, weights = rng.standard_normal((4, 90)), rng.random((4, 2, 90))
    expected = dense_counts(scores, weights, 0.2)

    def one(s, w):
        return soft_counts_above(s, w, 0.2)

    if grad_backend.name.startswith("jax"):
        import jax

        counts = grad_backend.transform(jax.vmap(one))(jax.numpy.asarray(scores), jax.numpy.asarray(weights))
    else:
        import torch

        counts = torch.vmap(one)(torch.tensor(scores), torch.tensor(weights))
    np.testing.assert_allclose(counts, expected, rtol=1e-11)

"""Counts of requested items: one matrix, blocks for the requested items, blocks for all."""

from unittest import mock

import numpy as np
import pytest
from engine_ways import WAYS, engine
from pairwise_cases import dense_counts, dense_gradients

from imbalanced_core import ops
from imbalanced_core.ops.namespace import array_namespace
from imbalanced_core.pairwise import counts as pairwise
from imbalanced_core.pairwise.counts import soft_counts_at
from imbalanced_core.pairwise.dense import of_each_sum

# (requested, items, items of weight 0): every pair, blocks for the requested, blocks for all, a shorter row
CASES = [(3, 40, 0), (60, 1200, 0), (300, 2000, 0), (700, 1200, 0), (130, 3000, 2400), (5, 5, 0), (0, 30, 10)]


def drawn(wanted, n, weightless, rows, *, spread=1.0, ties=False):
    rng = np.random.default_rng(n + wanted)
    scores = rng.standard_normal((rows, n)) * spread
    scores = np.round(scores / spread * 3) * spread if ties else scores
    at = np.argsort(rng.random((rows, n)), axis=-1) < wanted
    at[1:] &= rng.random((rows - 1, n)) < 0.8  # rows with fewer requests
    weights = rng.standard_normal((rows, 2, n)) * (np.arange(n) >= weightless)
    return scores, weights, at, rng.standard_normal((rows, 2, n)) * at[:, None, :]


def all_counts(scores, weights, temperature, at, start=0):
    """The requested counts, in the order of the scores, and 0 elsewhere."""
    counts, indices = soft_counts_at(scores, weights, temperature, at, start=start)
    xp = array_namespace(scores)
    if indices is None:
        assert counts.shape == weights.shape
        return xp.where(at[..., None, :], counts, 0.0)
    assert counts.shape == (*weights.shape[:-1], indices.shape[-1])
    if indices.shape[-1] == scores.shape[-1]:
        result = of_each_sum(counts, ops.inverse_permutation(indices))
    else:
        result = ops.scatter(xp.zeros_like(weights), xp.broadcast_to(indices[..., None, :], counts.shape), counts)
    return xp.where(at[..., None, :], result, 0.0)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("wanted", "n", "weightless"), CASES)
def test_counts_equal_the_sum_over_all_pairs(backend, wanted, n, weightless, rows):
    if n > 40 and backend.name == "torch.compile":
        pytest.skip("slow to trace, and the same operations as in torch and jax.jit")
    if n > 40 and backend.name == "jax.jit" and (n, rows) != (2000, 3):
        pytest.skip("slow to compile, and one way for all: nothing is looked at while tracing")
    scores, weights, at, _ = drawn(wanted, n, weightless, rows)
    expected = dense_counts(scores, weights, 0.2) * at[:, None, :]
    counts = backend.run(lambda *arrays: all_counts(*arrays), scores, weights, np.full(rows, 0.2), at)
    np.testing.assert_allclose(counts, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("wanted", "n", "weightless"), CASES)
def test_gradients_equal_those_of_all_pairs(wanted, n, weightless, rows, ties):
    torch = pytest.importorskip("torch")

    drawn_arrays = drawn(wanted, n, weightless, rows, ties=ties)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 3e-6)):
        scores, weights, at, cotangent = (torch.tensor(x) for x in drawn_arrays)
        scores, weights, cotangent = (x.to(dtype) for x in (scores, weights, cotangent))
        scores.requires_grad_()
        temperature = torch.full((rows,), 0.2, dtype=dtype, requires_grad=True)
        (all_counts(scores, weights, temperature, at) * cotangent).sum().backward()
        for row in range(rows):
            by_scores, _, by_temperature = dense_gradients(
                *(x[row].double().detach().numpy() for x in (cotangent, scores, weights)), 0.2
            )
            scale = np.linalg.norm(by_scores) + 1e-30
            np.testing.assert_allclose(scores.grad[row], by_scores, atol=tolerance * scale, rtol=0)
            np.testing.assert_allclose(temperature.grad[row], by_temperature, atol=10 * tolerance * scale, rtol=1e-9)


@pytest.mark.parametrize("kept", [0, 10**9])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("wanted", "newest"), [(3, 5), (25, 5), (25, 39)])
def test_only_the_newest_scores_have_a_gradient(grad_backend, wanted, newest, way, kept, monkeypatch):
    if grad_backend.name in ("torch.compile", "jax.jit") and way != "as it is":
        pytest.skip("slow to compile, and the same operations as in torch")
    monkeypatch.setattr(pairwise, "_PAIRS_KEPT", kept)
    monkeypatch.setattr(pairwise, "_PAIRS_TRACED_CPU", 2000)
    monkeypatch.setattr(pairwise, "_PAIRS_TRACED_GRADIENT", 2000)
    n, rows = 40, 2
    scores, weights, at, cotangent = drawn(wanted, n, 0, rows, ties=True)
    expected = [dense_gradients(cotangent[i], scores[i], weights[i], 0.2) for i in range(rows)]

    def total(scores, temperature, weights, at, cotangent):
        return (all_counts(scores, weights, temperature, at, n - newest) * cotangent).sum()

    tau = np.full(rows, 0.2)
    with engine(way), mock.patch.object(pairwise, "_PAIRS_OF_ROW", 1000):
        _, by_scores = grad_backend.value_and_grad(total, scores, tau, weights, at, cotangent)
        _, by_temperature = grad_backend.value_and_grad(
            lambda temperature, scores, *rest: total(scores, temperature, *rest), tau, scores, weights, at, cotangent
        )
    for row, (of_scores, _, of_temperature) in enumerate(expected):
        np.testing.assert_allclose(by_scores[row, -newest:], of_scores[-newest:], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(by_temperature[row], of_temperature, rtol=1e-11)


@pytest.mark.parametrize("wanted", [3, 150, 900])
def test_rows_of_unequal_numbers_of_participants(wanted):
    torch = pytest.importorskip("torch")

    n, shares = 3000, np.array([[1.0], [0.4], [0.7], [0.0]])
    scores, weights, at, cotangent = drawn(wanted, n, 0, len(shares))
    taking_part = np.random.default_rng(0).random((len(shares), n)) < shares
    weights, at, cotangent = weights * taking_part[:, None], at & taking_part, cotangent * taking_part[:, None]
    s = torch.tensor(scores, requires_grad=True)
    counts = all_counts(s, torch.tensor(weights), torch.full((4,), 0.001, dtype=torch.float64), torch.tensor(at))
    (counts * torch.tensor(cotangent)).sum().backward()
    np.testing.assert_allclose(counts.detach(), dense_counts(scores, weights, 0.001) * at[:, None], atol=1e-10)
    for row in range(len(shares)):
        expected, _, _ = dense_gradients(cotangent[row], scores[row], weights[row], 0.001)
        np.testing.assert_allclose(s.grad[row], expected, atol=1e-11 * (np.linalg.norm(expected) + 1))


@pytest.mark.parametrize(
    ("wanted", "n", "newest"), [(3, 40, 40), (300, 2000, 2000), (900, 2000, 2000), (300, 2000, 20)]
)
def test_second_derivative(wanted, n, newest):
    """The second derivative, against central differences of the first."""
    torch = pytest.importorskip("torch")

    scores, weights, at, cotangent = (x[0] for x in drawn(wanted, n, 0, 1))
    direction = np.random.default_rng(1).standard_normal(n) * (np.arange(n) >= n - newest)

    def slope(shift):
        return dense_gradients(cotangent, scores + shift * direction, weights, 0.5)[0] @ direction

    expected = (slope(1e-5) - slope(-1e-5)) / 2e-5
    s = torch.tensor(scores, requires_grad=True)
    total = (
        all_counts(s, torch.tensor(weights), torch.tensor(0.5, dtype=torch.float64), torch.tensor(at), n - newest)
        * torch.tensor(cotangent)
    ).sum()
    (first,) = torch.autograd.grad(total, s, create_graph=True)
    (second,) = torch.autograd.grad(first @ torch.tensor(direction), s)
    np.testing.assert_allclose(second @ torch.tensor(direction), expected, rtol=1e-6)


def test_the_few_do_not_pay_for_all():
    """Unrequested counts are skipped where values can be read, and only there."""
    torch = pytest.importorskip("torch")

    for wanted, n, left in ((3, 1000, 3), (150, 1000, 150), (600, 1000, 1000)):
        scores, weights, at, _ = (torch.tensor(x) for x in drawn(wanted, n, 0, 1))
        tau = torch.full((1,), 0.1, dtype=torch.float64)
        assert soft_counts_at(scores, weights, tau, at).indices.shape == (1, left)
        unseen = torch.vmap(lambda s, w, t, a: soft_counts_at(s, w, t, a).above)(scores, weights, tau, at)
        assert unseen.shape == (1, 2, n)


@pytest.mark.parametrize("bad", ["score", "temperature"])
def test_a_nan_makes_its_row_nan(bad):
    torch = pytest.importorskip("torch")

    for wanted, n in ((3, 200), (300, 2000), (600, 800)):
        scores, weights, at, _ = drawn(wanted, n, 100, 2)
        tau = np.array([0.1, 0.1])
        if bad == "score":
            scores[0, np.flatnonzero(weights[0, 0])[-1]] = np.nan
        else:
            tau[0] = np.nan
        scores, weights, tau, at = (torch.tensor(x) for x in (scores, weights, tau, at))
        scores.requires_grad_()
        counts = soft_counts_at(scores, weights, tau, at).above
        assert counts[0].isnan().all()
        assert not counts[1].isnan().any()
        counts[:, :, :1].sum().backward()
        assert scores.grad[0].isnan().any()
        assert not scores.grad[1].isnan().any()


def test_one_matrix_is_few_device_calls():
    """Forward and backward on the device `meta`, where values cannot be read and any host sync raises."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    views = {
        "transpose",
        "unsqueeze",
        "expand",
        "view",
        "_unsafe_view",
        "detach",
        "slice",
        "select",
        "alias",
        "diagonal",
    }

    class Calls(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function._schema.name.split("::")[1]
            self.names += [] if name in views else [name]
            return function(*args, **(kwargs or {}))

    scores = torch.empty(10, 1056, device="meta", requires_grad=True)
    weights, tau = torch.empty(10, 2, 1056, device="meta"), torch.empty(10, device="meta")
    at = torch.empty(10, 1056, dtype=torch.bool, device="meta")
    with Calls() as forward:
        counts = soft_counts_at(scores, weights, tau, at)
    assert counts.indices is None
    cotangent = torch.empty_like(counts.above)
    with Calls() as backward:
        torch.autograd.grad(counts.above, scores, cotangent)
    assert len(forward.names) <= 4, forward.names
    assert len(backward.names) <= 8, backward.names

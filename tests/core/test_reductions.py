import numpy as np
import pytest
import reference

from imbalanced_core.reductions import element_sum_and_divisor, reduce_classes, reduce_elements, safe_divide


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_element_reductions_are_their_definition(every_backend, reduction, masked, weighted, rng):
    if every_backend.name in ("torch.compile", "jax"):
        pytest.skip("the same operations as in torch and jax.jit")
    losses = rng.random((5, 4))
    where = rng.random((5, 4)) < 0.6 if masked else None
    losses = losses * where if masked else losses
    weights = rng.random((5, 4)) if weighted else None
    positives = rng.random((5, 4)) < 0.5

    def reduced(losses, where, weights, positives):
        return reduce_elements(losses, reduction=reduction, where=where, weights=weights, positives=positives)

    expected = reference.reduce_elements(losses, reduction=reduction, where=where, weights=weights, positives=positives)
    np.testing.assert_allclose(every_backend.run(reduced, losses, where, weights, positives), expected, rtol=1e-14)

    def parts(losses, where, weights, positives):
        return element_sum_and_divisor(losses, reduction=reduction, where=where, weights=weights, positives=positives)

    total, mass = every_backend.run(parts, losses, where, weights, positives)
    assert (mass is None) == (reduction == "sum")
    np.testing.assert_allclose(total if mass is None else total / mass, expected, rtol=1e-14)


def test_soft_positives_count_by_their_share(backend, rng):
    losses, positives, weights = rng.random((3, 6))

    def reduced(losses, positives, weights):
        return reduce_elements(losses, reduction="mean_positive", positives=positives, weights=weights)

    expected = np.sum(weights * losses) / np.sum(weights * positives)
    np.testing.assert_allclose(backend.run(reduced, losses, positives, weights), expected, rtol=1e-14)
    for scale, divisor in ((1.0, np.sum(positives)), (1e-6, 1.0)):  # without weights at least one position
        assert divisor >= 1
        expected = np.sum(losses) / divisor
        np.testing.assert_allclose(backend.run(reduced, losses, scale * positives, None), expected, rtol=1e-14)


def test_none_is_weighted(backend, rng):
    losses, weights = rng.random((2, 6))

    def reduced(losses, weights):
        return reduce_elements(losses, reduction="none", weights=weights)

    np.testing.assert_allclose(backend.run(reduced, losses, weights), weights * losses)


def test_weights_per_row(backend, rng):
    losses, weights = rng.random((4, 3, 2)), rng.random(4)

    def reduced(losses, weights):
        return reduce_elements(losses, reduction="mean", weights=weights)

    expected = np.sum(weights[:, None, None] * losses) / (6 * np.sum(weights))
    np.testing.assert_allclose(backend.run(reduced, losses, weights), expected, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum"])
def test_weights_of_masked_entries_do_not_reach_value_or_gradient(every_grad_backend, reduction):
    losses, weights = np.array([1.0, 0.0, 0.0, 3.0]), np.array([1.0, np.nan, np.inf, 2.0])
    where, positives = np.array([True, False, False, True]), np.array([True, True, True, False])

    def reduced(losses, where, weights, positives):
        return reduce_elements(losses, reduction=reduction, where=where, weights=weights, positives=positives)

    value, gradient = every_grad_backend.value_and_grad(reduced, losses, where, weights, positives)
    mass = {"mean": 3.0, "mean_positive": 1.0, "sum": 1.0}[reduction]
    np.testing.assert_allclose(value, 7.0 / mass)
    np.testing.assert_allclose(gradient, np.array([1.0, 0.0, 0.0, 2.0]) / mass)


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum"])
def test_nothing_that_takes_part_is_zero(value_grad_backend, reduction):
    def reduced(losses, where, positives):
        return reduce_elements(losses, reduction=reduction, where=where, positives=positives)

    value, _ = value_grad_backend.value_and_grad(reduced, np.zeros(3), np.zeros(3, bool), np.ones(3, bool))
    assert value == 0
    value, _ = value_grad_backend.value_and_grad(reduced, np.ones((0,)), np.zeros(0, bool), np.ones(0, bool))
    assert value == 0


def test_a_weight_mass_of_zero_counts_as_one(value_grad_backend):
    def reduced(losses, weights):
        return reduce_elements(losses, reduction="mean", weights=weights)

    value, gradient = value_grad_backend.value_and_grad(reduced, np.ones(3), np.zeros(3))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_weights_give_nan(value_backend, bad):
    def reduced(losses, weights):
        return reduce_elements(losses, reduction="mean", weights=weights)

    assert np.isnan(value_backend.run(reduced, np.ones(3), np.array([1.0, bad, 1.0])))


def test_counts_beyond_the_integers_of_float32_are_exact():
    torch = pytest.importorskip("torch")
    where = torch.ones(2**24 + 3, dtype=torch.bool)
    where[0] = False
    losses = torch.zeros(1).expand(2**24 + 3)
    _, mass = element_sum_and_divisor(losses, reduction="mean", where=where)
    assert mass.item() == 2**24 + 2


def test_class_reductions(backend):
    losses, valid = np.array([0.5, 0.0, 1.0]), np.array([True, False, True])
    run = lambda reduction: backend.run(lambda a, b: reduce_classes(a, b, reduction=reduction), losses, valid)  # noqa: E731
    np.testing.assert_allclose(run("mean"), 0.75)
    np.testing.assert_allclose(run("sum"), 1.5)


def test_safe_divide():
    np.testing.assert_array_equal(safe_divide(np.array([0.0, 3.0]), np.array([0.0, 2.0])), [0.0, 1.5])


def test_errors_name_the_rule():
    losses = np.ones((4, 3))
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'mean_positive', 'sum', 'none', got 'avg'"):
        reduce_elements(losses, reduction="avg")
    with pytest.raises(ValueError, match=r"sample_weight must be of shape \(4, 3\) .*, \(4,\) .*, got \(3,\)"):
        reduce_elements(losses, reduction="mean", weights=np.ones(3))
    with pytest.raises(ValueError, match="where must be of the same shape as losses"):
        reduce_elements(losses, reduction="mean", where=np.ones(4, bool))
    with pytest.raises(ValueError, match="positives must be given"):
        reduce_elements(losses, reduction="mean_positive")

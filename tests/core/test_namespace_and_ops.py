import numpy as np
import pytest

from imbalanced_core import ops
from imbalanced_core.ops.namespace import array_namespace


def _product(x, y):
    return array_namespace(x).sin(x) * y


def _product_vjp(cotangent, x, y, *, factor):
    xp = array_namespace(x)
    return factor * cotangent * xp.cos(x) * y, factor * cotangent * xp.sin(x)


product = ops.with_vjp(_product, _product_vjp)


def test_ops_agree_with_their_definition(every_backend, rng):
    x = np.concatenate([rng.standard_normal(30) * 10, [-1e4, 1e4, 0.0]])
    np.testing.assert_allclose(every_backend.run(ops.sigmoid, x), 0.5 * (1 + np.tanh(x / 2)), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("dtype", "least"), [(np.float32, -86.0), (np.float64, -706.0)])
def test_decay_keeps_the_digits_of_all_normal_numbers(every_backend, dtype, least):
    x = np.concatenate([np.linspace(least, 0.0, 50), [2 * least, -1e30]]).astype(dtype)
    inside = ops.with_vjp(
        ops.decay, lambda cotangent, _: (cotangent,)
    )  # inside a derivative, where PyTorch records nothing
    result = every_backend.run(inside, x)
    np.testing.assert_allclose(result[:50], np.exp(x[:50].astype(np.float64)), rtol=100 * np.finfo(dtype).eps)
    assert np.all(result[50:] == 0)


def test_sort_and_its_inverse(every_backend, rng):
    x = rng.standard_normal((3, 17))

    def roundtrip(a):
        values, order = ops.sort_with_order(a)
        return values, array_namespace(a).take_along_axis(values, ops.inverse_permutation(order), axis=-1)

    values, restored = every_backend.run(roundtrip, x)
    np.testing.assert_array_equal(values, np.sort(x, axis=-1))
    np.testing.assert_array_equal(restored, x)


def test_sorting_without_an_order_and_nan_last(every_backend, rng):
    x = np.where(rng.random((3, 17)) < 0.2, np.nan, rng.standard_normal((3, 17)))
    np.testing.assert_array_equal(every_backend.run(ops.sort, x), np.sort(x, axis=-1))
    np.testing.assert_array_equal(every_backend.run(lambda a: ops.sort_with_order(a)[0], x), np.sort(x, axis=-1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 257, 5000])
def test_sorting_of_all_kinds_of_numbers(every_backend, rng, n, dtype):
    """Infinities, NaN and zeros of either sign, the smallest normal numbers, ties: floats may be sorted as integers."""
    kinds = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, np.finfo(dtype).max, np.finfo(dtype).tiny, 1.0], dtype)
    x = np.where(rng.random((2, n)) < 0.5, rng.choice(kinds, (2, n)), rng.standard_normal((2, n)).astype(dtype))
    x = np.copysign(x, rng.choice([-1.0, 1.0], (2, n)).astype(dtype))
    in_order, order = every_backend.run(ops.sort_with_order, x)
    np.testing.assert_array_equal(in_order, np.sort(x, axis=-1))
    np.testing.assert_array_equal(np.sort(order, axis=-1), np.broadcast_to(np.arange(n), (2, n)))
    np.testing.assert_array_equal(np.take_along_axis(x, order, axis=-1), in_order)
    np.testing.assert_array_equal(every_backend.run(ops.sort, x), in_order)


def test_entries_put_in_places_and_rows_added(every_backend, rng):
    if not every_backend.name.startswith("torch"):
        pytest.skip("only where values can be read")
    x, values = rng.standard_normal((3, 7)), rng.standard_normal((3, 2))
    places = np.array([[0, 6], [3, 2], [5, 1]])
    expected = x.copy()
    np.put_along_axis(expected, places, values, axis=-1)
    np.testing.assert_array_equal(every_backend.run(ops.scatter, x, places, values), expected)
    np.put_along_axis(expected, places, 0.5, axis=-1)
    np.testing.assert_array_equal(every_backend.run(lambda a, p: ops.scatter(a, p, 0.5), x, places), expected)

    index, rows = np.array([2, 0, 2, 2]), rng.standard_normal((4, 7))
    expected = x.copy()
    np.add.at(expected, index, rows)
    np.testing.assert_allclose(every_backend.run(ops.add_rows, x, index, rows), expected, rtol=1e-14)


def test_rows_and_geometric_sums(every_backend, rng):
    first, start, ratio = rng.standard_normal((3, 2, 5))
    rows = every_backend.run(lambda f, s, r: ops.rows_and_geometric_sums([f], s, r, 4), first, start, ratio)
    expected = [first, *(start * sum(ratio**i for i in range(count)) for count in (1, 2, 3, 4))]
    np.testing.assert_allclose(rows, np.stack(expected, axis=-2), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(
        every_backend.run(lambda s, r: ops.rows_and_geometric_sums([], s, r, 1), start, ratio), start[:, None, :]
    )


def test_rows_taken(every_backend, rng):
    x, index = rng.standard_normal((4, 3, 2)), np.array([3, 0, 3])
    np.testing.assert_array_equal(
        every_backend.run(lambda a, i: array_namespace(a).take(a, i, axis=0), x, index), x[index]
    )


def test_places_of_a_mask_and_who_can_count_them(every_backend):
    mask = np.array([[True, False, True, False, False], [False, False, False, True, False], [False] * 5])
    for m in (mask, mask[:1], mask[1:2], mask[2:]) if every_backend.name.startswith("torch") else ():
        most = max(1, m.sum(axis=1).max())
        places = every_backend.run(lambda a, n=most: ops.indices_of(a, int(n)), m)
        assert all(len(set(row)) == most for row in places)
        np.testing.assert_array_equal(np.take_along_axis(m, places, axis=-1).sum(axis=1), m.sum(axis=1))
    seen = []
    every_backend.run(lambda a: (seen.append(ops.greatest_count(a)), a)[1], mask)
    assert seen[-1] == (2 if every_backend.name == "torch" else None)


def test_half_precision_is_widened_and_float64_kept(every_backend):
    if every_backend.name != "strict":  # the standard has no half precision
        assert every_backend.run(ops.widen, np.ones(2, np.float16)).dtype == np.float32
    assert every_backend.run(ops.widen, np.ones(2, np.float64)).dtype == np.float64


def test_with_vjp_uses_the_given_derivative(every_grad_backend, rng):
    x, y = rng.standard_normal(5), rng.standard_normal(5)

    def total(a, b):
        return array_namespace(a).sum(product(a, b, factor=3))

    value, gradient = every_grad_backend.value_and_grad(total, x, y)
    np.testing.assert_allclose(value, np.sum(np.sin(x) * y), rtol=1e-12)
    np.testing.assert_allclose(gradient, 3 * np.cos(x) * y, rtol=1e-12)


def test_mixed_and_missing_arrays_are_refused():
    pytest.importorskip("torch")
    import torch

    with pytest.raises(TypeError, match="arrays of one library, got numpy and torch"):
        array_namespace(np.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match="at least one array"):
        array_namespace(1.0, None)
    with pytest.raises(TypeError, match="got list"):
        array_namespace([1.0])

import numpy as np
import pytest
import reference

from imbalanced_core.losses.class_balance import class_weights, pos_weight

COUNTS = np.array([900, 90, 9, 1, 0])


@pytest.mark.parametrize("scheme", ["inverse", "balanced", "effective"])
def test_class_weights_are_their_definition(every_backend, scheme):
    weights = every_backend.run(lambda counts: class_weights(counts, scheme=scheme), COUNTS.astype(np.float64))
    np.testing.assert_allclose(weights, reference.class_weights(COUNTS, scheme=scheme), rtol=1e-10)


def test_integer_counts_give_floating_point_weights(backend):
    weights = backend.run(class_weights, COUNTS)
    assert weights.dtype.kind == "f"
    np.testing.assert_allclose(weights, reference.class_weights(COUNTS, scheme="inverse"), rtol=1e-6)


def test_inverse_scheme_does_not_depend_on_the_scale_of_the_counts(backend):
    frequencies = np.array([0.9, 0.09, 0.01])
    np.testing.assert_allclose(backend.run(class_weights, frequencies), [1 / 90, 1 / 9, 1.0], rtol=1e-12)


def test_balanced_agrees_with_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat(np.arange(4), COUNTS[:4])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(COUNTS[:4], scheme="balanced"), expected, rtol=1e-12)


def test_effective_number_has_its_limits():
    np.testing.assert_allclose(class_weights(COUNTS[:4], scheme="effective", beta=0.0), 1.0)
    frequent = class_weights(COUNTS[:4], scheme="effective", beta=1 - 1e-12)
    inverse = class_weights(COUNTS[:4])
    np.testing.assert_allclose(frequent / frequent.max(), inverse, rtol=1e-3)


def test_pos_weight(every_backend):
    positives = np.array([1.0, 50.0, 0.0])
    np.testing.assert_allclose(
        every_backend.run(lambda n: pos_weight(n, 100), positives), [99.0, 1.0, 100.0], rtol=1e-12
    )
    effective = every_backend.run(lambda n: pos_weight(n, 100, scheme="effective", beta=0.9), positives)
    np.testing.assert_allclose(effective[0], (1 - 0.9**99) / (1 - 0.9), rtol=1e-10)
    small = every_backend.run(lambda n: pos_weight(n, 1000), np.array([200], np.uint8))
    np.testing.assert_allclose(small, [4.0], rtol=1e-6)


@pytest.mark.parametrize("scheme", ["inverse", "balanced", "effective"])
def test_empty_classes_have_weight_0_and_change_no_other(value_backend, scheme):
    counts = np.array([39200, 1200, 48, 7680, 0, 0])
    weights = value_backend.run(lambda counts: class_weights(counts, scheme=scheme), counts.astype(np.float64))
    assert np.all(weights[4:] == 0)
    np.testing.assert_allclose(weights[:4], class_weights(counts[:4], scheme=scheme), rtol=1e-10)
    if scheme == "balanced":  # the mean weight is 1, so a blend with another loss keeps its balance
        np.testing.assert_allclose(np.sum(weights * counts) / np.sum(counts), 1.0, rtol=1e-10)
        np.testing.assert_allclose(weights[:4], [48128 / (4 * n) for n in counts[:4]], rtol=1e-10)


def test_counts_that_are_all_0_give_nan(value_backend):
    for scheme in ("inverse", "balanced", "effective"):
        assert np.all(
            np.isnan(value_backend.run(lambda n, scheme=scheme: class_weights(n, scheme=scheme), np.zeros(3)))
        )


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_impossible_counts_give_nan(value_backend, bad):
    assert np.all(np.isnan(value_backend.run(class_weights, np.array([1.0, bad]))))
    assert np.isnan(value_backend.run(lambda n: pos_weight(n, 10), np.array([20.0]))[0])


def test_errors_name_the_rule():
    with pytest.raises(ValueError, match="scheme must be one of 'inverse', 'balanced', 'effective', got 'inv'"):
        class_weights(COUNTS, scheme="inv")
    with pytest.raises(ValueError, match=r"beta must be a Python number in \[0, 1\), got 1"):
        class_weights(COUNTS, scheme="effective", beta=1)
    with pytest.raises(ValueError, match=r"counts must be of shape \[classes\], got \(2, 2\)"):
        class_weights(np.ones((2, 2)))

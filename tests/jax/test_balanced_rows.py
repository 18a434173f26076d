"""Balanced rows in JAX: shares, masks, transformations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from imbalanced_jax.samplers import balanced_rows

LABELS = np.arange(103) % 20
ADDED = {3: 2, 7: 4}


def test_shares_are_right_under_jit_and_vmap():
    draw = jax.jit(jax.vmap(partial(balanced_rows, batch=16, added=ADDED), in_axes=(0, None)))
    rows, iid_mask = draw(jax.random.split(jax.random.key(0), 2000), jnp.asarray(LABELS))
    assert rows.dtype == jnp.int32
    np.testing.assert_array_equal(iid_mask, np.broadcast_to(np.arange(16) < 10, (2000, 16)))
    np.testing.assert_array_equal(LABELS[rows[:, 10:]], np.broadcast_to([3, 3, 7, 7, 7, 7], (2000, 6)))
    for part, among in ((rows[:, :10], np.arange(103)), (rows[:, 12:], np.flatnonzero(LABELS == 7))):
        counts = np.bincount(np.ravel(part), minlength=103)[among]
        freedom, expected = len(among) - 1, part.size / len(among)
        assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


def test_one_key_gives_one_batch():
    rows = [balanced_rows(jax.random.key(seed), LABELS, 16, ADDED)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], balanced_rows(jax.random.key(1), LABELS[:, None], 16, ADDED)[0])
    assert (rows[0] != rows[2]).any()


@pytest.mark.parametrize(
    ("key", "labels", "message"),
    [
        (0, LABELS, "key must be an array of jax.random.key, got 0"),
        (jax.random.key(0), jax.random.key(1), "labels must be an array of bools, integers or floats, got dtype key"),
    ],
)
def test_a_wrong_key_or_a_key_as_labels_is_named(key, labels, message):
    with pytest.raises(TypeError, match=message):
        balanced_rows(key, labels, 16, ADDED)


def test_labels_in_a_closure_are_looked_up_once():
    """The same rows as for traced labels, from a program without the labels."""
    labels = jnp.asarray(LABELS)
    closed = jax.jit(lambda key: balanced_rows(key, labels, 16, ADDED))
    passed = jax.jit(partial(balanced_rows, batch=16, added=ADDED))
    for seed in range(20):
        key = jax.random.key(seed)
        np.testing.assert_array_equal(closed(key)[0], passed(key, labels)[0])
        np.testing.assert_array_equal(closed(key)[0], balanced_rows(key, labels, 16, ADDED)[0])
    program = closed.lower(jax.random.key(0)).as_text()
    assert f"tensor<{len(LABELS)}x" not in program
    assert f"tensor<{len(LABELS)}x" in passed.lower(jax.random.key(0), labels).as_text()


def test_several_labels_and_a_class_without_positives():
    labels = np.zeros((50, 2), np.int32)
    labels[[4, 9], 1] = 1
    rows, _ = balanced_rows(jax.random.key(0), labels, 12, {1: 4})
    assert set(np.asarray(rows[-4:]).tolist()) <= {4, 9}
    rows, _ = balanced_rows(jax.random.key(0), jnp.asarray(labels, jnp.bfloat16), 12, {1: 4})
    assert set(np.asarray(rows[-4:]).tolist()) <= {4, 9}
    rows, _ = jax.jit(partial(balanced_rows, batch=12, added={0: 4}))(jax.random.key(0), jnp.asarray(labels))
    assert ((rows >= 0) & (rows < 50)).all()  # traced labels cannot be read, so the rows are uniform


def test_a_class_outside_the_dtype_has_no_positive():
    labels = np.arange(400).astype(np.uint8)
    with pytest.raises(ValueError, match="the classes of added must be classes that occur in labels, got 300"):
        balanced_rows(jax.random.key(0), labels, 30, {300: 20})
    rows, _ = jax.jit(partial(balanced_rows, batch=30, added={300: 20}))(jax.random.key(0), jnp.asarray(labels))
    assert (labels[rows[10:]] != 44).any()  # 300 modulo 256


def test_explicit_sharding_mesh():
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):  # before jax 0.7.2
        labels = jax.device_put(LABELS[:102], NamedSharding(mesh, P("d")))
        eager = partial(balanced_rows, batch=16, added=ADDED)
        for draw in (eager, jax.jit(eager)):
            rows, _ = draw(jax.random.key(0), labels)
            np.testing.assert_array_equal(LABELS[rows[10:]], [3, 3, 7, 7, 7, 7])


@pytest.mark.parametrize(
    ("batch", "added", "message"),
    [
        (6, ADDED, "batch must be greater than all added, 6"),
        (9, {99: 1}, "added must be classes that occur in labels, got 99"),
        (9, {3: 0}, r"added\[3\] must be an integer >= 1"),
        (9.0, {3: 1}, r"batch must be an integer >= 1, got 9\.0"),
        (9, {-1: 1}, r"the classes of added must be integers in \[0, 2147483648\), got -1"),
    ],
)
def test_bad_options_are_refused(batch, added, message):
    with pytest.raises(ValueError, match=message):
        balanced_rows(jax.random.key(0), LABELS, batch, added)

"""The metrics as `nnx.Metric`: a ring of rows, also in `nnx.jit`."""

import copy
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

pytest.importorskip("flax")
from flax import nnx

from imbalanced_core import metrics as core
from imbalanced_jax.nnx import metrics

KINDS = (
    metrics.AveragePrecision,
    metrics.ROCAUC,
    metrics.TiedPairs,
    partial(metrics.PartialAUC, beta=0.2),
    partial(metrics.CoverageAtBudget, budget=0.1),
    partial(metrics.RecallAtQuantile, quantile=0.1),
    partial(metrics.PrecisionAtK, k=5),
)


def rows(rng, n=40, classes=3):
    targets = rng.integers(0, classes, size=n)
    targets[::7] = -100
    return rng.normal(size=(n, classes)), targets, rng.random(n)


compute = nnx.jit(lambda metric: metric.compute())


def feed(metric, logits, targets, weights, *cuts):
    update = nnx.jit(lambda metric, *arrays: metric.update(**dict(zip(("logits", "targets", "sample_weight"), arrays))))  # noqa: B905
    for part in zip(*(np.split(x, cuts) if cuts else [x] for x in (logits, targets, weights)), strict=True):
        update(metric, *map(jnp.asarray, part))


@pytest.mark.parametrize("kind", KINDS)
def test_ring_equals_the_newest_rows(kind, rng):
    logits, targets, weights = rows(rng)
    metric = kind(3, capacity=25, average="none", dtype=jnp.float64)
    function = partial(metric.function, **dict(metric.options))
    feed(metric, logits, targets, weights, 20)
    value = compute(metric)
    expected = core.of_classes(function, logits[-25:], targets[-25:], average="none", weights=weights[-25:])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert metric.rows_seen[...] == 40


def test_equal_metrics_share_one_compilation(rng):
    """Also copies and metrics restored or made anew for each evaluation."""
    arrays = jnp.asarray(rng.normal(size=(8, 3))), jnp.arange(8) % 3
    traces = []

    @nnx.jit
    def step(metric, logits, targets):
        traces.append(metric.options)
        metric.update(logits=logits, targets=targets)
        return metric.compute()

    first, second = (metrics.PartialAUC(3, capacity=16, beta=0.2, dtype=jnp.float64) for _ in range(2))
    assert step(first, *arrays) == step(second, *arrays) == step(copy.deepcopy(second), *arrays)
    assert len(traces) == 1
    assert step(metrics.PartialAUC(3, capacity=16, beta=0.9, dtype=jnp.float64), *arrays) != first.compute()
    assert len(traces) == 2


def test_the_ring_can_be_donated(rng):
    logits, targets, weights = rows(rng)
    metric = metrics.ROCAUC(3, capacity=40, dtype=jnp.float64)
    update = nnx.jit(lambda metric, x, y, w: metric.update(logits=x, targets=y, sample_weight=w), donate_argnums=0)
    for part in zip(*(np.split(x, [15]) for x in (logits, targets, weights)), strict=True):
        update(metric, *part)
    np.testing.assert_allclose(compute(metric), core.of_classes(core.roc_auc, logits, targets, weights=weights))


def test_batch_larger_than_the_ring_and_reset(rng):
    logits, targets, weights = rows(rng)
    metric = metrics.ROCAUC(3, capacity=15, dtype=jnp.float64)
    metric.update(logits=logits, targets=targets[:, None], sample_weight=weights, values=1.0)
    expected = core.of_classes(core.roc_auc, logits[-15:], targets[-15:], weights=weights[-15:])
    np.testing.assert_allclose(compute(metric), expected, rtol=1e-12)
    metric.reset()
    assert jnp.isnan(compute(metric))
    assert metric.rows_seen[...] == 0


def test_several_labels_beside_another_metric(rng):
    logits, targets = rng.normal(size=(30, 2)), rng.integers(0, 2, size=(30, 2))
    both = nnx.MultiMetric(
        ap=metrics.AveragePrecision(2, capacity=64, multilabel=True, dtype=jnp.float64), loss=nnx.metrics.Average()
    )
    both.update(logits=logits, targets=targets, values=jnp.ones(3, jnp.float32))
    expected = core.of_classes(core.average_precision, logits, targets, multilabel=True)
    np.testing.assert_allclose(compute(both.ap), expected, rtol=1e-12)


def test_bad_input_is_refused(rng):
    logits, targets, weights = rows(rng)
    metric = metrics.ROCAUC(3, capacity=50)
    with pytest.raises(ValueError, match=r"targets must be in|class ids in \[0, 3\)"):
        metric.update(logits=logits, targets=targets + 1000)
    with pytest.raises(ValueError, match=r"targets must be 0 or 1 or the ignore_index -100, got 2"):
        metrics.ROCAUC(1, capacity=50).update(logits=logits[:, :1], targets=targets)
    with pytest.raises(ValueError, match="logits must be of shape"):
        metric.update(logits=logits[:, :2], targets=targets)
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        metric.update(logits=logits, targets=targets, sample_weight=-weights)
    with pytest.raises(ValueError, match="budget must be"):
        metrics.CoverageAtBudget(3, capacity=5, budget=2.0)
    with pytest.raises(TypeError, match="beta"):
        metrics.PartialAUC(3, capacity=5)
    with pytest.raises(TypeError, match="PartialAUC got an unexpected keyword argument 'weights'"):
        metrics.PartialAUC(3, capacity=5, beta=0.2, weights=weights)
    with pytest.raises(TypeError, match="'budget'; the options are beta, alpha, num_classes, capacity, average,"):
        metrics.PartialAUC(3, capacity=5, budget=0.2)
    with pytest.raises(ValueError, match="multilabel must be True or False, got 'no'"):
        metrics.ROCAUC(3, capacity=5, multilabel="no")
    with pytest.raises(ValueError, match="dtype must be a floating-point type, got"):
        metrics.ROCAUC(3, capacity=5, dtype=jnp.int32)
    assert metric.rows_seen[...] == 0


def test_bad_targets_that_cannot_be_read_are_nan(rng):
    logits, targets, weights = rows(rng)
    metric = metrics.ROCAUC(3, capacity=50)
    feed(metric, logits, np.where(targets < 0, 7, targets), weights, 20)
    assert jnp.isnan(compute(metric))


def test_ids_that_wrap_around_are_not_ignored(rng):
    logits, targets, weights = rows(rng)
    for wrapping in (np.uint32, np.int64):
        metric = metrics.ROCAUC(3, capacity=50)
        feed(metric, logits, np.where(targets < 0, 2**32 - 100, targets).astype(wrapping), weights)
        assert jnp.isnan(compute(metric))


def test_half_precision_does_not_round_the_weights(rng):
    logits, targets, weights = rows(rng)
    logits = jnp.asarray(logits, jnp.bfloat16)
    metric = metrics.ROCAUC(3, capacity=40, dtype=jnp.bfloat16)
    metric.update(logits=logits, targets=targets, sample_weight=weights)
    expected = core.of_classes(core.roc_auc, np.asarray(logits, np.float64), targets, weights=weights)
    np.testing.assert_allclose(compute(metric), expected, rtol=1e-5)


def test_explicit_sharding_mesh(rng):
    logits, targets, weights = rows(rng)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):  # before jax 0.7.2
        metric = metrics.ROCAUC(3, capacity=40, dtype=jnp.float64)
        arrays = jax.device_put((logits, targets, weights), NamedSharding(mesh, P("d")))
        feed(metric, *arrays)
        value = compute(metric)
    np.testing.assert_allclose(value, core.of_classes(core.roc_auc, logits, targets, weights=weights), rtol=1e-12)


@pytest.mark.parametrize("target", [0.5, np.nan])
@pytest.mark.parametrize("ignore_index", [-100, -1])
def test_a_float_that_is_no_target_makes_the_value_nan(target, ignore_index):
    metric = metrics.ROCAUC(1, capacity=5, ignore_index=ignore_index)
    targets = np.array([0.0, 1.0, target, ignore_index])
    feed(metric, np.arange(4.0)[:, None], targets, np.array([1.0, 1.0, 1.0, np.nan]))
    assert jnp.isnan(compute(metric))


def test_weights_of_ignored_rows_do_not_matter(rng):
    logits, targets, weights = rows(rng)
    expected = core.of_classes(core.roc_auc, logits, targets, weights=weights)
    metric = metrics.ROCAUC(3, capacity=40, dtype=jnp.float64)
    metric.update(logits=logits, targets=targets, sample_weight=np.where(targets == -100, np.nan, weights))
    np.testing.assert_allclose(compute(metric), expected, rtol=1e-12)


def test_an_array_as_an_option_is_refused_by_name():
    with pytest.raises(ValueError, match=r"beta must be a Python number in \[0, 1\], got .*; call \.item\(\)"):
        metrics.PartialAUC(3, capacity=20, beta=jnp.float32(0.3))

"""Devices of a mesh against one device: every loss, every way to map, over virtual CPU devices."""

import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from imbalanced_jax import distributed
from imbalanced_jax.class_parallel import queue_specs
from imbalanced_jax.partial_auc import pauc_at_budget_loss
from imbalanced_jax.pointwise import sigmoid_focal_loss, softmax_focal_loss, symmetric_cross_entropy_loss
from imbalanced_jax.pooled import init_queue
from imbalanced_jax.ranking import recall_at_quantile_loss, smooth_ap_loss

C, FEATURES, ROWS, QUEUE = 3, 5, 4, 14  # ROWS is of one device
RANKING = {
    "smooth_ap": partial(smooth_ap_loss, temperature=0.3),
    "recall_at_quantile": partial(recall_at_quantile_loss, quantile=0.3, temperature=0.5),
    "pauc_at_budget": partial(pauc_at_budget_loss, beta=0.5, temperature=0.5),
    "pauc_at_budget pairwise": partial(pauc_at_budget_loss, beta=0.7, temperature=0.5, surrogate="pairwise"),
}
POINTWISE = {
    "sigmoid_focal": (("mean", "mean_positive", "sum"), sigmoid_focal_loss),
    "softmax_focal": (("mean", "mean_positive", "sum"), partial(softmax_focal_loss, alpha=jnp.array([0.2, 0.5, 0.9]))),
    "symmetric_cross_entropy": (("mean", "sum"), symmetric_cross_entropy_loss),
}
PADDED = {"equal": lambda n: n % 1 > 0, "unequal": lambda n: n % 3 == 2, "one empty": lambda n: n // ROWS == 1}
WAYS = ("shard_map", "shard_map, check_vma=False", "gradient outside of shard_map", "vmap", "pmap")
DEVICES = {2: "d", 3: "d", 4: ("a", "b")}  # the names of the axes


def axes(devices):
    names = DEVICES[devices]
    return names, ((2, 2) if isinstance(names, tuple) else (devices,))


def make_mesh(devices, **options):
    names, shape = axes(devices)
    return jax.sharding.Mesh(np.array(jax.devices()[:devices]).reshape(shape), distributed.axis_names(names), **options)


def make_batch(devices, seed, *, padded="equal", multilabel=False, classes=C):
    """Features, targets (padding is ignored), sample weights and iid flags of the rows of all devices."""
    rng = np.random.default_rng(zlib.crc32(f"{devices} {seed}".encode()))
    n = devices * ROWS
    targets = rng.integers(0, 2 if multilabel else max(classes, 2), (n, classes) if multilabel else n).astype(np.int32)
    is_padding = PADDED[padded](np.arange(n))
    targets[is_padding] = -100
    features = rng.standard_normal((n, FEATURES))
    features[is_padding] = np.nan  # whatever padding holds, it must not be seen
    return tuple(map(jnp.asarray, (features, targets, rng.random(n), rng.random(n) < 0.8)))


def parameters(classes=C):
    return jnp.asarray(np.random.default_rng(7).standard_normal((FEATURES, classes)))


def logits_of(w, features):
    # NaN features are masked before the product: 0 · NaN would reach the gradient of w in any model
    padding = jnp.isnan(features[:, :1])
    return jnp.where(padding, jnp.nan, jnp.where(padding, 0.0, features) @ w)


def run(way, devices, loss_fn, w, batch, queue=None, queue_spec=None):
    """`loss_fn(w, batch, queue, axis_name) -> (loss, aux)` on the devices: loss, mean gradient, aux of one of them."""
    names, shape = axes(devices)

    def total(w, batch, queue):
        loss, aux = loss_fn(w, batch, queue, names)
        return jnp.nansum(loss), (loss, aux)

    def step(w, batch, queue):
        (_, (loss, aux)), grad = jax.value_and_grad(total, has_aux=True)(w, batch, queue)
        return loss, lax.pmean(grad, names), aux

    queue_spec = P() if queue_spec is None else queue_spec
    in_specs = (P(), P(names), queue_spec)
    aux_spec = P()
    if queue is not None:
        shapes = jax.eval_shape(lambda: loss_fn(w, batch, queue, None)[1])
        aux_spec = type(shapes)(queue_spec, P(), P(), P())
    if way.startswith("shard_map"):
        mapped = jax.shard_map(
            step,
            mesh=make_mesh(devices),
            in_specs=in_specs,
            out_specs=(P(), P(), aux_spec),
            check_vma="False" not in way,
        )
        return jax.jit(mapped)(w, batch, queue)
    if way == "gradient outside of shard_map":
        mapped = jax.shard_map(total, mesh=make_mesh(devices), in_specs=in_specs, out_specs=(P(), (P(), aux_spec)))
        (_, (loss, aux)), grad = jax.jit(jax.value_and_grad(mapped, has_aux=True))(w, batch, queue)
        return loss, grad, aux
    if way == "pmap":
        split = jax.tree.map(lambda array: array.reshape(devices, ROWS, *array.shape[1:]), batch)
        mapped = jax.pmap(step, axis_name="d", in_axes=(None, 0, None), devices=jax.devices()[:devices])
        results = mapped(w, split, queue)
    else:
        split = jax.tree.map(lambda array: array.reshape(*shape, ROWS, *array.shape[1:]), batch)
        mapped = step
        for name in reversed(distributed.axis_names(names)):
            mapped = jax.vmap(mapped, axis_name=name, in_axes=(None, 0, None))
        results = jax.jit(mapped)(w, split, queue)
        results = jax.tree.map(lambda array: array.reshape(devices, *array.shape[len(shape) :]), results)
    for array in jax.tree.leaves(results):
        np.testing.assert_array_equal(array, np.broadcast_to(array[:1], array.shape))  # equal on all devices
    return jax.tree.map(lambda array: array[0], results)


def assert_same(got, expected, grad):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), got, expected)
    assert np.abs(grad).max() > 1e-6  # else nothing was tested


def ways(devices):
    return [way for way in WAYS if way != "pmap" or devices < 4]  # pmap has one axis


MAPPED = [(devices, way) for devices in DEVICES for way in ways(devices)]


@pytest.mark.parametrize(("devices", "way"), MAPPED)
@pytest.mark.parametrize(
    ("name", "reduction"), [(name, reduction) for name, (options, _) in POINTWISE.items() for reduction in options]
)
def test_pointwise(name, reduction, devices, way):
    def loss_fn(w, batch, queue, axis_name):
        features, targets, weights, _ = batch
        options = {"reduction": reduction, "sample_weight": weights, "axis_name": axis_name}
        if name == "sigmoid_focal":
            options["where"] = targets >= 0
        return POINTWISE[name][1](logits_of(w, features), targets, **options), ()

    w = parameters()
    for padded in PADDED:
        batch = make_batch(devices, 0, padded=padded, multilabel=name == "sigmoid_focal")
        expected, grad = jax.value_and_grad(lambda w, batch=batch: loss_fn(w, batch, None, None)[0])(w)
        loss, got, _ = run(way, devices, loss_fn, w, batch)
        assert_same((loss, got), (expected, grad), grad)


def ranking_loss_fn(loss, **options):
    def loss_fn(w, batch, queue, axis_name):
        features, targets, weights, iid_mask = batch
        mapped = {"axis_name": axis_name, "class_parallel": options.get("class_parallel", False) and bool(axis_name)}
        rest = {**options, **mapped}
        return loss(logits_of(w, features), targets, queue, sample_weight=weights, iid_mask=iid_mask, **rest)

    return loss_fn


@pytest.mark.parametrize(("devices", "way"), MAPPED)
@pytest.mark.parametrize("name", RANKING)
def test_ranking_over_five_steps_of_a_queue(name, devices, way):
    reduction = ("mean", "sum", "none")[(devices + WAYS.index(way)) % 3]
    loss_fn = ranking_loss_fn(RANKING[name], reduction=reduction)
    w = parameters()

    @jax.jit
    def one_device(w, batch, queue):
        def total(w):
            loss, aux = loss_fn(w, batch, queue, None)
            return jnp.nansum(loss), (loss, aux)

        (_, (loss, aux)), grad = jax.value_and_grad(total, has_aux=True)(w)
        return loss, grad, aux

    mapped = jax.jit(lambda w, batch, queue: run(way, devices, loss_fn, w, batch, queue)) if way != "vmap" else None
    for padded in PADDED:
        queue = expected_queue = init_queue(QUEUE, C, dtype=jnp.float64)
        for seed in range(5):
            batch = make_batch(devices, seed, padded=padded)
            expected = one_device(w, batch, expected_queue)
            got = run(way, devices, loss_fn, w, batch, queue)
            assert_same(got, expected, expected[1])
            queue, expected_queue = got[2].queue, expected[2].queue

"""`jit` over arrays split over a mesh: values, collectives and sharding of the results, on virtual CPU devices."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from losses import POINTWISE

from imbalanced_core import metrics
from imbalanced_jax import hard_negative_loss, ndcg_loss, presets, softmax_focal_loss, warmup_blend

N, C, FEATURES = 32, 4, 6


def make_mesh(kind, shape=(8,), names=("data",)):
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((N, FEATURES)), rng.standard_normal((FEATURES, C))
    return jnp.asarray(w), jnp.asarray(x), jnp.asarray(rng.integers(0, C, N).astype(np.int32))


def split(mesh, *values):
    return jax.device_put(values, NamedSharding(mesh, P(mesh.axis_names[0])))


def collectives(function, *arguments):
    """The shapes that each collective of the compiled program returns."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return re.findall(r"= (.+?) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)[-\w]*\(", text)


def assert_close(got, expected):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), got, expected)


def step(weights, x, y, state):
    def loss_fn(weights):
        w, head = weights
        return presets.smooth_ap(jnp.tanh(x @ w) @ head, y, state)

    (loss, (state, _)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(weights)
    return loss, gradient, state


def layers(w):
    return jnp.eye(FEATURES), w


def test_rows_are_gathered_once():
    """The logits, not what they are computed from, and nothing inside the loss."""
    mesh = make_mesh(AxisType.Auto)
    w, x, y = arrays()
    state = presets.init_state(C, queue_size=64)
    sharded = *split(mesh, x, y), jax.device_put(state, NamedSharding(mesh, P()))
    found = collectives(step, layers(w), *sharded)
    assert len(found) <= 4, found  # logits, targets and the gradients of two layers
    assert any(f"[{N},{C}]" in shape for shape in found)
    assert not any(f"[{N},{FEATURES}]" in shape for shape in found)


@pytest.mark.parametrize("shape", [(8,), (4, 2)])
def test_the_state_is_on_every_device_and_a_step_compiles_once(shape):
    mesh = make_mesh(AxisType.Auto, shape, ("data", "model")[: len(shape)])
    w, x, y = arrays()
    state = expected_state = presets.init_state(C, queue_size=64)
    state, w_there = jax.device_put((state, layers(w)), NamedSharding(mesh, P()))
    jitted, expected_step = jax.jit(partial(step)), jax.jit(step)
    for seed in range(3):
        _, x, y = arrays(seed)
        value, gradient, state = jitted(w_there, *split(mesh, x, y), state)
        *expected, expected_state = expected_step(layers(w), x, y, expected_state)
        assert_close((value, gradient, state), (*expected, expected_state))
        assert all(array.sharding.is_fully_replicated for array in jax.tree.leaves(state))
    assert jitted._cache_size() == 1


def test_a_mesh_of_which_shard_map_maps_a_part():
    mesh = make_mesh(AxisType.Auto, (4, 2), ("data", "model"))
    w, x, y = arrays()
    state, logits = presets.init_state(C, queue_size=64), x @ w

    def mapped(logits, y, state):
        loss, (state, _) = presets.smooth_ap(logits, y, state, axis_name="data")
        return loss, state

    specs = {"in_specs": (P("data"), P("data"), P()), "out_specs": P(), "axis_names": {"data"}}
    got = jax.jit(jax.shard_map(mapped, mesh=mesh, **specs))(logits, y, state)
    loss, (expected, _) = presets.smooth_ap(logits, y, state)
    assert_close(got, (loss, expected))


def test_vmap_scan_and_eager_calls():
    mesh = make_mesh(AxisType.Auto)
    w, x, y = arrays()
    logits, there = x @ w, split(mesh, x @ w, y)
    state = presets.init_state(C, queue_size=8)
    expected = presets.smooth_ap(logits, y, state)
    assert_close(presets.smooth_ap(*there, state), expected)
    batched = jax.jit(jax.vmap(lambda logits: presets.smooth_ap(logits, there[1], state)))(jnp.stack([there[0]] * 2))
    assert_close(jax.tree.map(lambda array: array[1], batched), expected)

    def body(state, _):
        loss, (state, _) = presets.smooth_ap(*there, state)
        return state, loss

    losses = jax.jit(lambda: lax.scan(body, state, length=2))()[1]
    assert_close(losses[0], expected[0])


def test_warmup_blend_over_sharded_arrays():
    mesh = make_mesh(AxisType.Auto)
    w, x, y = arrays()
    state = presets.init_state(C, queue_size=8)

    def blended(step, logits, y):
        schedule = {"warmup_steps": 1, "blend_steps": 1}
        return warmup_blend(
            step, lambda: jnp.square(logits).mean(), lambda *_: presets.smooth_ap(logits, y, state), **schedule
        )

    jitted = jax.jit(blended)
    for number in range(3):
        assert_close(jitted(number, *split(mesh, x @ w, y)), jitted(number, x @ w, y))


EXCLUSIVE = [case for case in POINTWISE if not case.has_label_of_each]


@pytest.mark.parametrize("case", EXCLUSIVE, ids=lambda case: case.name)
def test_losses_of_classes_keep_the_rows_where_they_are(case):
    mesh = make_mesh(AxisType.Explicit)
    w, x, y = arrays()
    logits, ids, loss = x @ w[:, :3], y % 3, case.in_jax()  # the table has options for three classes
    value_and_grad = jax.value_and_grad(partial(loss, sample_weight=x[:, 0] ** 2))
    there = split(mesh, logits, ids)
    found = collectives(value_and_grad, *there)
    assert not any(f"[{N}" in shape for shape in found), found
    assert_close(jax.jit(value_and_grad)(*there), value_and_grad(logits, ids))
    losses = jax.jit(partial(loss, reduction="none"))(*there)
    assert losses.sharding.spec == P("data")


def test_only_the_class_axis_is_gathered():
    mesh = make_mesh(AxisType.Explicit, (4, 2), ("data", "model"))
    w, x, y = arrays()
    logits, probabilities = (x @ w)[:, :, None, None] + jnp.zeros((1, 1, 2, 2)), jax.nn.softmax(x[:, :C])
    ids = y[:, None, None] + jnp.zeros((1, 2, 2), y.dtype)

    def losses(logits, ids, scores, probabilities):
        of_ids = softmax_focal_loss(logits, ids, alpha=[1.0, 2.0, 3.0, 4.0], axis=1, reduction="none")
        return of_ids, softmax_focal_loss(scores, probabilities), ndcg_loss(scores, probabilities)

    values = (logits, ids, x @ w, probabilities)
    places = (P("data", "model"), P("data", None, None), P("data", "model"), P("data", "model"))
    there = [jax.device_put(a, NamedSharding(mesh, place)) for a, place in zip(values, places, strict=True)]
    got = jax.jit(losses)(*there)
    assert_close(got, losses(*values))
    assert got[0].sharding.spec == P("data", None, None)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_hard_negatives(axis):
    w, x, y = arrays()
    logits, labels = x @ w, (y[:, None] == jnp.arange(C, dtype=y.dtype)).astype(jnp.float64)
    loss = jax.value_and_grad(partial(hard_negative_loss, axis=axis))
    for kind in (AxisType.Explicit, AxisType.Auto):
        there = split(make_mesh(kind), logits, labels)
        assert_close(jax.jit(loss)(*there), loss(logits, labels))
        assert len(collectives(loss, *there)) <= 4


@pytest.mark.parametrize("name", ["average_precision", "recall_at_quantile"])
def test_metrics(name):
    options = {"quantile": 0.2} if name == "recall_at_quantile" else {}
    metric = partial(getattr(metrics, name), **options)
    w, x, y = arrays()
    values = (x @ w, y, x[:, 0] ** 2)

    def of_classes(logits, y, weights):
        return metrics.of_classes(metric, logits, y, weights=weights)

    def of_row(logits, y, weights):
        return metric(logits[:, 0], y == 0, weights=weights)

    for kind in (AxisType.Explicit, AxisType.Auto):
        mesh = make_mesh(kind)
        there = split(mesh, *values)
        with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):  # before jax 0.7.2
            assert_close((of_classes(*there), of_row(*there)), (of_classes(*values), of_row(*values)))
        for function in (of_classes, of_row):
            assert_close(jax.jit(function)(*there), function(*values))
        assert len(collectives(of_classes, *there)) <= 3

"""A mesh of devices against one device: every loss, every way to map, on virtual CPU devices."""

import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from losses import POINTWISE, RANKING, STEPS

from imbalanced_core.pool.step import PooledResult
from imbalanced_jax import (
    _versions,
    distributed,
    hard_negative_loss,
    ndcg_loss,
    presets,
    softmax_focal_loss,
)
from imbalanced_jax.class_parallel import queue_specs
from imbalanced_jax.pooled import init_queue
from imbalanced_jax.ranking import smooth_ap_loss

C, FEATURES, ROWS, QUEUE = 3, 5, 4, 14  # ROWS is per device
PADDED = {"equal": lambda n: n % 1 > 0, "unequal": lambda n: n % 3 == 2, "one empty": lambda n: n // ROWS == 1}
DEVICES = {2: "d", 3: "d", 4: ("a", "b")}  # number of devices: axis names
WAYS = [
    *((devices, "shard_map") for devices in DEVICES),
    (4, "shard_map, check_vma=False"),
    (2, "gradient outside of shard_map"),
    (4, "vmap"),
    (3, "pmap"),
]


def axes(devices):
    names = DEVICES[devices]
    return names, ((2, 2) if isinstance(names, tuple) else (devices,))


def make_mesh(devices, **options):
    names, shape = axes(devices)
    return jax.sharding.Mesh(np.array(jax.devices()[:devices]).reshape(shape), distributed.axis_names(names), **options)


def make_batch(devices, seed, *, padded="equal", classes=C):
    """The rows of all devices. Padding is ignored and its features are NaN, so that reading them is noticed."""
    rng = np.random.default_rng(zlib.crc32(f"{devices} {seed}".encode()))
    n = devices * ROWS
    is_padding = PADDED[padded](np.arange(n))
    batch = {
        "features": np.where(is_padding[:, None], np.nan, rng.standard_normal((n, FEATURES))),
        "ids": np.where(is_padding, -100, rng.integers(0, max(classes, 2), n)).astype(np.int32),
        "labels": np.where(is_padding[:, None], -100, rng.integers(0, 2, (n, classes))).astype(np.int32),
        "sample_weight": rng.random(n),
        "iid_mask": rng.random(n) < 0.8,
    }
    return jax.tree.map(jnp.asarray, batch)


def parameters(classes=C):
    return jnp.asarray(np.random.default_rng(7).standard_normal((FEATURES, classes)))


def logits_of(w, features):
    padding = jnp.isnan(features[:, :1])  # otherwise 0 · NaN would reach the gradient of w in any model
    return jnp.where(padding, jnp.nan, jnp.where(padding, 0.0, features) @ w)


def value_and_grad(loss_fn, names=None):
    """`loss_fn(w, batch, queue, axis_name) -> (loss, aux)` as `step(w, batch, queue) -> (loss, gradient, aux)`."""

    def total(w, batch, queue):
        losses, aux = loss_fn(w, batch, queue, names)
        # one number in which every reduction has its own weight
        return jnp.nansum(losses * jnp.linspace(0.3, 1.0, losses.size)), (losses, aux)

    def step(w, batch, queue):
        (_, (loss, aux)), grad = jax.value_and_grad(total, has_aux=True)(w, batch, queue)
        return loss, grad if names is None else lax.pmean(grad, names), aux

    return step


def on_devices(way, devices, loss_fns, out_specs=None, queue_spec=None):
    """Compiles all losses `{name: loss_fn}` as one `step(w, batch, queues) -> {name: (loss, gradient, aux)}`."""
    names, shape = axes(devices)
    queue_spec = P() if queue_spec is None else queue_spec
    specs = {"mesh": make_mesh(devices), "in_specs": (P(), P(names), queue_spec)}

    def step(w, batch, queues):
        return {name: value_and_grad(fn, names)(w, batch, queues[name]) for name, fn in loss_fns.items()}

    def outside(w, batch, queues):
        def one(name, loss_fn):
            values = partial(loss_fn, axis_name=names)
            mapped = jax.shard_map(values, **specs, out_specs=P())
            return value_and_grad(lambda w, batch, queue, _: mapped(w, batch, queue))(w, batch, queues[name])

        return {name: one(name, loss_fn) for name, loss_fn in loss_fns.items()}

    def split(tree, shape):
        return jax.tree.map(lambda array: array.reshape(*shape, ROWS, *array.shape[1:]), tree)

    def first(results):
        for array in jax.tree.leaves(results):
            np.testing.assert_array_equal(array, np.broadcast_to(array[:1], array.shape))  # equal on all devices
        return jax.tree.map(lambda array: array[0], results)

    if way.startswith("shard_map"):
        return jax.jit(jax.shard_map(step, **specs, out_specs=out_specs or P(), check_vma="False" not in way))
    if way == "gradient outside of shard_map":
        return jax.jit(outside)
    if way == "pmap":
        mapped = jax.pmap(step, axis_name="d", in_axes=(None, 0, None), devices=jax.devices()[:devices])
        return lambda w, batch, queues: first(mapped(w, split(batch, (devices,)), queues))
    mapped = step
    for name in reversed(distributed.axis_names(names)):
        mapped = jax.vmap(mapped, axis_name=name, in_axes=(None, 0, None))
    mapped = jax.jit(mapped)

    def vmapped(w, batch, queues):
        results = mapped(w, split(batch, shape), queues)
        return first(jax.tree.map(lambda array: array.reshape(devices, *array.shape[len(shape) :]), results))

    return vmapped


def on_one_device(loss_fns):
    return jax.jit(
        lambda w, batch, queues: {name: value_and_grad(fn)(w, batch, queues[name]) for name, fn in loss_fns.items()}
    )


def assert_same(got, expected):
    """Compares the value, gradient and aux of each loss."""
    assert max(np.abs(grad).max() for _, grad, _ in expected.values()) > 1e-6  # otherwise nothing is tested
    for name, (loss, grad, _) in expected.items():
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12, err_msg=name), got[name], expected[name]
        )
        assert np.isfinite(grad).all(), (name, loss)


def pointwise_loss_fn(case, reductions=None):
    def loss_fn(w, batch, queue, axis_name):
        targets = batch["labels" if case.has_label_of_each else "ids"]
        loss = case.in_jax(axis_name=axis_name)
        losses = [
            loss(logits_of(w, batch["features"]), targets, reduction=reduction, sample_weight=weights)
            for reduction in reductions or case.reductions
            for weights in (None, batch["sample_weight"])
        ]
        return jnp.stack(losses), ()

    return loss_fn


def pointwise_loss_fns(cases=POINTWISE, reductions=("mean",)):
    return {case.name: pointwise_loss_fn(case, reductions) for case in cases}


ONE_OF_EACH_KIND = list({case.kind: case for case in POINTWISE}.values())


@pytest.mark.parametrize(("devices", "way"), WAYS)
def test_pointwise_losses(devices, way):
    # losses precede the collectives and reductions follow them, so one way of mapping tests them all
    is_first = (devices, way) == WAYS[0]
    loss_fns = pointwise_loss_fns(reductions=None) if is_first else pointwise_loss_fns(ONE_OF_EACH_KIND)
    none = dict.fromkeys(loss_fns)
    step, expected_step = on_devices(way, devices, loss_fns), on_one_device(loss_fns)
    for padded in PADDED:
        batch = make_batch(devices, 0, padded=padded)
        assert_same(step(parameters(), batch, none), expected_step(parameters(), batch, none))


REDUCTIONS = ("mean", "sum", "none")


def ranking_loss_fn(case, reductions=("mean",), **options):
    """A function that returns some reductions of a ranking loss, and its aux."""
    loss = case.in_jax()

    def loss_fn(w, batch, queue, axis_name):
        logits = logits_of(w, batch["features"])
        targets = batch["labels" if options.get("multilabel") else "ids"]
        rest = {name: batch[name] for name in ("sample_weight", "iid_mask")} | options
        rest["class_parallel"] = options.get("class_parallel", False) and axis_name is not None
        results = [
            loss(logits, targets, queue, reduction=reduction, axis_name=axis_name, **rest) for reduction in reductions
        ]
        return jnp.concatenate([jnp.ravel(loss) for loss, _ in results]), results[0][1]

    return loss_fn


def ranking_loss_fns(cases=RANKING, **options):
    return {case.name: ranking_loss_fn(case, **options) for case in cases}


@pytest.mark.parametrize(("devices", "way"), WAYS)
def test_ranking_losses_over_five_steps_of_a_queue(devices, way):
    """All losses where a step is mapped as documented; elsewhere the first only, since the collectives are the same."""
    is_usual = way == "shard_map"
    # the reductions follow the collectives, so one way of mapping tests them all
    loss_fns = ranking_loss_fns((RANKING if devices == 2 else STEPS) if is_usual else RANKING[:1])
    loss_fns |= ranking_loss_fns(RANKING[:1], reductions=REDUCTIONS) if is_usual and devices == 2 else {}
    step, expected_step = on_devices(way, devices, loss_fns), on_one_device(loss_fns)
    for padded in PADDED:
        queues = expected_queues = dict.fromkeys(loss_fns, init_queue(QUEUE, C, dtype=jnp.float64))
        for seed in range(5):
            batch = make_batch(devices, seed, padded=padded)
            got, expected = step(parameters(), batch, queues), expected_step(parameters(), batch, expected_queues)
            assert_same(got, expected)
            queues, expected_queues = (queues_of(results) for results in (got, expected))


@pytest.mark.parametrize(("classes", "options"), [(C, {"multilabel": True}), (1, {}), (C, {"max_pool_size": 7})])
def test_ranking_losses_of_other_kinds(classes, options):
    """Without a queue: multi-label, binary, and with the pool subsampled to the same rows on every device."""
    if "max_pool_size" in options:
        options = {**options, "key": jax.random.key(3)}
    loss_fns = ranking_loss_fns(RANKING[:1], **options)
    step, expected_step = on_devices("shard_map", 3, loss_fns), on_one_device(loss_fns)
    for padded in PADDED:
        batch, w = make_batch(3, 1, padded=padded, classes=classes), parameters(classes)
        none = dict.fromkeys(loss_fns)
        assert_same(step(w, batch, none), expected_step(w, batch, none))


@pytest.mark.parametrize(
    ("devices", "way", "classes", "multilabel"),
    [
        (2, "shard_map", 3, False),
        (3, "shard_map", 7, False),
        (4, "shard_map", 3, True),
        (4, "shard_map, check_vma=False", 7, False),
        (3, "shard_map", 1, False),
    ],
)
def test_class_parallel_over_five_steps_of_a_queue(devices, way, classes, multilabel):
    names, _ = axes(devices)
    options = {"multilabel": multilabel}
    options["reductions"] = REDUCTIONS if devices == 2 else ("mean",)
    loss_fns = ranking_loss_fns(STEPS if devices == 2 else STEPS[:1], class_parallel=True, **options)
    aux_specs = PooledResult(queue_specs(names), P(), P(), P())
    specs = dict.fromkeys(loss_fns, (P(), P(), aux_specs))
    queue_spec = dict.fromkeys(loss_fns, queue_specs(names))
    step, expected_step = on_devices(way, devices, loss_fns, specs, queue_spec), on_one_device(loss_fns)
    padded_classes = -(-classes // devices) * devices
    for padded in PADDED:
        queue = init_queue(QUEUE, padded_classes, multilabel=True, dtype=jnp.float64)
        queues = dict.fromkeys(loss_fns, queue)
        expected_queue = init_queue(QUEUE, classes, multilabel=multilabel, dtype=jnp.float64)
        expected_queues = dict.fromkeys(loss_fns, expected_queue)
        for seed in range(5):
            batch, w = make_batch(devices, seed, padded=padded, classes=classes), parameters(classes)
            got, expected = step(w, batch, queues), expected_step(w, batch, expected_queues)
            queues, expected_queues = (queues_of(results) for results in (got, expected))
            assert_same(without_queue(got), without_queue(expected))
            for name in loss_fns:
                held, wanted = queues[name], expected_queues[name]
                is_held = np.asarray(wanted.targets >= 0).reshape(QUEUE, -1)
                rows = is_held.any(axis=1)
                np.testing.assert_allclose(held.logits[:, :classes][rows], wanted.logits[rows], rtol=0, atol=1e-12)
                np.testing.assert_array_equal(held.weights, wanted.weights)


def queues_of(results):
    # on the host, since arrays on other devices than in the first step would cause a recompilation
    return {name: jax.tree.map(np.asarray, aux.queue) for name, (_, _, aux) in results.items()}


def without_queue(results):
    return {name: (loss, grad, aux[1:]) for name, (loss, grad, aux) in results.items()}


@pytest.mark.parametrize("devices", [4])
def test_jit_over_sharded_arrays_needs_nothing(devices):
    names, _ = axes(devices)
    loss_fns = ranking_loss_fns(RANKING[:1]) | pointwise_loss_fns(ONE_OF_EACH_KIND)
    queues = {name: init_queue(QUEUE, C, dtype=jnp.float64) if name == RANKING[0].name else None for name in loss_fns}
    step = on_one_device(loss_fns)
    batch = make_batch(devices, 0, padded="unequal")
    sharded = jax.device_put(batch, NamedSharding(make_mesh(devices), P(names)))
    assert_same(step(parameters(), sharded, queues), step(parameters(), batch, queues))


def test_explicit_sharding_mesh():
    """On an explicit mesh the losses reshard by themselves, inside and outside `jit`."""
    mesh = make_mesh(2, axis_types=(AxisType.Explicit,))
    loss_fns = ranking_loss_fns(RANKING[:1]) | pointwise_loss_fns()
    queues = {name: init_queue(QUEUE, C, dtype=jnp.float64) if name == RANKING[0].name else None for name in loss_fns}
    batch = make_batch(2, 0, padded="unequal")
    expected = on_one_device(loss_fns)(parameters(), batch, queues)
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):  # before jax 0.7.2
        sharded = jax.tree.map(lambda array: jax.device_put(array, NamedSharding(mesh, P("d"))), batch)
        w, replicated_queues = jax.device_put((parameters(), queues), NamedSharding(mesh, P()))
        got = on_one_device(loss_fns)(w, sharded, replicated_queues)
        loss, aux = smooth_ap_loss(sharded["features"], sharded["ids"] + 0, temperature=0.3)
    assert_same(got, expected)
    np.testing.assert_allclose(loss, smooth_ap_loss(batch["features"], batch["ids"], temperature=0.3)[0])
    assert aux.valid.shape == (FEATURES,)


def test_explicit_sharding_needs_no_mesh_context():
    """Inside `jit` each array carries its mesh."""
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    batch = make_batch(2, 0)
    sharded = jax.tree.map(lambda array: jax.device_put(array, NamedSharding(mesh, P("d"))), batch)
    queue = init_queue(QUEUE, C, dtype=jnp.float64)
    for case in STEPS:
        step = jax.jit(jax.value_and_grad(case.value_in_jax(queue)))
        got = step(sharded["features"][:, :C], sharded["ids"])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15),
            got,
            step(batch["features"][:, :C], batch["ids"]),
        )
        assert got[1].sharding.spec[0] == "d"


def test_gathered_rows_are_in_device_order():
    names, _ = axes(4)
    x = jnp.arange(12.0)[:, None]
    gather = jax.shard_map(
        lambda x: distributed.gather_rows(x, names), mesh=make_mesh(4), in_specs=P(names), out_specs=P()
    )
    np.testing.assert_array_equal(gather(x), x)
    assert distributed.gather_rows(x, None) is x


def test_class_parallel_needs_an_axis():
    x, y = jnp.zeros((4, 3)), jnp.zeros(4, int)
    with pytest.raises(ValueError, match="axis_name must be given with class_parallel=True, got None"):
        smooth_ap_loss(x, y, class_parallel=True)
    with pytest.raises(ValueError, match="max_pool_size must be None with class_parallel=True, got 5"):
        jax.vmap(lambda x: smooth_ap_loss(x, y, class_parallel=True, axis_name="d", max_pool_size=5), axis_name="d")(
            x[None]
        )
    with pytest.raises(NameError, match="unbound axis name"):
        smooth_ap_loss(x, y, axis_name="d")


def test_class_parallel_moves_and_holds_less():
    """The compiled program holds the logits of all classes with a gather, but never if class-parallel."""
    devices, classes = 4, 8
    n = devices * ROWS

    def program(class_parallel):
        def loss_fn(logits, targets):
            return smooth_ap_loss(logits, targets, axis_name=("a", "b"), class_parallel=class_parallel)[0]

        specs = {"mesh": make_mesh(devices), "in_specs": P(("a", "b")), "out_specs": P()}
        arrays = jnp.zeros((n, classes)), jnp.zeros(n, int)
        return jax.jit(jax.shard_map(loss_fn, **specs)).lower(*arrays).compile().as_text()

    gathered, divided = f"[{n},{classes}]", "all-to-all"
    assert gathered in program(False)
    assert divided not in program(False)
    assert gathered not in program(True)
    assert divided in program(True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32", "bool"])
def test_values_equal_on_every_device_keep_their_bits(dtype):
    values = jnp.asarray([np.nan, -0.0, np.inf, -np.inf, -2.5, 1.0]).astype(dtype)
    names, _ = axes(4)

    def returned_by_all(array):
        return distributed.invariant(_versions.mark_varying(array, names), names)

    result = jax.jit(jax.shard_map(returned_by_all, mesh=make_mesh(4), in_specs=P(), out_specs=P()))(values)
    assert result.dtype == values.dtype
    assert np.asarray(result).tobytes() == np.asarray(values).tobytes()


# ----------------------------------------------------------------------------------------------- what callers get wrong


def on_four(function, *in_specs, **options):
    specs = {"mesh": make_mesh(4), "in_specs": in_specs, "out_specs": P()}
    return jax.jit(jax.shard_map(function, **specs, **options))


NAMES = ("a", "b")
SCORES, IDS = np.linspace(-1.0, 1.0, 4 * ROWS * C).reshape(-1, C), np.arange(4 * ROWS) % C


def test_a_queue_or_gate_that_differs_between_devices_is_refused():
    def of_queue(logits, y, queue):
        return smooth_ap_loss(logits, y, queue, axis_name=NAMES)[0]

    def of_state(logits, y, state):
        return presets.smooth_ap(logits, y, state, axis_name=NAMES)[0]

    message = "{} must be the same on every device, by in_specs=P.. in shard_map, got one that varies along '{}'"
    rows, queue = (P(NAMES), P(NAMES)), init_queue(16, C, dtype=jnp.float64)
    for spec, axis in ((P(NAMES), "a"), (P("b"), "b")):
        with pytest.raises(ValueError, match=message.format("queue", axis)):
            on_four(of_queue, *rows, spec)(SCORES, IDS, queue)
    state, specs = presets.init_state(2, queue_size=0), presets.PresetState(P(), P("a"))
    state = state._replace(gate=jax.tree.map(lambda array: jnp.tile(array, 2), state.gate))
    with pytest.raises(ValueError, match=message.format("gate", "a")):
        on_four(of_state, *rows, specs)(SCORES[:, :2], IDS % 2, state)
    on_four(of_queue, *rows, P(NAMES), check_vma=False)(SCORES, IDS, queue)  # types are unknown


def test_a_queue_without_the_classes_of_the_device_is_refused():
    def loss(logits, y, queue):
        return smooth_ap_loss(logits, y, queue, axis_name=NAMES, class_parallel=True)[0]

    message = r"queue must be init_queue\(size, 4, multilabel=True\) split by in_specs=queue_specs\(axis_name\)"
    for queue in (init_queue(16, C), init_queue(16, 4, multilabel=True)):
        with pytest.raises(ValueError, match=message):
            on_four(loss, P(NAMES), P(NAMES), P())(SCORES, IDS, queue)


def test_presets_are_not_class_parallel():
    state = presets.init_state(C)
    with pytest.raises(ValueError, match="class_parallel must be False in a preset: smooth_ap_loss and"):
        presets.smooth_ap(SCORES, IDS, state, class_parallel=True, axis_name="d")


def test_axis_names_as_a_list_or_not_mapped():
    labels = (IDS[:, None] == np.arange(C)).astype(np.float64)
    for loss, targets in ((softmax_focal_loss, IDS), (hard_negative_loss, labels), (ndcg_loss, labels)):
        mapped = on_four(partial(loss, axis_name=list(NAMES)), P(NAMES), P(NAMES))
        np.testing.assert_allclose(mapped(SCORES, targets), loss(SCORES, targets), rtol=1e-12)
        with pytest.raises(
            NameError, match=r"unbound axis name.* only inside shard_map, vmap or pmap; under plain jit"
        ):
            jax.jit(partial(loss, axis_name="d"))(SCORES, targets)


@pytest.mark.parametrize(("is_varying", "average"), [(False, None), (False, lax.pmean), (True, lax.psum)])
def test_gradients_of_parameters_that_vary(is_varying, average):
    """The loss is that of all rows: the devices' gradients of their own parameters add up to it."""
    w, x = parameters(), np.linspace(-1.0, 1.0, 4 * ROWS * FEATURES).reshape(-1, FEATURES) ** 3
    y = IDS.astype(np.int32)
    for loss in (softmax_focal_loss, lambda *a, **o: smooth_ap_loss(*a, temperature=1.0, **o)[0]):

        def gradient(w, x, y, loss=loss):
            w = _versions.mark_varying(w, NAMES) if is_varying else w
            found = jax.grad(lambda w: loss(x @ w, y, axis_name=NAMES))(w)
            return found if average is None else average(found, NAMES)

        found = on_four(gradient, P(), P(NAMES), P(NAMES))(w, x, y)
        np.testing.assert_allclose(found, jax.grad(lambda w, loss=loss: loss(x @ w, y))(w), rtol=1e-10, atol=1e-14)

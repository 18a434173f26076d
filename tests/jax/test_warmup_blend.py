"""The stateless schedule, with the real ranking loss, in jitted optax train steps."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from jax import lax
from jax.sharding import PartitionSpec

from imbalanced_jax import presets
from imbalanced_jax._versions import mark_varying
from imbalanced_jax.pooled import init_queue
from imbalanced_jax.ranking import smooth_ap_loss
from imbalanced_jax.warmup import blend_schedule, temperature_schedule, warmup_blend

PLAN = {"warmup_steps": 4, "blend_steps": 3}
DECAY = {"temp_start": 0.5, "temp_end": 0.05, "temp_decay_steps": 6}
STEPS = 16


def batch(step, rows=8):
    rng = np.random.default_rng(step)
    inputs = rng.normal(size=(rows, 5)).astype(np.float32)
    targets = (inputs[:, 0] > 0.4).astype(np.int32)
    targets[0] = 1
    return jnp.asarray(inputs), jnp.asarray(targets)


def bce(logits, targets):
    return optax.sigmoid_binary_cross_entropy(logits[:, 0], targets.astype(logits.dtype)).mean()


def initial_parameters():
    return {"w": jnp.linspace(-0.5, 0.5, 5, dtype=jnp.float32)[:, None], "b": jnp.zeros(1, jnp.float32)}


def model(parameters, inputs):
    return inputs @ parameters["w"] + parameters["b"]


def loss_fn(parameters, step, queue, inputs, targets):
    logits = model(parameters, inputs)
    return warmup_blend(
        step,
        lambda: bce(logits, targets),
        lambda queue, temperature: smooth_ap_loss(logits, targets, queue, temperature=temperature),
        queue,
        **PLAN,
        **DECAY,
    )


OPTIMIZER = optax.sgd(0.5, momentum=0.9)


@functools.cache
def make_train_step(optimizer=OPTIMIZER):
    @jax.jit
    def train_step(state, inputs, targets):
        parameters, opt_state, step, queue = state
        value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, aux), gradients = value_and_grad(parameters, step, queue, inputs, targets)
        updates, opt_state = optimizer.update(gradients, opt_state, parameters)
        return (optax.apply_updates(parameters, updates), opt_state, step + 1, aux.queue), (loss, aux)

    return train_step


def initial_state():
    parameters = initial_parameters()
    return parameters, OPTIMIZER.init(parameters), jnp.zeros((), jnp.int32), init_queue(12, 1)


@functools.cache
def unbroken_run():
    return train(make_train_step(), initial_state(), 0, STEPS)[1]


def train(train_step, state, start, stop):
    losses = []
    for step in range(start, stop):
        state, (loss, _) = train_step(state, *batch(step))
        losses.append(np.asarray(loss))
    return state, losses


# ----------------------------------------------------------------------------------------------------------- schedules


def test_schedules_are_the_definition_for_numbers_arrays_and_under_jit():
    weight_at, temperature_at = blend_schedule(3, 4, 0.75), temperature_schedule(0.5, 0.01, 7, 3)
    for step in range(16):
        weight = reference.blend_weight(step, 3, 4, 0.75)
        temperature = reference.geometric_decay(step - 3, 0.5, 0.01, 7)
        assert weight_at(step) == pytest.approx(weight, rel=1e-15)
        assert temperature_at(step) == pytest.approx(temperature, rel=1e-14)
        assert type(weight_at(step)) is type(temperature_at(step)) is float
        count = jnp.asarray(step, jnp.int32)
        for transform in (jax.jit, lambda function: function):
            assert float(transform(weight_at)(count)) == pytest.approx(weight, rel=1e-12)
            assert float(transform(temperature_at)(count)) == pytest.approx(temperature, rel=1e-12)


def test_schedules_take_whole_arrays_of_steps():
    weights = jax.vmap(blend_schedule(2, 2))(jnp.arange(6, dtype=jnp.int32))
    np.testing.assert_allclose(weights, [0, 0, 1 / 3, 2 / 3, 1, 1], rtol=1e-12)


def test_defaults():
    assert [blend_schedule(2)(step) for step in (1, 2)] == [0.0, 1.0]
    assert temperature_schedule(0.1, 0.01, 1)(0) == 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: blend_schedule(-1), "warmup_steps must be an integer >= 0, got -1"),
        (lambda: blend_schedule(1.0), r"warmup_steps must be an integer >= 0, got 1\.0"),
        (lambda: blend_schedule(1, -1), "blend_steps must be an integer >= 0, got -1"),
        (lambda: blend_schedule(1, 1, 0.0), r"final_main_weight must be a Python number in \(0, 1\], got 0\.0"),
        (lambda: blend_schedule(1, 1, 1.5), r"final_main_weight must be a Python number in \(0, 1\], got 1\.5"),
        (lambda: temperature_schedule(0.0, 0.1, 1), "temp_start must be a finite number > 0"),
        (lambda: temperature_schedule(0.1, math.nan, 1), "temp_end must be a finite number > 0"),
        (lambda: temperature_schedule(0.1, 0.01, 0), "temp_decay_steps must be an integer >= 1, got 0"),
        (lambda: temperature_schedule(0.1, 0.01, 1, -1), "warmup_steps must be an integer >= 0, got -1"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unsigned_steps_are_refused():
    with pytest.raises(TypeError, match="a step must be a signed integer"):
        temperature_schedule(0.1, 0.01, 10, 5)(jnp.asarray(0, jnp.uint32))


# -------------------------------------------------------------------------------------------------------- warmup_blend


def test_every_step_is_the_formula():
    def expected(parameters, w, temperature, queue, inputs, targets):
        logits = model(parameters, inputs)
        main, aux = smooth_ap_loss(logits, targets, queue, temperature=temperature)
        return (1 - w) * bce(logits, targets) + w * main, aux

    reference_fn = jax.jit(jax.value_and_grad(expected, has_aux=True))
    parameters, queue = initial_parameters(), init_queue(12, 1)
    step_fn = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    for step in range(STEPS):
        inputs, targets = batch(step)
        w = np.float32(reference.blend_weight(step, 4, 3, 1.0))
        temperature = np.float32(reference.geometric_decay(step - 4, 0.5, 0.05, 6))
        (loss, aux), gradients = step_fn(parameters, jnp.asarray(step, jnp.int32), queue, inputs, targets)
        (expected_loss, expected_aux), expected_gradients = reference_fn(
            parameters, w, temperature, queue, inputs, targets
        )
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), gradients, expected_gradients)
        if w == 0:
            jax.tree.map(np.testing.assert_array_equal, aux.queue, queue)
            assert np.isnan(aux.per_class).all()
            assert not aux.valid.any()
            assert all(np.isnan(figure).all() for figure in aux.diagnostics if figure is not None)
        else:
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), aux, expected_aux)
        queue = aux.queue


def test_the_queue_is_untouched_in_warmup_and_emptied_at_the_switch():
    inputs, targets = batch(0)
    parameters, step_fn = initial_parameters(), jax.jit(loss_fn)
    filled = smooth_ap_loss(model(parameters, inputs), targets, init_queue(12, 1))[1].queue
    for step in range(4):
        jax.tree.map(np.testing.assert_array_equal, step_fn(parameters, step, filled, inputs, targets)[1].queue, filled)
    old, clean = (step_fn(parameters, 4, queue, *batch(1)) for queue in (filled, init_queue(12, 1)))
    jax.tree.map(np.testing.assert_array_equal, old, clean)
    later = step_fn(parameters, 5, filled, *batch(1))[1].queue
    np.testing.assert_array_equal(later.logits[:4], filled.logits[8:])


def test_emptied_slots_are_no_class_whatever_the_ignore_index():
    inputs, targets = batch(0)
    logits = model(initial_parameters(), inputs)
    filled = smooth_ap_loss(logits, targets, init_queue(12, 1))[1].queue

    def main_fn(queue, temperature):
        return smooth_ap_loss(logits, targets, queue, temperature=temperature, ignore_index=7)

    loss, aux = warmup_blend(2, lambda: bce(logits, targets), main_fn, filled, warmup_steps=2)
    np.testing.assert_array_equal(aux.queue.targets[:4], -1)
    np.testing.assert_array_equal(aux.queue.targets[4:], targets)
    np.testing.assert_allclose(loss, smooth_ap_loss(logits, targets, temperature=0.05)[0], rtol=1e-6)


def test_default_temperatures_are_those_of_torch():
    def at(step, **options):
        def main_fn(_, temperature):
            return temperature, {}

        return warmup_blend(step, lambda: jnp.zeros(()), main_fn, warmup_steps=1, temp_decay_steps=2, **options)[0]

    expected = [0.0, 0.05, math.sqrt(0.05 * 0.005), 0.005]
    np.testing.assert_allclose([at(step) for step in range(4)], expected, rtol=1e-6)
    np.testing.assert_allclose([at(step, temp_start=0.5) for step in (1, 3)], [0.5, 0.005], rtol=1e-6)


def counting(counts, name, function):
    def counted(*arguments):
        jax.debug.callback(lambda: counts.__setitem__(name, counts.get(name, 0) + 1))
        return function(*arguments)

    return counted


@pytest.mark.parametrize(("step", "expected"), [(0, {"warmup"}), (4, {"warmup", "main"}), (9, {"main"})])
def test_a_loss_that_does_not_count_is_not_computed(step, expected):
    counts = {}
    inputs, targets = batch(0)

    @jax.jit
    def run(step, queue):
        logits = model(initial_parameters(), inputs)
        warmup = counting(counts, "warmup", lambda: bce(logits, targets))
        main = counting(counts, "main", lambda queue, tau: smooth_ap_loss(logits, targets, queue, temperature=tau))
        return warmup_blend(step, warmup, main, queue, **PLAN, **DECAY)

    jax.block_until_ready(run(jnp.asarray(step, jnp.int32), init_queue(4, 1)))
    jax.effects_barrier()
    assert counts.keys() == expected


def test_main_losses_without_a_queue_or_with_their_own_aux():
    class Aux(NamedTuple):
        count: jax.Array
        notes: dict

    def main_fn(queue, temperature):
        return temperature * jnp.float64(2), Aux(jnp.int32(3), {"flag": jnp.asarray(True), "x": jnp.ones(2)})

    def run(step):
        return warmup_blend(step, lambda: jnp.float64(1), main_fn, warmup_steps=1, **DECAY)

    loss, aux = jax.jit(run)(0)
    assert (loss, aux.count, aux.notes["flag"]) == (1, 0, False)
    assert jnp.isnan(aux.notes["x"]).all()
    loss, aux = jax.jit(run)(1)
    assert (loss, aux.count, aux.notes["flag"]) == (1, 3, True)

    logits, targets = model(initial_parameters(), batch(0)[0]), batch(0)[1]
    loss, aux = warmup_blend(
        5,
        lambda: bce(logits, targets),
        lambda queue, tau: smooth_ap_loss(logits, targets, queue, temperature=tau),
        warmup_steps=1,
    )
    np.testing.assert_allclose(loss, aux.per_class[0], rtol=1e-6)


def test_a_preset_starts_fresh_at_the_switch():
    """Its state is the first part of its auxiliary output: no rows and an open gate until the switch."""
    logits, targets = model(initial_parameters(), batch(0)[0]), batch(0)[1]
    fresh = state = expected = presets.init_state(1, queue_size=12)

    @jax.jit
    def run(step, state):
        preset = lambda *_: presets.smooth_ap(logits, targets, state)  # noqa: E731
        return warmup_blend(step, lambda: bce(logits, targets), preset, warmup_steps=2)

    for step in range(5):
        loss, (state, _) = run(step, state)
        if step < 2:
            assert float(loss) == pytest.approx(float(bce(logits, targets)), rel=1e-6)
            jax.tree.map(np.testing.assert_array_equal, state, fresh)
        else:
            value, (expected, _) = presets.smooth_ap(logits, targets, expected)
            assert float(loss) == pytest.approx(float(value), rel=1e-5)
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), state, expected)


def test_mistakes_are_named():
    logits, targets = model(initial_parameters(), batch(0)[0]), batch(0)[1]
    queue = init_queue(4, 1)
    preset = lambda state, _: presets.smooth_ap(logits, targets, state)  # noqa: E731
    with pytest.raises(TypeError, match=r"for a preset, whose state main_fn passes itself\), got PresetState"):
        warmup_blend(0, lambda: bce(logits, targets), preset, presets.init_state(1), warmup_steps=1)
    with pytest.raises(
        TypeError, match=r"main_fn must return \(loss, aux\) with the next queue in the field aux\.queue, got tuple"
    ):
        warmup_blend(0, lambda: bce(logits, targets), lambda q, tau: (tau, (q, tau)), queue, warmup_steps=1)
    with pytest.raises(
        ValueError, match=r"the warm-up loss must be of the same shape as the main loss, \(\), got \(8,\)"
    ):
        warmup_blend(
            0,
            lambda: logits[:, 0],
            lambda q, tau: smooth_ap_loss(logits, targets, q, temperature=tau),
            queue,
            warmup_steps=1,
        )


def test_final_weight_and_temperatures_may_be_traced():
    @jax.jit
    def run(final, start):
        return warmup_blend(
            9,
            lambda: jnp.zeros(()),
            lambda _, temperature: (temperature, {}),
            warmup_steps=9,
            final_main_weight=final,
            temp_start=start,
        )[0]

    assert run(jnp.asarray(0.5), jnp.asarray(0.2)) == pytest.approx(0.1)
    assert run(jnp.asarray(1.0), jnp.asarray(0.4)) == pytest.approx(0.4)
    assert run._cache_size() == 1


# ------------------------------------------------------------------------------------------------------- in a training


def test_one_compilation_for_the_whole_schedule_and_the_loss_falls():
    train_step = make_train_step()
    _, losses = train(train_step, initial_state(), 0, 60)
    assert train_step._cache_size() == 1
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[4:9])


@pytest.mark.parametrize("stop", [2, 4, 6, 8, 12], ids=["warm-up", "switch", "blend", "main", "decay"])
@pytest.mark.parametrize("storage", ["leaves", "orbax"])
def test_resume_is_bitwise(stop, storage, tmp_path):
    state, before = train(make_train_step(), initial_state(), 0, stop)
    if storage == "leaves":
        np.savez(tmp_path / "state.npz", *jax.tree.leaves(state))
        with np.load(tmp_path / "state.npz") as file:
            leaves = [jnp.asarray(file[name]) for name in file.files]
        restored = jax.tree.unflatten(jax.tree.structure(initial_state()), leaves)
    else:
        checkpoint = pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
        with checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "state", state)
            checkpointer.wait_until_finished()
            restored = checkpointer.restore(tmp_path / "state", initial_state())
    _, after = train(make_train_step(), restored, stop, STEPS)
    np.testing.assert_array_equal(before + after, unbroken_run())
    assert len({float(loss) for loss in unbroken_run()}) == STEPS


def test_inject_hyperparams_counts_the_steps_and_records_the_schedules():
    """The optimizer's own count drives the loss, and its hyperparameters are those of the step, ready for logging."""

    @optax.inject_hyperparams
    def make_optimizer(learning_rate, main_weight, temperature):
        return optax.sgd(learning_rate)

    optimizer = make_optimizer(0.1, blend_schedule(**PLAN), temperature_schedule(**DECAY, warmup_steps=4))

    @jax.jit
    def train_step(parameters, opt_state, queue, inputs, targets):
        value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, aux), gradients = value_and_grad(parameters, opt_state.count, queue, inputs, targets)
        updates, opt_state = optimizer.update(gradients, opt_state, parameters)
        return optax.apply_updates(parameters, updates), opt_state, aux.queue, loss

    parameters, queue = initial_parameters(), init_queue(12, 1)
    opt_state, evaluate = optimizer.init(parameters), jax.jit(loss_fn)
    for step in range(STEPS):
        expected = evaluate(parameters, step, queue, *batch(step))[0]
        parameters, opt_state, queue, loss = train_step(parameters, opt_state, queue, *batch(step))
        w, tau = reference.blend_weight(step, 4, 3, 1.0), reference.geometric_decay(step - 4, 0.5, 0.05, 6)
        recorded = opt_state.hyperparams
        np.testing.assert_allclose((recorded["main_weight"], recorded["temperature"]), (w, tau), rtol=1e-6)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert train_step._cache_size() == 1


@pytest.mark.parametrize("check_vma", [True, False])
def test_sharded_steps_equal_one_device(check_vma):
    """The warm-up loss is a local mean here, so only one of the branches varies over the mesh."""
    axis = "data"
    mesh = jax.make_mesh((4,), (axis,), axis_types=(jax.sharding.AxisType.Auto,))

    def local_loss(parameters, step, queue, inputs, targets):
        logits = model(parameters, inputs)
        return warmup_blend(
            step,
            lambda: bce(logits, targets),
            lambda queue, tau: smooth_ap_loss(logits, targets, queue, temperature=tau, axis_name=axis),
            queue,
            **PLAN,
            **DECAY,
        )

    def local_step(parameters, step, queue, inputs, targets):
        varying = mark_varying(parameters, (axis,)) if check_vma else parameters
        (loss, aux), gradients = jax.value_and_grad(local_loss, has_aux=True)(varying, step, queue, inputs, targets)
        return lax.pmean(loss, axis), lax.pmean(gradients, axis), aux.queue

    rows, everywhere = PartitionSpec(axis), PartitionSpec()
    sharded = jax.jit(
        jax.shard_map(
            local_step,
            mesh=mesh,
            in_specs=(everywhere, everywhere, everywhere, rows, rows),
            out_specs=everywhere,
            check_vma=check_vma,
        )
    )
    parameters, queue = initial_parameters(), init_queue(12, 1)
    value_and_grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    for step in (0, 3, 4, 5, 12):
        inputs, targets = batch(step)
        loss, gradients, new_queue = sharded(parameters, step, queue, inputs, targets)
        (one_loss, one_aux), one_gradients = value_and_grad(parameters, jnp.asarray(step), queue, inputs, targets)
        np.testing.assert_allclose(loss, one_loss, rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), gradients, one_gradients)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), new_queue, one_aux.queue)
        queue = new_queue

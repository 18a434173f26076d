"""The Flax NNX modules: the pure functions plus state, under the transformations and checkpoints of Flax."""

import inspect
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import nnx
from losses import POINTWISE as TABLE
from losses import every_ranking

import imbalanced_jax
from imbalanced_jax import (
    init_gate,
    init_queue,
    pauc_at_budget_loss,
    recall_at_quantile_loss,
    sigmoid_focal_loss,
    smooth_ap_loss,
    softmax_focal_loss,
    symmetric_cross_entropy_loss,
    warmup_blend,
)
from imbalanced_jax.nnx import (
    LossState,
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
    SymmetricCrossEntropyLoss,
)

CLASSES, ROWS, QUEUE, INPUTS = 3, 12, 20, 5
SCHEDULE = {"warmup_steps": 3, "blend_steps": 2, "temp_start": 0.5, "temp_end": 0.05, "temp_decay_steps": 4}
RANKING = {
    "smooth_ap": (SmoothAPLoss, smooth_ap_loss, {"temperature_scale": "std", "pos_numerator": "live"}),
    "recall": (RecallAtQuantileLoss, recall_at_quantile_loss, {"quantile": 0.3, "quantile_interpolation": "linear"}),
    "pauc": (PAUCAtBudgetLoss, pauc_at_budget_loss, {"beta": 0.4, "surrogate": "pairwise", "tau_scale": "std"}),
}
OPTIMIZER = optax.sgd(0.3, momentum=0.9)  # shared, because NNX recompiles for another optimizer


def batch(seed, classes=CLASSES):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, INPUTS)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.integers(0, max(2, classes), ROWS), jnp.int32)


def network(classes=CLASSES):
    return nnx.Linear(INPUTS, classes, rngs=nnx.Rngs(0))


def objective(model, loss_fn, x, y):
    return loss_fn(model(x), y)


@nnx.jit
def train_step(model, loss_fn, optimizer, x, y):
    loss, gradients = nnx.value_and_grad(objective)(model, loss_fn, x, y)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def evaluate(loss_fn, *arguments, **weights):
    return loss_fn(*arguments, **weights)


def blended():
    """A loss with a warm-up; always with the same options, so that tests share compiled code."""
    return LossWarmupWrapper(SoftmaxFocalLoss(gamma=0.0), SmoothAPLoss(CLASSES, QUEUE), **SCHEDULE)


def make_run(loss_fn, classes=CLASSES):
    model = network(classes)
    return model, loss_fn, nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)


def pure_run(function, steps, *, classes=CLASSES):
    """The same training with functions only: losses, parameters and queue after every step."""
    kernel, bias = network(classes).kernel[...], network(classes).bias[...]
    parameters, queue = (kernel, bias), init_queue(QUEUE, classes)
    state = OPTIMIZER.init(parameters)

    @jax.jit
    def step_fn(parameters, state, queue, step, x, y):
        def loss_fn(parameters):
            return function(x @ parameters[0] + parameters[1], y, queue, step)

        (loss, aux), gradients = jax.value_and_grad(loss_fn, has_aux=True)(parameters)
        updates, state = OPTIMIZER.update(gradients, state)
        return loss, optax.apply_updates(parameters, updates), state, aux.queue

    for step in range(steps):
        loss, parameters, state, queue = step_fn(parameters, state, queue, step, *batch(step, classes))
        yield loss, parameters, queue


def same_arrays(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def state_of(*modules):
    """The raw arrays, including keys of random streams, in a comparable form."""
    leaves = jax.tree.leaves(nnx.state(modules))
    return [jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x) for x in leaves]


# ---------------------------------------------------------------------------------------------- equal to the functions


@pytest.mark.parametrize("name", RANKING)
def test_training_is_that_of_the_function(name):
    module, function, options = RANKING[name]
    run = make_run(module(CLASSES, queue_size=QUEUE, temperature=0.2, **options))

    def pure(logits, y, queue, step):
        return function(logits, y, queue, temperature=0.2, **options)

    for step, (loss, (kernel, bias), queue) in enumerate(pure_run(pure, 8)):
        np.testing.assert_allclose(train_step(*run, *batch(step)), loss, rtol=1e-5)
        np.testing.assert_allclose(run[0].kernel[...], kernel, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(run[0].bias[...], bias, rtol=1e-4, atol=1e-6)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), run[1].queue, queue)


@every_ranking
def test_a_step_of_every_loss_is_that_of_its_function(case):
    loss_fn, (logits, targets) = case.in_nnx(CLASSES, queue_size=QUEUE), map(jnp.asarray, case.batch())
    queue = init_queue(QUEUE, CLASSES)
    for _ in range(2):
        expected, aux = case.in_jax()(logits, targets, queue)
        np.testing.assert_array_equal(loss_fn(logits, targets), expected)
        same_arrays(loss_fn.queue, aux.queue)
        queue = aux.queue


def test_warmup_is_that_of_the_function():
    wrapper = blended()
    run = make_run(wrapper)

    def pure(logits, y, queue, step):
        return warmup_blend(
            step,
            lambda: softmax_focal_loss(logits, y, gamma=0.0),
            lambda queue, temperature: smooth_ap_loss(logits, y, queue, temperature=temperature),
            queue,
            **SCHEDULE,
        )

    for step, (loss, (kernel, _), queue) in enumerate(pure_run(pure, 9)):
        assert wrapper.step[...] == step
        np.testing.assert_allclose(train_step(*run, *batch(step)), loss, rtol=1e-5)
        np.testing.assert_allclose(run[0].kernel[...], kernel, rtol=1e-4, atol=1e-6)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), wrapper.main_loss.queue, queue)
        expected = imbalanced_jax.temperature_schedule(0.5, 0.05, 4, 3)(step)
        np.testing.assert_allclose(wrapper.main_loss.temperature[...], expected, rtol=1e-6)


POINTWISE = [
    (SigmoidFocalLoss, sigmoid_focal_loss, {"alpha": 0.6, "gamma": 1.5, "reduction": "mean_positive"}),
    (SoftmaxFocalLoss, softmax_focal_loss, {"alpha": [1.0, 0.5, 2.0], "label_smoothing": 0.1, "ignore_index": 1}),
    (SymmetricCrossEntropyLoss, symmetric_cross_entropy_loss, {"alpha": 0.3, "beta": 2.0, "epsilon": 1e-3}),
    *((case.nnx_class, case.jax_function, case.options) for case in TABLE[3:]),
]


@pytest.mark.parametrize(("module", "function", "options"), POINTWISE, ids=lambda value: getattr(value, "__name__", ""))
def test_pointwise_losses_are_the_functions(module, function, options):
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    takes_labels = "where" in inspect.signature(function).parameters
    targets = jax.nn.one_hot(y, CLASSES) if takes_labels else y
    arrays = {"sample_weight": jnp.linspace(0, 1, ROWS, dtype=jnp.float32)}
    if "where" in inspect.signature(module.__call__).parameters:
        arrays["where"] = jnp.arange(targets.size).reshape(targets.shape) % 4 > 0
    value, gradient = jax.value_and_grad(partial(function, **options, **arrays))(logits, targets)
    loss_fn = partial(module(**options), **arrays)
    result = nnx.value_and_grad(loss_fn)(logits, targets)
    np.testing.assert_allclose(result[0], value, rtol=1e-6)
    np.testing.assert_allclose(result[1], gradient, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(evaluate(module(**options), logits, targets, **arrays), value, rtol=1e-6)


def test_ignored_entries_of_the_sigmoid_loss():
    logits = jnp.asarray([[0.3], [jnp.nan], [-1.0]], jnp.float32)
    targets = jnp.asarray([[1.0], [9.0], [0.0]], jnp.float32)
    expected = sigmoid_focal_loss(logits[::2], targets[::2])
    np.testing.assert_allclose(SigmoidFocalLoss(ignore_index=9)(logits, targets), expected, rtol=1e-6)
    np.testing.assert_allclose(SigmoidFocalLoss()(logits, targets, where=targets != 9), expected, rtol=1e-6)


def test_class_axis():
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((2, CLASSES, 4)), jnp.float32)
    targets = jnp.ones((2, 4), jnp.int32)
    for module in (SoftmaxFocalLoss, SymmetricCrossEntropyLoss):
        expected = module()(jnp.moveaxis(logits, 1, -1), targets)
        np.testing.assert_allclose(module(axis=1)(logits, targets), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("module", "function"),
    [pair[:2] for pair in POINTWISE] + [pair[:2] for pair in RANKING.values()],
)
def test_the_options_are_those_of_the_function(module, function):
    of_function = {n: p.default for n, p in inspect.signature(function).parameters.items()}
    of_module = {n: p.default for n, p in inspect.signature(module.__init__).parameters.items()}
    of_the_call = {
        "scores",
        "relevance",
        "logits",
        "targets",
        "queue",
        "gate",
        "where",
        "sample_weight",
        "iid_mask",
        "key",
        "update_queue",
    }
    missing = of_function.keys() - of_module.keys() - of_the_call - {"class_parallel"}
    assert not missing
    shared = of_function.keys() & of_module.keys()
    assert {name: of_module[name] for name in shared} == {name: of_function[name] for name in shared}


def test_what_is_returned_beside_the_loss():
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    _, aux = pauc_at_budget_loss(logits, y, init_queue(4, CLASSES), beta=0.5)
    module = PAUCAtBudgetLoss(CLASSES, beta=0.5, queue_size=4)
    loss, per_class, valid, stats = module(logits, y, return_per_class=True, return_diagnostics=True)
    same_arrays((per_class, valid, stats), (aux.per_class, aux.valid, aux.diagnostics))
    module.reset_queue()
    assert len(module(logits, y, return_per_class=True)) == 3
    module.reset_queue()
    same_arrays(module(logits, y, None, False, True), (loss, stats))


def test_misspelt_options_are_named():
    for make in (partial(SmoothAPLoss, 3), SoftmaxFocalLoss):
        with pytest.raises(
            TypeError, match=r"Loss got an unexpected keyword argument 'reducton'; did you mean 'reduct"
        ):
            make(reducton="mean")
    with pytest.raises(TypeError, match="missing a required argument: 'num_classes'"):
        SmoothAPLoss(queue_size=3)


@pytest.mark.parametrize("name", ["return_per_class", "return_diagnostics"])
def test_what_is_returned_is_decided_by_flags(name):
    module = SmoothAPLoss(CLASSES, queue_size=8)
    with pytest.raises(ValueError, match=f"^{name} must be True or False, got Queue"):
        module(batch(0)[0][:, :CLASSES], batch(0)[1], **{name: module.queue})


def test_options_may_be_lists_and_numpy_arrays():
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    expected = softmax_focal_loss(logits, y, alpha=[1.0, 0.5, 2.0])
    for alpha in ([1.0, 0.5, 2.0], np.array([1.0, 0.5, 2.0], np.float32), jnp.array([1.0, 0.5, 2.0], jnp.float32)):
        np.testing.assert_allclose(evaluate(SoftmaxFocalLoss(alpha), logits, y), expected, rtol=1e-6)
    SoftmaxFocalLoss(reduction="mean_positive", background_class=4)  # the number of classes is not known yet


def test_masks_and_weights_reach_the_function():
    logits, y = batch(0)[0][:, :1], batch(0)[1] % 2
    iid, weights = jnp.arange(ROWS) % 3 > 0, jnp.linspace(0, 2, ROWS, dtype=jnp.float32)
    options = {"beta": 0.5, "surrogate": "pairwise"}
    module = PAUCAtBudgetLoss(1, queue_size=4, **options)
    loss, aux = pauc_at_budget_loss(logits, y, init_queue(4, 1), iid_mask=iid, sample_weight=weights, **options)
    assert module(logits, y, iid, sample_weight=weights) == loss
    same_arrays(module.queue, aux.queue)


def test_multilabel():
    logits = batch(0)[0][:, :CLASSES]
    labels = jax.nn.one_hot(batch(0)[1], CLASSES, dtype=jnp.int32)
    module = SmoothAPLoss(CLASSES, queue_size=4, multilabel=True, temperature=0.1)
    loss, aux = smooth_ap_loss(
        logits, labels, init_queue(4, CLASSES, multilabel=True), multilabel=True, temperature=0.1
    )
    assert module(logits, labels) == loss
    same_arrays(module.queue, aux.queue)


# ------------------------------------------------------------------------------------------------------ state and mode


def test_state_is_of_its_own_type():
    wrapper = LossWarmupWrapper(SoftmaxFocalLoss(), SmoothAPLoss(CLASSES, QUEUE), warmup_steps=1)
    assert not jax.tree.leaves(nnx.state(wrapper, nnx.Param))
    paths = {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(wrapper, LossState))}
    queue = {f"main_loss/queue_{name}" for name in ("logits", "targets", "weights", "is_iid")}
    assert paths == queue | {"main_loss/temperature", "step"}


class Whole(nnx.Module):
    """A model that owns its loss, as some users may write it."""

    def __init__(self):
        self.layer = network()
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
        self.loss = blended()

    def __call__(self, x, y):
        return self.loss(self.layer(self.dropout(x)), y)


def test_a_model_may_own_its_loss():
    model = Whole()
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)

    @nnx.jit
    def step_fn(model, optimizer, x, y):
        loss, gradients = nnx.value_and_grad(lambda model: model(x, y))(model)
        optimizer.update(model, gradients)
        return loss

    before = model.layer.kernel[...]
    for step in range(5):
        assert np.isfinite(step_fn(model, optimizer, *batch(step)))
    assert model.loss.step[...] == 5
    assert np.sum(model.loss.main_loss.queue.targets >= 0) == QUEUE
    assert np.any(model.layer.kernel[...] != before)
    model.eval()
    assert model.loss.deterministic
    assert model.loss.main_loss.deterministic
    frozen = state_of(model)
    evaluate(model, *batch(5))
    same_arrays(frozen, state_of(model))
    model.train()
    step_fn(model, optimizer, *batch(5))
    assert model.loss.step[...] == 6


def test_eval_freezes_the_queue():
    module, function, options = RANKING["smooth_ap"]
    loss_fn = module(CLASSES, queue_size=QUEUE, temperature=0.2, **options)
    loss_fn(batch(0)[0][:, :CLASSES], batch(0)[1])
    queue = loss_fn.queue
    assert np.sum(queue.targets >= 0) == ROWS
    loss_fn.eval()
    logits, y = batch(1)[0][:, :CLASSES], batch(1)[1]
    expected = function(logits, y, queue, temperature=0.2, **options)[0]
    np.testing.assert_allclose(loss_fn(logits, y), expected, rtol=1e-6)
    same_arrays(loss_fn.queue, queue)
    loss_fn.train()
    loss_fn(logits, y)
    same_arrays(loss_fn.queue.logits[-ROWS:], logits)
    loss_fn.reset_queue()
    same_arrays(loss_fn.queue, init_queue(QUEUE, CLASSES))


@pytest.mark.skipif(not hasattr(nnx, "view"), reason="came with flax 0.12.4")
def test_views_share_the_state_and_set_the_mode():
    loss_fn = SmoothAPLoss(CLASSES, QUEUE, 0.2)
    evaluation = nnx.view(loss_fn, deterministic=True)
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    evaluation(logits, y)
    assert not np.any(loss_fn.queue.targets >= 0)
    loss_fn(logits, y)
    same_arrays(evaluation.queue, loss_fn.queue)
    assert np.any(evaluation.queue.targets >= 0)
    assert "freezes the queue" in nnx.view_info(loss_fn)
    assert "stands still" in nnx.view_info(LossWarmupWrapper(SoftmaxFocalLoss(), loss_fn))


def test_update_queue_in_eval():
    loss_fn = SmoothAPLoss(CLASSES, QUEUE, 0.2, update_queue_in_eval=True, deterministic=True)
    loss_fn(batch(0)[0][:, :CLASSES], batch(0)[1])
    assert np.sum(loss_fn.queue.targets >= 0) == ROWS


def test_a_call_may_say_whether_its_rows_are_stored():
    loss_fn = SmoothAPLoss(CLASSES, QUEUE, 0.2)
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    first = loss_fn(logits, y, update_queue=False)  # the first pass of a method with two passes
    same_arrays(loss_fn.queue, init_queue(QUEUE, CLASSES))
    assert loss_fn(logits, y) == first
    queue = loss_fn.queue
    assert np.sum(queue.targets >= 0) == ROWS
    loss_fn.eval()
    loss_fn(logits, y, update_queue=None)
    same_arrays(loss_fn.queue, queue)
    loss_fn(logits[:3], y[:3], update_queue=True)
    assert np.sum(loss_fn.queue.targets >= 0) == ROWS + 3


def test_the_second_pass_over_a_batch_leaves_a_schedule_alone():
    wrapper, (x, y) = blended(), batch(0)
    wrapper.step[...] = jnp.asarray(SCHEDULE["warmup_steps"] + 1)  # the rows of both losses count
    first = wrapper(x[:, :CLASSES], y, update_queue=False)
    same_arrays(wrapper.main_loss.queue, init_queue(QUEUE, CLASSES))
    assert wrapper(x[:, :CLASSES], y) == first
    assert np.sum(wrapper.main_loss.queue.targets >= 0) == ROWS
    assert wrapper.step[...] == SCHEDULE["warmup_steps"] + 2
    wrapper.eval()
    wrapper(x[:3, :CLASSES], y[:3], update_queue=True)
    assert np.sum(wrapper.main_loss.queue.targets >= 0) == ROWS + 3
    assert wrapper.step[...] == SCHEDULE["warmup_steps"] + 2


def test_wrapper_stands_still_in_eval():
    wrapper = blended()
    assert float(wrapper.main_loss.temperature[...]) == 0.5
    for step in range(4):
        evaluate(wrapper, batch(step)[0][:, :CLASSES], batch(step)[1])
    assert float(wrapper.main_weight) == pytest.approx(2 / 3)
    frozen = state_of(wrapper)
    wrapper.eval()
    logits, y = batch(9)[0][:, :CLASSES], batch(9)[1]
    losses = [evaluate(wrapper, logits, y), evaluate(wrapper, logits, y)]
    same_arrays(frozen, state_of(wrapper))
    wrapper.train()
    assert losses[0] == losses[1]
    np.testing.assert_allclose(evaluate(wrapper, logits, y), losses[0], rtol=1e-6)  # eval used the coming step's weight
    wrapper.main_loss.reset_queue()
    assert not np.any(wrapper.main_loss.queue.targets >= 0)


def test_a_second_run_after_reset_is_the_first_again():
    wrapper = blended()
    model, run = network(), nnx.jit(lambda model, wrapper, x, y: wrapper(model(x), y))

    def losses():
        return [float(run(model, wrapper, *batch(step))) for step in range(8)]

    first = losses()
    wrapper.reset()
    assert (int(wrapper.step[...]), float(wrapper.main_loss.temperature[...])) == (0, 0.5)
    assert not np.any(wrapper.main_loss.queue.targets >= 0)
    assert losses() == first


def test_a_preset_and_relative_units_keep_their_temperature():
    def wrap(**ends):
        main_loss = PAUCAtBudgetLoss.recommended(CLASSES, 0.1, queue_size=QUEUE, temperature=0.25)
        return LossWarmupWrapper(SoftmaxFocalLoss(), main_loss, warmup_steps=1, temp_decay_steps=2, **ends)

    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    wrapper = wrap()
    alone = PAUCAtBudgetLoss.recommended(CLASSES, 0.1, queue_size=QUEUE, temperature=0.25)
    evaluate(wrapper, logits, y)
    assert wrapper.current_temperature == wrapper.main_loss.temperature[...] == 0.25
    assert np.array_equal(wrapper.main_loss.gate, init_gate(CLASSES))
    for _ in range(2):  # from the switch on, the gate equals that of the loss alone
        np.testing.assert_allclose(evaluate(wrapper, logits, y), evaluate(alone, logits, y), rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), wrapper.main_loss.gate, alone.gate)
    assert not np.array_equal(alone.gate, init_gate(CLASSES))
    wrapper.reset()
    assert np.array_equal(wrapper.main_loss.gate, init_gate(CLASSES))
    for loss_fn, own in (
        (SmoothAPLoss(CLASSES, QUEUE, 0.3, temperature_scale="std"), 0.3),
        (PAUCAtBudgetLoss(CLASSES, queue_size=QUEUE, tau_scale="std"), 0.1),
        (PAUCAtBudgetLoss(CLASSES, queue_size=QUEUE), 0.05),
        (SmoothAPLoss(CLASSES, QUEUE, 0.3), 0.05),
    ):
        wrapper = LossWarmupWrapper(SoftmaxFocalLoss(), loss_fn, warmup_steps=1)
        np.testing.assert_allclose((wrapper.current_temperature, loss_fn.temperature[...]), own, rtol=1e-6)
    for ends, expected in (({"temp_start": 1.0}, (1.0, 0.25)), ({"temp_end": 0.1}, (0.25, 0.1))):
        wrapper = wrap(**ends)
        seen = []
        for step in (1, 3):
            wrapper.step[...] = step
            seen.append(float(wrapper.current_temperature))
        np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_extras_in_every_phase():
    wrapper = blended()
    with_extras = nnx.jit(lambda wrapper, logits, y: wrapper(logits, y, None, True, True))
    for step, is_main in ((0, False), (3, True), (9, True)):
        wrapper.step[...] = step
        loss, per_class, valid, stats = with_extras(wrapper, batch(step)[0][:, :CLASSES], batch(step)[1])
        assert np.isfinite(loss)
        assert valid.shape == per_class.shape == (CLASSES,)
        assert np.all(valid) == np.all(np.isfinite(per_class)) == np.any(stats.grad_pos_count > 0) == is_main


def test_losses_without_state_can_be_blended():
    wrapper = LossWarmupWrapper(
        lambda logits, y: optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(),
        SymmetricCrossEntropyLoss(),
        warmup_steps=1,
    )
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    expected = [softmax_focal_loss(logits, y, gamma=0.0), symmetric_cross_entropy_loss(logits, y)]
    np.testing.assert_allclose([evaluate(wrapper, logits, y) for _ in range(2)], expected, rtol=1e-6)


def test_sample_weight_goes_to_each_loss_that_takes_it():
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    weights = jnp.linspace(0, 1, ROWS, dtype=jnp.float32)
    main = SmoothAPLoss(CLASSES, QUEUE, 0.05)
    wrapper = LossWarmupWrapper(SoftmaxFocalLoss(gamma=0.0), main, warmup_steps=1)
    expected = [
        softmax_focal_loss(logits, y, gamma=0.0, sample_weight=weights),
        smooth_ap_loss(logits, y, init_queue(QUEUE, CLASSES), temperature=0.05, sample_weight=weights)[0],
    ]
    results = [evaluate(wrapper, logits, y, sample_weight=weights) for _ in range(2)]
    np.testing.assert_allclose(results, expected, rtol=1e-6)
    plain = LossWarmupWrapper(lambda logits, y: jnp.sum(logits) * y[0], lambda logits, y: jnp.sum(logits) * y[0])
    with pytest.warns(UserWarning, match="takes no sample_weight"):
        evaluate(plain, logits, y.astype(jnp.float32), sample_weight=weights)


# ---------------------------------------------------------------------------------------------- resuming and compiling


def sampled_wrapper(seed=0):
    main = SmoothAPLoss(CLASSES, QUEUE, max_pool_size=16, rngs=nnx.Rngs(seed))  # random, with every kind of state
    return LossWarmupWrapper(SoftmaxFocalLoss(gamma=0.0), main, **SCHEDULE)


def last_of_run(interrupt=lambda run: run):
    """The last losses and the final state of a run of 9 steps, interrupted after 5."""
    run = make_run(sampled_wrapper())
    for step in range(5):
        train_step(*run, *batch(step))
    run = interrupt(run)
    return [train_step(*run, *batch(step)) for step in range(5, 9)], state_of(*run)


@pytest.fixture(scope="module")
def unbroken():
    return last_of_run()


def test_resumes_to_the_bit_from_split_and_merge(unbroken):
    def interrupt(run):
        graph, *states = nnx.split(run, nnx.Param, LossState, ...)
        return nnx.merge(graph, *jax.tree.map(jnp.copy, states))

    same_arrays(unbroken, last_of_run(interrupt))


def test_resumes_to_the_bit_from_orbax(tmp_path, unbroken):
    def interrupt(run):
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "run", nnx.to_pure_dict(nnx.state(run)))
            checkpointer.wait_until_finished()
            fresh = make_run(sampled_wrapper(seed=7))
            state = nnx.state(fresh)
            restored = checkpointer.restore(tmp_path / "run", nnx.to_pure_dict(state))
        nnx.replace_by_pure_dict(state, restored)
        nnx.update(fresh, state)
        return fresh

    same_arrays(unbroken, last_of_run(interrupt))


def test_one_compilation():
    traces = []

    @nnx.jit
    def step_fn(model, loss_fn, x, y):
        traces.append(None)
        return nnx.value_and_grad(objective)(model, loss_fn, x, y)[0]

    wrapper, model = blended(), network()
    for step in range(8):
        step_fn(model, wrapper, *batch(step))
    wrapper.step[...] = 1
    step_fn(model, wrapper, *batch(0))
    wrapper.main_loss.reset_queue()
    step_fn(model, wrapper, *batch(0))
    assert len(traces) == 1

    loss_fn = SmoothAPLoss(CLASSES, QUEUE, 0.5)
    for temperature in (0.5, 0.1, jnp.asarray(0.05, jnp.result_type(float))):
        loss_fn.temperature[...] = temperature
        step_fn(model, loss_fn, *batch(0))
    assert len(traces) == 2


def test_a_temperature_that_was_set_is_used():
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    loss_fn = SmoothAPLoss(CLASSES, QUEUE, 0.5)
    loss_fn.temperature[...] = 0.1
    np.testing.assert_allclose(loss_fn(logits, y), smooth_ap_loss(logits, y, temperature=0.1)[0], rtol=1e-5)


def test_gamma_may_be_an_array_that_changes():
    traces = []

    @nnx.jit
    def run(loss_fn, logits, y):
        traces.append(None)
        return loss_fn(logits, y)

    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    loss_fn = SoftmaxFocalLoss(gamma=jnp.float32(2.0))
    for gamma in (2.0, 0.5):
        loss_fn.gamma = jnp.float32(gamma)
        np.testing.assert_allclose(run(loss_fn, logits, y), softmax_focal_loss(logits, y, gamma=gamma), rtol=1e-6)
    assert len(traces) == 1


# ---------------------------------------------------------------------------------------------------------- randomness


def test_subsampling_draws_anew_in_training_and_not_in_eval():
    def sampled(seed):
        return SmoothAPLoss(CLASSES, QUEUE, 0.2, max_pool_size=8, rngs=nnx.Rngs(seed))

    loss_fn, twin, other = sampled(0), sampled(0), sampled(1)
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    for module in (loss_fn, twin, other):
        module.eval()
    assert loss_fn(logits, y) == loss_fn(logits, y) == twin(logits, y)
    assert loss_fn(logits, y) != other(logits, y)
    loss_fn.train()
    losses = set()
    for _ in range(4):
        losses.add(float(loss_fn(logits, y)))
        loss_fn.reset_queue()
    assert len(losses) > 1
    assert loss_fn.rngs.count[...] == 4


def test_streams_are_its_own():
    rngs = nnx.Rngs(0, subsample=5)
    first, second = (SmoothAPLoss(1, max_pool_size=8, rngs=rngs) for _ in range(2))
    assert first.rngs.key[...] != second.rngs.key[...]
    assert first.rngs.tag == "subsample"
    same = SmoothAPLoss(1, max_pool_size=8, rngs=nnx.Rngs(5).default)
    assert same.rngs.key[...] == first.rngs.key[...]


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothAPLoss(0), "num_classes must be an integer >= 1, got 0"),
        (lambda: SmoothAPLoss(1, -1), "queue_size must be an integer >= 0, got -1"),
        (lambda: SmoothAPLoss(1, temperature=0.0), r"temperature must be a finite number > 0, got 0\.0"),
        (lambda: SmoothAPLoss(1, temperature=jnp.asarray(-1.0)), r"temperature must be a finite number > 0, got -1\.0"),
        (lambda: SmoothAPLoss(1, reduction="average"), "reduction must be one of 'mean', 'sum', 'none', got 'average'"),
        (lambda: SmoothAPLoss(1, pos_numerator="x"), "pos_numerator must be one of 'pool', 'live', got 'x'"),
        (lambda: SmoothAPLoss(1, max_pool_size=8), "rngs must be an nnx.Rngs or nnx.RngStream .* got None"),
        (lambda: SmoothAPLoss(3, max_pool_size=2, rngs=nnx.Rngs(0)), "max_pool_size must be an integer >= 3, got 2"),
        (lambda: RecallAtQuantileLoss(1, quantile=2.0), "quantile must be"),
        (lambda: PAUCAtBudgetLoss(1, n_knots=1), "n_knots must be"),
        (lambda: SigmoidFocalLoss(alpha=1.5), r"alpha must be a number in \[0, 1\], got 1\.5"),
        (lambda: SigmoidFocalLoss(reduction="x"), "reduction must be"),
        (lambda: SoftmaxFocalLoss(alpha=[1.0, -1.0]), "alpha must be finite and >= 0, got -1"),
        (lambda: SoftmaxFocalLoss(alpha=jnp.asarray([1.0, -1.0])), "alpha must be finite and >= 0, got -1"),
        (lambda: SoftmaxFocalLoss(alpha=0.25), r"alpha must be of shape \[classes\] = \(2,\), got \(\)"),
        (lambda: SoftmaxFocalLoss(gamma=-1.0), "gamma must be a finite number >= 0"),
        (lambda: SoftmaxFocalLoss(background_class=-1), "background_class must be an integer >= 0, got -1"),
        (lambda: SymmetricCrossEntropyLoss(epsilon=0.0), "epsilon must be"),
        (lambda: LossWarmupWrapper(SoftmaxFocalLoss(), SoftmaxFocalLoss(), -1), "warmup_steps must be an integer >= 0"),
        (lambda: LossWarmupWrapper(SoftmaxFocalLoss(), SoftmaxFocalLoss(), temp_end=0.0), "temp_end must be"),
        (
            lambda: LossWarmupWrapper(SoftmaxFocalLoss(), SoftmaxFocalLoss(), deterministic=None),
            "deterministic must be True or False, got None",
        ),
    ],
)
def test_bad_options_are_seen_in_the_constructor(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_losses_that_cannot_be_called():
    for losses in ((None, SmoothAPLoss(1)), (SoftmaxFocalLoss(), SmoothAPLoss)):
        with pytest.raises(TypeError, match="must be a loss module or function"):
            LossWarmupWrapper(*losses)


@pytest.mark.parametrize(
    "warmup_loss", [SoftmaxFocalLoss(), SymmetricCrossEntropyLoss(), partial(softmax_focal_loss, gamma=0.0)]
)
def test_a_warm_up_with_a_softmax_over_one_class_is_refused(warmup_loss):
    """Its gradient is 0 whatever the targets, so the warm-up would train nothing."""
    wrapper = LossWarmupWrapper(warmup_loss, SmoothAPLoss(1, QUEUE), warmup_steps=2)
    with pytest.raises(ValueError, match=r"logits must be of at least 2 classes .*sigmoid.*, got \(4, 1\)"):
        wrapper(jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32))
    assert wrapper.step[...] == 0


def test_bad_inputs():
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    loss_fn = SmoothAPLoss(CLASSES, QUEUE)
    with pytest.raises(ValueError, match=r"logits must be of shape \[rows, num_classes\] = \[N, 3\], got \(12, 2\)"):
        loss_fn(logits[:, :2], y)
    with pytest.raises(ValueError, match=r"targets must be class ids in \[0, 3\)"):
        loss_fn(logits, y + 3)
    with pytest.raises(TypeError, match="logits must be a JAX or numpy array"):
        loss_fn([[0.0] * 3], y)
    assert not np.any(loss_fn.queue.targets >= 0)
    loss_fn.temperature = 0.1
    with pytest.raises(ValueError, match=r"temperature must be an nnx\.Variable; set it by temperature\[\.\.\.\]"):
        loss_fn(logits, y)


# -------------------------------------------------------------------------------------------------------------- devices


def test_devices_rank_their_rows_together():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    spec, everywhere = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()
    logits, y = batch(0)[0][:, :CLASSES], batch(0)[1]
    whole, divided = SmoothAPLoss(CLASSES, QUEUE, 0.2), SmoothAPLoss(CLASSES, QUEUE, 0.2, axis_name="data")
    graph, state = nnx.split(divided)

    def step_fn(state, logits, y):
        module = nnx.merge(graph, state)
        return module(logits, y), nnx.state(module)

    sharded = jax.shard_map(step_fn, mesh=mesh, in_specs=(everywhere, spec, spec), out_specs=(everywhere, everywhere))
    loss, state = jax.jit(sharded)(state, logits, y)
    np.testing.assert_allclose(loss, whole(logits, y), rtol=1e-6)
    nnx.update(divided, state)
    same_arrays(divided.queue, whole.queue)


# -------------------------------------------------------------------------------------------------------- without flax


def test_jax_users_need_no_flax():
    code = """
import sys

class WithoutFlax:
    def find_spec(name, *_):
        if name.split(".")[0] == "flax":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, WithoutFlax)
import imbalanced_jax
try:
    import imbalanced_jax.nnx
except ModuleNotFoundError as error:
    print(error.name, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("flax imbalanced_jax.nnx needs flax: python -m pip install flax")

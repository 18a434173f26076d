"""The ranking functions against a plain-numpy replay, and under the transformations of JAX."""

import inspect
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses import IGNORED, RANKING, STEPS, with_variants
from reference import QUEUE_IGNORED, queue_after
from replay import TASKS, Replay, batches

from imbalanced_jax import init_gate, init_queue, pauc_at_budget_loss, presets, recall_at_quantile_loss, smooth_ap_loss
from imbalanced_jax.pooled import _step


def small_batch(num_classes=2, n=16, seed=0):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.standard_normal((n, num_classes)), dtype=jnp.float32)
    return logits, jnp.asarray(rng.integers(0, max(2, num_classes), n))


@pytest.fixture(params=STEPS, ids=lambda case: case.name)
def function(request):
    return request.param.in_jax(temperature=0.1)


@pytest.fixture
def smooth_ap():
    """One function is enough to test the shared step."""
    return partial(smooth_ap_loss, temperature=0.1)


VARIANTS = list(with_variants(RANKING))


@pytest.mark.parametrize(
    ("case", "task"),
    [(case, list(TASKS)[i % 3]) for i, case in enumerate(VARIANTS[::2])],  # each needs a compilation
    ids=lambda argument: getattr(argument, "name", argument),
)
def test_functions_do_what_the_definition_says(case, task):
    num_classes, multilabel = TASKS[task]
    replay = Replay(case, task, queue_size=30)
    queue = init_queue(30, num_classes, multilabel=multilabel)
    step = jax.jit(jax.value_and_grad(case.in_jax(multilabel=multilabel), has_aux=True))
    for batch in batches(task, 4):
        logits, targets, weights, iid = map(jnp.asarray, batch)
        (loss, aux), gradient = step(logits, targets, queue, sample_weight=weights, iid_mask=iid)
        results = (loss, aux.per_class, aux.valid, gradient)
        for result, wanted in zip(results, replay.step(*batch), strict=True):
            np.testing.assert_allclose(result, wanted, rtol=2e-4, atol=3e-6)
        queue = aux.queue
        for kept, expected in zip(queue, replay.queue, strict=True):
            np.testing.assert_array_equal(kept, expected)


def test_the_arguments():
    common = "temperature reduction ignore_index multilabel temperature_scale pos_numerator sample_weight iid_mask "
    common += "max_pool_size key update_queue axis_name"
    own = {
        smooth_ap_loss: "",
        recall_at_quantile_loss: "quantile quantile_interpolation",
        pauc_at_budget_loss: "alpha beta surrogate n_knots tau_scale budget_basis",
    }
    for function, extra in own.items():
        parameters = inspect.signature(function).parameters
        kinds = {name: parameter.kind.name for name, parameter in parameters.items()}
        assert list(kinds)[:3] == ["logits", "targets", "queue"]
        assert set(f"{common} {extra}".split()) <= {name for name, kind in kinds.items() if kind == "KEYWORD_ONLY"}


def test_aux_has_one_structure(function):
    logits, targets = small_batch()
    _, aux = function(logits, targets)
    _, other = smooth_ap_loss(logits, targets)
    assert aux._fields == ("queue", "per_class", "valid", "diagnostics", "gate")
    assert aux.gate == ()
    assert jax.tree.structure(aux._replace(diagnostics=None)) == jax.tree.structure(other._replace(diagnostics=None))
    assert aux.queue.logits.shape == (0, 2)
    figures = {name: figure for name, figure in aux.diagnostics._asdict().items() if figure is not None}
    assert {"grad_pos_count", "tau_eff", "spread"} <= set(figures)
    assert not {"reached", "ranking_weight"} & set(figures)
    assert all(figure.shape == (2,) and np.isfinite(figure).all() for figure in figures.values())
    np.testing.assert_array_equal(aux.diagnostics.grad_pos_count, np.bincount(targets, minlength=2))


def test_the_queue_is_updated_only_when_asked(smooth_ap):
    logits, targets = small_batch()
    queue = init_queue(20, 2)
    _, aux = smooth_ap(logits, targets, queue, update_queue=False, gate=init_gate(2))
    assert all(map(np.array_equal, (*aux.queue, *aux.gate), (*queue, *init_gate(2))))
    _, aux = smooth_ap(logits, targets, queue)
    np.testing.assert_array_equal(aux.queue.logits, queue_after(queue.logits, logits))
    np.testing.assert_array_equal(aux.queue.targets, queue_after(queue.targets, targets))


def test_the_queue_is_a_constant_in_differentiation(smooth_ap):
    logits, targets = small_batch()
    queue = smooth_ap(logits, targets, init_queue(20, 2))[1].queue

    def loss(past):
        return smooth_ap(logits, targets, queue._replace(logits=past))[0]

    assert (jax.grad(loss)(queue.logits) == 0).all()


def test_no_recompilation_when_the_temperature_moves(function):
    logits, targets = small_batch()
    queue = init_queue(20, 2)
    function(logits, targets, queue, temperature=0.5)
    before = _step._cache_size()
    temperatures = (0.25, 1, np.float32(0.3), jnp.float32(0.2), jnp.asarray(0.1, dtype=jnp.float64))
    losses = [function(logits, targets, queue, temperature=temperature)[0] for temperature in temperatures]
    assert _step._cache_size() == before
    assert len({float(loss) for loss in losses}) == len(losses)
    traces = []

    @jax.jit
    def step(temperature):
        traces.append(temperature)
        return function(logits, targets, queue, temperature=temperature)[0]

    for temperature, loss in zip(temperatures[:2], losses, strict=False):
        np.testing.assert_allclose(step(float(temperature)), loss, rtol=1e-6)
    assert len(traces) == 1


def test_a_donated_queue_is_not_copied(function):
    logits, targets = small_batch()

    @partial(jax.jit, donate_argnums=2)
    def step(logits, targets, queue):
        loss, aux = function(logits, targets, queue)
        return loss, aux.queue

    queue = init_queue(64, 2)
    compiled = step.lower(logits, targets, queue).compile()
    assert compiled.memory_analysis().alias_size_in_bytes == sum(array.nbytes for array in queue)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # JAX warns about donated buffers that it cannot use
        _, new = step(logits, targets, queue)
    assert all(array.is_deleted() for array in queue)
    assert not any(array.is_deleted() for array in new)


def test_a_scan_over_steps_is_a_loop_over_steps(smooth_ap):
    steps = [small_batch(seed=seed) for seed in range(4)]
    queue, losses = init_queue(20, 2), []
    for logits, targets in steps:
        loss, aux = smooth_ap(logits, targets, queue)
        queue = aux.queue
        losses.append(loss)

    def body(queue, batch):
        loss, aux = smooth_ap(*batch, queue)
        return aux.queue, loss

    stacked = tuple(jnp.stack(arrays) for arrays in zip(*steps, strict=True))
    last, scanned = jax.lax.scan(body, init_queue(20, 2), stacked)
    np.testing.assert_allclose(scanned, losses, rtol=1e-6)
    np.testing.assert_array_equal(last.logits, queue.logits)


def test_vmap_over_independent_problems(smooth_ap):
    problems = [small_batch(seed=seed) for seed in range(3)]
    stacked = tuple(jnp.stack(arrays) for arrays in zip(*problems, strict=True))
    queues = jax.tree.map(lambda array: jnp.stack([array] * 3), init_queue(20, 2))
    losses, aux = jax.vmap(smooth_ap)(*stacked, queues)
    np.testing.assert_allclose(losses, [smooth_ap(*problem)[0] for problem in problems], rtol=1e-6)
    assert aux.queue.logits.shape == (3, 20, 2)


def test_subsampling():
    logits, targets = small_batch(n=40)
    step = partial(smooth_ap_loss, logits, targets, init_queue(20, 2), max_pool_size=30)
    with pytest.raises(ValueError, match=r"key must be given, such as jax.random.key\(step\), when a pool of 60 rows"):
        step()
    losses = [float(step(key=jax.random.key(seed))[0]) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert float(step(key=jax.random.PRNGKey(0))[0]) == losses[0]
    kept = step(key=jax.random.key(0))[1].queue.logits
    np.testing.assert_array_equal(kept, queue_after(np.zeros((20, 2)), logits))
    step(max_pool_size=60)  # the pool is not subsampled, so no key is needed


def test_concrete_bad_values_are_errors_and_traced_ones_nan(function):
    logits, targets = small_batch()
    weights = jnp.ones(16).at[3].set(-0.5)
    with pytest.raises(ValueError, match=r"targets must be class ids in \[0, 2\) .* got 2"):
        function(logits, targets + 1)
    with pytest.raises(ValueError, match=r"sample_weight must be finite and >= 0, got -0\.5"):
        function(logits, targets, sample_weight=weights)
    with pytest.raises(ValueError, match="targets must be 0 or 1"):
        function(logits[:, :1], jnp.full(16, 0.5))
    function(logits, targets.at[3].set(IGNORED), sample_weight=weights)

    @jax.jit
    def step(logits, targets, weights):
        loss, aux = function(logits, targets, init_queue(20, 2), sample_weight=weights)
        return loss, aux.queue

    assert np.isfinite(step(logits, targets, jnp.ones(16))[0])
    for arguments in [
        (logits, targets + 1, jnp.ones(16)),
        (logits, targets, weights),
        (logits.at[3].set(jnp.nan), targets, jnp.ones(16)),
    ]:
        loss, queue = step(*arguments)
        assert np.isnan(loss)
        assert np.isfinite(queue.logits).all()


WRONG_CALLS = {
    "queue of other classes": (lambda f, x, y: f(x, y, init_queue(4, 3)), ValueError, "queue.logits must be of shape"),
    "queue of other labels": (
        lambda f, x, y: f(x, y, init_queue(4, 2, multilabel=True)),
        ValueError,
        "queue.targets must be of shape .* multilabel=False",
    ),
    "no class axis": (lambda f, x, y: f(x[:, 0], y), ValueError, r"logits must be of shape \[rows, classes\]"),
    "targets too short": (lambda f, x, y: f(x, y[1:]), ValueError, r"targets must be of shape \[rows\]"),
    "float class ids": (lambda f, x, y: f(x, y.astype(float)), TypeError, "targets must be integer class ids"),
    "integer logits": (lambda f, _, y: f(y[:, None], y), TypeError, "logits must be a floating-point array"),
    "temperature": (lambda f, x, y: f(x, y, temperature=0.0), ValueError, "temperature must be a finite number > 0"),
    "reduction": (lambda f, x, y: f(x, y, reduction="avg"), ValueError, "reduction must be one of"),
    "numerator": (lambda f, x, y: f(x, y, pos_numerator="all"), ValueError, "pos_numerator must be one of"),
    "scale": (lambda f, x, y: f(x, y, temperature_scale="mad"), ValueError, "temperature_scale must be one of"),
    "lists": (
        lambda f, x, y: f(x.tolist(), y.tolist()),
        TypeError,
        "logits must be a JAX or numpy array, got builtins.list",
    ),
    "pool": (lambda f, x, y: f(x, y, max_pool_size=1), ValueError, "max_pool_size must be an integer >= 2, got 1"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls_are_named(function, case):
    call, error, message = WRONG_CALLS[case]
    with pytest.raises(error, match=message):
        call(function, *small_batch())


def test_options_that_shape_the_program_are_python_values():
    logits, targets = small_batch()
    with pytest.raises(ValueError, match="quantile must be a Python value, fixed when compiled, got Array"):
        recall_at_quantile_loss(logits, targets, quantile=jnp.float32(0.1))


def test_init_queue():
    queue = init_queue(3, 2, multilabel=True, dtype=jnp.bfloat16)
    assert queue.logits.dtype == jnp.bfloat16
    assert queue.weights.dtype == jnp.float32
    assert queue.targets.shape == (3, 2)
    assert (queue.targets == QUEUE_IGNORED).all()
    logits, _ = small_batch()
    loss, aux = smooth_ap_loss(logits, jnp.asarray(logits > 0), queue, multilabel=True)
    assert loss.dtype == jnp.float32
    assert aux.queue.logits.dtype == jnp.bfloat16
    for arguments, message in [((-1, 2), "queue_size must be"), ((1, 0), "num_classes must be")]:
        with pytest.raises(ValueError, match=message):
            init_queue(*arguments)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(smooth_ap, dtype):
    logits, targets = small_batch()
    halves = logits.astype(dtype)
    loss, _ = smooth_ap(halves, targets)
    assert loss.dtype == jnp.float32
    assert loss == smooth_ap(halves.astype(jnp.float32), targets)[0]


def test_degenerate_batches_are_zero_with_zero_gradient(function):
    step = jax.jit(jax.value_and_grad(lambda x, y, queue: function(x, y, queue)[0]))
    for n, target, queue in [(0, 0, None), *((n, y, init_queue(4, 1)) for n, y in ((0, 0), (8, 0), (8, IGNORED)))]:
        loss, gradient = step(jnp.zeros((n, 1)), jnp.full(n, target), queue)
        assert loss == 0
        assert (gradient == 0).all()


def test_a_batch_without_rows_may_have_weights(function):
    loss, aux = function(jnp.zeros((0, 2)), jnp.zeros(0, jnp.int32), sample_weight=jnp.zeros(0))
    assert loss == 0
    assert not aux.valid.any()


@pytest.mark.usefixtures("optimised")
def test_the_gradient_of_a_preset_without_positives_is_finite():
    """XLA may reorder factors: one that overflows, times the 0 of a class that is not ranked, would be NaN."""
    scores, targets = 5.0 * small_batch(1, 512)[0], jnp.zeros(512, jnp.int32)
    state = presets.init_state(1, queue_size=0)
    state = state._replace(gate=state.gate._replace(reached=jnp.full(1, 0.5)))

    def loss_fn(x):
        return presets.pauc_at_budget(x, targets, state, budget=0.005)[0]

    loss, gradient = jax.jit(jax.value_and_grad(loss_fn))(scores)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", ["gate", "queue"])
def test_what_is_part_of_the_state_is_no_option_of_a_preset(name):
    with pytest.raises(TypeError, match=f"^{name} must be part of the state, PresetState"):
        presets.smooth_ap(*small_batch(), presets.init_state(2), **{name: None})


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_the_dtype_of_a_state_is_kept(dtype):
    state = presets.init_state(2, queue_size=4, dtype=dtype)
    assert state.queue.logits.dtype == dtype
    _, (following, _) = presets.smooth_ap(jnp.zeros((3, 2), dtype), jnp.arange(3) % 2, state)
    same = jax.tree.map(lambda new, old: new.dtype == old.dtype, following, state)
    assert all(jax.tree.leaves(same))

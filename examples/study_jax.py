"""The JAX half of the study: one compiled function trains the steps from one check to the next."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from study_data import Data
from study_methods import Options
from study_problems import Problem
from study_training import Plan, Score, chunks_of_batches, initial_weights, make_plan

from imbalanced_jax import (
    init_queue,
    pauc_at_budget_loss,
    recall_at_quantile_loss,
    sigmoid_focal_loss,
    smooth_ap_loss,
    softmax_focal_loss,
    warmup_blend,
)


class Knobs(NamedTuple):
    """The options that may change without another compilation."""

    learning_rate: float
    weight_decay: float
    alpha: float
    gamma: float
    final: float
    temperatures: tuple[float, float]
    class_weights: np.ndarray  # [classes]


class Form(NamedTuple):
    """The options that need a compilation of their own; hashable."""

    outputs: int
    batch: int
    budget: float
    decays: bool
    steps: int
    extra: int
    flagged: float
    focal: bool
    ranking: str
    warmup: int
    blend: int
    scale: str
    numerator: str
    band: float


def fit(problem: Problem, data: Data, options: Options, seed: int) -> Iterator[Score]:
    """Trains a network and yields, at every check, what scores rows as the network stands then."""
    plan = make_plan(problem, data, options)
    train, optimizer_init = _trainer(_form(problem, options, plan))
    sizes = (data.train.x.shape[1], *problem.hidden, problem.outputs)
    knobs = jax.tree.map(jnp.float32, _knobs(options, plan))
    params = jax.tree.map(jnp.asarray, initial_weights(sizes, seed))
    state = (params, optimizer_init(params), init_queue(options.queue, problem.outputs), jnp.asarray(0))
    x, y = jnp.asarray(data.train.x), jnp.asarray(data.train.y)
    for rows in chunks_of_batches(problem, data, plan, seed):
        state = train(state, knobs, x, y, jnp.asarray(rows))
        yield partial(_score, state[0])


def _score(params: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(_jitted_network(params, jnp.asarray(x)))


def _network(params: Any, x: jax.Array) -> jax.Array:
    *hidden, (kernel, bias) = params
    for hidden_kernel, hidden_bias in hidden:
        x = jax.nn.relu(x @ hidden_kernel + hidden_bias)
    return x @ kernel + bias


_jitted_network = jax.jit(_network)


def _form(problem: Problem, options: Options, plan: Plan) -> Form:
    return Form(
        problem.outputs,
        problem.batch,
        problem.budget,
        problem.decays,
        plan.steps,
        plan.extra,
        plan.flagged if options.ranking == "recall" else 0.0,
        options.gamma > 0,
        options.ranking,
        int(options.warmup * plan.steps),
        int(options.blend * plan.steps),
        options.scale,
        options.numerator,
        options.band,
    )


def _knobs(options: Options, plan: Plan) -> Knobs:
    temperatures, weights = options.temperatures, plan.class_weights
    return Knobs(
        options.learning_rate, options.weight_decay, options.alpha, options.gamma, options.final, temperatures, weights
    )


@lru_cache(maxsize=64)
def _trainer(form: Form) -> tuple[Callable, Callable]:
    """(train, init): `train(state, knobs, x, y, rows)` takes a step for each of the rows [steps, rows of a batch]."""

    def optimizer(knobs: Knobs) -> optax.GradientTransformation:
        rate = knobs.learning_rate
        schedule = optax.cosine_decay_schedule(1.0, form.steps) if form.decays else lambda _: 1.0
        return optax.adamw(lambda step: rate * schedule(step), weight_decay=knobs.weight_decay)

    @jax.jit
    def train(state: tuple, knobs: Knobs, x: jax.Array, y: jax.Array, rows: jax.Array) -> tuple:
        def body(state: tuple, rows: jax.Array) -> tuple:
            params, moments, queue, step = state

            def objective(params: Any) -> tuple:
                return _loss(form, knobs, step, _network(params, x[rows]), y[rows], queue)

            gradients, queue = jax.grad(objective, has_aux=True)(params)
            updates, moments = optimizer(knobs).update(gradients, moments, params)
            return (optax.apply_updates(params, updates), moments, queue, step + 1), None

        return lax.scan(body, state, rows)[0]

    return train, optax.adamw(lambda _: 0.0).init


def _loss(form: Form, knobs: Knobs, step: jax.Array, logits: jax.Array, targets: jax.Array, queue: Any) -> tuple:
    """(loss, next queue) of a batch, whose last `extra` rows are not drawn as the population is."""
    if not form.ranking:
        return _pointwise(form, knobs, logits, targets), queue

    iid = jnp.arange(len(targets)) < form.batch

    def ranking(queue: Any, temperature: jax.Array) -> tuple:
        return _ranking(form)(
            logits, targets, queue, temperature=temperature, pos_numerator=form.numerator, iid_mask=iid
        )

    loss, aux = warmup_blend(
        step,
        lambda: _pointwise(form, knobs, logits[: form.batch], targets[: form.batch]),
        ranking,
        queue,
        warmup_steps=form.warmup,
        blend_steps=form.blend,
        final_main_weight=knobs.final,
        temp_start=knobs.temperatures[0],
        temp_end=knobs.temperatures[1],
        temp_decay_steps=form.steps - form.warmup,
    )
    return loss, aux.queue


def _pointwise(form: Form, knobs: Knobs, logits: jax.Array, targets: jax.Array) -> jax.Array:
    if form.outputs == 1:
        y = targets[:, None].astype(logits.dtype)
        options = {"alpha": knobs.alpha, "gamma": knobs.gamma} if form.focal else {"alpha": None, "gamma": 0.0}
        losses = sigmoid_focal_loss(logits, y, **options, reduction="none")[:, 0]
    else:
        gamma = knobs.gamma if form.focal else 0.0
        losses = softmax_focal_loss(logits, targets, gamma=gamma, reduction="none")
    return jnp.mean(losses * knobs.class_weights[targets])


def _ranking(form: Form) -> Callable:
    if form.ranking == "Smooth-AP":
        return partial(smooth_ap_loss, temperature_scale=form.scale)
    if form.ranking == "recall":
        return partial(recall_at_quantile_loss, quantile=form.flagged, temperature_scale=form.scale)
    surrogate = form.ranking.removeprefix("pAUC ")
    beta = min(1.0, form.band * form.budget)
    return partial(pauc_at_budget_loss, beta=beta, surrogate=surrogate, tau_scale=form.scale)

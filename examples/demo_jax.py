"""The training loop of the demos in JAX, and the form of their losses."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from demo_data import Problem
from quickstart_data import Layers
from quickstart_jax import apply_network

from imbalanced_jax import warmup_blend


class Loss(NamedTuple):
    """A loss and its state, in the form that the training loop expects."""

    call: Callable[..., tuple]  # (step, logits, targets, queue) -> (loss, next queue, figures [outputs] by name)
    queue: Any = None  # the initial state, a pytree


def without_state(loss: Callable) -> Loss:
    """A loss of only logits and targets."""

    def call(step, logits, targets, queue):  # noqa: ARG001 - the form that all losses share
        return loss(logits, targets), queue, {}

    return Loss(call)


def warm_started(warmup_loss: Callable, main_loss: Callable, queue: Any, schedule: Mapping[str, Any]) -> Loss:
    """A ranking loss after a warm-up: what `imbalanced_torch.LossWarmupWrapper` is in PyTorch.

    Args:
        warmup_loss: (logits, targets) -> loss.
        main_loss: (logits, targets, queue, temperature=...) -> (loss, aux).
        queue: a queue from `init_queue`.
        schedule: the keywords of `warmup_blend`.
    """

    def call(step, logits, targets, queue):
        loss, aux = warmup_blend(
            step,
            lambda: warmup_loss(logits, targets),
            lambda queue, temperature: main_loss(logits, targets, queue, temperature=temperature),
            queue,
            **schedule,
        )
        return loss, aux.queue, {}

    return Loss(call, queue)


def bce(logits: jax.Array, targets: jax.Array, pos_weight: jax.Array | float = 1.0) -> jax.Array:
    """Mean binary cross entropy, positives weighted."""
    losses = optax.sigmoid_binary_cross_entropy(logits, targets)
    return jnp.mean(losses * (1 + (pos_weight - 1) * targets))


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross entropy of class ids."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def train(
    loss: Loss, problem: Problem, weights: Layers, epochs: Iterable[Iterable[np.ndarray]], lr: float
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Trains a network from `weights` with one loss, by Adam; arguments and result as in `demo_torch`."""
    x, y, test_x = (jnp.asarray(array) for array in (problem.train_x, problem.train_y, problem.test_x))
    optimizer = optax.adam(lr)

    @jax.jit  # compiled once: the step is an array, so the schedule advances without recompilation
    def update(step, rows, params, optimizer_state, queue):
        def objective(params):
            value, next_queue, figures = loss.call(step, apply_network(params, x[rows]), y[rows], queue)
            return value, (next_queue, figures)

        (value, (queue, figures)), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return optax.apply_updates(params, updates), optimizer_state, queue, value, figures

    params, queue = jax.tree.map(jnp.asarray, weights), loss.queue
    optimizer_state = optimizer.init(params)
    losses, logged, scores = [], [], []
    for epoch in epochs:
        for rows in epoch:
            step = jnp.asarray(len(losses))
            params, optimizer_state, queue, value, figures = update(step, rows, params, optimizer_state, queue)
            losses.append(value)
            logged.append(figures)
        scores.append(np.asarray(apply_network(params, test_x)))
    stacked = {name: np.stack([np.asarray(figures[name]) for figures in logged]) for name in logged[0]}
    return np.asarray(losses), np.stack(scores), stacked

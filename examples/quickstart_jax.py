"""The JAX half of the quickstart: the losses and their common training loop."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from quickstart_data import Layers, Problem

from imbalanced_jax import init_queue, pos_weight, presets, recall_at_quantile_loss, sigmoid_focal_loss


class Loss(NamedTuple):
    """A loss and its initial state, a pytree."""

    call: Callable[..., tuple]  # (logits [N, 1], targets [N, 1] of 0.0 and 1.0, state) -> (loss, next state)
    state: Any = None


def make_losses(problem: Problem) -> dict[str, Loss]:
    """The losses by name."""
    positives, total = problem.train_y.sum(), len(problem.train_y)

    def stateless(loss: Callable) -> Loss:
        return Loss(lambda logits, targets, state: (loss(logits, targets), state))

    def smooth_ap(logits, targets, state):
        loss, (state, _) = presets.smooth_ap(logits, targets, state)
        return loss, state

    def partial_auc(logits, targets, state):
        loss, (state, _) = presets.pauc_at_budget(logits, targets, state, budget=0.005)
        return loss, state

    def bce_and_recall(logits, targets, queue):  # half and half: see quickstart_torch.py
        flagged = float(positives / total) + 0.005
        loss, aux = recall_at_quantile_loss(
            logits, targets, queue, quantile=flagged, temperature_scale="std", temperature=1.0
        )
        return 0.5 * bce(logits, targets) + 0.5 * loss, aux.queue

    return {
        "BCE": stateless(bce),
        "BCE from the prior": stateless(bce),  # the last bias starts at the log odds: see quickstart_torch.py
        "weighted BCE": stateless(partial(bce, pos_weight=pos_weight(positives, total))),
        "focal from the prior": stateless(partial(sigmoid_focal_loss, alpha=0.75, gamma=2.0)),
        "Smooth-AP": Loss(smooth_ap, presets.init_state(num_classes=1)),
        "BCE and recall": Loss(bce_and_recall, init_queue(1024, num_classes=1)),
        "partial AUC": Loss(partial_auc, presets.init_state(num_classes=1)),
    }


def bce(logits: jax.Array, targets: jax.Array, pos_weight: jax.Array | float = 1.0) -> jax.Array:
    """Mean binary cross entropy, positives weighted."""
    losses = optax.sigmoid_binary_cross_entropy(logits, targets)
    return jnp.mean(losses * (1 + (pos_weight - 1) * targets))


def apply_network(layers: Layers, x: jax.Array) -> jax.Array:
    """The logits of a multilayer perceptron, [n, outputs]."""
    *hidden, (last_kernel, last_bias) = layers
    for kernel, bias in hidden:
        x = jnp.tanh(x @ kernel + bias)
    return x @ last_kernel + last_bias


def train(
    loss_fn: Loss, problem: Problem, weights: Layers, batches: Iterable[np.ndarray], *, learning_rate: float = 3e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a network from `weights` with one loss, by Adam.

    Args:
        loss_fn: one of `make_losses`.
        problem: the data.
        weights: the initial weights.
        batches: the training rows of each step.
        learning_rate: learning rate of Adam.

    Returns:
        The loss of every step, and the score of every test image.
    """
    x, y = jnp.asarray(problem.train_x), jnp.asarray(problem.train_y)[:, None]
    optimizer = optax.adam(learning_rate)

    @jax.jit
    def update(rows, params, optimizer_state, state):
        def objective(params):
            return loss_fn.call(apply_network(params, x[rows]), y[rows], state)

        (loss, state), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return loss, optax.apply_updates(params, updates), optimizer_state, state

    params = jax.tree.map(jnp.asarray, weights)
    optimizer_state, state = optimizer.init(params), loss_fn.state
    losses = []
    for rows in batches:
        loss, params, optimizer_state, state = update(rows, params, optimizer_state, state)
        losses.append(loss)
    scores = apply_network(params, jnp.asarray(problem.test_x))[:, 0]
    return np.asarray(losses), np.asarray(scores)

"""The JAX half of the quickstart: every loss, and the training loop that they all share."""

from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from quickstart_data import Layers, Problem

from imbalanced_jax import (
    init_queue,
    pauc_at_budget_loss,
    pos_weight,
    recall_at_quantile_loss,
    sigmoid_focal_loss,
    smooth_ap_loss,
    warmup_blend,
)

LossFn = Callable[..., tuple]  # (step, logits [N, 1], targets [N, 1] of 0.0 and 1.0, queue) -> (loss, next queue)


def make_losses(problem: Problem, steps: int) -> dict[str, LossFn]:
    """Every loss by name."""
    positives, total = problem.train_y.sum(), len(problem.train_y)

    def stateless(loss: Callable) -> LossFn:
        def loss_fn(step, logits, targets, queue):  # noqa: ARG001 - the form that all losses share
            return loss(logits, targets), queue

        return loss_fn

    def after_bce(loss: Callable, temp_start: float, temp_end: float, weight: float = 1.0) -> LossFn:
        """A ranking loss learns little from random scores: BCE trains the first third, and a sixth blends over."""

        def loss_fn(step, logits, targets, queue):
            value, aux = warmup_blend(
                step,
                lambda: bce(logits, targets),
                lambda queue, temperature: loss(logits, targets, queue, temperature=temperature),
                queue,
                warmup_steps=steps // 3,
                blend_steps=steps // 6,
                final_main_weight=weight,
                temp_start=temp_start,
                temp_end=temp_end,
                temp_decay_steps=steps - steps // 3,
            )
            return value, aux.queue

        return loss_fn

    # See quickstart_torch.py for the reasons behind the options.
    flagged = float(positives / total) + 0.005
    smooth_ap = partial(smooth_ap_loss, temperature_scale="std", pos_numerator="live")
    recall = partial(recall_at_quantile_loss, quantile=flagged, temperature_scale="std", pos_numerator="live")
    partial_auc = partial(pauc_at_budget_loss, beta=0.005, surrogate="pairwise", tau_scale="std", pos_numerator="live")
    return {
        "BCE": stateless(bce),
        "weighted BCE": stateless(partial(bce, pos_weight=pos_weight(positives, total))),
        "focal": stateless(partial(sigmoid_focal_loss, alpha=0.75, gamma=2.0)),
        "Smooth-AP": after_bce(smooth_ap, 0.5, 0.1),
        "recall at quantile": after_bce(recall, 1.0, 1.0, weight=0.5),
        "partial AUC": after_bce(partial_auc, 0.5, 0.1),
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
    loss_fn: LossFn, problem: Problem, weights: Layers, batches: Iterable[np.ndarray], *, learning_rate: float = 3e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a network that starts from `weights` with one loss, by Adam.

    Args:
        loss_fn: one of `make_losses`.
        problem: the data.
        weights: the initial weights.
        batches: the training rows of each step.
        learning_rate: of Adam.

    Returns:
        The loss of every step, and the score of every test image.
    """
    x, y = jnp.asarray(problem.train_x), jnp.asarray(problem.train_y)[:, None]
    optimizer = optax.adam(learning_rate)

    @jax.jit
    def update(step, rows, params, optimizer_state, queue):
        def objective(params):
            return loss_fn(step, apply_network(params, x[rows]), y[rows], queue)

        (loss, queue), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return loss, optax.apply_updates(params, updates), optimizer_state, queue

    params = jax.tree.map(jnp.asarray, weights)
    optimizer_state, queue = optimizer.init(params), init_queue(512, num_classes=1)
    losses = []
    for step, rows in enumerate(batches):
        loss, params, optimizer_state, queue = update(step, rows, params, optimizer_state, queue)
        losses.append(loss)
    scores = apply_network(params, jnp.asarray(problem.test_x))[:, 0]
    return np.asarray(losses), np.asarray(scores)

"""The preset of partial AUC in PyTorch, with the initial weights and batches of JAX."""

from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import torch

from imbalanced_torch import PAUCAtBudgetLoss

from .problems import Training
from .runs import Lane, drawn, initial


def train(x: np.ndarray, y: np.ndarray, lane: Lane, training: Training, *, head: float = 1.0) -> np.ndarray:
    """The scores of all rows by one network, [n].

    Args:
        x: [n, d].
        y: labels, at least of the training rows.
        lane: the data and settings of the network.
        training: the settings common to all lanes.
        head: scale of the last layer's initial weights.
    """
    features, steps = torch.from_numpy((x - lane.mean) * lane.scale), training.steps
    targets = torch.from_numpy(y)
    key, shape = jax.random.key(lane.seed), (x.shape[1], *training.hidden, 1)
    layers = initial(key, shape, x.shape[1])
    scales = [1.0] * (len(layers) - 1) + [head]
    parameters = [
        [torch.tensor(scale * np.array(p)).requires_grad_() for p in layer]
        for scale, layer in zip(scales, layers, strict=True)
    ]
    batches = jax.vmap(lambda i: drawn(key, i, training.batch, lane.count))(jnp.arange(steps))
    optimizer = torch.optim.AdamW(chain(*parameters), lr=float(lane.learning_rate), weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + np.cos(np.pi * t / steps)))
    loss_fn = PAUCAtBudgetLoss.recommended(1, training.budget, queue_size=training.queue)

    def network(x: torch.Tensor) -> torch.Tensor:
        for weight, bias in parameters[:-1]:
            x = torch.relu(x @ weight + bias)
        return x @ parameters[-1][0] + parameters[-1][1]

    for rows in torch.from_numpy(lane.rows[np.array(batches)]):
        optimizer.zero_grad()
        loss_fn(network(features[rows]), targets[rows]).backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        return network(features)[:, 0].numpy()

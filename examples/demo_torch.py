"""The training loop of the demos in PyTorch."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from demo_data import Problem
from quickstart_data import Layers
from quickstart_torch import make_network

from imbalanced_torch import LossWarmupWrapper


def train(
    loss_fn: Callable, problem: Problem, weights: Layers, epochs: Iterable[Iterable[np.ndarray]], lr: float
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Trains a network from `weights` with one loss, by Adam.

    Args:
        loss_fn: (logits, targets) -> loss, or (loss, figures [outputs] by name) to log figures.
        problem: the data.
        weights: the initial weights.
        epochs: for each epoch the training rows of each step.
        lr: the learning rate.

    Returns:
        The loss of every step; the logits of the test rows after every epoch; the figures of every step.
    """
    torch.set_num_threads(1)  # such a small network gains nothing from threads
    model = make_network(weights)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    x, y, test_x = (torch.from_numpy(array) for array in (problem.train_x, problem.train_y, problem.test_x))
    y = y if y.is_floating_point() else y.long()
    losses, logged, scores = [], [], []
    for epoch in epochs:
        for rows in epoch:
            if isinstance(loss_fn, LossWarmupWrapper):
                loss_fn.on_train_batch_start(len(losses))
            result = loss_fn(model(x[rows]), y[rows])
            loss, figures = result if isinstance(result, tuple) else (result, {})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            logged.append({name: figure.detach() for name, figure in figures.items()})
        with torch.inference_mode():
            scores.append(model(test_x).numpy())
    stacked = {name: torch.stack([figures[name] for figures in logged]).numpy() for name in logged[0]}
    return torch.stack(losses).numpy(), np.stack(scores), stacked

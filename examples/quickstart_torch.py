"""The PyTorch half of the quickstart: the losses, and the training loop that they all share."""

from collections.abc import Iterable

import numpy as np
import torch
from quickstart_data import Layers, Problem
from torch import nn

from imbalanced_torch import PAUCAtBudgetLoss, RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss, pos_weight


def make_losses(problem: Problem) -> dict[str, nn.Module]:
    """The losses by name: modules that take logits [N, 1] and targets [N, 1] of 0.0 and 1.0."""
    positives, total = float(problem.train_y.sum()), len(problem.train_y)
    return {
        "BCE": nn.BCEWithLogitsLoss(),
        "weighted BCE": nn.BCEWithLogitsLoss(pos_weight=pos_weight(positives, total)),
        "focal": SigmoidFocalLoss(alpha=0.75, gamma=2.0),
        "Smooth-AP": SmoothAPLoss.recommended(num_classes=1),
        # The flagged share holds all positives and the 0.5%. Recall has no preset; gated=True is what the presets set:
        # a cross entropy at first, and the ranking loss more and more as the ranking succeeds.
        "recall at quantile": RecallAtQuantileLoss(
            num_classes=1, quantile=positives / total + 0.005, temperature_scale="std", temperature=1.0, gated=True
        ),
        "partial AUC": PAUCAtBudgetLoss.recommended(num_classes=1, budget=0.005),
    }


def make_network(weights: Layers) -> nn.Sequential:
    """A multilayer perceptron with these initial weights."""
    layers: list[nn.Module] = []
    for kernel, bias in weights:
        layer = nn.Linear(*kernel.shape)
        layer.load_state_dict({"weight": torch.from_numpy(kernel.T.copy()), "bias": torch.from_numpy(bias)})
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def train(
    loss_fn: nn.Module, problem: Problem, weights: Layers, batches: Iterable[np.ndarray], *, learning_rate: float = 3e-3
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
    torch.set_num_threads(1)  # so small a network gains nothing from threads, and on a busy machine they wait
    model = make_network(weights)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    x, y = torch.from_numpy(problem.train_x), torch.from_numpy(problem.train_y).unsqueeze(1)
    losses = []
    for rows in batches:
        loss = loss_fn(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    with torch.inference_mode():
        scores = model(torch.from_numpy(problem.test_x)).squeeze(1)
    return torch.stack(losses).numpy(), scores.numpy()

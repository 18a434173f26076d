"""The PyTorch half of the quickstart: the losses and their common training loop."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from quickstart_data import Layers, Problem
from torch import nn

from imbalanced_torch import PAUCAtBudgetLoss, RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss, pos_weight

LossFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of logits [N, 1] and targets [N, 1] of 0.0 and 1.0


def make_losses(problem: Problem) -> dict[str, LossFn]:
    """The losses by name."""
    positives, total = float(problem.train_y.sum()), len(problem.train_y)
    bce = nn.BCEWithLogitsLoss()
    # The flagged fraction holds all positives and the 0.5%. There is no preset for recall. It raises positives but
    # never lowers negatives, so half of the loss is BCE.
    recall = RecallAtQuantileLoss(
        num_classes=1, quantile=positives / total + 0.005, temperature_scale="std", temperature=1.0
    )
    return {
        "BCE": bce,
        "BCE from the prior": bce,  # the last bias starts at the log odds: see `quickstart_data.starting_weights`
        "weighted BCE": nn.BCEWithLogitsLoss(pos_weight=pos_weight(positives, total)),
        "focal from the prior": SigmoidFocalLoss(alpha=0.75, gamma=2.0),
        "Smooth-AP": SmoothAPLoss.recommended(num_classes=1),
        "BCE and recall": lambda logits, targets: 0.5 * bce(logits, targets) + 0.5 * recall(logits, targets),
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
    loss_fn: LossFn, problem: Problem, weights: Layers, batches: Iterable[np.ndarray], *, learning_rate: float = 3e-3
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
    torch.set_num_threads(1)  # such a small network gains nothing from threads, which stall on a busy machine
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

"""The PyTorch half of the quickstart: every loss, and the training loop that they all share."""

from collections.abc import Iterable

import numpy as np
import torch
from quickstart_data import Layers, Problem
from torch import nn

from imbalanced_torch import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    pos_weight,
)


def make_losses(problem: Problem, steps: int) -> dict[str, nn.Module]:
    """Every loss by name: modules that take logits [N, 1] and targets [N, 1] of 0.0 and 1.0."""
    positives, total = float(problem.train_y.sum()), len(problem.train_y)

    def after_bce(loss: nn.Module, temp_start: float, temp_end: float, weight: float = 1.0) -> LossWarmupWrapper:
        """A ranking loss learns little from random scores: BCE trains the first third, and a sixth blends over."""
        return LossWarmupWrapper(
            nn.BCEWithLogitsLoss(),
            loss,
            warmup_steps=steps // 3,
            blend_steps=steps // 6,
            final_main_weight=weight,
            temp_start=temp_start,
            temp_end=temp_end,
            temp_decay_steps=steps - steps // 3,
        )

    # A batch has two or three positives. The queue ranks them among the rows of earlier batches; "live" averages over
    # the positives of the batch alone, since those in the queue carry no gradient and would only dilute it.
    options = {"num_classes": 1, "queue_size": 512, "pos_numerator": "live"}
    # Temperatures in units of the spread of the negatives' scores fit whatever scale the warm-up leaves behind.
    smooth_ap = SmoothAPLoss(**options, temperature_scale="std")
    partial_auc = PAUCAtBudgetLoss(**options, beta=0.005, surrogate="pairwise", tau_scale="std")
    # The flagged share has to hold all positives and the 0.5%. The loss lifts positives and never lowers a negative,
    # so half of it remains BCE.
    recall = RecallAtQuantileLoss(**options, quantile=positives / total + 0.005, temperature_scale="std")
    return {
        "BCE": nn.BCEWithLogitsLoss(),
        "weighted BCE": nn.BCEWithLogitsLoss(pos_weight=pos_weight(positives, total)),
        "focal": SigmoidFocalLoss(alpha=0.75, gamma=2.0),
        "Smooth-AP": after_bce(smooth_ap, 0.5, 0.1),
        "recall at quantile": after_bce(recall, 1.0, 1.0, weight=0.5),
        "partial AUC": after_bce(partial_auc, 0.5, 0.1),
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
    for step, rows in enumerate(batches):
        if isinstance(loss_fn, LossWarmupWrapper):
            loss_fn.on_train_batch_start(step)
        loss = loss_fn(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    with torch.inference_mode():
        scores = model(torch.from_numpy(problem.test_x)).squeeze(1)
    return torch.stack(losses).numpy(), scores.numpy()

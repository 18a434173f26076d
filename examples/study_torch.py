"""The PyTorch half of the study: the same runs as the JAX half, in an ordinary training loop."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy

import numpy as np
import torch
from study_data import Data
from study_methods import Options
from study_problems import Problem
from study_training import Plan, Score, chunks_of_batches, initial_weights, make_plan
from torch import Tensor, nn

from imbalanced_torch import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)


class WeightedPointwise(nn.Module):
    """Mean of a pointwise loss times the weights of the rows' classes; over the first `rows` of a batch, if given."""

    def __init__(self, problem: Problem, options: Options, plan: Plan, rows: int | None = None) -> None:
        super().__init__()
        self.binary, self.rows = problem.outputs == 1, rows
        self.weights = torch.from_numpy(plan.class_weights)
        focal = {"alpha": options.alpha, "gamma": options.gamma} if options.gamma else {"alpha": -1, "gamma": 0.0}
        self.loss: nn.Module = SoftmaxFocalLoss(gamma=options.gamma, reduction="none")
        if self.binary:
            self.loss = SigmoidFocalLoss(**focal, reduction="none")

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits [N, C] and class ids [N]."""
        logits, targets = logits[: self.rows], targets[: self.rows]
        losses = self.loss(logits[:, 0], targets.to(logits.dtype)) if self.binary else self.loss(logits, targets)
        return (losses * self.weights[targets]).mean()


def fit(problem: Problem, data: Data, options: Options, seed: int) -> Iterator[Score]:
    """Trains a network and yields, at every check, what scores rows as the network stands then."""
    torch.set_num_threads(1)  # so small a network gains nothing from threads
    plan = make_plan(problem, data, options)
    sizes = (data.train.x.shape[1], *problem.hidden, problem.outputs)
    model, loss_fn = make_network(sizes, seed), make_loss(problem, options, plan)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y).long()
    step = 0
    for chunk in chunks_of_batches(problem, data, plan, seed):
        for rows in torch.from_numpy(chunk):
            if problem.decays:
                rate = options.learning_rate * (1 + math.cos(math.pi * step / plan.steps)) / 2
                optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss_fn(step, model(x[rows]), y[rows]).backward()
            optimizer.step()
            step += 1
        yield make_score(model)


def make_network(sizes: tuple[int, ...], seed: int) -> nn.Sequential:
    """A network with ReLUs and the weights that both halves start from."""
    layers: list[nn.Module] = []
    for kernel, bias in initial_weights(sizes, seed):
        layer = nn.Linear(*kernel.shape)
        layer.load_state_dict({"weight": torch.from_numpy(kernel.T.copy()), "bias": torch.from_numpy(bias)})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_score(model: nn.Module) -> Score:
    """Scores rows by a copy of the network."""
    model = deepcopy(model)

    @torch.inference_mode()
    def score(x: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(x)).numpy()

    return score


def make_loss(problem: Problem, options: Options, plan: Plan) -> Callable[[int, Tensor, Tensor], Tensor]:
    """`loss(step, logits [N, C], class ids [N])`; the last `plan.extra` rows are not drawn as the population is."""
    if not options.ranking:
        pointwise = WeightedPointwise(problem, options, plan)
        return lambda _, logits, targets: pointwise(logits, targets)

    warmup = int(options.warmup * plan.steps)
    loss = LossWarmupWrapper(
        WeightedPointwise(problem, options, plan, rows=problem.batch),
        make_ranking(problem, options, plan),
        warmup_steps=warmup,
        blend_steps=int(options.blend * plan.steps),
        final_main_weight=options.final,
        temp_start=options.temperatures[0],
        temp_end=options.temperatures[1],
        temp_decay_steps=plan.steps - warmup,
    )
    iid = torch.arange(problem.batch + plan.extra) < problem.batch

    def with_schedule(step: int, logits: Tensor, targets: Tensor) -> Tensor:
        loss.on_train_batch_start(step)
        return loss(logits, targets, iid_mask=iid)

    return with_schedule


def make_ranking(problem: Problem, options: Options, plan: Plan) -> nn.Module:
    """The ranking loss of a method."""
    common = {"num_classes": problem.outputs, "queue_size": options.queue, "pos_numerator": options.numerator}
    if options.ranking == "Smooth-AP":
        return SmoothAPLoss(**common, temperature_scale=options.scale)
    if options.ranking == "recall":
        return RecallAtQuantileLoss(**common, quantile=plan.flagged, temperature_scale=options.scale)
    surrogate, beta = options.ranking.removeprefix("pAUC "), min(1.0, options.band * problem.budget)
    return PAUCAtBudgetLoss(**common, beta=beta, surrogate=surrogate, tau_scale=options.scale)

"""The ranking losses by their definitions, in plain PyTorch: all pairs, or a sort per threshold."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .contender import all_pairs

QUANTILE, TEMPERATURE = 0.005, 0.1


def _smooth_ap(scores: Tensor, positives: Tensor) -> Tensor:
    return all_pairs(torch.sigmoid, scores, positives)


def _auc(scores: Tensor, positives: Tensor) -> Tensor:
    pairs = positives[:, None] * (1 - positives)[None, :]
    return (pairs * torch.sigmoid((scores[None, :] - scores[:, None]) / TEMPERATURE)).sum() / pairs.sum()


def _above(threshold: Tensor, scores: Tensor, positives: Tensor) -> Tensor:
    return 1 - (positives * torch.sigmoid((scores - threshold) / TEMPERATURE)).sum() / positives.sum()


def _recall(scores: Tensor, positives: Tensor) -> Tensor:
    k = math.ceil(QUANTILE * len(scores))
    return _above(scores.detach().sort(descending=True).values[k], scores, positives)


def _highest_negatives(scores: Tensor, positives: Tensor) -> Tensor:
    k = math.ceil(QUANTILE * len(scores))
    return torch.where(positives > 0, -torch.inf, scores).topk(k).values


def _trapezoid(scores: Tensor, positives: Tensor) -> Tensor:
    band = _highest_negatives(scores.detach(), positives)
    return (_above(band[0], scores, positives) + _above(band[-1], scores, positives)) / 2


def _pairwise(scores: Tensor, positives: Tensor) -> Tensor:
    band = _highest_negatives(scores, positives)
    above = torch.sigmoid((band[None, :] - scores[:, None]) / TEMPERATURE).mean(1)
    return (positives * above).sum() / positives.sum()


DEFINITIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smooth_ap": _smooth_ap,
    "recall": _recall,
    "trapezoid": _trapezoid,
    "pairwise": _pairwise,
    "auc": _auc,
}


class Quadratic(torch.nn.Module):
    """A definition over the batch and a queue of scores, of one class, called like the modules."""

    def __init__(self, loss: str, queue_size: int) -> None:
        super().__init__()
        self._definition = DEFINITIONS[loss]
        self.register_buffer("scores", torch.zeros(queue_size))
        self.register_buffer("positives", torch.zeros(queue_size))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss; the batch then enters the queue."""
        scores = torch.cat([self.scores, logits[:, 0]])
        positives = torch.cat([self.positives, targets.to(scores.dtype)])
        loss = self._definition(scores, positives)
        with torch.no_grad():
            self.scores.copy_(scores[len(scores) - len(self.scores) :])
            self.positives.copy_(positives[len(scores) - len(self.positives) :])
        return loss

"""Guards of a ranking module's step: against recomputation in backward, equal scores, and labels without a pair."""

import warnings

import numpy as np
import torch
from torch import Tensor

from imbalanced_torch import validation

_ROWS, _COLLAPSE = 8, 100  # fewer rows give no reliable spread
_STEPS = 20  # one step in this many is checked
_LOOKS = 10  # checked steps without a loss that are a warning
_MOST_ROWS = 1024  # that are sorted in a check


class Watch:
    """Warns once if the scores of a class become equal, and once if no class has a loss; checks only some steps.

    Steps are checked where reading values is free.

    Args:
        advice: the remedy that the warning suggests.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self.reset()

    def reset(self) -> None:
        """Forgets all scores, for a new run."""
        self._widest: np.ndarray | None = None
        self._steps = 0
        self._without_loss: int | None = 0  # of the checked steps; None after one with a loss
        self._has_warned = False

    def __call__(self, logits: Tensor, targets: Tensor, ignore_index: int, valid: Tensor) -> None:
        """Checks the scores [N, C] of a batch, except those whose targets, [N] or [N, C], are ignored.

        `valid` are the classes, bool, that have a loss.
        """
        if self._has_warned or not validation.can_read(logits) or len(logits) < _ROWS:
            return
        if self._steps % _STEPS == 0:
            where = validation.values_of(targets != ignore_index).reshape(len(logits), -1)
            with np.errstate(all="ignore"):  # infinite and very large scores
                self._look(validation.values_of(logits.double()), where)  # sums of many float32 rows round
            self._count(bool(validation.values_of(valid).any()), ignore_index)
        self._steps += 1

    def _count(self, has_loss: bool, ignore_index: int) -> None:
        if self._without_loss is None:
            return
        self._without_loss = None if has_loss else self._without_loss + 1
        if self._without_loss == _LOOKS:
            self._without_loss = None
            warnings.warn(
                f"the loss was 0 in all of the {_LOOKS} steps that were checked among {self._steps + 1}: no class had "
                "in batch and queue what the loss needs; check the targets, weights, masks and "
                f"ignore_index={ignore_index}, or use larger batches if positives are very rare: docs/failure_modes.md",
                stacklevel=7,
            )

    def _look(self, scores: np.ndarray, where: np.ndarray) -> None:
        where = where & np.isfinite(scores)  # infinite ones give no spread
        count = where.sum(axis=0)
        number = np.maximum(count, 1)
        mean = np.where(where, scores, 0.0).sum(axis=0) / number
        spread = np.sqrt((np.where(where, scores - mean, 0.0) ** 2).sum(axis=0) / number)
        wide = _half_width(np.where(where, scores, np.nan)[:_MOST_ROWS])
        few = np.where(count < _ROWS, np.nan, 0.0)
        self._widest = wide + few if self._widest is None else np.fmax(self._widest, wide + few)
        if ((spread + few) * _COLLAPSE < self._widest).any():
            self._has_warned = True
            warnings.warn(
                f"the spread of the scores has shrunk to less than 1/{_COLLAPSE} of what it was: they become equal, "
                f"which minimises some ranking losses where labels are noisy (docs/collapse.md){self._advice}",
                stacklevel=7,
            )


def _half_width(scores: np.ndarray) -> np.ndarray:
    """Half the range [C] of the middle four fifths of the scores [N, C] that are not NaN: outliers are no spread."""
    ascending, last = np.sort(scores, axis=0), np.isfinite(scores).sum(axis=0) - 1  # NaN last
    cut, classes = np.maximum((last + 9) // 10, 0), np.arange(len(last))
    return (ascending[last - cut, classes] - ascending[cut, classes]) / 2


def refuse_recomputation() -> None:
    """Raises a RuntimeError inside backward, where `torch.utils.checkpoint` recomputes its function.

    Queue, gate or random draws have changed since the first evaluation, so the loss and its gradient would differ.
    """
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a ranking loss with a queue, a gate or max_pool_size must not be computed again during backward; keep it "
            "out of torch.utils.checkpoint (its memory is linear in the rows)"
        )

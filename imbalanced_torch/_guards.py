"""Guards of a ranking module's step, against recomputation in backward and against collapsed scores."""

import warnings

import numpy as np
import torch
from torch import Tensor

from imbalanced_torch import validation

_ROWS, _COLLAPSE = 8, 100  # fewer rows give no reliable spread
_STEPS = 20  # one step in this many is checked
_MOST_ROWS = 1024  # that are sorted in a check


class SpreadWatch:
    """Warns once if the scores of a class become equal; checks only some steps, where reading values is free.

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
        self._has_warned = False

    def __call__(self, logits: Tensor, targets: Tensor, ignore_index: int) -> None:
        """Checks the scores [N, C] of a batch, except those whose targets, [N] or [N, C], are ignored."""
        if self._has_warned or not validation.can_read(logits) or len(logits) < _ROWS:
            return
        if self._steps % _STEPS == 0 and targets.numel() in (len(logits), logits.numel()):  # else the step raises
            where = validation.values_of(targets != ignore_index).reshape(len(logits), -1)
            with np.errstate(all="ignore"):  # infinite and very large scores
                self._look(validation.values_of(logits.double()), where)  # sums of many float32 rows round
        self._steps += 1

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

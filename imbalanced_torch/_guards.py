"""What guards a ranking module's step: against a second evaluation, and scores that become equal."""

import warnings

import torch
from torch import Tensor

from imbalanced_torch import validation

_ROWS, _COLLAPSE = 8, 100  # fewer rows say little of a spread
_STEPS = 10  # one step of so many is looked at


class SpreadWatch:
    """Warns, once, where the scores of a class become equal; looks now and then, where that costs little.

    Args:
        advice: what the warning says that one may do.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._widest: Tensor | None = None
        self._steps = 0
        self._has_warned = False

    def __call__(self, logits: Tensor, targets: Tensor, ignore_index: int) -> None:
        """Looks at the scores [N, C] of a batch, with targets [N] or [N, C], but not at ignored ones."""
        if self._has_warned or not validation.can_read(logits) or len(logits) < _ROWS:
            return
        if self._steps % _STEPS == 0:
            self._look(logits, targets != ignore_index)
        self._steps += 1

    @torch.no_grad()
    def _look(self, logits: Tensor, where: Tensor) -> None:
        if where.numel() not in (len(logits), logits.numel()):  # the step says what is wrong
            return
        scores = torch.where(where.reshape(len(logits), -1), logits.float(), torch.nan)
        spread = (scores - scores.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        if not spread.isfinite().all():  # infinite logits are legal, and say nothing of the rest
            return
        self._widest = spread if self._widest is None else torch.maximum(self._widest, spread)
        if (spread * _COLLAPSE < self._widest).any():
            self._has_warned = True
            warnings.warn(
                f"the spread of the scores has shrunk to less than 1/{_COLLAPSE} of what it was: they become equal, "
                f"which is the least of some ranking losses where labels are noisy (docs/collapse.md){self._advice}",
                stacklevel=8,
            )


def refuse_recomputation() -> None:
    """RuntimeError inside of backward, where `torch.utils.checkpoint` calls its function for a second time.

    Queue, gate or random draws have moved on since the first time: the loss, and its gradient, would be another one.
    """
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a ranking loss with a queue, a gate or max_pool_size must not be computed again during backward; keep it "
            "out of torch.utils.checkpoint (its memory is linear in the rows)"
        )

"""Guards of a ranking module's step, against recomputation in backward and against collapsed scores."""

import warnings

import torch
from torch import Tensor

from imbalanced_torch import validation

_ROWS, _COLLAPSE = 8, 100  # fewer rows give no reliable spread
_STEPS = 10  # one step in this many is checked
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
        self._widest: Tensor | None = None
        self._steps = 0
        self._has_warned = False

    def __call__(self, logits: Tensor, targets: Tensor, ignore_index: int) -> None:
        """Checks the scores [N, C] of a batch, except those whose targets, [N] or [N, C], are ignored."""
        if self._has_warned or not validation.can_read(logits) or len(logits) < _ROWS:
            return
        if self._steps % _STEPS == 0:
            self._look(logits, targets != ignore_index)
        self._steps += 1

    @torch.no_grad()
    def _look(self, logits: Tensor, where: Tensor) -> None:
        if where.numel() not in (len(logits), logits.numel()):  # the step raises the error
            return
        where = where.reshape(len(logits), -1).expand(logits.shape)
        scores = torch.where(where & logits.isfinite(), logits.float(), torch.nan)  # infinite ones give no spread
        spread = (scores - scores.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        few = torch.where(scores.isfinite().sum(dim=0) < _ROWS, torch.nan, 0.0)
        wide = _half_width(scores[:_MOST_ROWS]) + few
        self._widest = wide if self._widest is None else torch.fmax(self._widest, wide)
        if ((spread + few) * _COLLAPSE < self._widest).any():
            self._has_warned = True
            warnings.warn(
                f"the spread of the scores has shrunk to less than 1/{_COLLAPSE} of what it was: they become equal, "
                f"which minimises some ranking losses where labels are noisy (docs/collapse.md){self._advice}",
                stacklevel=8,
            )


def _half_width(scores: Tensor) -> Tensor:
    """Half the range [C] of the middle four fifths of the scores [N, C] that are not NaN: outliers are no spread."""
    ascending, last = scores.sort(dim=0).values, scores.isfinite().sum(dim=0, keepdim=True) - 1
    cut = (last + 9) // 10
    ends = ascending.gather(0, torch.cat([cut, last - cut]).clamp(min=0))
    return (ends[1] - ends[0]) / 2


def refuse_recomputation() -> None:
    """Raises a RuntimeError inside backward, where `torch.utils.checkpoint` recomputes its function.

    Queue, gate or random draws have changed since the first evaluation, so the loss and its gradient would differ.
    """
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a ranking loss with a queue, a gate or max_pool_size must not be computed again during backward; keep it "
            "out of torch.utils.checkpoint (its memory is linear in the rows)"
        )

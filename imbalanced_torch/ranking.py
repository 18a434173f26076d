"""Smooth average precision and recall at a quantile as modules."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from imbalanced_core.losses.ranking import recall_at_quantile, smooth_ap
from imbalanced_torch.pooled import PooledLoss


class SmoothAPLoss(PooledLoss):
    """One minus the smooth average precision, averaged over classes, of the batch and a queue of earlier rows.

    For each positive i of a class, among all rows V and positives P of batch and queue:

        rank_i = 1 + Σ_{j∈V, j≠i} σ((s_j − s_i)/τ),  rank⁺_i = the same over P,  loss = 1 − mean_i rank⁺_i / rank_i.

    A class counts when it has a positive (of weight > 0) and a negative. Computed exactly in O(n log n) time and O(n)
    memory for n = N + queue_size rows.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        queue_size: how many rows of earlier batches are ranked along; 0 for none.
        temperature: τ > 0 of the logistic function; smaller is closer to the true ranks and harder to follow. Can be
            assigned at any time.
        reduction: "mean" or "sum" over the classes that count, or "none": one loss per class, NaN where it does not.
        ignore_index: the target of rows (with `multilabel`: of single labels) that take no part.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        gather_distributed: whether the rows of all processes are ranked together: None in training mode when there are
            several, True always, False never.
        max_pool_size: rank a random part of the rows, of no more than this many, rare classes first. The expected
            counts stay those of all rows. None (recommended): all.
        multilabel: targets are 0/1 per class, [N, C], instead of class ids.
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" or "std" of the class's negatives make
            the sharpness independent of the scale of the logits.
        pos_numerator: the mean over i runs over all positives ("pool") or over those of the batch ("live"). With "live"
            a long queue does not dilute the gradient of the positives, but nothing of like size holds the negatives
            down: in long runs the scores may drift upwards and the ranking suffer.
        process_group: the processes to gather from; None for all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".
        generator: source of the randomness of `max_pool_size`, seeded alike on every rank; `torch.compile` cannot trace
            one, and `state_dict()` does not hold it: save `generator.get_state()` beside it, and restore it with
            `set_state`, to resume with the same draws. None: a hash of the number of the step, the same in every run,
            which resumes by itself.
        class_parallel: for many classes: each rank computes C/W of them from the rows of all ranks, which takes W times
            less memory, work and forward traffic than gathering all logits; same value and gradient. The queue of a
            rank holds its own classes only, so save and load `state_dict()` on every rank, or `reset_queue()` after
            loading; do not let DDP broadcast these buffers (`broadcast_buffers=False`, or keep the loss outside of the
            wrapped model). A rank that does not gather, as in validation, ranks its batch without the queue.

    References:
        Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV 2020,
        https://arxiv.org/abs/2007.12163
    """

    def __init__(
        self,
        num_classes: int,
        queue_size: int = 1024,
        temperature: float = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        max_pool_size: int | None = None,
        *,
        multilabel: bool = False,
        temperature_scale: str = "absolute",
        pos_numerator: str = "pool",
        process_group: Any = None,
        grad_reduction: str = "mean",
        generator: torch.Generator | None = None,
        class_parallel: bool = False,
    ) -> None:
        super().__init__(
            num_classes,
            queue_size=queue_size,
            temperature=temperature,
            reduction=reduction,
            ignore_index=ignore_index,
            update_queue_in_eval=update_queue_in_eval,
            gather_distributed=gather_distributed,
            max_pool_size=max_pool_size,
            multilabel=multilabel,
            process_group=process_group,
            grad_reduction=grad_reduction,
            generator=generator,
            class_parallel=class_parallel,
        )
        self.temperature_scale = temperature_scale
        self.pos_numerator = pos_numerator
        self._check_options()

    @classmethod
    def recommended(cls, num_classes: int, **overrides: Any) -> Self:
        """The options that a study of real data prefers: a temperature in units of the spread of the negatives.

        Sets temperature_scale="std" and temperature=0.2; the rest is as the constructor has it, with
        pos_numerator="pool". Train with it from the first step on, without a warm-up. A temperature that falls from 0.5
        to 0.1 over the training did as well or a little better:

            loss_fn.temperature = 0.5 * 0.2 ** (step / steps)

        Evidence, in `docs/which_loss.md`: on two real sets, made imbalanced, this had an average
        precision of 0.909 and 0.887, the constructor's own options 0.874 and 0.855, and the best of four tuned
        pointwise losses 0.908 and 0.848. Pairwise partial AUC, `PAUCAtBudgetLoss.recommended`, had 0.925 and 0.907.

        Args:
            num_classes: C, the number of logits of a row; 1 is binary.
            **overrides: options of the constructor, which take precedence.

        Returns:
            The module.

        Raises:
            ValueError: if an option is bad.
        """
        options: dict[str, Any] = {"temperature_scale": "std", "temperature": 0.2}
        return cls(num_classes, **(options | overrides))

    def _objective(self, temperature: Tensor | float) -> Callable[..., tuple]:
        return partial(
            smooth_ap,
            temperature=temperature,
            temperature_scale=self.temperature_scale,
            pos_numerator=self.pos_numerator,
        )

    def _options(self) -> tuple[str, ...]:
        return ("temperature_scale", "pos_numerator")


class RecallAtQuantileLoss(PooledLoss):
    """One minus the smooth recall when the top `quantile` of the scores is flagged, averaged over classes.

    With θ the (1 − quantile)-quantile of a class's scores in batch and queue, a constant in differentiation:

        loss = 1 − mean over positives i of σ((s_i − θ)/τ).

    The gradient pushes positives above the threshold. A class counts when it has a positive (of weight > 0). The pool
    needs several times 1/quantile rows for a meaningful threshold, and the quantile should exceed the positives' share.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        quantile: the flagged fraction, in [0, 1].
        queue_size: how many rows of earlier batches are looked at along with the batch; 0 for none.
        temperature: τ > 0; can be assigned at any time.
        reduction: "mean", "sum" or "none".
        ignore_index: the target of rows (with `multilabel`: of single labels) that take no part.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        gather_distributed: None gathers the rows of all processes in training mode, True always, False never.
        quantile_interpolation: "higher", "lower", "linear", "nearest" or "midpoint".
        max_pool_size: look at a random part of the rows, of no more than this many; None: all.
        multilabel: targets are 0/1 per class, [N, C], instead of class ids.
        temperature_scale: the unit of the temperature: "absolute", or "iqr" or "std" of the class's negatives.
        pos_numerator: the mean runs over all positives ("pool") or over those of the batch ("live").
        process_group: the processes to gather from; None for all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".
        generator: source of the randomness of `max_pool_size`; see `SmoothAPLoss`.
        class_parallel: divides the classes among the ranks; see `SmoothAPLoss`.
    """

    def __init__(
        self,
        num_classes: int,
        quantile: float = 0.005,
        queue_size: int = 1024,
        temperature: float = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        quantile_interpolation: str = "higher",
        max_pool_size: int | None = None,
        *,
        multilabel: bool = False,
        temperature_scale: str = "absolute",
        pos_numerator: str = "pool",
        process_group: Any = None,
        grad_reduction: str = "mean",
        generator: torch.Generator | None = None,
        class_parallel: bool = False,
    ) -> None:
        super().__init__(
            num_classes,
            queue_size=queue_size,
            temperature=temperature,
            reduction=reduction,
            ignore_index=ignore_index,
            update_queue_in_eval=update_queue_in_eval,
            gather_distributed=gather_distributed,
            max_pool_size=max_pool_size,
            multilabel=multilabel,
            process_group=process_group,
            grad_reduction=grad_reduction,
            generator=generator,
            class_parallel=class_parallel,
        )
        self.quantile = quantile
        self.quantile_interpolation = quantile_interpolation
        self.temperature_scale = temperature_scale
        self.pos_numerator = pos_numerator
        self._check_options()

    def _objective(self, temperature: Tensor | float) -> Callable[..., tuple]:
        return partial(
            recall_at_quantile,
            quantile=self.quantile,
            interpolation=self.quantile_interpolation,
            temperature=temperature,
            temperature_scale=self.temperature_scale,
            pos_numerator=self.pos_numerator,
        )

    def _options(self) -> tuple[str, ...]:
        return ("quantile", "quantile_interpolation", "temperature_scale", "pos_numerator")

"""Partial AUC at a budget as a module."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses.partial_auc import partial_auc
from imbalanced_torch.pooled import PooledLoss


class PAUCAtBudgetLoss(PooledLoss):
    """One minus the smooth partial AUC over the false-positive rates [alpha, beta], averaged over classes.

    The scores of the iid negatives in batch and queue set, as constants, the thresholds t(f) of false-positive rates f
    and the unit of the temperature. Per positive, "trapezoid" integrates σ((s_i − t(f))/τ) over the band; "pairwise"
    averages σ((s_i − s_j)/τ) over the negatives j in the band, which then carry gradient as well. The loss is one minus
    the mean over positives, in [0, 1]. A class counts when it has a positive (of weight > 0), an iid negative, a scale
    of scores > 1e-12 and, for "pairwise", a negative in the band. See `imbalanced_core.losses.partial_auc.partial_auc`.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        alpha: the lowest false-positive rate of the band, 0 <= alpha < beta.
        beta: the highest, the budget, <= 1. The pool needs several times 1/beta negatives.
        surrogate: "trapezoid" or "pairwise".
        n_knots: number of thresholds of the trapezoid, >= 2.
        tau_scale: the unit of the temperature: "iqr" or "std" of the reference scores, "band" = t(alpha) − t(beta), or
            "absolute" = 1.
        pos_numerator: the mean runs over all positives ("pool") or over those of the batch ("live").
        budget_basis: rates are fractions of the iid negatives ("fpr") or of all iid rows ("population").
        queue_size: how many rows of earlier batches are looked at along with the batch; 0 for none.
        temperature: in units of `tau_scale`, > 0; can be assigned at any time.
        reduction: "mean", "sum" or "none".
        ignore_index: the target of rows (with `multilabel`: of single labels) that take no part.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        gather_distributed: None gathers the rows of all processes in training mode, True always, False never.
        max_pool_size: look at a random part of the rows, of no more than this many; None: all.
        multilabel: targets are 0/1 per class, [N, C], instead of class ids.
        temperature_scale: takes the place of `tau_scale` if given: its name in the other ranking losses.
        process_group: the processes to gather from; None for all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".
        generator: source of the randomness of `max_pool_size`; see `SmoothAPLoss`.
        class_parallel: divides the classes among the ranks; see `SmoothAPLoss`.

    References:
        Narasimhan, Agarwal, A Structural SVM Based Approach for Optimizing Partial AUC, ICML 2013.
    """

    iid_aware = True

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.0,
        beta: float = 0.005,
        surrogate: str = "trapezoid",
        n_knots: int = 2,
        tau_scale: str = "iqr",
        pos_numerator: str = "pool",
        budget_basis: str = "fpr",
        queue_size: int = 1024,
        temperature: float = 0.1,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        gather_distributed: bool | None = None,
        max_pool_size: int | None = None,
        *,
        multilabel: bool = False,
        temperature_scale: str | None = None,
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
        self.alpha = alpha
        self.beta = beta
        self.surrogate = surrogate
        self.n_knots = n_knots
        self.tau_scale = tau_scale if temperature_scale is None else temperature_scale
        self.pos_numerator = pos_numerator
        self.budget_basis = budget_basis
        self._check_options()

    @classmethod
    def recommended(cls, num_classes: int, budget: float, **overrides: Any) -> Self:
        """The options that did best in a study of real data: pairs, a wider band, a softer temperature.

        Sets surrogate="pairwise", beta=2 * budget (at most 1), tau_scale="std" and temperature=1.0; the rest is as the
        constructor has it, with pos_numerator="pool". Train with it from the first step on, without a warm-up. A
        temperature that falls from 2.0 to 1.0 over the training did as well:

            loss_fn.temperature = 2.0 * 0.5 ** (step / steps)

        Evidence, in `docs/which_loss.md`: on two real sets, made imbalanced, this had an average
        precision of 0.925 and 0.907, the constructor's own options 0.065 and 0.769, and the best of four tuned
        pointwise losses 0.908 and 0.848. It does not suit a budget so small that batch and queue hold only a few
        negatives above it.

        Args:
            num_classes: C, the number of logits of a row; 1 is binary.
            budget: the false-positive rate that can be afforded, in (0, 1].
            **overrides: options of the constructor, which take precedence.

        Returns:
            The module.

        Raises:
            ValueError: if the budget is no number in (0, 1], or an option is bad.
        """
        is_rate = isinstance(budget, float | int) and not isinstance(budget, bool) and 0 < budget <= 1
        checks.require(is_rate, "budget", "a number in (0, 1]", budget)
        options: dict[str, Any] = {"beta": min(1.0, 2 * budget), "surrogate": "pairwise", "tau_scale": "std"}
        return cls(num_classes, **(options | {"temperature": 1.0} | overrides))

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
    ) -> Any:
        """The loss of a batch, which then enters the queue; see `PooledLoss.forward`.

        Args:
            logits: floating point [N, num_classes].
            targets: class ids [N] or [N, 1], or 0/1 labels.
            iid_mask: bool [N], the rows drawn as the population is: only they set thresholds and scale. None: all.
            return_per_class: whether to return the loss and the validity of each class as well.
            return_diagnostics: whether to return figures of the band as well.
            sample_weight: >= 0, [N]; how much a positive counts.

        Returns:
            loss, (loss, per_class, valid), (loss, stats) or (loss, per_class, valid, stats). `stats` maps names to
            constants [num_classes]: t_alpha and t_beta, the scores at the edges of the band; tau_eff, the temperature
            in units of the logits; band_neg_count, the iid negatives in the band; pauc_var, the variance of the
            contributions of single positives; grad_pos_count, the positives of this process's batch.
        """
        loss, result = self._step(logits, targets, iid_mask, sample_weight)
        per_class = (result.per_class, result.valid) if return_per_class else ()
        stats = (result.diagnostics._asdict(),) if return_diagnostics else ()
        return (loss, *per_class, *stats) if per_class or stats else loss

    def _objective(self, temperature: Tensor | float) -> Callable[..., tuple]:
        return partial(
            partial_auc,
            alpha=self.alpha,
            beta=self.beta,
            surrogate=self.surrogate,
            n_knots=self.n_knots,
            temperature=temperature,
            temperature_scale=self.tau_scale,
            pos_numerator=self.pos_numerator,
            budget_basis=self.budget_basis,
        )

    def _options(self) -> tuple[str, ...]:
        return ("alpha", "beta", "surrogate", "n_knots", "tau_scale", "pos_numerator", "budget_basis")

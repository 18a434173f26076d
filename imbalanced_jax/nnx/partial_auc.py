"""Partial AUC at a budget as an NNX module."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from imbalanced_jax import partial_auc
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.nnx.pooled import PooledLoss


class PAUCAtBudgetLoss(PooledLoss):
    """One minus the smooth partial AUC at a budget of false positives: `imbalanced_jax.pauc_at_budget_loss` with state.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        alpha: the lowest false-positive rate of the band, 0 <= alpha < beta.
        beta: the highest, the budget, <= 1. The pool needs several times 1/beta negatives.
        surrogate: "pairwise", or "trapezoid", which lifts positives only and hardly learns without another loss beside
            it. (`imbalanced_torch.PAUCAtBudgetLoss` has "trapezoid" as its default.)
        n_knots: number of thresholds of the trapezoid, >= 2.
        tau_scale: the unit of the temperature: "iqr" or "std" of the reference scores, "band" or "absolute".
        pos_numerator: the mean runs over all positives ("pool") or over those of the batch ("live").
        budget_basis: rates are fractions of the iid negatives ("fpr") or of all iid rows ("population").
        queue_size: how many rows of earlier batches are looked at along with the batch; 0 for none.
        temperature: in units of `tau_scale`, > 0, at first. On real data 1.0 with tau_scale="std" did better than
            the default.
        reduction: "mean", "sum" or "none".
        ignore_index: the target of what takes no part.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        max_pool_size: look at a random part of the rows; needs `rngs`.
        multilabel: targets are 0/1 per class, [N, C].
        temperature_scale: takes the place of `tau_scale` if given: its name in the other ranking losses.
        axis_name: mapped axis or axes whose devices' rows are looked at together.
        dtype: of the queue's logits.
        deterministic: whether the module starts in `eval()` mode.
        rngs: for `max_pool_size`; see `SmoothAPLoss`.

    Raises:
        TypeError, ValueError: on a bad option.
    """

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.0,
        beta: float = 0.005,
        surrogate: str = "pairwise",
        n_knots: int = 2,
        tau_scale: str = "iqr",
        pos_numerator: str = "pool",
        budget_basis: str = "fpr",
        queue_size: int = 1024,
        temperature: float | jax.Array = 0.1,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        max_pool_size: int | None = None,
        *,
        multilabel: bool = False,
        temperature_scale: str | None = None,
        axis_name: AxisName = None,
        dtype: Any = jnp.float32,
        deterministic: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            queue_size=queue_size,
            temperature=temperature,
            reduction=reduction,
            ignore_index=ignore_index,
            update_queue_in_eval=update_queue_in_eval,
            max_pool_size=max_pool_size,
            multilabel=multilabel,
            axis_name=axis_name,
            dtype=dtype,
            deterministic=deterministic,
            rngs=rngs,
        )
        self.alpha = alpha
        self.beta = beta
        self.surrogate = surrogate
        self.n_knots = n_knots
        self.tau_scale = tau_scale if temperature_scale is None else temperature_scale
        self.pos_numerator = pos_numerator
        self.budget_basis = budget_basis
        self._check_options()

    def _loss_function(self) -> Callable[..., tuple]:
        return partial(
            partial_auc.pauc_at_budget_loss,
            alpha=self.alpha,
            beta=self.beta,
            surrogate=self.surrogate,
            n_knots=self.n_knots,
            tau_scale=self.tau_scale,
            pos_numerator=self.pos_numerator,
            budget_basis=self.budget_basis,
        )

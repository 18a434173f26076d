"""Partial AUC at a budget as a module."""

from typing import Any, Self, Unpack

from imbalanced_core import checks
from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.options import band_unit
from imbalanced_torch.pooled import PooledLoss, RankingOptions


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
        temperature_scale: takes the place of `tau_scale` if given: its name in the other ranking losses.
        margin: >= 0, in units of τ: a positive ranks above a threshold or negative only by that margin.
        **options: see `imbalanced_torch.pooled.RankingOptions`.

    References:
        Narasimhan, Agarwal, A Structural SVM Based Approach for Optimizing Partial AUC, ICML 2013.
    """

    objective = staticmethod(band_auc)
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
        quantile_interpolation: str = "higher",
        max_pool_size: int | None = None,
        *,
        temperature_scale: str | None = None,
        margin: float = 0.0,
        **options: Unpack[RankingOptions],
    ) -> None:
        super().__init__(
            num_classes,
            {
                "alpha": alpha,
                "beta": beta,
                "surrogate": surrogate,
                "n_knots": n_knots,
                "tau_scale": band_unit(tau_scale, temperature_scale),
                "budget_basis": budget_basis,
                "quantile_interpolation": quantile_interpolation,
                "margin": margin,
            },
            queue_size=queue_size,
            temperature=temperature,
            reduction=reduction,
            ignore_index=ignore_index,
            update_queue_in_eval=update_queue_in_eval,
            gather_distributed=gather_distributed,
            max_pool_size=max_pool_size,
            pos_numerator=pos_numerator,
            **options,
        )

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

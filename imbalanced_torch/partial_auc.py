"""Partial AUC at a budget, as a module."""

import warnings
from typing import Any, Self, Unpack

import torch

from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.options import pauc_preset
from imbalanced_torch.options import CommonOptions, RankingOptions, ranking_module
from imbalanced_torch.pooled import PooledLoss


class PAUCAtBudgetLoss(PooledLoss):
    """One minus the smooth partial AUC over the false-positive rates [alpha, beta], averaged over classes.

    The scores of the iid negatives in batch and queue set, without gradient, the thresholds t(f) at false-positive
    rates f and the unit of the temperature. Per positive, "trapezoid" integrates σ((s_i − t(f))/τ) over the band;
    "pairwise" averages σ((s_i − s_j)/τ) over the negatives j in the band, which then receive gradient too. The loss is
    one minus the mean over positives, in [0, 1]. A class counts if it has a positive (of weight > 0), an iid negative
    and, for "pairwise", a negative in the band. Where the scores have no spread, the unit of the temperature is 1. See
    `imbalanced_core.losses.partial_auc.partial_auc`, also for the papers. Arguments that are not listed are those of
    `SmoothAPLoss`.

    Args:
        alpha: the lowest false-positive rate of the band, 0 <= alpha < beta.
        beta: the highest, the budget, <= 1. The pool needs several times 1/beta negatives.
        surrogate: "trapezoid" or "pairwise". None: "trapezoid", with a one-time warning that "pairwise" trains better.
        n_knots: number of thresholds of the trapezoid, >= 2.
        tau_scale: unit of the temperature: "iqr" or "std" of the reference scores, "band" = t(alpha) − t(beta), or
            "absolute" = 1.
        budget_basis: whether rates are fractions of the iid negatives ("fpr") or of all iid rows ("population").
        temperature: in units of `tau_scale`, > 0; can be assigned at any time.
        quantile_interpolation: of the thresholds: "higher", "lower", "linear", "nearest" or "midpoint".
        min_tpr: the lowest true-positive rate, in [0, 1), for the two-way partial AUC: the mean runs over the fraction
            1 − min_tpr of the positives with the lowest scores. 0: all.
    """

    objective = staticmethod(band_auc)
    iid_aware = True

    @ranking_module(RankingOptions, temperature_scale=None)
    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.0,
        beta: float = 0.005,
        surrogate: str | None = None,
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
        min_tpr: float = 0.0,
        **options: Unpack[RankingOptions],
    ) -> None:
        if surrogate is None:
            surrogate = "trapezoid"
            _warn_of_trapezoid()
        tau_scale = options["temperature_scale"] or tau_scale
        own = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
        own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
        common: CommonOptions = {"reduction": reduction, "ignore_index": ignore_index, "max_pool_size": max_pool_size}
        common |= {"update_queue_in_eval": update_queue_in_eval, "gather_distributed": gather_distributed}
        common |= {"pos_numerator": pos_numerator, **options}
        super().__init__(num_classes, own, queue_size, temperature, **common)
        self.compares_pairs = surrogate == "pairwise"

    @classmethod
    def recommended(cls, num_classes: int, budget: float, **overrides: Any) -> Self:
        """The preset: pairs in a band of twice the budget, with a contrastive cross entropy where the ranking fails.

        Sets surrogate="pairwise", beta=2 * budget (at most 1), tau_scale="std", temperature=1.0 and gated=True; other
        options keep the constructor's defaults. Use it as the only loss, from the first step, and compare it with
        binary cross entropy: on clean labels it can underfit (docs/which_loss.md), and temperature=0.3 does so less.
        Pairs alone (gated=False) can collapse on noisy labels (docs/collapse.md). The loss is >= 0, not bounded by 1.

        Args:
            num_classes: C, the number of logits of a row; 1 is binary.
            budget: the acceptable false-positive rate, in (0, 1); 1% is 0.01.
            **overrides: options of the constructor, which take precedence.

        Raises:
            ValueError: if the budget is out of range or an option is invalid.
        """
        return cls(num_classes, **(pauc_preset(budget) | {"gated": True} | overrides))


_has_warned: list[bool] = []  # one warning for all modules


def _warn_of_trapezoid() -> None:
    if not _has_warned and not torch.compiler.is_compiling():
        _has_warned.append(True)
        warnings.warn(
            'PAUCAtBudgetLoss uses surrogate="trapezoid", which lifts positives only; "pairwise" trains better, and '
            "PAUCAtBudgetLoss.recommended(num_classes, budget) sets it with the rest. Give surrogate= to silence this.",
            stacklevel=4,  # past the wrapper that fills in keywords
        )

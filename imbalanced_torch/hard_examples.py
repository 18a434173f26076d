"""Losses that treat hard and easy examples differently.

Their `**options`, and calls, are described in `imbalanced_torch.pointwise`; `Poly1Loss` has the reductions "mean",
"sum" and "none", and `axis` 1 by default, and the others `ignore_index` None.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor

from imbalanced_core.losses import hard_examples
from imbalanced_torch import distributed
from imbalanced_torch._pointwise import ClassLoss, ClassOptions, LabelLoss, LabelOptions

Number = float | Tensor


class Poly1Loss(ClassLoss):
    """Poly-1 cross entropy, CE(logits, y) + ε (1 − p_y): changes the first coefficient of the series of log p_y.

    Paper: `imbalanced_core.losses.hard_examples.poly1`.

    Args:
        epsilon: ε >= −1; 0 is the cross entropy.
        **options: see `imbalanced_torch.hard_examples`.
    """

    function = staticmethod(hard_examples.poly1)
    rules = hard_examples.RULES

    def __init__(self, epsilon: Number = 1.0, **options: Unpack[ClassOptions]) -> None:
        super().__init__({"epsilon": epsilon}, **options)


class AsymmetricLoss(LabelLoss):
    """Asymmetric loss for multi-label classification: focuses negatives more than positives and drops easy ones.

    loss = y (1 − p)^γ₊ (−log p) + (1 − y) p_m^γ₋ (−log(1 − p_m)) with p = σ(logit) and p_m = max(p − m, 0). The paper:
    `imbalanced_core.losses.hard_examples.asymmetric`.

    Args:
        gamma_pos: γ₊ >= 0.
        gamma_neg: γ₋ >= 0.
        clip: m in [0, 1): a negative with p <= m has loss and gradient 0, so do not start the last bias at the prior.
        **options: see `imbalanced_torch.hard_examples`.
    """

    function = staticmethod(hard_examples.asymmetric)
    rules = hard_examples.RULES

    def __init__(
        self, gamma_pos: Number = 1.0, gamma_neg: Number = 4.0, clip: float = 0.05, **options: Unpack[LabelOptions]
    ) -> None:
        super().__init__({"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}, **options)


class HardNegativeLoss(LabelLoss):
    """Binary cross entropy over all positives and the hardest negatives, those with the highest logits.

    Of n competing negatives (targets below ½), 1 + ⌊share · (n − 1)⌋ are kept, and all that tie with the last of these;
    a mean is over the kept entries. With several processes all their negatives compete (`axis` 0 or None): logits are
    gathered. Start the last bias at the log odds. The paper: `imbalanced_core.losses.hard_examples.hard_negative`.

    Args:
        share: in [0, 1]; 1 is the binary cross entropy.
        axis: the axis along which negatives compete: 0 for the rows of a batch, separately per label; −1 for the labels
            of a row; None for all entries.
        **options: see `imbalanced_torch.hard_examples`.
    """

    function = staticmethod(hard_examples.hard_negative)
    rules = hard_examples.RULES

    def __init__(self, share: float = 0.25, axis: int | None = 0, **options: Unpack[LabelOptions]) -> None:
        super().__init__({"share": share, "axis": axis}, **options)

    def _losses(self, inputs: Tensor, targets: Tensor, where: Tensor | None, **options: Any) -> Any:
        return super()._losses(inputs, targets, where, gather=self._gather if self._gathers() else None, **options)

    def _gather(self, rows: Tensor) -> Tensor:
        self._has_gathered = True
        return distributed.all_gather_no_grad(rows, process_group=self.process_group)

    def _evaluate(self, kind: Callable[..., Any], inputs: Tensor, targets: Tensor, **options: Any) -> Any:
        self._has_gathered = False
        try:
            return super()._evaluate(kind, inputs, targets, **options)
        except Exception:
            if self._gathers() and self.axis in (0, None) and not self._has_gathered:
                # the other ranks wait in their gather; a different row shape here makes them fail too
                with contextlib.suppress(ValueError):
                    self._gather(torch.zeros(0, device=inputs.device if isinstance(inputs, Tensor) else "cpu"))
            raise

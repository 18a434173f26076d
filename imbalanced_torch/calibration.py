"""Prior correction of logits from a model trained at other class frequencies; tensors or sequences of numbers."""

import math
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses import calibration as core
from imbalanced_torch import validation

Numbers = Tensor | Sequence[float] | float


def prior_correction(
    logits: Tensor,
    *,
    weights: Numbers | None = None,
    train_prior: Numbers | None = None,
    prior: Numbers | None = None,
    tau: float = 0.0,
    binary: bool = False,
) -> Tensor:
    """Logits − log w − log π' + log π + τ log π', whose softmax, or sigmoid, gives the probabilities of the population.

    `imbalanced_core.losses.calibration.prior_correction`, which has the arguments, results, errors and papers. Logits
    are floating point [..., C]; `weights` w (of the loss), `train_prior` π' and `prior` π are > 0, [C], tensors or
    sequences; `tau` is τ of a logit-adjusted loss. With `binary` each logit belongs to a sigmoid, w is its
    `pos_weight`, and log π means log(π / (1 − π)). A readable number out of range, such as the weight 0 of a class
    without items, is a ValueError.
    """
    validation.check_tensors(logits=logits)
    numbers: dict[str, Tensor | None] = {}
    for name, given in (("weights", weights), ("train_prior", train_prior), ("prior", prior)):
        check = partial(checks.positive_values, below=1.0 if binary and name != "weights" else math.inf)
        numbers[name] = None if given is None else validation.as_tensor(name, given, check).to(logits.device)
    return core.prior_correction(logits, **numbers, tau=tau, binary=binary)

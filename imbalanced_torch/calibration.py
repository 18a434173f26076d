"""The logits of the population, from a model trained on other odds; tensors or sequences of numbers."""

from collections.abc import Sequence

from torch import Tensor

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
    """Logits − log w − log π' + log π + τ log π', as `imbalanced_core.losses.calibration.prior_correction`.

    Arguments, results and errors are those of that function, for logits [..., C]. Weights and priors may be sequences.
    """
    validation.check_tensors(logits=logits)
    given = {"weights": weights, "train_prior": train_prior, "prior": prior}
    numbers = {k: None if x is None else validation.as_tensor(k, x).to(logits.device) for k, x in given.items()}
    return core.prior_correction(logits, **numbers, tau=tau, binary=binary)

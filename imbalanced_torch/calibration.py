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

    Args:
        logits: floating point [..., C].
        weights: > 0, [C]; the class weights, or with `binary` the `pos_weight`, of the loss. None: 1.
        train_prior: > 0, [C]; shares of the classes in training. None: those of the population.
        prior: > 0, [C]; shares in the population. None: those of training.
        tau: τ of a logit-adjusted loss.
        binary: whether each logit is of a sigmoid; then log π is log(π / (1 − π)).

    Returns:
        The shape of `logits`; softmax, or sigmoid, of it gives probabilities.

    Raises:
        ValueError, TypeError: on shapes or types that do not fit, one logit without `binary`, if `tau` has no prior, or
            if nothing would be corrected: without weights and priors, or with one prior and without `tau`.
    """
    validation.check_tensors(logits=logits)
    given = {"weights": weights, "train_prior": train_prior, "prior": prior}
    numbers = {k: None if x is None else validation.as_tensor(k, x).to(logits.device) for k, x in given.items()}
    return core.prior_correction(logits, **numbers, tau=tau, binary=binary)

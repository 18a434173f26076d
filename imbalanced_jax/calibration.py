"""Prior correction of logits from a model trained at other class frequencies; arrays or sequences of numbers."""

from collections.abc import Sequence

import jax

from imbalanced_core.losses import calibration as core
from imbalanced_jax import validation

Numbers = jax.Array | Sequence[float] | float


def prior_correction(
    logits: jax.Array,
    *,
    weights: Numbers | None = None,
    train_prior: Numbers | None = None,
    prior: Numbers | None = None,
    tau: float = 0.0,
    binary: bool = False,
) -> jax.Array:
    """Logits − log w − log π' + log π + τ log π', as `imbalanced_core.losses.calibration.prior_correction`.

    Args:
        logits: floating point [..., C].
        weights: > 0, [C]; the class weights, or with `binary` the `pos_weight`, of the loss. None: 1.
        train_prior: > 0, [C]; class frequencies in training. None: those of the population.
        prior: > 0, [C]; class frequencies in the population. None: those in training.
        tau: τ of a logit-adjusted loss.
        binary: whether each logit belongs to a sigmoid; log π then stands for log(π / (1 − π)).

    Returns:
        Corrected logits, in the shape of `logits`; their softmax, or sigmoid, gives probabilities.

    Raises:
        ValueError, TypeError: on invalid shapes or types, a single logit without `binary`, `tau` without a prior, or
            nothing to correct: neither weights nor priors, or one prior without `tau`.
    """
    validation.check_arrays(logits=logits)
    given = {"weights": weights, "train_prior": train_prior, "prior": prior}
    numbers = {k: None if x is None else validation.as_floats(k, x) for k, x in given.items()}
    return core.prior_correction(logits, **numbers, tau=tau, binary=binary)

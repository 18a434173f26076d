"""The logits of the population, from a model trained on other odds; arrays or sequences of numbers."""

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

    Arguments, results and errors are those of that function, for logits [..., C]. Weights and priors may be sequences.
    """
    validation.check_arrays(logits=logits)
    given = {"weights": weights, "train_prior": train_prior, "prior": prior}
    numbers = {k: None if x is None else validation.as_floats(k, x) for k, x in given.items()}
    return core.prior_correction(logits, **numbers, tau=tau, binary=binary)

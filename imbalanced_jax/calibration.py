"""Prior correction of logits from a model trained at other class frequencies; arrays or sequences of numbers."""

import math
from collections.abc import Sequence

import jax

from imbalanced_core import checks
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
    """Logits − log w − log π' + log π + τ log π', whose softmax, or sigmoid, gives the probabilities of the population.

    `imbalanced_core.losses.calibration.prior_correction`, which has the arguments, results, errors and papers. Logits
    are floating point [..., C]; `weights` w (of the loss), `train_prior` π' and `prior` π are > 0, [C], arrays or
    sequences; `tau` is τ of a logit-adjusted loss. With `binary` each logit belongs to a sigmoid, w is its
    `pos_weight`, and log π means log(π / (1 − π)). A readable number out of range, such as the weight 0 of a class
    without items, is a ValueError.
    """
    validation.check_arrays(logits=logits)
    given = {"weights": weights, "train_prior": train_prior, "prior": prior}
    numbers = {k: None if x is None else validation.as_floats(k, x) for k, x in given.items()}
    for name, values in numbers.items():
        below = 1.0 if binary and name != "weights" else math.inf
        checks.positive_values(validation.readable(values), name=name, below=below)
    return core.prior_correction(logits, **numbers, tau=tau, binary=binary)

"""Class weights from class counts, and prior correction of logits; arrays or sequences of numbers."""

import math
from collections.abc import Sequence

from jax import Array

from imbalanced_core import checks
from imbalanced_core.losses import calibration, class_balance
from imbalanced_jax import validation

Numbers = Array | Sequence[float] | float


def class_weights(counts: Array | Sequence[float], *, scheme: str = "inverse", beta: float = 0.999) -> Array:
    """One weight per class, greater for rarer ones: `alpha` of `softmax_focal_loss`, `weight` of a cross entropy.

    `imbalanced_core.losses.class_balance.class_weights` has the formulas of the schemes "inverse" (the rarest class has
    weight 1), "balanced" (the items have mean weight 1) and "effective", with its `beta`, and the paper. `counts` are
    items per class [C], such as `jnp.bincount(targets, length=C)`; an array or a sequence of numbers. An empty class
    has weight 0. A ValueError if the shape, an option or a readable count is out of range, or all are 0.
    """
    counts = validation.as_floats("counts", counts)
    checks.counts(validation.readable(counts))
    return class_balance.class_weights(counts, scheme=scheme, beta=beta)


def pos_weight(positives: Numbers, total: Numbers, *, scheme: str = "balanced", beta: float = 0.999) -> Array:
    """The weight of positives relative to negatives: `pos_weight` of a binary cross entropy.

    `imbalanced_core.losses.class_balance.pos_weight`: n₋ / n₊, or with "effective" (1 − β^n₋) / (1 − β^n₊). The
    positives are per label [C] or a number, and so is the total of items; the result has the shape of `positives`.
    Errors as for `class_weights`.
    """
    labels = validation.as_floats("positives", positives, checks.weights)
    items = total if isinstance(total, (int, float)) else validation.as_floats("total", total)
    checks.weights(validation.readable(class_balance.binary_counts(labels, items)[1]), name="total - positives")
    return class_balance.pos_weight(labels, items, scheme=scheme, beta=beta)


def prior_correction(
    logits: Array,
    *,
    weights: Numbers | None = None,
    train_prior: Numbers | None = None,
    prior: Numbers | None = None,
    tau: float = 0.0,
    binary: bool = False,
) -> Array:
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
    return calibration.prior_correction(logits, **numbers, tau=tau, binary=binary)

"""Class weights from class counts, as JAX arrays."""

from collections.abc import Sequence

import jax

from imbalanced_core import checks
from imbalanced_core.losses import class_balance
from imbalanced_jax import validation
from imbalanced_jax.validation import readable


def class_weights(counts: jax.Array | Sequence[float], *, scheme: str = "inverse", beta: float = 0.999) -> jax.Array:
    """One weight per class, greater for rarer classes: `alpha` of `softmax_focal_loss`, `weight` of a cross entropy.

    `imbalanced_core.losses.class_balance.class_weights`, which has the formulas, the options and the paper, of `counts`
    [C], such as `jnp.bincount(targets, length=C)`, an array or a sequence of numbers. A readable count that is out of
    range, or counts that are all 0, are a ValueError too.
    """
    counts = validation.as_floats("counts", counts)
    checks.counts(readable(counts))
    return class_balance.class_weights(counts, scheme=scheme, beta=beta)


def pos_weight(
    positives: jax.Array | Sequence[float] | float,
    total: jax.Array | Sequence[float] | float,
    *,
    scheme: str = "balanced",
    beta: float = 0.999,
) -> jax.Array:
    """The weight of positives relative to negatives: `pos_weight` of a binary cross entropy.

    `imbalanced_core.losses.class_balance.pos_weight`, of arrays, sequences or numbers; a readable count that is out
    of range is a ValueError too.
    """
    labels = validation.as_floats("positives", positives)
    items = total if isinstance(total, (int, float)) else validation.as_floats("total", total)
    checks.weights(readable(labels), name="positives")
    checks.weights(readable(class_balance.binary_counts(labels, items)[1]), name="total - positives")
    return class_balance.pos_weight(labels, items, scheme=scheme, beta=beta)

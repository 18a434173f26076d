"""Class weights from class counts, as JAX arrays."""

from collections.abc import Sequence

import jax

from imbalanced_core import checks
from imbalanced_core.losses import class_balance
from imbalanced_jax import validation
from imbalanced_jax.validation import readable


def class_weights(counts: jax.Array | Sequence[float], *, scheme: str = "inverse", beta: float = 0.999) -> jax.Array:
    """One weight per class, greater for rarer classes: `alpha` of `softmax_focal_loss`, `weight` of a cross entropy.

    With n_c the count of class c and K the number of classes that occur: "inverse" is min(n) / n_c, so that the rarest
    class has weight 1; "balanced" is Σn / (K · n_c), so that the mean weight of the items is 1; "effective" is
    proportional to (1 − β) / (1 − β^n_c), with mean 1 over the classes. Only classes that occur are counted; an empty
    class has weight 0. See `imbalanced_core.losses.class_balance.class_weights`.

    Args:
        counts: items per class [C], such as `jnp.bincount(targets, length=C)`; an array or a sequence of numbers.
        scheme: "inverse", "balanced" or "effective".
        beta: β of "effective", in [0, 1).

    Returns:
        [C], floating point.

    Raises:
        ValueError: if the shape, an option or a readable count is out of range, or all are 0.

    References:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019,
        https://arxiv.org/abs/1901.05555
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

    n₋ / n₊ for "balanced" and "inverse", (1 − β^n₋) / (1 − β^n₊) for "effective"; a count of 0 counts as 1.

    Args:
        positives: positives per label [C], or a single number.
        total: total number of items, per label or a single number.
        scheme: "balanced", "inverse" or "effective".
        beta: β of "effective", in [0, 1).

    Returns:
        The shape of `positives`, floating point.

    Raises:
        ValueError: if an option or a readable count is out of range.
    """
    labels = validation.as_floats("positives", positives)
    items = total if isinstance(total, (int, float)) else validation.as_floats("total", total)
    checks.weights(readable(labels), name="positives")
    checks.weights(readable(class_balance.binary_counts(labels, items)[1]), name="total - positives")
    return class_balance.pos_weight(labels, items, scheme=scheme, beta=beta)

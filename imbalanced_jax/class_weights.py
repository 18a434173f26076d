"""Class weights from class counts, as JAX arrays."""

from collections.abc import Sequence
from typing import Any

import jax

from imbalanced_core import checks
from imbalanced_core.losses import class_balance as core
from imbalanced_jax import validation


def class_weights(counts: jax.Array | Sequence[float], *, scheme: str = "inverse", beta: float = 0.999) -> jax.Array:
    """One weight per class, greater for rarer classes: `alpha` of `softmax_focal_loss`, `weight` of a cross entropy.

    With n_c the count of class c, where a count of 0 counts as 1: "inverse" is min(n) / n_c, so that the rarest class
    has weight 1; "balanced" is Σn / (C · n_c); "effective" is proportional to (1 − β) / (1 − β^n_c), with mean 1.

    Args:
        counts: items per class [C], such as `jnp.bincount(targets, length=C)`; an array or a sequence of numbers.
        scheme: "inverse", "balanced" or "effective".
        beta: β of "effective", in [0, 1).

    Returns:
        [C], floating point.

    Raises:
        ValueError: if the shape, an option or a readable count is out of range.

    References:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019,
        https://arxiv.org/abs/1901.05555
    """
    counts = validation.as_floats("counts", counts)
    validation.check_weights(counts, name="counts")
    return core.class_weights(counts, scheme=scheme, beta=beta)


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
        total: items in all, per label or a single number.
        scheme: "balanced", "inverse" or "effective".
        beta: β of "effective", in [0, 1).

    Returns:
        The shape of `positives`, floating point.

    Raises:
        ValueError: if an option or a readable count is out of range.
    """
    labels = validation.as_floats("positives", positives)
    items: Any = total
    if not isinstance(total, (int, float)):
        items = validation.as_floats("total", total)
        fits = items.ndim == 0 or items.shape == labels.shape
        checks.require(fits, "total", f"one number, or one per label as positives {labels.shape}", total)
    validation.check_weights(labels, name="positives")
    validation.check_weights(items - labels, name="total - positives")
    return core.pos_weight(labels, items, scheme=scheme, beta=beta)

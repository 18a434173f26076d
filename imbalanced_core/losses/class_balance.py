"""Class weights from class counts."""

import math

from imbalanced_core import checks
from imbalanced_core.ops.namespace import Array, array_namespace

SCHEMES = ("inverse", "balanced", "effective")


def class_weights(counts: Array, *, scheme: str = "inverse", beta: float = 0.999) -> Array:
    """One weight per class, greater for rarer classes.

    With n_c the count of class c and K the number of classes with a count > 0:

    - "inverse": min(n) / n_c, the minimum over those K, so that the rarest of them has weight 1;
    - "balanced": Σn / (K · n_c), so that the mean weight of the items is 1;
    - "effective": proportional to (1 − β) / (1 − β^n_c), one over the effective number of items, with mean 1 over those
      K; β → 0 gives equal weights, β → 1 inverse frequencies.

    An empty class has weight 0 and changes no other weight.

    Args:
        counts: items per class [C], >= 0, integer or floating point; the first two also accept relative frequencies.
        scheme: "inverse", "balanced" or "effective".
        beta: β of "effective", in [0, 1); the paper uses 0.9, 0.99, 0.999, 0.9999.

    Returns:
        [C], floating point, >= 0: the `alpha` of the softmax focal loss or the `weight` of a cross entropy. NaN for all
        classes if a count is negative or not finite, or all are 0.

    Raises:
        ValueError: if `counts` is not one-dimensional, or `scheme` or `beta` is invalid.

    References:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019,
        https://arxiv.org/abs/1901.05555
    """
    checks.require(counts.ndim == 1 and counts.shape[0] > 0, "counts", "of shape [classes]", tuple(counts.shape))
    counts = as_floats(counts)
    xp = array_namespace(counts)
    occurs = counts != 0
    empty = xp.where(xp.any(occurs), xp.zeros_like(counts), xp.nan)
    rarity = xp.where(occurs, _rarity(counts, scheme=scheme, beta=beta), empty)
    if scheme == "inverse":
        return rarity / xp.max(rarity)
    classes = xp.clip(xp.sum(xp.astype(occurs, counts.dtype)), min=1.0)
    if scheme == "balanced":
        return rarity * (xp.sum(counts) / classes)
    return rarity / (xp.sum(rarity) / classes)


def pos_weight(positives: Array, total: Array | float, *, scheme: str = "balanced", beta: float = 0.999) -> Array:
    """The weight of the positives of a binary or multi-label problem, relative to the negatives.

    With n₊ positives and n₋ = total − n₊ negatives, where a count of 0 counts as 1: n₋ / n₊ for "balanced" and
    "inverse", (1 − β^n₋) / (1 − β^n₊) for "effective".

    Args:
        positives: positives per label [C], or 0-d; >= 0, integer or floating point.
        total: the total number of items, per label or a single number.
        scheme: as for `class_weights`.
        beta: as for `class_weights`.

    Returns:
        The shape of `positives`, floating point, > 0: the `pos_weight` of a binary cross entropy. A weight w acts as
        α = w / (1 + w) in the sigmoid focal loss, up to a factor of the whole loss. NaN where a count is negative,
        not finite or greater than the total.
    """
    positives, negatives = binary_counts(positives, total)
    return _rarity(positives, scheme=scheme, beta=beta) / _rarity(negatives, scheme=scheme, beta=beta)


def binary_counts(positives: Array, total: Array | float) -> tuple[Array, Array]:
    """The numbers of positives and of negatives as floats; ValueError unless `total` is one, or one per label."""
    positives = as_floats(positives)
    if not isinstance(total, (int, float)):
        shape = tuple(positives.shape)
        rule = f"one number, or one per label as positives {shape}"
        checks.require(tuple(total.shape) in ((), shape), "total", rule, tuple(total.shape))
        total = as_floats(total)
    return positives, total - positives


def _rarity(counts: Array, *, scheme: str, beta: float) -> Array:
    """1 / n, or one over the effective number of items."""
    checks.one_of("scheme", scheme, SCHEMES)
    checks.python_number("beta", beta, "[0, 1)")
    xp = array_namespace(counts)
    counts = xp.where(counts == 0, 1.0, counts)
    counts = xp.where((counts > 0) & (counts < xp.inf), counts, xp.nan)
    if scheme != "effective":
        return 1.0 / counts
    return (1.0 - beta) / -xp.expm1(counts * math.log(beta)) if beta > 0 else counts / counts


def as_floats(counts: Array) -> Array:
    """Integers cast to the library's default float dtype, where differences of unsigned integers can be negative."""
    xp = array_namespace(counts)
    checks.real("counts", counts)
    return counts if xp.isdtype(counts.dtype, "real floating") else xp.astype(counts, xp.zeros(()).dtype)

"""The pool, all rows of one step of a ranking loss, and its subsampling."""

from typing import NamedTuple

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace


class Pool(NamedTuple):
    """M rows with C logits each, the queue before the batch. None for masks that are not needed."""

    logits: Array  # [M, C]
    labels: Array  # int32: class ids [M], or 0/1 per class [M, C]; −1 is ignored
    weights: Array  # [M], the user's sample weights
    is_iid: Array | None  # bool [M], drawn from the population, not by a sampler that favours some classes
    live: Array | None  # bool [M], of the current batch
    multiplicity: Array | None  # [M], how many rows of the full pool a row stands for; None: 1


def strata_count(num_classes: int, *, multilabel: bool) -> int:
    """The number of classes that `subsample` distinguishes, hence the fewest rows it can keep: 2 when binary."""
    return num_classes + 1 if multilabel else max(num_classes, 2)


def strata(pool: Pool) -> Array:
    """The class of each row in subsampling, int32 [M].

    A row with a class id belongs to that class (binary: negatives are class 0). A multi-label row belongs to the rarest
    of its positive classes (on a tie, the first), or to an extra last class when it has none. Ignored rows come after
    the last class.
    """
    xp = array_namespace(pool.logits)
    num_classes = pool.logits.shape[1]
    multilabel = pool.labels.ndim == 2
    if not multilabel:
        of_row, is_ignored = pool.labels, pool.labels < 0
    else:
        is_positive, is_ignored = pool.labels == 1, xp.all(pool.labels < 0, axis=1)
        frequency = xp.sum(xp.astype(is_positive, xp.int32), axis=0)
        absent = is_positive.shape[0] + 1
        rarest = xp.argmin(xp.where(is_positive, frequency[None, :], absent), axis=1)
        of_row = xp.where(xp.any(is_positive, axis=1), xp.astype(rarest, xp.int32), num_classes)
    return xp.where(is_ignored, strata_count(num_classes, multilabel=multilabel), of_row)


def subsample(pool: Pool, *, size: int, noise: Array | None) -> Pool:
    """At most `size` rows of the pool, rare classes first, with the multiplicities that keep sums unbiased.

    With n_c unmasked rows of class c, S classes present, and n = Σ n_c, r_c = min(quota, n_c) random rows of each
    class are reserved, quota = max(1, size // 2S); the rest of `size` is filled with random rows of the remainder.
    A row of class c is therefore kept with probability

        π_c = r_c / n_c + (1 − r_c / n_c) · (size − Σ r) / (n − Σ r),

    and stands for 1 / π_c rows, so that the expectation of every sum over the kept rows, weighted by `multiplicity`, is
    the sum over the full pool. If n <= `size`, all are kept, each with multiplicity 1.

    For the class of a multi-label row see `strata`; `size` must be at least `strata_count`. The noise, floats [M], is
    independent and uniform in [0, 1); the same picks the same rows. It is not needed if M <= `size`, when the pool
    itself is returned. Unfilled rows are ignored. Cost: three sorts of M numbers.
    """
    xp = array_namespace(pool.logits)
    count = strata_count(pool.logits.shape[1], multilabel=pool.labels.ndim == 2)
    checks.at_least("max_pool_size", size, count)
    if pool.logits.shape[0] <= size:
        return pool
    if noise is None:
        raise ValueError(f"noise must be given when the pool has more than max_pool_size rows, got {noise!r}")
    of_row = strata(pool)
    checks.shaped("noise", noise, tuple(of_row.shape), "[rows]")
    by_noise = xp.argsort(noise)
    order = xp.take(by_noise, xp.argsort(xp.take(of_row, by_noise, axis=0), stable=True), axis=0)
    of_row = xp.take(of_row, order, axis=0)  # from here on sorted by class, then noise
    priority, probability = _draw(of_row, xp.take(noise, order, axis=0), count=count, size=size)
    first = xp.argsort(priority)[:size]
    kept = xp.take(order, first, axis=0)
    rows = (None if array is None else xp.take(array, kept, axis=0) for array in pool)
    multiplicity = 1.0 / xp.astype(xp.take(probability, first, axis=0), pool.logits.dtype)
    return ops.replaced(Pool(*rows), multiplicity=multiplicity)


def _draw(of_row: Array, noise: Array, *, count: int, size: int) -> tuple[Array, Array]:
    """Priority (the smallest `size` are kept) and probability of being kept, for rows sorted by class, then noise."""
    xp = array_namespace(of_row)
    is_counted = of_row < count
    start = xp.astype(xp.searchsorted(of_row, of_row, side="left"), xp.int32)
    end = xp.astype(xp.searchsorted(of_row, of_row, side="right"), xp.int32)
    indices = ops.arange(of_row.shape[0], like=of_row)
    classes = xp.sum(xp.astype(is_counted & (indices == start), xp.int32), dtype=xp.int32)
    quota = xp.clip(xp.full_like(classes, size) // (2 * xp.clip(classes, min=1)), min=1)
    is_reserved = is_counted & (indices - start < quota)
    # Of numbers uniform in [0, 1), those above the quota-th smallest, u, are independent and uniform in (u, 1).
    # Rescaled to (0, 1), they are fresh noise, whether a class has few rows left or many.
    last_reserved = xp.take(noise, xp.clip(start + quota - 1, max=of_row.shape[0] - 1), axis=0)
    fresh = (noise - last_reserved) / (1.0 - last_reserved)
    priority = xp.where(is_reserved, -1.0, xp.where(is_counted, fresh, 2.0))

    def total(mask: Array) -> Array:
        return xp.astype(xp.sum(xp.astype(mask, xp.int32)), noise.dtype)

    n, reserved = total(is_counted), total(is_reserved)
    n_of_class = xp.astype(end - start, noise.dtype)
    share = xp.clip(xp.astype(quota, noise.dtype) / n_of_class, max=1.0)
    share_of_rest = xp.clip((size - reserved) / xp.clip(n - reserved, min=1.0), max=1.0)
    probability = xp.where(n <= size, 1.0, share + (1.0 - share) * share_of_rest)
    return priority, ops.stop_gradient(probability)

"""Sampling of batch rows: uniform rows, then added positives of rare classes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from imbalanced_core import checks
from imbalanced_core.pool.labels import are_probabilities, class_ids
from imbalanced_jax import distributed, validation


def balanced_rows(key: Array, labels: Array, batch: int, added: Mapping[int, int]) -> tuple[Array, Array]:
    """Indices of uniform rows, then of added[c] positives of each class c, drawn with replacement, in O(N) per class.

    A pure function with static shapes: use a different key for each step and each device, such as
    `jax.random.fold_in(key, step)` and, in `shard_map`, `jax.random.fold_in(key, jax.lax.axis_index(name))`. In a
    jitted function that closes over the labels, the positives are looked up once, and a step takes O(batch).

    Args:
        key: a `jax.random` key.
        labels: class ids [N] or [N, 1], or labels 0/1 per class [N, C].
        batch: number of rows including the added ones; a Python integer.
        added: maps a class to the number of its positives to add; Python integers.

    Returns:
        Row indices, int32 [batch], and the mask of the uniform ones, bool [batch]: the `iid_mask` of the losses. For a
        class without a positive, uniform rows are added, unmarked.

    Raises:
        ValueError: on a wrong shape, without room for uniform rows, or if readable labels have no positive of a class.
    """
    validation.check_key(key)
    validation.check_arrays(labels=labels)
    are_ids = not are_probabilities(labels)
    labels, uniform = checks.balanced_batch(_in_one_place(labels, key), added, "batch", batch)
    labels = class_ids(labels) if are_ids else labels  # in eight bits 300 == 44
    first, *keys = jax.random.split(key, 1 + len(added))
    parts = [jax.random.randint(first, (uniform,), 0, len(labels), dtype=jnp.int32)]
    for own, (c, count) in zip(keys, added.items(), strict=True):
        if isinstance(labels, np.ndarray):
            positives = np.flatnonzero(_positives(labels, c)).astype(np.int32)
            checks.require(positives.size > 0, "the classes of added", "classes that occur in labels", c)
            number = jax.random.randint(own, (count,), 0, len(positives), dtype=jnp.int32)
            parts.append(jnp.asarray(positives)[number])
            continue
        up_to = jnp.cumsum(_positives(labels, c), dtype=jnp.int32)
        number = jax.random.randint(own, (count,), 0, jnp.maximum(up_to[-1], 1), dtype=jnp.int32)
        rows = jnp.searchsorted(up_to, number + 1).astype(jnp.int32)  # the first row with that many positives up to it
        other = jax.random.randint(own, (count,), 0, len(labels), dtype=jnp.int32)
        parts.append(jnp.where(up_to[-1] > 0, rows, other))
    return jnp.concatenate(parts), jnp.arange(batch) < uniform


def _in_one_place(labels: Any, key: Any) -> Any:
    """As numpy if they can be read without cost, or are constants of a traced function; else replicated."""
    is_constant = isinstance(key, jax.core.Tracer) and not isinstance(labels, jax.core.Tracer)
    if validation.can_read(labels) or (is_constant and labels.is_fully_addressable):
        return np.asarray(labels)  # else XLA would fold millions of constants, for minutes
    return distributed.replicate(labels)


def _positives(labels: Any, c: int) -> Any:
    return labels == c if labels.ndim == 1 else labels[:, c] == 1

"""Compatibility with releases of JAX before 0.10."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def varying_axes(form: Any) -> frozenset:
    """The mesh axes along which an abstract value may vary; none outside a checked `shard_map`."""
    kind = getattr(form, "manual_axis_type", None)
    return kind.varying if kind is not None else getattr(form, "vma", None) or frozenset()


def mark_varying(array: Array, axes: tuple) -> Array:
    """The array, typed as varying along the axes."""
    if hasattr(lax, "pcast"):
        return lax.pcast(array, axes, to="varying")
    return lax.pvary(array, axes)  # type: ignore[attr-defined]


def all_gather_invariant(array: Array, name: Any) -> Array:
    """The rows of all devices along the axis `name`, typed as equal on every device."""
    if hasattr(jax.typeof(array), "manual_axis_type"):
        return lax.all_gather(array, name, tiled=True, to="invarying")
    if array.dtype == jnp.bool_:
        return all_gather_invariant(array.astype(jnp.uint8), name).astype(jnp.bool_)
    # own rows padded with zeros: the sum over the devices is exact, at twice the traffic of a gather
    everyone = jnp.zeros((lax.axis_size(name) * array.shape[0], *array.shape[1:]), array.dtype)
    own = lax.dynamic_update_slice_in_dim(everyone, array, lax.axis_index(name) * array.shape[0], axis=0)
    return lax.psum(own, name)

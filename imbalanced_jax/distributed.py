"""Collectives over named mesh axes that make the loss of many devices equal that of one.

The contract: inside `pmap`, `vmap(axis_name=...)` or `shard_map`, after the usual `lax.pmean` of the gradients, every
device holds the gradient that one device would compute from all rows, in device order. With `check_vma=True` the loss
is reduced already, and the gradients of a parameter made varying by `lax.pcast` need `lax.psum`. `axis_name` is one
name or a tuple of names (the first is the major one); with None every function here works on a single device.
"""

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from imbalanced_core import reductions
from imbalanced_core.ops.on_jax.sharding import replicate as replicate
from imbalanced_core.ops.on_jax.sharding import replicate_axis as replicate_axis
from imbalanced_jax import _versions

AxisName: TypeAlias = Any  # a hashable name, or a tuple of names; None for a single device


def axis_names(axis_name: AxisName) -> tuple:
    """The axis names as a tuple: empty for None."""
    if axis_name is None:
        return ()
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


def device_count(axis_name: AxisName) -> int:
    """The number of devices along the named axes: a Python int; a NameError if one is not mapped here."""
    try:
        return math.prod(lax.axis_size(name) for name in axis_names(axis_name))
    except NameError as error:
        rule = "axis_name works only inside shard_map, vmap or pmap; under plain jit omit it"
        raise NameError(f"{error}: {rule}") from error


def check_same(name: str, tree: Any, axis_name: AxisName) -> None:
    """Raises a ValueError if arrays are typed as different on the devices of the axes, as by `in_specs=P("data")`."""
    for axis in axis_names(axis_name):
        if any(axis in _versions.varying_axes(jax.typeof(array)) for array in jax.tree.leaves(tree)):
            rule = "the same on every device, by in_specs=P() in shard_map"
            raise ValueError(f"{name} must be {rule}, got one that varies along {axis!r}")


def gather_rows(tree: Any, axis_name: AxisName) -> Any:
    """The rows (axis 0) of all devices, in device order, on every device: the [n, ...] of a tree become [W · n, ...].

    n must be the same on every device: pad uneven data and mask the padding with `where` or `ignore_index`. A gradient
    flows back to the device that a row came from. Under `shard_map(check_vma=True)` the result is typed as equal on
    every device.
    """
    device_count(axis_name)  # checks the names
    for name in reversed(axis_names(axis_name)):  # one axis at a time: vmap has no rule for a tuple
        tree = jax.tree.map(lambda array, name=name: _gather_axis(array, name), tree)
    return tree


def mean_loss(loss: Array, axis_name: AxisName) -> Array:
    """Mean over the devices of a loss that each computed from the same gathered rows.

    It does not change the value but divides the cotangents, so that `gather_rows` and the usual `lax.pmean` of the
    gradients together give the gradient of one device.
    """
    names = axis_names(axis_name)
    return lax.pmean(loss, names) if names else loss


def global_ratio(total: Array, divisor: Array | None, axis_name: AxisName, *, is_weighted: bool) -> Array:
    """Σ total / Σ divisor over the devices, without gathering rows; the sum of divisors as by `mean_divisor`.

    `total` is this device's sum of losses, `divisor` its normaliser, without gradient, both 0-d; None for a plain sum.
    """
    device_count(axis_name)  # checks the names
    names = axis_names(axis_name)
    total = lax.psum(total, names) if names else total
    if divisor is None:
        return total
    divisor = lax.stop_gradient(divisor)
    return total / reductions.mean_divisor(lax.psum(divisor, names) if names else divisor, is_weighted=is_weighted)


def invariant(tree: Any, axis_name: AxisName) -> Any:
    """Values equal on every device, without gradient, typed so that `shard_map` can return them with `out_specs=P()`.

    Only arrays typed as varying along the axes are reduced; others are equal already and nothing is sent. Floats are
    reduced as the integers of their bits: `lax.pmax` of NaN is −inf on some devices.
    """
    names = axis_names(axis_name)

    def make_invariant(array: Array) -> Array:
        varying = tuple(name for name in names if name in _versions.varying_axes(jax.typeof(array)))
        array = lax.stop_gradient(array)
        if not varying:
            return array
        if not jnp.issubdtype(array.dtype, jnp.floating):
            return lax.pmax(array, varying)
        bits = lax.bitcast_convert_type(array, jnp.dtype(f"int{8 * array.dtype.itemsize}"))
        return lax.bitcast_convert_type(lax.pmax(bits, varying), array.dtype)

    return jax.tree.map(make_invariant, tree)


def _gather_axis(array: Array, name: Any) -> Array:
    if name in _versions.varying_axes(jax.typeof(array)):
        # Only where types track varying axes: elsewhere the derivative of this form is wrong by a factor 1 / W.
        return _versions.all_gather_invariant(array, name)
    return lax.all_gather(array, name, tiled=True)

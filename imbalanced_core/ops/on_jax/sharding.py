"""Arrays that `jit` splits over a mesh, brought together where an operation needs all of an axis."""

from typing import Any

import jax
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def is_split(array: Array) -> bool:
    """Whether an explicit mesh splits the array, according to its type."""
    sharding = getattr(jax.typeof(array), "sharding", None)
    return any(part is not None for part in getattr(sharding, "spec", None) or ())


def replicate(tree: Any, *, automatic: bool = True) -> Any:
    """The arrays of a tree in full on every device of the mesh that they are split over; others are unchanged.

    A ranking needs every row of a class. On an explicit mesh, sorting along a sharded axis, or indexing with sharded
    class ids, is an error. On an automatic mesh, under `jit`, the compiler would exchange rows in many steps of the
    loss: with `automatic` each array is gathered once instead, and arrays on no mesh are placed on that of the others.
    """
    meshes = (_automatic_mesh(array) for array in jax.tree.leaves(tree) if automatic)
    mesh = next((mesh for mesh in meshes if mesh is not None), None)

    def replicate_array(array: Array) -> Array:
        if is_split(array):
            # with the mesh of the array: outside `jax.set_mesh` a bare PartitionSpec has none
            array = jax.sharding.reshard(array, _on_all_axes(jax.typeof(array).sharding.mesh, array, None))
        if mesh is None:
            return array
        # two constraints: from a single one, the compiler gathers what the array is computed from, such as features
        array = lax.with_sharding_constraint(array, _on_all_axes(mesh, array, PartitionSpec.UNCONSTRAINED))
        return lax.with_sharding_constraint(array, _on_all_axes(mesh, array, None))

    return jax.tree.map(replicate_array, tree)


def replicate_axis(tree: Any, axis: int) -> Any:
    """Reshards arrays that an explicit-sharding mesh splits along `axis`; their other axes, and others, stay as is."""

    def replicate_array(array: Array) -> Array:
        sharding = getattr(jax.typeof(array), "sharding", None)
        parts = [*(getattr(sharding, "spec", None) or ())]
        if not -len(parts) <= axis < len(parts) or parts[axis] is None:
            return array
        parts[axis] = None
        return jax.sharding.reshard(array, NamedSharding(sharding.mesh, PartitionSpec(*parts)))  # type: ignore[union-attr]

    return jax.tree.map(replicate_array, tree)


def _automatic_mesh(array: Array) -> Any:
    """The mesh of an array under `jit` where the compiler chooses shardings; None elsewhere, and inside `shard_map`."""
    mesh = getattr(getattr(jax.typeof(array), "sharding", None), "mesh", None)
    types = getattr(mesh, "axis_types", ()) if isinstance(array, jax.core.Tracer) else ()
    return mesh if AxisType.Auto in types and AxisType.Manual not in types else None


def _on_all_axes(mesh: Any, array: Array, part: Any) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*(part,) * array.ndim))

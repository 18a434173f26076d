"""Dispatch of operations to the library of an array."""

from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, imported, library_of


def backend(array: Array) -> ModuleType:
    """The module of operations for an array; the public functions check that all arrays share a library."""
    library = library_of(array)
    if library == "torch":
        on_torch = imported("imbalanced_core.ops.on_torch")
        if on_torch is None:
            import imbalanced_core.ops.on_torch as on_torch
        return on_torch
    if library == "jax":
        import imbalanced_core.ops.on_jax as on_jax

        return on_jax
    return generic

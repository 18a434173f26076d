"""Which file holds the operations of an array's library."""

from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, library_of


def backend(array: Array) -> ModuleType:
    """The operations for an array; those beside it are of the same library, as the public functions have checked."""
    library = library_of(array)  # a first call may be one that is compiled, where imports must be statements
    if library == "torch":
        from imbalanced_core.ops import on_torch

        return on_torch
    if library == "jax":
        from imbalanced_core.ops import on_jax

        return on_jax
    return generic

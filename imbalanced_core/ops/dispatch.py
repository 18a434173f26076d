"""Which file holds the operations of an array's library."""

from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, library_of


def backend(array: Array) -> ModuleType:
    """The operations for an array; those beside it are of the same library, as the public functions have checked."""
    library = library_of(array)
    # A first call may be one that is compiled, where imports must be statements; these take less time than `from`.
    if library == "torch":
        import imbalanced_core.ops.on_torch as on_torch

        return on_torch
    if library == "jax":
        import imbalanced_core.ops.on_jax as on_jax

        return on_jax
    return generic

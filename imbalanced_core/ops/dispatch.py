"""Which file holds the operations of an array's library."""

import sys
from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, library_of


def backend(array: Array) -> ModuleType:
    """The operations for an array; those beside it are of the same library, as the public functions have checked."""
    library = library_of(array)
    if library == "torch":
        on_torch = sys.modules.get("imbalanced_core.ops.on_torch")  # a statement takes longer, at every call
        if on_torch is None:  # in a call that is being compiled, imports must be statements
            import imbalanced_core.ops.on_torch as on_torch
        return on_torch
    if library == "jax":
        from imbalanced_core.ops import on_jax

        return on_jax
    return generic

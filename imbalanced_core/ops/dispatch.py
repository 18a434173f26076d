"""Dispatch of operations to the library of an array."""

import sys
from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, library_of


def backend(array: Array) -> ModuleType:
    """The module of operations for an array; the public functions check that all arrays share a library."""
    library = library_of(array)
    if library == "torch":
        on_torch = sys.modules.get("imbalanced_core.ops.on_torch")  # faster than an import statement
        if on_torch is None:  # under `torch.compile`, imports must be statements
            import imbalanced_core.ops.on_torch as on_torch
        return on_torch
    if library == "jax":
        from imbalanced_core.ops import on_jax

        return on_jax
    return generic

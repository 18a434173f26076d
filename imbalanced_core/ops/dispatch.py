"""Which file holds the operations of an array's library."""

from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, library_of, module_for


def backend(array: Array) -> ModuleType:
    """The operations for an array; those beside it are of the same library, as the public functions have checked."""
    library = library_of(array)
    return module_for(library) if library in ("torch", "jax") else generic

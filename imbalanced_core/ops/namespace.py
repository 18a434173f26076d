"""The library and the namespace of arrays."""

import sys
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # a numpy, torch or jax array, or any other that follows the array-API standard


def library_of(array: Array) -> str | None:
    """The name "numpy", "torch", "jax" or "standard" (any other array-API array); None for a scalar or None.

    Only libraries already imported are checked, so the core never imports a framework by itself.
    """
    if (torch := sys.modules.get("torch")) is not None and isinstance(array, torch.Tensor):
        return "torch"
    if array is None or isinstance(array, (bool, int, float, np.generic)):
        return None
    if (jax := sys.modules.get("jax")) is not None and isinstance(array, jax.Array):
        return "jax"
    if isinstance(array, np.ndarray):
        return "numpy"
    if hasattr(array, "__array_namespace__"):
        return "standard"
    raise TypeError(f"inputs must be numpy, torch or jax arrays or Python numbers, got {type(array).__name__}")


def common_library(*arrays: Array) -> str:
    """The library that all arrays belong to, else TypeError; Python and numpy scalars and None fit any."""
    found = None
    for array in arrays:
        library = library_of(array)
        if library is None or library == found:
            continue
        if found is not None:
            raise TypeError(f"inputs must be arrays of one library, got {found} and {library}; convert one of them")
        found = library
    if found is None and any(isinstance(array, np.generic) for array in arrays):
        return "numpy"  # numpy's own reductions return scalars
    if found is None:
        raise TypeError("inputs must hold at least one array, got only numbers or None")
    return found


def imported(module: str) -> Any:
    """A module for torch arrays, faster than by an import statement, if it is imported; None under `torch.compile`.

    Its first call may be the one that imports, and it can trace only statements.
    """
    return None if sys.modules["torch"].compiler.is_dynamo_compiling() else sys.modules.get(module)


def array_namespace(*arrays: Array) -> ModuleType:
    """The array-API namespace of the `common_library` of arrays: `numpy`, `jax.numpy` or that of `ops.on_torch`."""
    library = (library_of(arrays[0]) if len(arrays) == 1 else None) or common_library(*arrays)
    if library == "torch":
        namespace = imported("imbalanced_core.ops.on_torch.namespace")
        if namespace is None:
            import imbalanced_core.ops.on_torch.namespace as namespace
        return namespace
    if library == "jax":
        return sys.modules["jax"].numpy
    if library == "numpy":
        return np
    return next(a for a in arrays if library_of(a) == "standard").__array_namespace__()

"""Which file holds the operations of an array's library."""

from types import ModuleType

from imbalanced_core.ops import generic
from imbalanced_core.ops.namespace import Array, common_library


def backend(*arrays: Array) -> ModuleType:
    library = common_library(*arrays)
    if library == "torch":
        from imbalanced_core.ops import on_torch

        return on_torch
    if library == "jax":
        from imbalanced_core.ops import on_jax

        return on_jax
    return generic

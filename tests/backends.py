"""The ways to run a core function: numpy, array-api-strict, torch, torch.compile, jax and jax.jit."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


def is_installed(name: str) -> bool:
    """Whether a package can be imported; the tests' own folders torch/ and jax/, which have no origin, do not count."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


HAS_TORCH, HAS_JAX = is_installed("torch"), is_installed("jax")


@dataclass(frozen=True)
class Backend:
    """One way to run a core function: how arrays are made, how the function is called, how gradients are taken.

    `run(function, *arrays)` takes and returns numpy arrays, in tuples where the function returns tuples.
    `value_and_grad(function, *arrays)` differentiates a scalar function by its first argument.
    """

    name: str
    asarray: Callable[[Any], Any]
    transform: Callable[[Callable], Callable]

    def run(self, function: Callable, *arrays: Any) -> Any:
        return to_numpy(self.transform(function)(*map(self._to_backend, arrays)))

    def value_and_grad(self, function: Callable, *arrays: Any) -> tuple[np.ndarray, np.ndarray]:
        first, *rest = map(self._to_backend, arrays)
        if self.name.startswith("jax"):
            return to_numpy(self.transform(_jax_value_and_grad(function))(first, *rest))
        first.requires_grad_()
        value = self.transform(function)(first, *rest)
        value.backward()
        return to_numpy((value, first.grad))

    def _to_backend(self, array: Any) -> Any:
        return self.asarray(array) if isinstance(array, (np.ndarray, np.generic)) else array


def to_numpy(tree: Any) -> Any:
    """Arrays of any library, alone or in tuples and dicts, as numpy arrays."""
    if isinstance(tree, dict):
        return {name: to_numpy(value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        items = [to_numpy(item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    if tree is None:
        return None
    if hasattr(tree, "detach"):
        tree = tree.detach()
    return np.asarray(tree)


def _strict_asarray(array: np.ndarray) -> Any:
    import array_api_strict

    array_api_strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
    return array_api_strict.asarray(array)


def _torch_asarray(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(array))


@lru_cache(maxsize=1)  # consecutive calls of one function share compiled code
def _torch_compile(function: Callable) -> Callable:
    import torch

    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="eager", dynamic=False)


def _jax_asarray(array: np.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(array)


@lru_cache(maxsize=64)
def _jax_value_and_grad(function: Callable) -> Callable:
    import jax

    return jax.value_and_grad(function)


def _jax_jit(function: Callable) -> Callable:
    import jax

    return jax.jit(function)


def _as_is(function: Callable) -> Callable:
    return function


_GENERIC = [Backend("numpy", np.asarray, _as_is), Backend("strict", _strict_asarray, _as_is)]
_DIFFERENTIABLE = (
    [Backend("torch", _torch_asarray, _as_is), Backend("torch.compile", _torch_asarray, _torch_compile)]
    if HAS_TORCH
    else []
) + ([Backend("jax", _jax_asarray, _as_is), Backend("jax.jit", _jax_asarray, _jax_jit)] if HAS_JAX else [])

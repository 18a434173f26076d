"""The `backend` fixtures: every core test runs on numpy, array-api-strict, torch, torch.compile, jax and jax.jit.

A framework that is not installed is left out, so the tests of one backend pass without the other.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers of pytest share the cores; torch's threads would spin
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_ENABLE_X64", "1"
)  # float64 tests; arrays that a test makes are float32 unless it says otherwise
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
# Programs that run once or twice take longer to optimise than to run; `optimised` is for those that should be.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "PYTEST_XDIST_WORKER" in os.environ and "JAX_COMPILATION_CACHE_DIR" in os.environ:
    # A folder for each worker: JAX does not write atomically, and warns the reader of a half-written file.
    os.environ["JAX_COMPILATION_CACHE_DIR"] += "/" + os.environ["PYTEST_XDIST_WORKER"]


def _is_installed(name: str) -> bool:
    """Whether a package can be imported. The tests' own folders torch/ and jax/ have no origin and do not count."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


class _AbsentFrameworks:
    """An import hook: a framework that is not installed is not found, where Python would take the tests' folder."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if (name == "torch" and not HAS_TORCH) or (name == "jax" and not HAS_JAX):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


HAS_TORCH, HAS_JAX = _is_installed("torch"), _is_installed("jax")
sys.meta_path.insert(0, _AbsentFrameworks)
collect_ignore = (
    ([] if HAS_TORCH else ["torch"])
    + ([] if HAS_JAX else ["jax"])
    + ([] if HAS_TORCH and HAS_JAX else ["parity"])
    + ([] if HAS_TORCH and HAS_JAX and _is_installed("matplotlib") else ["docs"])  # they run the examples
)


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
            import jax

            return to_numpy(self.transform(jax.value_and_grad(function))(first, *rest))
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


def _torch_compile(function: Callable) -> Callable:
    import torch

    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="eager")


def _jax_asarray(array: np.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(array)


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


@pytest.fixture(params=_GENERIC + _DIFFERENTIABLE, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every way to run a core function."""
    return request.param


@pytest.fixture(params=_DIFFERENTIABLE, ids=lambda backend: backend.name)
def grad_backend(request: pytest.FixtureRequest) -> Backend:
    """Every way to run a core function that can differentiate it."""
    return request.param


@pytest.fixture
def eager() -> Backend:
    """One way to differentiate, where the library makes no difference: compiling every case costs seconds each."""
    return next(backend for backend in _DIFFERENTIABLE if backend.name in ("torch", "jax.jit"))


@pytest.fixture(autouse=True, scope="module")
def no_compiled_code_is_kept() -> Iterator[None]:
    """A worker runs many modules; what each has compiled would add up to gigabytes."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


@pytest.fixture(scope="module")
def optimised() -> Iterator[None]:
    """JAX compiles as for a user: where it is the accuracy or the program itself that is on trial."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)

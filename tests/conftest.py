"""The `backend` fixtures: core tests run on numpy, array-api-strict, torch, torch.compile and jax.jit.

A framework that is not installed is left out, so the tests of one backend pass without the other.
"""

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from backends import _DIFFERENTIABLE, _GENERIC, HAS_JAX, HAS_TORCH, Backend, is_installed

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers of pytest share the cores; torch's threads would spin
_XLA_FLAGS = {"xla_force_host_platform_device_count": 8}
if HAS_JAX and importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA ends the process at an unknown flag
    # The older code generator, in one part for each program, compiles in half the time; `optimised` has the default.
    _XLA_FLAGS |= {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
os.environ.setdefault("XLA_FLAGS", " ".join(f"--{name}={str(value).lower()}" for name, value in _XLA_FLAGS.items()))
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


class _AbsentFrameworks:
    """An import hook: a framework that is not installed is not found, where Python would take the tests' folder."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if (name == "torch" and not HAS_TORCH) or (name == "jax" and not HAS_JAX):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, _AbsentFrameworks)
collect_ignore = (
    ([] if HAS_TORCH else ["torch"])
    + ([] if HAS_JAX else ["jax"])
    + ([] if HAS_TORCH and HAS_JAX else ["parity"])
    + ([] if HAS_TORCH and HAS_JAX and is_installed("matplotlib") else ["docs"])  # they run the examples
)


# No function of the core looks at the values of JAX's arrays, so eager JAX runs the operations of jax.jit, and compiles
# each of them alone: slow. `every_backend` and `every_grad_backend` have it, for one test of each function or so.
_GRAD_BACKENDS = [backend for backend in _DIFFERENTIABLE if backend.name != "jax"]
_VALUE_BACKENDS = [backend for backend in _GRAD_BACKENDS if backend.name != "torch.compile"]


@pytest.fixture(params=_GENERIC + _GRAD_BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The ways to run a core function, without eager JAX."""
    return request.param


@pytest.fixture(params=_GENERIC + _DIFFERENTIABLE, ids=lambda backend: backend.name)
def every_backend(request: pytest.FixtureRequest) -> Backend:
    """Every way to run a core function."""
    return request.param


@pytest.fixture(params=_GRAD_BACKENDS, ids=lambda backend: backend.name)
def grad_backend(request: pytest.FixtureRequest) -> Backend:
    """The ways to run a core function that can differentiate it, without eager JAX."""
    return request.param


@pytest.fixture(params=_DIFFERENTIABLE, ids=lambda backend: backend.name)
def every_grad_backend(request: pytest.FixtureRequest) -> Backend:
    """Every way to run a core function that can differentiate it."""
    return request.param


@pytest.fixture(params=_GENERIC + _VALUE_BACKENDS, ids=lambda backend: backend.name)
def value_backend(request: pytest.FixtureRequest) -> Backend:
    """The ways without torch.compile: for other values on a path that another test has traced."""
    return request.param


@pytest.fixture(params=_VALUE_BACKENDS, ids=lambda backend: backend.name)
def value_grad_backend(request: pytest.FixtureRequest) -> Backend:
    """Those of them that can differentiate."""
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
    with pytest.MonkeyPatch.context() as patch:
        if "xla_cpu_use_fusion_emitters" in _XLA_FLAGS:
            options = {"xla_cpu_use_fusion_emitters": True, "xla_cpu_parallel_codegen_split_count": 32}
            patch.setattr(jax, "jit", partial(jax.jit, compiler_options=options))
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)

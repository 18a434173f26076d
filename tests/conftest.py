"""The `backend` fixtures: core tests run on numpy, array-api-strict, torch, torch.compile and jax.jit.

Frameworks that are not installed are skipped, so the tests of one backend pass without the other.
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

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest workers share the cores; torch's threads would spin
_XLA_FLAGS = {"xla_force_host_platform_device_count": 8}
if HAS_JAX and importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA aborts the process on an unknown flag
    # The older code generator, with one part per program, compiles in half the time; `optimised` uses the default.
    _XLA_FLAGS |= {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
os.environ.setdefault("XLA_FLAGS", " ".join(f"--{name}={str(value).lower()}" for name, value in _XLA_FLAGS.items()))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_ENABLE_X64", "1"
)  # for float64 tests; arrays made by a test are float32 unless it says otherwise
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
# Programs that run once or twice take longer to optimise than to run; tests that need optimisation use `optimised`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "PYTEST_XDIST_WORKER" in os.environ and "JAX_COMPILATION_CACHE_DIR" in os.environ:
    # One folder per worker: JAX does not write atomically, and warns on reading a half-written file.
    os.environ["JAX_COMPILATION_CACHE_DIR"] += "/" + os.environ["PYTEST_XDIST_WORKER"]


class _AbsentFrameworks:
    """Import hook that hides frameworks that are not installed, whose name would else import the tests' folder."""

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


# No core function reads the values of JAX arrays, so eager JAX runs the same operations as jax.jit but compiles each
# one separately, which is slow. `every_backend` and `every_grad_backend` include it, for about one test per function.
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
    """The ways to run and differentiate a core function, without eager JAX."""
    return request.param


@pytest.fixture(params=_DIFFERENTIABLE, ids=lambda backend: backend.name)
def every_grad_backend(request: pytest.FixtureRequest) -> Backend:
    """Every way to run and differentiate a core function."""
    return request.param


@pytest.fixture(params=_GENERIC + _VALUE_BACKENDS, ids=lambda backend: backend.name)
def value_backend(request: pytest.FixtureRequest) -> Backend:
    """The ways without torch.compile, for other values on a path that another test already traces."""
    return request.param


@pytest.fixture(params=_VALUE_BACKENDS, ids=lambda backend: backend.name)
def value_grad_backend(request: pytest.FixtureRequest) -> Backend:
    """The ways of `value_backend` that can differentiate."""
    return request.param


@pytest.fixture
def eager() -> Backend:
    """A single way to differentiate, for tests independent of the library, since compiling each case takes seconds."""
    return next(backend for backend in _DIFFERENTIABLE if backend.name in ("torch", "jax.jit"))


@pytest.fixture(autouse=True, scope="module")
def no_compiled_code_is_kept() -> Iterator[None]:
    """Clears compiled code, which would add up to gigabytes over the many modules of a worker."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


@pytest.fixture(scope="module")
def optimised() -> Iterator[None]:
    """Makes JAX compile as for a user, for tests of the accuracy or of the program itself."""
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

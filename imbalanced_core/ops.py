"""What the array-API standard lacks. A call of `ops.` marks where the core leaves the standard.

Every function works on numpy, torch and JAX arrays; `_ops_generic.py` is the definition, and the framework files are
imported only when one of their arrays is seen.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from imbalanced_core import _ops_generic
from imbalanced_core._namespace import Array, array_namespace, common_library


def _backend(*arrays: Array) -> ModuleType:
    library = common_library(*arrays)
    if library == "torch":
        from imbalanced_core import _ops_torch

        return _ops_torch
    if library == "jax":
        from imbalanced_core import _ops_jax

        return _ops_jax
    return _ops_generic


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), elementwise."""
    return _backend(x).sigmoid(x)


def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)), elementwise, without overflow."""
    return _backend(x).log_sigmoid(x)


def log_softmax(x: Array, *, axis: int) -> Array:
    """X - log(sum(exp(x))) along one axis, without overflow."""
    return _backend(x).log_softmax(x, axis=axis)


def stop_gradient(x: Array) -> Array:
    """x, seen as a constant by differentiation."""
    return _backend(x).stop_gradient(x)


def sort_with_order(x: Array) -> tuple[Array, Array]:
    """The last axis in ascending order, NaN last (differentiable), and the indices that sort it."""
    return _backend(x).sort_with_order(x)


def inverse_permutation(order: Array) -> Array:
    """The permutation that undoes `order` on the last axis: argsort(order), in linear time."""
    return _backend(order).inverse_permutation(order)


def with_vjp(primal: Callable[..., Array], vjp: Callable[..., tuple[Array | None, ...]]) -> Callable[..., Array]:
    """`primal` with a hand-written derivative.

    Args:
        primal: `primal(*arrays, **static) -> array`; `static` are hashable Python values.
        vjp: `vjp(cotangent, *arrays, **static)` -> one gradient per array, None where there is none.

    Returns:
        A function of the same signature. Differentiating it twice differentiates `vjp` itself, which therefore must
        be made of differentiable operations of its own inputs.
    """

    def function(*arrays: Array, **static: Any) -> Array:
        return _backend(*arrays).with_vjp(primal, vjp)(*arrays, **static)

    return function


def widen(x: Array) -> Array:
    """Half-precision floats as float32, other floats as they are: the type every loss is computed in."""
    xp = array_namespace(x)
    return xp.astype(x, xp.float32) if xp.finfo(x.dtype).bits < 32 else x

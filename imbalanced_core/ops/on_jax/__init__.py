"""The operations of `ops` on JAX arrays."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from imbalanced_core.ops import generic
from imbalanced_core.ops.generic import as_numpy, evaluate
from imbalanced_core.ops.on_jax.order import gather, inverse_permutation, is_on_accelerator, sort, sort_with_order
from imbalanced_core.ops.on_jax.sharding import is_split, replicate


def __getattr__(name: str) -> Any:
    """Falls back to `generic`; for `pick` and `scatter_ids`, one fused loop over all classes beats a gather."""
    return getattr(generic, name)


_NUMBERS_PER_PIECE = 2**22  # size of temporaries, large enough to keep an accelerator busy


def sigmoid(x: jax.Array, *, reuse: bool = False, absolute: bool = False) -> jax.Array:
    return jax.nn.sigmoid(x)


softplus = jax.nn.softplus
stop_gradient = jax.lax.stop_gradient


def logistic(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, 1.0 - jax.nn.sigmoid(-x), jax.nn.sigmoid(x))


def arange(n: int, like: jax.Array) -> jax.Array:
    # no device: an array's can be a sharding of another shape, and a traced array has none
    return jnp.arange(n, dtype=jnp.int32)


def in_pieces(function: Callable, arrays: tuple[jax.Array, ...], size: int) -> jax.Array:
    length = arrays[0].shape[0]
    piece = max(1, _NUMBERS_PER_PIECE // size)
    pieces = length // piece
    if pieces < 2:
        return function(*arrays)
    whole = [x[: pieces * piece].reshape(pieces, piece, *x.shape[1:]) for x in arrays]
    result = jax.lax.map(lambda parts: function(*parts), whole)
    result = result.reshape(pieces * piece, *result.shape[2:])
    if pieces * piece == length:
        return result
    return jnp.concatenate([result, function(*(x[pieces * piece :] for x in arrays))])


def of_ids(x: jax.Array, ids: jax.Array) -> jax.Array:
    if not is_split(ids):
        return generic.of_ids(x, ids)
    return generic.pick(x.reshape((1,) * ids.ndim + x.shape), ids, axis=-1)  # there a gather is an error


def constant(numbers: Any, like: jax.Array, dtype: Any) -> jax.Array:
    return jnp.asarray(as_numpy(numbers), dtype=dtype)


def tabulated(table: Callable, arguments: tuple, like: jax.Array, dtype: Any) -> jax.Array:
    return jnp.asarray(table(*arguments), dtype=dtype)


def rows_and_geometric_sums(rows: Sequence[jax.Array], start: jax.Array, ratio: jax.Array, count: int) -> jax.Array:
    """All sums in one loop, by the binary digits of the number of terms; XLA would compile and run one per sum."""
    terms = jnp.arange(1 - len(rows), count + 1, dtype=jnp.int32)[:, None]
    sums, total, ratio = jnp.zeros_like(start)[..., None, :], start[..., None, :], ratio[..., None, :]
    for digit in range(count.bit_length()):
        sums = jnp.where((terms >> digit) & 1 == 1, sums * ratio + total, sums)  # total has 2^digit terms
        total, ratio = total + total * ratio, ratio * ratio
    for number, row in zip(range(1 - len(rows), 1), rows, strict=True):
        sums = jnp.where(terms == number, row[..., None, :], sums)
    return sums


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


def for_each_row(number: jax.Array, x: jax.Array) -> jax.Array:
    return number + jnp.zeros_like(x[..., 0])  # varies along the same mesh axes as x


def has_exact_float64(x: jax.Array) -> bool:
    # emulated on TPU, with fewer bits
    return jax.config.jax_enable_x64 and jax.default_backend() != "tpu"  # type: ignore[attr-defined]


def with_vjp(primal: Callable, vjp: Callable, keeps: bool) -> Callable:
    def function(*arrays: jax.Array, **static: Any) -> jax.Array:
        def value(*inputs: jax.Array) -> jax.Array:
            return primal(*inputs)[0] if keeps else primal(*inputs)

        def forward(*inputs: jax.Array) -> tuple[jax.Array, tuple]:
            result = primal(*inputs)
            return (result[0], (result[1], *inputs)) if keeps else (result, inputs)

        def backward(saved: tuple, cotangent: jax.Array) -> tuple:
            return tuple(map(evaluate, vjp(cotangent, *saved, **static)))

        differentiable = jax.custom_vjp(value)
        differentiable.defvjp(forward, backward)
        return differentiable(*arrays)

    return function


def with_partials(function: Callable, partials: tuple, with_derivative: Callable) -> Callable:
    def jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
        value = function(*primals)
        total = jnp.zeros_like(value)
        for derivative, tangent in zip(partials, tangents, strict=True):
            if _is_needed(tangent):
                total += derivative(*primals) * tangent
        return value, total

    differentiable = jax.custom_jvp(function)  # a custom_vjp has no forward mode
    differentiable.defjvp(jvp, symbolic_zeros=True)  # which skip unrequested partials
    return differentiable


def _is_needed(tangent: Any) -> bool:
    return tangent is not None and type(tangent) is not jax.custom_derivatives.SymbolicZero


@jax.custom_jvp
def divide(a: jax.Array, b: jax.Array) -> jax.Array:
    return a / b


@divide.defjvp
def _divide_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    quotient = divide(*primals)
    return quotient, divide(tangents[0] - quotient * tangents[1], primals[1])  # JAX's own rule divides by b²


_LIKELY = 0.7  # only one class can exceed this probability; below it, 1 − p loses at most two bits


def probabilities(x: jax.Array, *, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    return _probabilities(x, axis)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _probabilities(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Only sums and elementwise operations, which XLA fuses into fewer passes than an argmax and a scatter."""
    limits = jnp.finfo(x.dtype)
    greatest = jnp.max(x, axis=axis, keepdims=True)
    below = jnp.maximum(x - greatest, -0.25 * float(limits.max))
    powers = jnp.exp(below)
    total = jnp.sum(powers, axis=axis, keepdims=True)
    one = jnp.exp(greatest - greatest)  # per position: on the CPU, XLA broadcasts a scalar to the shape of the logits
    # For a likely class, the sum of all others: its own power is 1 and adds min(1, 1 − 1).
    others = jnp.sum(jnp.minimum(powers, one - powers), axis=axis, keepdims=True)
    p = powers / total
    missing = jnp.maximum(others / total, float(limits.smallest_normal))
    log_total = jnp.where(total * _LIKELY < 1.0, jnp.log1p(others), jnp.log(total))
    return p, jnp.where(p > _LIKELY, missing, 1.0 - p), log_total - below


@_probabilities.defjvp
def _probabilities_jvp(axis: int, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    p, q, loss = _probabilities(*primals, axis)
    (by_x,), is_likely = tangents, p > _LIKELY
    likely, others = (
        jnp.sum(jnp.where(kept, p, 0.0) * by_x, axis=axis, keepdims=True) for kept in (is_likely, ~is_likely)
    )
    derivative = jnp.where(is_likely, others - q * by_x, others + likely - by_x)  # Σ_k p_k ẋ_k − ẋ_c
    return (p, q, loss), (-p * derivative, p * derivative, derivative)


def with_class_derivative(
    function: Callable, by_targets: Callable | None, by_numbers: Callable, in_blocks: bool
) -> Callable:
    def differentiable(*arguments: Any, axis: int) -> jax.Array:
        def value(*arguments: Any) -> jax.Array:
            return function(*arguments, axis=axis)[0]

        def jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
            result, scale, derivative = function(*primals, axis=axis)
            by_x, by_y, _, _, *by_n = tangents
            tangent = jnp.zeros_like(result)
            if _is_needed(by_x):
                tangent += scale * jnp.sum(derivative * by_x, axis=axis)
            if by_targets is not None and _is_needed(by_y):
                tangent += jnp.sum(by_targets(*primals, axis=axis) * by_y, axis=axis)
            if any(map(_is_needed, by_n)):
                partials = by_numbers(*primals, axis=axis)
                tangent += sum(d * t for d, t in zip(partials, by_n, strict=True) if _is_needed(t))
            return result, tangent

        linear = jax.custom_jvp(value)  # ids are an argument: a custom_jvp must not close over a traced array
        linear.defjvp(jvp, symbolic_zeros=True)
        return linear(*arguments)

    return differentiable

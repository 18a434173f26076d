"""The operations of `ops` on JAX arrays."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

sigmoid = jax.nn.sigmoid
log_sigmoid = jax.nn.log_sigmoid
stop_gradient = jax.lax.stop_gradient


def log_softmax(x: jax.Array, *, axis: int) -> jax.Array:
    return jax.nn.log_softmax(x, axis=axis)


def sort_with_order(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    order = jnp.argsort(stop_gradient(x), axis=-1)
    return jnp.take_along_axis(x, order, axis=-1), order


def inverse_permutation(order: jax.Array) -> jax.Array:
    places = jnp.broadcast_to(jnp.arange(order.shape[-1], dtype=order.dtype), order.shape)
    return jnp.put_along_axis(jnp.zeros_like(order), order, places, axis=-1, inplace=False)


def with_vjp(primal: Callable, vjp: Callable) -> Callable:
    def function(*arrays: jax.Array, **static: Any) -> jax.Array:
        differentiable = jax.custom_vjp(partial(primal, **static))
        differentiable.defvjp(
            lambda *inputs: (primal(*inputs, **static), inputs),
            lambda inputs, cotangent: vjp(cotangent, *inputs, **static),
        )
        return differentiable(*arrays)

    return function

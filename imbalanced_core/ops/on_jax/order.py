"""Sorting and gathering: operations of `ops` on JAX arrays.

XLA sorts integers far faster than floats: on the CPU plain integers use the C++ standard library, about seven times as
fast as calling a comparator for every pair, and on GPUs a radix sort, with an integer value if need be. So floats are
sorted as integers of the same order. On the CPU a key with a value would call the comparator again; there the order
comes from our own radix sort: a few bits of the key at a time, in one integer with the index.
"""

import jax
import jax.numpy as jnp


def is_on_accelerator(x: jax.Array) -> bool:
    return jax.default_backend() != "cpu"  # a traced array has no device


def sort(x: jax.Array) -> jax.Array:
    x = jax.lax.stop_gradient(x)
    return _from_key(jnp.sort(_key(x)), x.dtype)


def sort_with_order(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    key = _key(jax.lax.stop_gradient(x))
    order = _order(key) if is_on_accelerator(x) else _order_by_digits(key)
    return gather(x, order), order


def gather(x: jax.Array, order: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, order, axis=-1, mode="promise_in_bounds")


def inverse_permutation(order: jax.Array) -> jax.Array:
    indices = jnp.broadcast_to(jnp.arange(order.shape[-1], dtype=order.dtype), order.shape)
    return jnp.put_along_axis(jnp.zeros_like(order), order, indices, axis=-1, inplace=False)


def _order(key: jax.Array) -> jax.Array:
    """Stable argsort of the last axis."""
    indices = jnp.broadcast_to(jnp.arange(key.shape[-1], dtype=jnp.int32), key.shape)
    indices += (key & 0).astype(jnp.int32)  # under `shard_map`, the indices must vary where the key does
    return jax.lax.sort((key, indices), num_keys=1)[1]


def _order_by_digits(key: jax.Array) -> jax.Array:
    """`_order` as a radix sort, from the lowest digit."""
    bits, for_index = 8 * key.dtype.itemsize, max(1, (key.shape[-1] - 1).bit_length())
    width = bits - for_index
    indices = jnp.broadcast_to(jnp.arange(key.shape[-1], dtype=key.dtype), key.shape)
    order = indices.astype(jnp.int32)
    for low in range(0, bits, width):
        digit = (key >> low) << for_index  # excess high bits are shifted out
        step = (jnp.sort(digit | indices) & (2**for_index - 1)).astype(jnp.int32)
        order, key = (gather(a, step) for a in (order, key))
    return order


def _key(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the floats; ±0 are equal, and NaN of either sign sorts last."""
    unsigned, sign = _unsigned(x.dtype)
    bits = jax.lax.bitcast_convert_type(jnp.where(jnp.isnan(x), jnp.nan, x), unsigned)
    return jnp.where(bits > sign, ~bits, bits | sign)


def _from_key(key: jax.Array, dtype: jnp.dtype) -> jax.Array:
    _, sign = _unsigned(dtype)
    return jax.lax.bitcast_convert_type(jnp.where(key >= sign, key ^ sign, ~key), dtype)


def _unsigned(dtype: jnp.dtype) -> tuple[jnp.dtype, jax.Array]:
    """The unsigned integer dtype of the same width as a float dtype, and the sign bit."""
    bits = jnp.finfo(dtype).bits
    unsigned = jnp.dtype(f"uint{bits}")
    return unsigned, jnp.asarray(2 ** (bits - 1), unsigned)

"""Smooth-AP over several JAX devices, four ways: the gradient that one device would compute.

    python examples/train_sharded.py              # 4 virtual devices on the CPU
    python examples/train_sharded.py --devices 8 --classes 64

1. `jit` over sharded arrays: the compiler does everything; nothing to change.
2. `shard_map` with `axis_name`, the queue on every device.
3. `shard_map` with the classes divided among the devices, and the queue with them.
4. `pmap`, for code that still uses it.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

FEATURES, QUEUE = 16, 256


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=64, help="rows of the global batch")
    parser.add_argument("--classes", type=int, default=6)
    return parser.parse_args()


ARGUMENTS = parse()
if ARGUMENTS.rows % ARGUMENTS.devices:
    raise SystemExit("--rows must be a multiple of --devices; pad the rest and give it the ignore_index")
# Must be set before JAX starts.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={ARGUMENTS.devices}"
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402
from jax.sharding import Mesh, NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from imbalanced_core.pool.step import PooledResult  # noqa: E402
from imbalanced_jax import init_queue, smooth_ap_loss  # noqa: E402
from imbalanced_jax.class_parallel import queue_specs  # noqa: E402

jax.config.update("jax_enable_x64", True)


def make_batch(step: int) -> tuple[jax.Array, jax.Array]:
    """Features and class ids; a few rows are padding, as in the last batch of an epoch."""
    rng = np.random.default_rng(step)
    ids = (rng.random(ARGUMENTS.rows) ** 0.3 * ARGUMENTS.classes).astype(int)
    features = np.random.default_rng(1).normal(size=(ARGUMENTS.classes, FEATURES))[ids]
    ids[-3:] = -100
    return jnp.asarray(features + rng.normal(size=features.shape)), jnp.asarray(ids)


def step(w: jax.Array, queue: Any, x: jax.Array, y: jax.Array, axis_name: Any = None, **options: Any) -> tuple:
    """One step of gradient descent; returns the loss, the new parameters and the new queue."""

    def loss_fn(w: jax.Array) -> tuple[jax.Array, PooledResult]:
        return smooth_ap_loss(x @ w, y, queue, temperature=0.3, axis_name=axis_name, **options)

    (loss, aux), grad = jax.value_and_grad(loss_fn, has_aux=True)(w)
    if axis_name is not None:
        grad = lax.pmean(grad, axis_name)  # the usual line
    return loss, w - 0.5 * grad, aux.queue


def train(run: Callable[..., tuple], queue: Any, place: Callable[[Any], Any] = lambda batch: batch) -> tuple:
    w = jnp.zeros((FEATURES, ARGUMENTS.classes))
    for number in range(ARGUMENTS.steps):
        loss, w, queue = run(w, queue, *place(make_batch(number)))
    return loss, w


def main() -> None:
    devices = jax.devices()[: ARGUMENTS.devices]
    mesh = Mesh(np.array(devices), ("data",))
    classes = ARGUMENTS.classes
    queue = init_queue(QUEUE, classes, dtype=jnp.float64)
    expected_loss, expected = train(jax.jit(step), queue)
    print(f"one device:                                  loss {expected_loss:.12f}")

    def report(name: str, loss: jax.Array, w: jax.Array) -> None:
        distance = float(jnp.abs(w - expected).max())
        print(f"{name:44} loss {loss:.12f}, largest difference of a parameter {distance:.1e}")
        if not distance < 1e-9:
            raise SystemExit("the devices did not train the model of one")

    sharded = NamedSharding(mesh, P("data"))
    report("1. jit over sharded arrays:", *train(jax.jit(step), queue, lambda batch: jax.device_put(batch, sharded)))

    mapped = partial(jax.shard_map, mesh=mesh)
    data = (P("data"), P("data"))
    on_all = mapped(partial(step, axis_name="data"), in_specs=(P(), P(), *data), out_specs=P())
    report("2. shard_map:", *train(jax.jit(on_all), queue))

    # The queue holds 0/1 labels per class, so that each device can keep the columns of its own classes.
    divided = init_queue(QUEUE, -(-classes // len(devices)) * len(devices), multilabel=True, dtype=jnp.float64)
    specs = queue_specs("data")
    by_class = mapped(
        partial(step, axis_name="data", class_parallel=True),
        in_specs=(P(), specs, *data),
        out_specs=(P(), P(), specs),
    )
    report("3. shard_map, classes divided:", *train(jax.jit(by_class), divided))

    pmapped = jax.pmap(
        partial(step, axis_name="data"), axis_name="data", in_axes=(None, None, 0, 0), out_axes=None, devices=devices
    )

    def split(batch: Any) -> Any:
        return jax.tree.map(lambda array: array.reshape(len(devices), -1, *array.shape[1:]), batch)

    report("4. pmap:", *train(pmapped, queue, split))


if __name__ == "__main__":
    main()

"""The rows of JAX, all under `jit`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import imbalanced_jax
from imbalanced_core.losses.ranking import smooth_ap
from imbalanced_core.pairwise import counts

from .accelerator import Sizes
from .contender import all_pairs
from .table import Step, Table, crossing

RANKING = {
    "smooth_ap": imbalanced_jax.smooth_ap_loss,
    "recall": imbalanced_jax.recall_at_quantile_loss,
    "trapezoid": partial(imbalanced_jax.pauc_at_budget_loss, surrogate="trapezoid"),
    "pairwise": partial(imbalanced_jax.pauc_at_budget_loss, surrogate="pairwise"),
    "auc": imbalanced_jax.auc_loss,
}
_LIMITS = ("_PAIRS_JAX_ACCELERATOR", "_PAIRS_JAX_CPU")


def is_there(device: str) -> bool:
    """Whether the default device is an accelerator, or the CPU was requested."""
    return device == "cpu" or jax.default_backend() != "cpu"


def run(device: str, sizes: Sizes, *, seconds: float, limit: float) -> None:  # noqa: ARG001
    """Measures and prints everything, slow compilations last."""
    table = Table(jax.block_until_ready, seconds=seconds, limit=limit)
    table.start(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}")
    _defaults(table, sizes)
    _pointwise(table, sizes)
    _pools(table, *sizes.medium, most_ms=3.0)
    _sweep(table, sizes)
    _pools(table, sizes.long, 1, most=12.0)


def _defaults(table: Table, sizes: Sizes) -> None:
    """A step of 32 rows and a full queue, of one class."""
    logits, targets = _rows(32, 1)
    for name, loss_fn in RANKING.items():
        setting = f"{name}, 32 + {sizes.queue}"
        if name == "smooth_ap":
            past = _rows(sizes.queue, 1, seed=1)
            definition = partial(_step, partial(_definition, past), logits, targets)
            table.row(setting, "definition", definition)
        build = partial(_queue_step, loss_fn, sizes.queue, logits, targets)
        table.row(setting, "jit", build, against="definition", most=1.5, most_ms=0.3)


def _definition(past: tuple[jax.Array, jax.Array], logits: jax.Array, targets: jax.Array) -> jax.Array:
    scores = jnp.concatenate([past[0][:, 0], logits[:, 0]])
    positives = jnp.concatenate([past[1], targets]).astype(scores.dtype)
    return all_pairs(jax.nn.sigmoid, scores, positives)


def _pools(table: Table, n: int, classes: int, **aim: float) -> None:
    """A batch without a queue."""
    logits, targets = _rows(n, classes)
    rows = jnp.asarray(logits.T)
    keys = jax.lax.bitcast_convert_type(rows, jnp.int32)
    for name, loss_fn in RANKING.items():
        setting = f"{name}, n = {n}, C = {classes}"
        table.row(setting, "integer sort", partial(_call, jnp.sort, keys))
        if name == "smooth_ap":
            table.row(setting, "jnp.sort", partial(_call, jnp.sort, rows), against="integer sort")
        build = partial(_queue_step, loss_fn, 0, logits, targets)
        table.row(setting, "jit", build, against="integer sort", is_costly="most" in aim, **aim)


def _pointwise(table: Table, sizes: Sizes) -> None:
    n = sizes.elements
    setting = f"sigmoid focal, {n} elements"
    source = jax.random.normal(jax.random.key(0), (3 * n // 2,), jnp.float32)
    table.row(setting, "copy", partial(_call, lambda x: x + 1, source))  # the traffic of logits, targets, gradient
    del source
    logits = jax.random.normal(jax.random.key(0), (n,), jnp.float32)
    labels = (jax.random.uniform(jax.random.key(1), (n,)) < 0.05).astype(jnp.float32)

    def cross_entropy(x: jax.Array, y: jax.Array) -> jax.Array:
        return (jax.nn.softplus(x) - x * y).mean()

    table.row(setting, "BCE", partial(_step, cross_entropy, logits, labels), against="copy")
    table.row(setting, "jit", partial(_step, imbalanced_jax.sigmoid_focal_loss, logits, labels), against="copy", most=3)

    def softmax_cross_entropy(x: jax.Array, y: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=-1).mean()

    setting = f"softmax focal, {n // 1024} × 1024"
    logits = logits.reshape(-1, 1024)
    ids = jax.random.randint(jax.random.key(2), (len(logits),), 0, 1024)
    table.row(setting, "cross entropy", partial(_step, softmax_cross_entropy, logits, ids))
    build = partial(_step, imbalanced_jax.softmax_focal_loss, logits, ids)
    table.row(setting, "jit", build, against="cross entropy")


def _sweep(table: Table, sizes: Sizes) -> None:
    """One matrix against blocks, for the limit `_PAIRS_JAX_ACCELERATOR` of the engine."""
    times = {}
    for n, classes in sizes.swept[::2]:  # each compiles a program
        pairs = classes * n**2
        setting = f"smooth_ap, n = {n}, C = {classes}, {pairs:,} pairs"
        scores = jax.random.normal(jax.random.key(0), (classes, n), jnp.float32)
        positives = jax.random.uniform(jax.random.key(1), (classes, n)) < 0.05
        blocks = table.row(setting, "blocks", partial(_limited_step, 0, scores, positives))
        build = partial(_limited_step, 2**62, scores, positives)
        times[pairs] = table.row(setting, "matrix", build, against="blocks"), blocks
    crossing("JAX", times)
    table.start("JAX, after the sweep")


def _limited_step(limit: int, scores: jax.Array, positives: jax.Array) -> Step:
    """A step compiled with a given limit on pairs."""

    def loss_fn(s: jax.Array, p: jax.Array) -> jax.Array:
        return smooth_ap(s, p, temperature=0.05)[0].mean()

    before = {name: getattr(counts, name) for name in _LIMITS}
    for name in _LIMITS:
        setattr(counts, name, limit)
    try:
        compiled = jax.jit(jax.value_and_grad(loss_fn)).lower(scores, positives).compile()
    finally:
        for name, value in before.items():
            setattr(counts, name, value)
    return partial(compiled, scores, positives)


def _rows(n: int, classes: int, seed: int = 99) -> tuple[jax.Array, jax.Array]:
    """Logits, higher for positives, and labels of one class or class ids."""
    of_targets, of_logits = jax.random.split(jax.random.key(seed))
    if classes == 1:
        targets = (jax.random.uniform(of_targets, (n,)) < 0.05).astype(jnp.int32)
        is_target = targets[:, None] == 1
    else:
        targets = jax.random.randint(of_targets, (n,), 0, classes)
        is_target = targets[:, None] == jnp.arange(classes)
    return 3 * jax.random.normal(of_logits, (n, classes), jnp.float32) + 2 * is_target, targets


def _call(function: Callable, *arrays: jax.Array) -> Step:
    return partial(jax.jit(function), *arrays)


def _step(loss_fn: Callable, logits: jax.Array, targets: jax.Array) -> Step:
    return _call(jax.value_and_grad(loss_fn), logits, targets)


def _queue_step(loss_fn: Callable, size: int, logits: jax.Array, targets: jax.Array) -> Step:
    """A step that takes and returns a full queue."""

    def loss_and_queue(logits: jax.Array, targets: jax.Array, queue: Any) -> tuple:
        loss, aux = loss_fn(logits, targets, queue)
        return loss, aux.queue

    compute = jax.jit(jax.value_and_grad(loss_and_queue, has_aux=True))
    state = imbalanced_jax.init_queue(size, logits.shape[1])
    for seed in range(size // len(logits)):
        (_, state), _ = compute(*_rows(len(logits), logits.shape[1], seed), state)

    def step() -> tuple:
        nonlocal state
        (loss, state), gradient = compute(logits, targets, state)
        return loss, gradient

    return step

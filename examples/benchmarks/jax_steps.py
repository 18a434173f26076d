"""The contenders in JAX, all compiled."""

import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import imbalanced_jax
from imbalanced_core.losses.ranking import smooth_ap
from imbalanced_core.pool.queue import Queue, push

from . import memory
from .cases import RANKING, Case, make_batches
from .contender import LARGEST_TABLE, Contender, all_pairs

LOSS_FUNCTIONS = {
    "smooth_ap": imbalanced_jax.smooth_ap_loss,
    "recall": partial(imbalanced_jax.recall_at_quantile_loss, temperature_scale="absolute"),
    "trapezoid": partial(imbalanced_jax.pauc_at_budget_loss, surrogate="trapezoid", tau_scale="iqr"),
    "pairwise": partial(imbalanced_jax.pauc_at_budget_loss, surrogate="pairwise", tau_scale="iqr"),
    "sigmoid_focal": partial(imbalanced_jax.sigmoid_focal_loss, alpha=0.25, gamma=2.0),
    "softmax_focal": partial(imbalanced_jax.softmax_focal_loss, gamma=2.0, axis=1),
    "softmax_smooth": partial(imbalanced_jax.softmax_focal_loss, gamma=2.0, axis=1, label_smoothing=0.1),
    "softmax_soft": partial(imbalanced_jax.softmax_focal_loss, gamma=2.0, axis=1),
    "symmetric": partial(imbalanced_jax.symmetric_cross_entropy_loss, axis=1),
}
Batches = list[tuple[jax.Array, jax.Array]]


def contenders(case: Case, device: str) -> dict[str, Contender]:  # noqa: ARG001 - JAX runs on its default device
    """Everything that computes the case, by name: ours, the limit, then the others."""
    batches = [(jnp.asarray(logits), jnp.asarray(targets)) for logits, targets in make_batches(case)]
    if case.loss == "retrieval":
        return _retrieval(*batches[0])
    if case.loss not in RANKING:
        return _pointwise(case, batches)
    rows = jnp.concatenate([logits for logits, _ in batches]).T[:, : case.shape[0] + case.queue]
    found = {
        "jit": Contender("ours", lambda: _RankingStep(case, batches), is_compiled=True),
        "jnp.sort": Contender("limit", lambda: _SortStep(rows), is_compiled=True),
    }
    if case.loss == "smooth_ap" and case.shape[1] == 1 and not case.queue and case.shape[0] ** 2 <= LARGEST_TABLE:

        def definition(logits: jax.Array, targets: jax.Array) -> jax.Array:
            return all_pairs(jax.nn.sigmoid, logits[:, 0], targets.astype(logits.dtype))

        found["all pairs"] = Contender("other", lambda: _Step(definition, batches), is_compiled=True)
    return found


def wait(outcome: Any) -> Any:
    """Waits until the device has computed the result."""
    return jax.block_until_ready(outcome)


def peak_growth(step: Callable[[], Any], device: str) -> int | None:  # noqa: ARG001
    """The bytes by which a step raises memory above what is allocated before it.

    On an accelerator the peak is that of the whole process, including the compiler's trials: it cannot be reset.
    """
    if jax.default_backend() == "cpu":
        return memory.of_process(lambda: wait(step()))
    statistics = jax.devices()[0].memory_stats()
    if not statistics or "peak_bytes_in_use" not in statistics:
        return None
    before = statistics["bytes_in_use"]
    wait(step())
    return jax.devices()[0].memory_stats()["peak_bytes_in_use"] - before


def device_name(device: str) -> str:  # noqa: ARG001
    """The name of the device."""
    return "CPU" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def count(step: "_Step") -> dict[str, int]:
    """The operations of the compiled program: each is at least one kernel."""
    text = step.compile().as_text()
    operations = re.findall(r"= .*?\s([a-z][\w-]*)\(", text[text.index("\nENTRY") :])
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
    return {"kernels": sum(operation not in free for operation in operations)}


class _Step:
    """A step takes the next batch and returns value and gradient."""

    def __init__(self, loss_fn: Callable[..., jax.Array], batches: Batches) -> None:
        self._compute = jax.jit(jax.value_and_grad(loss_fn))
        self._turn = itertools.cycle(batches)

    def __call__(self) -> tuple[Any, Any]:
        return self._compute(*next(self._turn))

    def compile(self) -> jax.stages.Compiled:
        """Compiles the program, which the next call reuses."""
        return self._compute.lower(*next(self._turn)).compile()


class _RankingStep(_Step):
    """A step that also takes and returns a queue, as in training; the queue is filled first."""

    def __init__(self, case: Case, batches: Batches) -> None:
        loss_fn = LOSS_FUNCTIONS[case.loss]
        self._queue = imbalanced_jax.init_queue(case.queue, case.shape[1])

        def compute(*inputs: Any) -> tuple[jax.Array, jax.Array, Queue]:
            (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(*inputs)
            return loss, gradient, aux.queue

        self._compute = jax.jit(compute)
        self._turn = itertools.cycle(batches)
        for logits, targets in batches[1:]:  # not with the loss, or the first step would find parts already traced
            self._queue = push(self._queue, Queue(logits, targets, jnp.ones(len(targets)), None))

    def __call__(self) -> tuple[Any, Any]:
        loss, gradient, self._queue = self._compute(*next(self._turn), self._queue)
        return loss, gradient

    def compile(self) -> jax.stages.Compiled:
        return self._compute.lower(*next(self._turn), self._queue).compile()


class _SortStep(_Step):
    def __init__(self, rows: jax.Array) -> None:
        self._compute, self._turn = jax.jit(jnp.sort), itertools.repeat((rows,))

    def __call__(self) -> tuple[Any, Any]:
        return None, super().__call__()


def _pointwise(case: Case, batches: Batches) -> dict[str, Contender]:
    if case.loss == "sigmoid_focal":
        others = {
            "BCE": ("limit", optax.sigmoid_binary_cross_entropy),
            "optax": ("other", partial(optax.sigmoid_focal_loss, alpha=0.25, gamma=2.0)),
        }
    elif case.loss != "softmax_focal":
        others = {"plain formula": ("limit", partial(_plain_formula, case.loss))}
    else:
        cross_entropy = partial(optax.softmax_cross_entropy_with_integer_labels, axis=1)
        others = {"cross entropy": ("limit", cross_entropy)}

    def mean(loss_fn: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda logits, targets: loss_fn(logits, targets).mean()

    found = {"jit": Contender("ours", lambda: _Step(LOSS_FUNCTIONS[case.loss], batches), is_compiled=True)}
    for name, (role, loss_fn) in others.items():
        found[name] = Contender(role, partial(_Step, mean(loss_fn), batches), is_compiled=True)
    return found


def _plain_formula(loss: str, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Straightforward implementations of the losses, with γ = 2 and the other defaults."""
    log_p = jax.nn.log_softmax(logits)
    p, classes = jnp.exp(log_p), logits.shape[1]
    y = targets if targets.ndim == 2 else jax.nn.one_hot(targets, classes)
    if loss == "symmetric":
        return -(y * log_p + p.clip(1e-8) * jnp.log(y.clip(1e-8))).sum(1)
    if loss == "softmax_soft":
        return -(y * (1 - p) ** 2 * log_p).sum(1)
    return -((1 - (y * p).sum(1)) ** 2) * ((0.9 * y + 0.1 / classes) * log_p).sum(1)


def _retrieval(embeddings: jax.Array, classes: jax.Array) -> dict[str, Contender]:
    def cosines(embeddings: jax.Array) -> jax.Array:
        directions = embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)
        return directions @ directions.T

    def ours(embeddings: jax.Array, classes: jax.Array) -> jax.Array:
        return smooth_ap(cosines(embeddings), classes[:, None] == classes)[0].mean()

    return {
        "jit": Contender("ours", lambda: _Step(ours, [(embeddings, classes)]), is_compiled=True),
        "jnp.sort": Contender("limit", lambda: _SortStep(cosines(embeddings)), is_compiled=True),
    }

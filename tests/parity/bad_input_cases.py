"""One list of losses and one way to call them in both frameworks, for `test_bad_input.py` and other tests."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from losses import POINTWISE, RANKING, STEPS, Loss, with_variants

import imbalanced_jax
import imbalanced_torch

ROWS = 12
QUEUE = 8


@dataclass(frozen=True, eq=False)
class Subject:
    """A loss of the table, or a function with the same signature, in both frameworks."""

    name: str
    torch: Callable[[int], Callable]  # number of classes -> module
    jax: Callable[..., Any]  # (logits, targets, sample_weight=None) -> loss
    case: Loss  # the loss with the same traits

    def batch(self, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
        return self.case.batch(0, ROWS, num_classes)


def _of_table(case: Loss) -> Subject:
    def of_jax(logits: Any, targets: Any, **weights: Any) -> Any:
        num_classes = logits.shape[-1] if getattr(logits, "ndim", 0) == 2 else 3
        queue = imbalanced_jax.init_queue(QUEUE, num_classes) if case.ranks else None
        return case.value_in_jax(queue)(logits, targets, **weights)

    options = {"queue_size": QUEUE} if case.ranks else {}
    return Subject(case.name, lambda classes: case.in_torch(classes, **options), of_jax, case)


def _blend_in_torch(classes: int) -> Callable:
    main = imbalanced_torch.SmoothAPLoss(classes, queue_size=QUEUE)
    warmup = imbalanced_torch.SoftmaxFocalLoss(gamma=0.0) if classes > 1 else imbalanced_torch.SmoothAPLoss(1, 0, 1.0)
    loss_fn = imbalanced_torch.LossWarmupWrapper(warmup, main, warmup_steps=1, blend_steps=3)
    loss_fn.on_train_batch_start(2)
    return loss_fn


def _blend_in_jax(logits: Any, targets: Any, sample_weight: Any = None) -> Any:
    num_classes = logits.shape[-1] if getattr(logits, "ndim", 0) == 2 else 3

    def warmup() -> Any:
        if num_classes > 1:
            return imbalanced_jax.softmax_focal_loss(logits, targets, gamma=0.0, sample_weight=sample_weight)
        return imbalanced_jax.smooth_ap_loss(logits, targets, temperature=1.0, sample_weight=sample_weight)[0]

    def main(queue: Any, temperature: Any) -> Any:
        return imbalanced_jax.smooth_ap_loss(
            logits, targets, queue, temperature=temperature, sample_weight=sample_weight
        )

    queue = imbalanced_jax.init_queue(QUEUE, num_classes)
    return imbalanced_jax.warmup_blend(2, warmup, main, queue, warmup_steps=1, blend_steps=3)[0]


def _class_parallel_in_jax(logits: Any, targets: Any, sample_weight: Any = None) -> Any:
    """On a mesh axis of one device, which runs the same code without communication."""
    arrays = {"logits": logits, "targets": targets, "sample_weight": sample_weight}
    arrays = {name: jnp.asarray(array)[None] for name, array in arrays.items() if array is not None}

    def one(arrays: dict) -> Any:
        queue = imbalanced_jax.init_queue(QUEUE, arrays["logits"].shape[1], multilabel=True)
        return imbalanced_jax.smooth_ap_loss(queue=queue, axis_name="devices", class_parallel=True, **arrays)[0]

    return jax.vmap(one, axis_name="devices")(arrays)[0]


def _class_parallel_in_torch(classes: int) -> Callable:
    return imbalanced_torch.SmoothAPLoss(classes, queue_size=QUEUE, class_parallel=True)


BLEND = Subject("warm-up blend", _blend_in_torch, _blend_in_jax, next(case for case in POINTWISE if case.kind == "ids"))
CLASS_PARALLEL = Subject("class parallel", _class_parallel_in_torch, _class_parallel_in_jax, RANKING[0])
LOSSES = [*map(_of_table, [*STEPS, *with_variants(POINTWISE)]), BLEND]


def call(library: str, loss: Subject, logits: Any, targets: Any, weights: Any = None) -> Any:
    """Calls the loss eagerly, as a user does, on any arguments; numpy arrays become the framework's own."""
    arguments = {} if weights is None else {"sample_weight": weights}
    if library == "jax":
        return loss.jax(_to_jax(logits), _to_jax(targets), **{k: _to_jax(v) for k, v in arguments.items()})
    classes = logits.shape[1] if getattr(logits, "ndim", 0) == 2 else 3
    return loss.torch(classes)(_to_torch(logits), _to_torch(targets), **{k: _to_torch(v) for k, v in arguments.items()})


@cache
def compiled(loss: Subject) -> Callable:
    """Value and gradient in JAX, compiled once for each shape, so values are never read."""
    quickly = {"xla_backend_optimization_level": 0}  # compilation dominates the run time
    return jax.jit(jax.value_and_grad(lambda x, y, w: loss.jax(x, y, sample_weight=w)), compiler_options=quickly)


def evaluate(
    library: str, loss: Subject, logits: Any, targets: Any, weights: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """The loss and its gradient as numpy arrays; compiled in JAX."""
    if weights is None:
        weights = np.ones(len(logits), np.float32)
    if library == "jax":
        value, gradient = compiled(loss)(_to_jax(logits), _to_jax(targets), _to_jax(weights))
        return np.asarray(value), np.asarray(gradient)
    x = _to_torch(logits).detach().requires_grad_()
    value = loss.torch(logits.shape[1])(x, _to_torch(targets), sample_weight=_to_torch(weights))
    value.backward()
    return value.detach().numpy(), (torch.zeros_like(x) if x.grad is None else x.grad).numpy()


def _to_torch(array: Any) -> Any:
    return torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray) else array


def _to_jax(array: Any) -> Any:
    return jnp.asarray(array) if isinstance(array, np.ndarray) else array

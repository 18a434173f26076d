"""One list of losses and one way to call them in both frameworks, for `test_bad_input.py` and its neighbours."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import imbalanced_jax
import imbalanced_torch

IGNORED = -100
ROWS = 12
QUEUE = 8


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss in both frameworks; targets are class ids, or for `kind` "binary" one label per logit."""

    name: str
    torch: Callable[[int], Callable]  # number of classes -> module
    jax: Callable[..., Any]  # (logits, targets, sample_weight=None) -> loss
    kind: str = "ids"
    ranks: bool = False  # a ranking loss: infinite logits are legal, some batches have no loss

    def batch(self, seed: int = 0, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """Logits and targets of a batch in which every class occurs."""
        rng = np.random.default_rng(seed)
        logits = rng.standard_normal((ROWS, num_classes)).astype(np.float32)
        targets = np.arange(ROWS) % max(num_classes, 2)
        return logits, (logits > 0.5).astype(np.float32) if self.kind == "binary" else targets

    def ignored(self, targets: np.ndarray, rows: Any) -> np.ndarray:
        targets = targets.copy()
        targets[rows] = IGNORED
        return targets


def _ranking(name: str, module: Callable, function: Callable, **options: Any) -> Loss:
    def of_jax(logits: Any, targets: Any, sample_weight: Any = None) -> Any:
        num_classes = logits.shape[-1] if getattr(logits, "ndim", 0) == 2 else 3
        queue = imbalanced_jax.init_queue(QUEUE, num_classes)
        return function(logits, targets, queue, sample_weight=sample_weight, **options)[0]

    return Loss(name, lambda classes: module(classes, queue_size=QUEUE, **options), of_jax, ranks=True)


def _sigmoid_in_jax(logits: Any, targets: Any, sample_weight: Any = None) -> Any:
    where = targets != IGNORED if isinstance(targets, (jax.Array, np.ndarray)) else None
    return imbalanced_jax.sigmoid_focal_loss(logits, targets, where=where, sample_weight=sample_weight)


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
    """On a mesh axis of one device: the code path without its traffic."""
    arrays = {"logits": logits, "targets": targets, "sample_weight": sample_weight}
    arrays = {name: jnp.asarray(array)[None] for name, array in arrays.items() if array is not None}

    def one(arrays: dict) -> Any:
        queue = imbalanced_jax.init_queue(QUEUE, arrays["logits"].shape[1], multilabel=True)
        return imbalanced_jax.smooth_ap_loss(queue=queue, axis_name="devices", class_parallel=True, **arrays)[0]

    return jax.vmap(one, axis_name="devices")(arrays)[0]


def _class_parallel_in_torch(classes: int) -> Callable:
    return imbalanced_torch.SmoothAPLoss(classes, queue_size=QUEUE, class_parallel=True)


LOSSES = [
    Loss(
        "sigmoid focal",
        lambda _: imbalanced_torch.SigmoidFocalLoss(ignore_index=IGNORED),
        _sigmoid_in_jax,
        kind="binary",
    ),
    Loss("softmax focal", lambda _: imbalanced_torch.SoftmaxFocalLoss(), imbalanced_jax.softmax_focal_loss),
    Loss(
        "softmax focal, smoothed",
        lambda _: imbalanced_torch.SoftmaxFocalLoss(label_smoothing=0.1),
        partial(imbalanced_jax.softmax_focal_loss, label_smoothing=0.1),
    ),
    Loss(
        "symmetric cross entropy",
        lambda _: imbalanced_torch.SymmetricCrossEntropyLoss(),
        imbalanced_jax.symmetric_cross_entropy_loss,
    ),
    _ranking("smooth AP", imbalanced_torch.SmoothAPLoss, imbalanced_jax.smooth_ap_loss, temperature=0.1),
    _ranking(
        "recall",
        imbalanced_torch.RecallAtQuantileLoss,
        imbalanced_jax.recall_at_quantile_loss,
        quantile=0.2,
        temperature=0.1,
    ),
    _ranking(
        "pAUC trapezoid",
        imbalanced_torch.PAUCAtBudgetLoss,
        imbalanced_jax.pauc_at_budget_loss,
        beta=0.5,
        surrogate="trapezoid",
    ),
    _ranking(
        "pAUC pairwise",
        imbalanced_torch.PAUCAtBudgetLoss,
        imbalanced_jax.pauc_at_budget_loss,
        beta=0.5,
        surrogate="pairwise",
    ),
    Loss("warm-up blend", _blend_in_torch, _blend_in_jax),
]
CLASS_PARALLEL = Loss("class parallel", _class_parallel_in_torch, _class_parallel_in_jax, ranks=True)


def call(library: str, loss: Loss, logits: Any, targets: Any, weights: Any = None) -> Any:
    """The loss, called as a user calls it: eagerly, on whatever is given; numpy arrays in the framework's own."""
    arguments = {} if weights is None else {"sample_weight": weights}
    if library == "jax":
        return loss.jax(_to_jax(logits), _to_jax(targets), **{k: _to_jax(v) for k, v in arguments.items()})
    classes = logits.shape[1] if getattr(logits, "ndim", 0) == 2 else 3
    return loss.torch(classes)(_to_torch(logits), _to_torch(targets), **{k: _to_torch(v) for k, v in arguments.items()})


@cache
def compiled(loss: Loss) -> Callable:
    """Value and gradient in JAX, compiled once for each shape, so without a look at any value."""
    quickly = {"xla_backend_optimization_level": 0}  # to compile, which takes longer here than all the rest
    return jax.jit(jax.value_and_grad(lambda x, y, w: loss.jax(x, y, sample_weight=w)), compiler_options=quickly)


def evaluate(library: str, loss: Loss, logits: Any, targets: Any, weights: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The loss and its gradient in numpy; in JAX compiled."""
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

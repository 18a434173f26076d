"""Random calls of the public functions around the losses: class weights, schedules, blend, queues, validation."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import reference
import torch
from fuzz_cases import Errors
from losses import IGNORED

import imbalanced_jax
import imbalanced_torch

PACKAGES = {"torch": imbalanced_torch, "jax": imbalanced_jax}
PLAN = {"warmup_steps": 3, "blend_steps": 4, "final_main_weight": 0.75}
DECAY = {"temp_start": 0.5, "temp_end": 0.05, "temp_decay_steps": 7}


def _relative(found: Any, expected: Any, tolerance: float = 1e-5) -> Errors:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    worst = np.max(np.abs(found - expected) / (np.abs(expected) + 1e-30), initial=0.0)
    return Errors(np.array([worst if np.isfinite(worst) else np.inf]), np.zeros(1), (tolerance, tolerance))


def _agrees(holds: bool) -> Errors:
    return Errors(np.array([0.0 if holds else np.inf]), np.zeros(1), (1e-5, 1e-5))


def run_class_weights(library: str, rng: np.random.Generator) -> Errors:
    counts = np.floor(10.0 ** rng.uniform(-1, 6, rng.integers(1, 9))).astype(np.int64)
    counts[rng.integers(len(counts))] += 1  # all 0 is refused
    scheme, beta = str(rng.choice(["inverse", "balanced", "effective"])), float(rng.choice([0.9, 0.99, 0.999, 0.9999]))
    found = PACKAGES[library].class_weights(_array(library, counts), scheme=scheme, beta=beta)
    return _relative(found, reference.class_weights(counts, scheme=scheme, beta=beta))


def run_pos_weight(library: str, rng: np.random.Generator) -> Errors:
    positives = rng.integers(0, 1000, 5)
    total = positives + rng.integers(0, 100_000, 5)
    found = PACKAGES[library].pos_weight(_array(library, positives), _array(library, total))
    return _relative(found, np.maximum(total - positives, 1) / np.maximum(positives, 1))


def run_validate_targets(library: str, rng: np.random.Generator) -> Errors:
    classes = int(rng.integers(1, 5))
    dtype = rng.choice([np.int64, np.int32, np.uint8, np.float32])
    targets = rng.integers(0, max(classes, 2) + (rng.random() < 0.5), rng.integers(0, 6)).astype(dtype)
    if dtype == np.float32 and rng.random() < 0.3 and len(targets):
        targets[0] = rng.choice([0.5, np.nan, -1.0, IGNORED])
    kept = targets[targets != IGNORED]
    is_valid = bool(np.isin(kept, np.arange(max(classes, 2))).all())
    try:
        PACKAGES[library].validate_targets(_array(library, targets), num_classes=classes)
    except ValueError:
        return _agrees(not is_valid)
    return _agrees(is_valid)


def run_init_queue(library: str, rng: np.random.Generator) -> Errors:
    """The queue after three batches holds the latest rows."""
    size, classes = int(rng.choice([0, 5, 9])), 2
    batches = [(rng.standard_normal((4, classes)).astype(np.float32), rng.integers(0, 2, 4)) for _ in range(3)]
    if library == "torch":
        loss_fn = imbalanced_torch.RecallAtQuantileLoss(classes, queue_size=size)
        for logits, targets in batches:
            loss_fn(torch.from_numpy(logits), torch.from_numpy(targets))
        queue = loss_fn.queue
    else:
        queue = imbalanced_jax.init_queue(size, classes)
        for logits, targets in batches:
            queue = imbalanced_jax.recall_at_quantile_loss(logits, targets, queue)[1].queue
    logits, targets = np.zeros((size, classes), np.float32), np.full(size, reference.QUEUE_IGNORED)
    for batch_logits, batch_targets in batches:
        logits = reference.queue_after(logits, batch_logits)
        targets = reference.queue_after(targets, batch_targets)
    return _agrees(np.array_equal(queue.logits, logits) and np.array_equal(queue.targets, targets))


def run_schedules(library: str, rng: np.random.Generator) -> Errors:
    """`blend_schedule` and `temperature_schedule`; in torch, the wrapper that uses them."""
    warmup, blend, decay = (int(n) for n in rng.integers(0, 9, 3))
    step, final = int(rng.integers(0, 30)), float(rng.uniform(0.1, 1.0))
    start, end = (float(t) for t in 10.0 ** rng.uniform(-3, 1, 2))
    weight = reference.blend_weight(step, warmup, blend, final)
    temperature = reference.geometric_decay(step - warmup, start, end, decay + 1)
    if library == "jax":
        weight_at = imbalanced_jax.blend_schedule(warmup, blend, final)
        temperature_at = imbalanced_jax.temperature_schedule(start, end, decay + 1, warmup)
        return _relative([weight_at(step), temperature_at(step)], [weight, temperature], 1e-12)
    loss_fn = imbalanced_torch.LossWarmupWrapper(
        torch.nn.BCEWithLogitsLoss(),
        imbalanced_torch.RecallAtQuantileLoss(1, queue_size=0),
        warmup_steps=warmup,
        blend_steps=blend,
        final_main_weight=final,
        temp_start=start,
        temp_end=end,
        temp_decay_steps=decay + 1,
    )
    for moment in sorted({min(step, warmup), step}):
        loss_fn.on_train_batch_start(moment)
    return _relative([loss_fn.main_weight, loss_fn.current_temperature], [weight, temperature], 1e-12)


def run_blend(library: str, rng: np.random.Generator) -> Errors:
    """`LossWarmupWrapper` and `warmup_blend`: binary cross entropy, then Smooth-AP."""
    logits = (rng.standard_normal((20, 1)) * 2).astype(np.float32)
    targets, step = rng.integers(0, 2, 20), int(rng.integers(0, 14))
    x, y = logits[:, 0].astype(np.float64), targets.astype(np.float64)
    weight = reference.blend_weight(step, *PLAN.values())
    temperature = reference.geometric_decay(step - 3, *DECAY.values())
    main, _, main_slope = reference.smooth_ap(x, targets == 1, temperature=temperature)
    options = {"alpha": None, "gamma": 0.0}
    loss = (1 - weight) * reference.sigmoid_focal(x, y, **options).mean() + weight * main
    slope = (reference.sigmoid(x) - y) / 20 * (1 - weight) + weight * main_slope
    found, gradient = (_blend_torch if library == "torch" else _blend_jax)(logits, targets, step)
    error = np.abs(gradient[:, 0] - slope).max() / (np.abs(slope).max() + 1e-3)
    return Errors(np.array([abs(found - loss)]), np.array([error]), (1e-5, 2e-4))


def _blend_torch(logits: np.ndarray, targets: np.ndarray, step: int) -> tuple[float, np.ndarray]:
    main = imbalanced_torch.SmoothAPLoss(1, queue_size=0)
    loss_fn = imbalanced_torch.LossWarmupWrapper(torch.nn.BCEWithLogitsLoss(), main, **PLAN, **DECAY)
    for moment in sorted({min(step, 3), step}):
        loss_fn.on_train_batch_start(moment)
    x = torch.from_numpy(logits).requires_grad_()
    loss = loss_fn(x, torch.from_numpy(targets)[:, None].float())
    loss.backward()
    return loss.item(), x.grad.double().numpy()


@cache
def _compiled_blend() -> Any:
    def blend(logits: Any, targets: Any, step: Any) -> Any:
        def warmup() -> Any:
            return imbalanced_jax.sigmoid_focal_loss(logits, targets[:, None], alpha=None, gamma=0.0)

        def main(queue: Any, temperature: Any) -> Any:
            return imbalanced_jax.smooth_ap_loss(logits, targets, queue, temperature=temperature)

        return imbalanced_jax.warmup_blend(step, warmup, main, **PLAN, **DECAY)[0]

    return jax.jit(jax.value_and_grad(blend))


def _blend_jax(logits: np.ndarray, targets: np.ndarray, step: int) -> tuple[float, np.ndarray]:
    loss, gradient = _compiled_blend()(jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(step, jnp.int32))
    return float(loss), np.asarray(gradient, np.float64)


def _array(library: str, array: np.ndarray) -> Any:
    return torch.from_numpy(array) if library == "torch" else jnp.asarray(array)


FUNCTIONS = {  # names in torch and in JAX: (one random call, share of the cases)
    ("class_weights", "class_weights"): (run_class_weights, 0.01),
    ("pos_weight", "pos_weight"): (run_pos_weight, 0.01),
    ("validate_targets", "validate_targets"): (run_validate_targets, 0.01),
    ("queue", "init_queue"): (run_init_queue, 0.004),
    ("LossWarmupWrapper's schedule", "blend_schedule, temperature_schedule"): (run_schedules, 0.01),
    ("LossWarmupWrapper", "warmup_blend"): (run_blend, 0.01),
}

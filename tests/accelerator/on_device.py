"""Helpers of the accelerator tests: batches, and the expected value and gradient from the CPU in float64."""

import os

import numpy as np
import pytest
import torch
from losses import LOSSES, with_variants

DEVICE = os.environ.get("IMBALANCED_DEVICE", "cuda")
CLASSES, ROWS = 3, 64
VARIANTS = list(with_variants(LOSSES))
BYTES_PER_SCORE = 600  # peak of a step on a long float32 row, including its gradient: 150 times the row


def skip_without(found):
    """Skips the module if its framework has no device."""
    if not found and DEVICE != "cpu":
        pytest.skip(f"needs a device {DEVICE!r}", allow_module_level=True)


def batch_of(case, seed=0, rows=ROWS, num_classes=CLASSES, dtype=np.float32):
    """(logits, targets) in numpy; some rows or labels are ignored, and for ranking losses class 0 is frequent."""
    logits, targets = case.batch(seed, rows, num_classes, dtype)
    rng = np.random.default_rng([seed, rows])
    if case.ranks:
        targets = np.where(rng.random(rows) < 0.5, 0, targets)
    targets = np.where(rng.random(targets.shape) < 0.1, -100, targets).astype(targets.dtype)
    return logits, targets


def module_of(case, num_classes=CLASSES, queue_size=0):
    return case.in_torch(num_classes, **({"queue_size": queue_size} if case.ranks else {}))


def value_and_gradient(module, logits, targets):
    """In torch; the gradient is with respect to the logits, in their dtype."""
    logits = logits.detach().requires_grad_()
    value = module(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def expected(module, logits, targets):
    """The same, computed on the CPU in float64; takes numpy or torch, returns numpy."""
    logits, targets = (torch.as_tensor(x).cpu() for x in (logits, targets))
    targets = targets.double() if targets.is_floating_point() else targets
    return tuple(x.numpy() for x in value_and_gradient(module.double(), logits.double(), targets))


def assert_close(found, right, dtype, *, of_gradient=None):
    """Compares value and gradient up to rounding; a half-precision gradient has fewer bits than its value."""
    tolerance = {"float64": 1e-9, "float32": 2e-4, "bfloat16": 1e-2}
    for one, other, kind in zip(found, right, (dtype, of_gradient or dtype), strict=True):
        one = one.double().cpu().numpy() if isinstance(one, torch.Tensor) else np.asarray(one, np.float64)
        scale = max(np.abs(other).max(), 1e-6)
        np.testing.assert_allclose(one, other, rtol=tolerance[kind], atol=1e-2 * tolerance[kind] * scale)

"""The number of calls per step of a loss on an accelerator: run on the device `meta`, where any host sync raises."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imbalanced_torch import (
    AUCLoss,
    NDCGLoss,
    PAUCAtBudgetLoss,
    PrecisionAtKLoss,
    PrecisionAtRecallLoss,
    RecallAtKLoss,
    RecallAtPrecisionLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)

VIEWS = ("view", "expand", "slice", "select", "transpose", "permute", "unsqueeze", "squeeze", "detach", "alias")
NO_KERNEL = (*VIEWS, "_unsafe_view", "diagonal", "t", "split", "unbind", "as_strided", "empty", "empty_like")

# name: module, shape of the logits, dtype of targets of that shape or None for class ids, maximum number of calls
STEPS = {
    "sigmoid focal": (SigmoidFocalLoss(), (32, 10), torch.float32, 24),
    "sigmoid focal, ids": (SigmoidFocalLoss(alpha=None), (32, 10), torch.int64, 24),
    "softmax focal": (SoftmaxFocalLoss(), (32, 10), None, 30),
    "softmax focal, dense": (SoftmaxFocalLoss(), (2, 10, 8, 8), None, 32),
    "NDCG": (NDCGLoss(), (8, 100), torch.int64, 80),
}
for classes in (1, 10):
    for name, module, most in (
        ("smooth AP", SmoothAPLoss(classes), 100),
        ("recall", RecallAtQuantileLoss(classes), 80),
        ("AUC", AUCLoss(classes), 85),
        ("pAUC trapezoid", PAUCAtBudgetLoss(classes, surrogate="trapezoid"), 95),
        ("pAUC pairwise", PAUCAtBudgetLoss(classes, surrogate="pairwise"), 120),
        ("pAUC two-way", PAUCAtBudgetLoss(classes, surrogate="pairwise", min_tpr=0.5), 120),
        ("recall at k", RecallAtKLoss(classes, 10), 105),
        ("precision at k", PrecisionAtKLoss(classes, 10), 125),
        ("precision at recall", PrecisionAtRecallLoss(classes, 0.8), 125),
        ("recall at precision", RecallAtPrecisionLoss(classes, 0.8), 115),
        ("pAUC recommended", PAUCAtBudgetLoss.recommended(classes, 0.01), 260),
        ("smooth AP recommended", SmoothAPLoss.recommended(classes), 172),
    ):
        STEPS[f"{name}, {classes} classes"] = module, (32, classes), None, most


class Calls(TorchDispatchMode):
    """Counts the calls that launch a kernel."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func.overloadpacket.__name__ not in NO_KERNEL
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_keeps_its_bound_without_a_sync(name):
    module, shape, dtype, most = STEPS[name]
    module = module.to("meta")
    logits = torch.empty(shape, device="meta", requires_grad=True)
    targets = torch.empty(shape if dtype else (shape[0], *shape[2:]), dtype=dtype or torch.int64, device="meta")
    seed = torch.empty((), device="meta")
    for _ in range(2):  # the first fills the caches of constants
        with Calls() as calls:
            torch.autograd.grad(module(logits, targets), logits, seed)
    assert calls.number <= most

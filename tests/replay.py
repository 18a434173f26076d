"""The ranking losses with their queue in plain numpy, from the latest rows and the definitions of `reference`."""

import numpy as np
from losses import IGNORED
from reference import QUEUE_IGNORED, queue_after

TASKS = {  # name: (number of classes, multilabel)
    "classes": (3, False),
    "binary": (1, False),
    "multilabel": (2, True),
}


def draw_batch(rng, task, *, rows=12, dtype=np.float32):
    """(logits, targets, sample_weight, iid_mask) with ignored rows and, when multilabel, missing labels."""
    num_classes, multilabel = TASKS[task]
    logits = rng.standard_normal((rows, num_classes)).astype(dtype)
    targets = rng.integers(0, max(num_classes, 2), rows)
    if multilabel:
        targets = rng.integers(0, 2, (rows, num_classes))
    targets[rng.random(targets.shape) < 0.15] = IGNORED
    return logits, targets, rng.random(rows).astype(dtype) * 2, rng.random(rows) < 0.7


def batches(task, steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield draw_batch(rng, task)


class Replay:
    """One ranking loss, called with successive batches; `step` returns what the library should."""

    def __init__(self, case, task, *, queue_size):
        self.case = case
        self.num_classes, self.multilabel = TASKS[task]
        empty = np.full((queue_size, self.num_classes) if self.multilabel else queue_size, QUEUE_IGNORED)
        nothing = np.zeros(queue_size)
        self.queue = np.zeros((queue_size, self.num_classes)), empty, nothing, nothing > 0

    def step(self, logits, targets, weights, iid):
        """Loss, per_class, valid and the gradient [N, C]; then the batch enters the queue."""
        n = len(logits)
        batch = logits.astype(np.float64), np.where(targets == IGNORED, QUEUE_IGNORED, targets), weights, iid
        s, y, w, is_iid = (np.concatenate(columns) for columns in zip(batch, self.queue, strict=True))
        per_class, valid = np.zeros(self.num_classes), np.zeros(self.num_classes, bool)
        gradient = np.zeros((n, self.num_classes))
        for c in range(self.num_classes):
            labels = y[:, c] if self.multilabel else y
            rows = {"where": labels != QUEUE_IGNORED, "weights": w, "live": np.arange(len(s)) < n}
            rows |= {"is_iid": is_iid} if self.case.takes_is_iid else {}
            positives = labels == (1 if self.multilabel or self.num_classes == 1 else c)
            per_class[c], valid[c], slope, *_ = self.case.definition(s[:, c], positives, **rows)
            gradient[:, c] = slope[:n]
        self.queue = tuple(map(queue_after, self.queue, batch))
        loss = per_class[valid].mean() if valid.any() else 0.0
        return loss, np.where(valid, per_class, np.nan), valid, gradient * valid / max(valid.sum(), 1)

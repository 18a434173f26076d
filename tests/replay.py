"""The ranking losses with their queue in plain numpy: a list of the latest rows, and the definitions of `reference`."""

import numpy as np
import reference

OBJECTIVES = {  # name: (reference, options of the definition, whether it looks at iid rows)
    "smooth_ap": (reference.smooth_ap, {"temperature": 0.2}, False),
    "smooth_ap_live": (
        reference.smooth_ap,
        {"temperature": 0.1, "temperature_scale": "iqr", "pos_numerator": "live"},
        False,
    ),
    "recall": (reference.recall_at_quantile, {"quantile": 0.3, "interpolation": "linear", "temperature": 0.2}, False),
    "pauc_trapezoid": (
        reference.partial_auc,
        {"beta": 0.4, "surrogate": "trapezoid", "n_knots": 3, "temperature": 0.2},
        True,
    ),
    "pauc_pairwise": (
        reference.partial_auc,
        {"alpha": 0.1, "beta": 0.6, "surrogate": "pairwise", "temperature": 0.3, "temperature_scale": "std"},
        True,
    ),
}
TASKS = {  # name: (number of classes, multilabel)
    "classes": (3, False),
    "binary": (1, False),
    "multilabel": (2, True),
}


def batches(task, steps, *, rows=12, dtype=np.float32, seed=0):
    """Batches (logits, targets, sample_weight, iid_mask) with ignored rows and, when multilabel, missing labels."""
    num_classes, multilabel = TASKS[task]
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        logits = rng.standard_normal((rows, num_classes)).astype(dtype)
        targets = rng.integers(0, max(num_classes, 2), rows)
        if multilabel:
            targets = rng.integers(0, 2, (rows, num_classes))
        targets[rng.random(targets.shape) < 0.15] = -100
        weights = rng.random(rows).astype(dtype) * 2
        yield logits, targets, weights, rng.random(rows) < 0.7


class Replay:
    """One ranking loss, called with batch after batch; `step` returns what the library should."""

    def __init__(self, name, task, *, queue_size):
        self.objective, self.options, self.looks_at_iid = OBJECTIVES[name]
        self.num_classes, self.multilabel = TASKS[task]
        self.queue_size = queue_size
        self.rows = []  # (logits, targets, weight, is_iid), newest first

    def step(self, logits, targets, weights, iid):
        """Loss, per_class, valid and the gradient [N, C]; then the batch enters the queue."""
        n = len(logits)
        pool = [*zip(logits.astype(np.float64), targets, weights, iid, strict=True), *self.rows]
        s, y, w, is_iid = (np.asarray(column) for column in zip(*pool, strict=True))
        per_class, valid = np.zeros(self.num_classes), np.zeros(self.num_classes, bool)
        gradient = np.zeros((n, self.num_classes))
        for c in range(self.num_classes):
            labels = y[:, c] if self.multilabel else y
            options = dict(self.options, where=labels != -100, weights=w, live=np.arange(len(pool)) < n)
            if self.looks_at_iid:
                options["is_iid"] = is_iid
            positives = labels == (1 if self.multilabel or self.num_classes == 1 else c)
            per_class[c], valid[c], slope, *_ = self.objective(s[:, c], positives, **options)
            gradient[:, c] = slope[:n]
        self.rows = pool[: self.queue_size]
        loss = per_class[valid].mean() if valid.any() else 0.0
        return loss, np.where(valid, per_class, np.nan), valid, gradient * valid / max(valid.sum(), 1)

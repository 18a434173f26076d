"""Losses of many rare labels per row: 24 labels, each of them positive in 1 to 5% of the rows.

    python examples/many_labels.py
    python examples/many_labels.py --seeds 2 --steps 100 300     # a first look

With clean labels the positives of a label are the rows with the highest values of a random function of the features;
with noisy labels a row with a high value is only more likely to be positive than others. A network in PyTorch is
trained on each loss with the same batches and settings, none of them tuned, and evaluated after two numbers of steps.
Prints the mean over the labels of the average precision on test rows, expected over their labels, and the mean
difference from BCE from the prior with a 95% interval.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from prior_common import expected_ap, print_differences, start_at
from scipy.stats import norm
from torch import Tensor, nn
from tqdm import tqdm

from imbalanced_torch import AsymmetricLoss, SigmoidFocalLoss, SmoothAPLoss, pos_weight

FEATURES, LABELS, TRAINING, TEST, BATCH = 20, 24, 4000, 10_000, 128
SHARES = np.geomspace(0.01, 0.05, LABELS)
NOISE = {"clean labels": 0.0, "noisy labels": 1.0}  # standard deviation of what is added to values of deviation 1
METHODS = [
    "BCE",
    "BCE from the prior",
    "BCE from 1.5 × the prior",
    "√-weighted BCE",
    "asymmetric",
    "asymmetric from the prior",
    "focal",
    "focal from the prior",
    "Smooth-AP preset",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(prog="many_labels.py", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="data sets, at least 2 (default: 5)")
    parser.add_argument("--steps", type=int, nargs=2, default=[400, 1200], help="evaluated after (default: 400 1200)")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or not 1 <= options.steps[0] < options.steps[1]:
        parser.error("--seeds must be at least 2, and --steps two increasing numbers of at least 1")
    torch.set_num_threads(1)  # more threads only cost time on networks of this size
    runs = list(itertools.product(NOISE, range(options.seeds), METHODS))
    scores = [evaluated(*run, steps=options.steps) for run in tqdm(runs, unit="run", ncols=100)]
    table = np.reshape(scores, (len(NOISE), options.seeds, len(METHODS), 2))
    for labels, results in zip(NOISE, table, strict=True):
        print_differences(METHODS, {f"{labels}, {n} steps": results[..., i] for i, n in enumerate(options.steps)})
        print()


def evaluated(labels: str, seed: int, method: str, *, steps: Sequence[int]) -> list[float]:
    """The mean expected average precision of one network after each of these numbers of steps."""
    rng = np.random.default_rng(seed)
    inner, outer = rng.standard_normal((FEATURES, 16)), rng.standard_normal((16, LABELS))
    features = rng.standard_normal((TEST + TRAINING, FEATURES))
    values = np.tanh(1.5 / FEATURES**0.5 * features @ inner) @ outer
    values /= values.std(axis=0)
    noise = NOISE[labels]
    noisy = values + noise * rng.standard_normal(values.shape)
    threshold = np.array([np.quantile(noisy[:, label], 1 - share) for label, share in enumerate(SHARES)])
    x, y = torch.from_numpy(features.astype(np.float32)), torch.from_numpy(noisy > threshold).float()
    values = values[:TEST] - threshold
    probability = norm.cdf(values / noise) if noise else (values > 0).astype(float)

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, LABELS))
    if "the prior" in method:
        start_at(model[-1], y[TEST:].mean(dim=0), factor=1.5 if "1.5" in method else 1.0)
    loss_fn = make_loss(method, y[TEST:].sum(dim=0))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    found = []
    for step in range(steps[-1]):
        if step % (TRAINING // BATCH) == 0:
            order = TEST + torch.randperm(TRAINING)[: TRAINING // BATCH * BATCH].view(-1, BATCH)
        rows = order[step % len(order)]
        optimizer.zero_grad()
        loss_fn(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if step + 1 in steps:
            with torch.no_grad():
                scores = model(x[:TEST]).numpy()
            found.append(np.mean([expected_ap(scores[:, i], probability[:, i]) for i in range(LABELS)]))
    return found


def make_loss(method: str, positives: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits and labels [N, LABELS]."""
    if method == "√-weighted BCE":
        return nn.BCEWithLogitsLoss(pos_weight=pos_weight(positives, TRAINING).sqrt())
    if method.startswith("BCE"):
        return nn.BCEWithLogitsLoss()
    if method.startswith("asymmetric"):
        return AsymmetricLoss()
    if method.startswith("focal"):
        return SigmoidFocalLoss()
    preset = SmoothAPLoss.recommended(num_classes=LABELS, multilabel=True)
    return lambda logits, labels: preset(logits, labels.long())


if __name__ == "__main__":
    main()

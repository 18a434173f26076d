"""A sampler that adds positives to small batches, where labels are clean and where they are noisy.

    python examples/sampler_on_noise.py
    python examples/sampler_on_noise.py --positive 0.002 --rows 30000     # two positives in batch and queue
    python examples/sampler_on_noise.py --seeds 4 --steps 300             # a first look

0.5% of the rows of a table are positive. With clean labels they are those with the highest values of a random
function of the features; with noisy labels a row with a high value is only more likely to be positive than others. A
network in PyTorch is trained on each loss with the same settings, none of them tuned, for the same number of steps: in
batches of 64 uniform rows, with four of them replaced by added positives, or in batches of 256. Prints the average
precision on test rows, expected over their labels, and the mean difference from BCE from the prior in uniform batches
of 64, with a 95% interval.
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

from imbalanced_torch import PAUCAtBudgetLoss, SmoothAPLoss
from imbalanced_torch.samplers import BalancedBatchSampler

FEATURES, TEST, BATCH, LARGE, ADDED = 10, 40_000, 64, 256, 4
NOISE = {"clean labels": 0.0, "noisy labels": 1.0}  # standard deviation of what is added to values of deviation 1
LOSSES = ["BCE", "BCE from the prior", "pAUC preset", "Smooth-AP preset"]
LONGER = 8192
METHODS = [name + end for name in LOSSES for end in ("", ", sampler", f", {LARGE} rows")]
METHODS += [f"{name}, queue {LONGER}" for name in LOSSES[2:]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(prog="sampler_on_noise.py", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, help="data sets, at least 2 (default: 8)")
    parser.add_argument("--steps", type=int, default=800, help="of training (default: 800)")
    parser.add_argument("--rows", type=int, default=12_000, help="of training (default: 12000)")
    parser.add_argument("--positive", type=float, default=0.005, help="share of positives (default: 0.005)")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.steps < 1:
        parser.error("--seeds must be at least 2 and --steps at least 1")
    if not 0 < options.positive < 0.5 or options.rows * options.positive < ADDED:
        parser.error(f"--positive must be in (0, 0.5), and of --rows {ADDED} must be positive")
    torch.set_num_threads(1)  # more threads only cost time on networks of this size
    runs = list(itertools.product(NOISE, range(options.seeds), METHODS))
    how = {"steps": options.steps, "count": options.rows, "share": options.positive}
    scores = [score(*run, **how) for run in tqdm(runs, unit="run", ncols=100)]
    table = np.reshape(scores, (len(NOISE), options.seeds, len(METHODS)))
    print_differences(METHODS, dict(zip(NOISE, table, strict=True)))
    times = options.steps * ADDED / (options.rows * options.positive)
    print(f"the sampler adds each positive {times:.0f} times, {options.steps * BATCH / options.rows:.1f} epochs")


def score(labels: str, seed: int, method: str, *, steps: int, count: int, share: float) -> float:
    """The expected average precision of one network."""
    rng = np.random.default_rng(seed)
    inner, outer = rng.standard_normal((FEATURES, 12)), rng.standard_normal(12)
    features = rng.standard_normal((TEST + count, FEATURES))
    values = np.tanh(features @ inner / 2) @ outer
    values /= values.std()
    noise = NOISE[labels]
    noisy = values + noise * rng.standard_normal(len(values))
    threshold = np.quantile(noisy, 1 - share)
    x, y = torch.from_numpy(features.astype(np.float32)), torch.from_numpy(noisy > threshold).long()
    model = train(x[TEST:], y[TEST:], method, seed=seed, steps=steps)
    with torch.no_grad():
        scores = model(x[:TEST])[:, 0].numpy()
    values = values[:TEST] - threshold
    return expected_ap(scores, norm.cdf(values / noise) if noise else (values > 0).astype(float))


def train(x: Tensor, y: Tensor, method: str, *, seed: int, steps: int) -> nn.Module:
    """Trains a network on one of the losses."""
    batch, added = LARGE if f"{LARGE} rows" in method else BATCH, ADDED if "sampler" in method else 0
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    if method.startswith("BCE from the prior"):
        start_at(model[-1], ((batch - added) * y.double().mean().item() + added) / batch)  # the share in the batches
    loss_fn = make_loss(method)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    sampler = BalancedBatchSampler(y, batch_size=batch, added={1: added} if added else {}, seed=seed)
    for rows in itertools.islice(itertools.chain.from_iterable(itertools.repeat(sampler)), steps):
        optimizer.zero_grad()
        loss_fn(model(x[rows]), y[rows], sampler.iid_mask).backward()
        optimizer.step()
    return model


def make_loss(method: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of logits, labels and the mask of rows that are not added positives."""
    queue = {"queue_size": LONGER} if "queue" in method else {}
    if method.startswith("pAUC"):
        return PAUCAtBudgetLoss.recommended(num_classes=1, budget=0.01, **queue)
    if method.startswith("Smooth-AP"):
        return SmoothAPLoss.recommended(num_classes=1, **queue)
    cross_entropy = nn.BCEWithLogitsLoss()
    return lambda logits, labels, _: cross_entropy(logits[:, 0], labels.float())


if __name__ == "__main__":
    main()

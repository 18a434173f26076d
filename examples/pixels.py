"""Losses on a small segmentation problem: 1.8% of the pixels are foreground, and most of the others are easy.

    python examples/pixels.py
    python examples/pixels.py --noise           # a third of the masks misaligned, a sixth of the structures missing
    python examples/pixels.py --steps 200       # stopped early

Images of noise hold bright rings, whose discs are the foreground, and bright spots, which are not. A small
convolutional network in PyTorch is trained on each loss with the same batches, from the same start. The learning rate
of each loss is the better of two on seeds that are not reported. Prints the average precision over the pixels of test
images, whose masks are right, and the mean difference from BCE from the prior with a 95% interval.
"""

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from prior_common import print_differences, start_at
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from tqdm import tqdm

from imbalanced_torch import HardNegativeLoss, PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss

SIZE, TRAINING, TEST, BATCH = 32, 96, 200, 8
RATES, TUNING_SEEDS = (3e-3, 1e-2), (1000, 1001)
METHODS = [
    "BCE",
    "BCE from the prior",
    "√-weighted BCE",
    "focal",
    "focal from the prior",
    "hard negatives",
    "hard neg. from the prior",
    "pAUC preset",
    "Smooth-AP preset",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(prog="pixels.py", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, help="data sets, at least 2 (default: 8)")
    parser.add_argument("--steps", type=int, default=600, help="of training (default: 600)")
    parser.add_argument("--noise", action="store_true", help="wrong masks in training")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.steps < 1:
        parser.error("--seeds must be at least 2 and --steps at least 1")
    torch.set_num_threads(1)  # more threads only cost time on networks of this size
    how = {"steps": options.steps, "noise": options.noise}
    scores = np.zeros((options.seeds, len(METHODS)))
    chosen = []
    with tqdm(total=len(METHODS) * (len(RATES) * len(TUNING_SEEDS) + options.seeds), unit="run", ncols=100) as bar:
        for index, method in enumerate(METHODS):
            tuned = np.zeros(len(RATES))
            for i, rate in enumerate(RATES):
                for seed in TUNING_SEEDS:
                    tuned[i] += score(method, seed, rate=rate, **how)
                    bar.update()
            chosen.append(RATES[int(tuned.argmax())])
            for seed in range(options.seeds):
                scores[seed, index] = score(method, seed, rate=chosen[-1], **how)
                bar.update()
    print_differences(METHODS, {f"{options.steps} steps{', wrong masks' * options.noise}": scores})
    print("learning rates: " + ", ".join(f"{method} {rate:g}" for method, rate in zip(METHODS, chosen, strict=True)))


def images(seed: int, count: int) -> tuple[Tensor, np.ndarray]:
    """Images [count, 1, SIZE, SIZE], and the masks of up to two structures of each, [count, 2, SIZE, SIZE]."""
    rng = np.random.default_rng(seed)
    grid = np.arange(SIZE)
    centre = rng.uniform(4, SIZE - 4, (count, 5, 2, 1, 1))
    distance = np.hypot(grid[:, None] - centre[:, :, 0], grid - centre[:, :, 1])
    spots = distance[:, 2:] < rng.uniform(1.0, 2.2, (count, 3, 1, 1))
    is_there = np.arange(2) < rng.integers(0, 3, (count, 1))
    masks = (distance[:, :2] < 2.4) & is_there[:, :, None, None]
    rings = masks & (distance[:, :2] > 1.1)
    brightness = 0.6 * rng.standard_normal((count, SIZE, SIZE)) + 1.6 * (spots.sum(axis=1) + rings.sum(axis=1))
    return torch.from_numpy(brightness[:, None].astype(np.float32)), masks


def with_errors(masks: np.ndarray, seed: int) -> np.ndarray:
    """A third of the images with masks shifted by a pixel or two, and each structure missing with probability 1/6."""
    rng = np.random.default_rng([seed, 1])
    wrong = masks & (rng.random(masks.shape[:2]) >= 1 / 6)[:, :, None, None]
    for index in np.flatnonzero(rng.random(len(masks)) < 1 / 3):
        wrong[index] = np.roll(wrong[index], rng.choice([-2, -1, 1, 2]), axis=rng.integers(1, 3))
    return wrong


def score(method: str, seed: int, *, rate: float, steps: int, noise: bool) -> float:
    """The average precision over all test pixels of one network."""
    x, masks = images(2 * seed, TRAINING)
    y = torch.from_numpy((with_errors(masks, seed) if noise else masks).any(axis=1, keepdims=True)).float()
    share = y.mean().item()
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 1)),
    )
    if "from the prior" in method:
        start_at(model[-1], share)
    loss_fn = make_loss(method, share)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        if step % (TRAINING // BATCH) == 0:
            order = torch.randperm(TRAINING).view(-1, BATCH)
        rows = order[step % len(order)]
        optimizer.zero_grad()
        loss_fn(model(x[rows]), y[rows]).backward()
        optimizer.step()
    x, masks = images(2 * seed + 1, TEST)
    with torch.no_grad():
        return average_precision_score(masks.any(axis=1).ravel(), model(x).numpy().ravel())


def make_loss(method: str, share: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits and labels [N, 1, H, W]."""
    if method == "√-weighted BCE":
        return nn.BCEWithLogitsLoss(pos_weight=torch.tensor(math.sqrt((1 - share) / share)))
    if method.startswith("BCE"):
        return nn.BCEWithLogitsLoss()
    if method.startswith("focal"):
        return SigmoidFocalLoss()
    if method.startswith("hard neg"):
        return HardNegativeLoss(axis=None)  # all pixels of the batch compete
    if method.startswith("pAUC"):
        preset: nn.Module = PAUCAtBudgetLoss.recommended(num_classes=1, budget=0.01, queue_size=0)
    else:
        preset = SmoothAPLoss.recommended(num_classes=1, queue_size=0)
    return lambda logits, labels: preset(logits.reshape(-1, 1), labels.reshape(-1).long())


if __name__ == "__main__":
    main()

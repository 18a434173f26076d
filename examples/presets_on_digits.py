"""The presets beside cross entropies on real images: each handwritten digit against the rest, 2% positive.

    python examples/presets_on_digits.py
    python examples/presets_on_digits.py --digits 9 --steps 200     # a first look
    python examples/presets_on_digits.py --sgd 0.03 --clip 1 --seeds 2       # by SGD in place of AdamW

For each digit and seed the images of scikit-learn are split in halves, and the positives of the training half thinned
to 2%, 16 or 17. A small network in PyTorch is trained on each loss with the same batches and settings, none of
them tuned. Prints the average precision on the other half, positives weighted down to 2%: means over the seeds, and the
mean difference to weighted BCE over all splits with a 95% interval.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from tqdm import tqdm

from imbalanced_torch import PAUCAtBudgetLoss, SmoothAPLoss, pos_weight
from imbalanced_torch.samplers import BalancedBatchSampler

SHARE, BATCH, ADDED = 0.02, 128, 8
METHODS = ["weighted BCE", "BCE from the prior", "pAUC preset", "pAUC preset, sampler", "Smooth-AP preset"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the results."""
    parser = argparse.ArgumentParser(prog="presets_on_digits.py", description=__doc__.split("\n")[0])
    parser.add_argument("--digits", type=int, nargs="+", choices=range(10), default=list(range(10)))
    parser.add_argument("--seeds", type=int, default=3, help="splits of each digit, at least 2 (default: 3)")
    parser.add_argument("--steps", type=int, default=800, help="of training (default: 800)")
    parser.add_argument("--sgd", type=float, metavar="RATE", help="learning rate of SGD, with momentum 0.9")
    parser.add_argument("--clip", type=float, default=math.inf, metavar="NORM", help="largest norm of the gradients")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.steps < 1:
        parser.error("--seeds must be at least 2 and --steps at least 1")
    torch.set_num_threads(1)  # more threads only cost time on networks of this size
    runs = list(itertools.product(options.digits, range(options.seeds), METHODS))
    how = {"steps": options.steps, "sgd": options.sgd, "clip": options.clip}
    scores = [score(*run, **how) for run in tqdm(runs, unit="run", ncols=100)]
    table = np.reshape(scores, (len(options.digits), options.seeds, len(METHODS)))
    print(f"{'average precision':22}" + "".join(f"{f'digit {digit}':>9}" for digit in options.digits), "    mean")
    for name, column in zip(METHODS, np.moveaxis(table.mean(axis=1), 1, 0), strict=True):
        print(f"{name:22}" + "".join(f"{x:9.3f}" for x in column), f"{column.mean():8.3f}")
    print("\ndifference to weighted BCE, with a 95% interval over the splits; splits won")
    for name, difference in zip(METHODS[1:], np.moveaxis(table[..., 1:] - table[..., :1], 2, 0), strict=True):
        mean, half = difference.mean(), 1.96 * difference.std(ddof=1) / math.sqrt(difference.size)
        print(f"{name:22}{mean:+9.3f} [{mean - half:+.3f}, {mean + half:+.3f}]{np.sum(difference > 0):8d}")


def score(digit: int, seed: int, method: str, **how: Any) -> float:
    """The average precision of one network; 0 if its scores are not finite."""
    rng = np.random.default_rng([digit, seed])
    images, digits = load_digits(return_X_y=True)
    x, y = (images / 16.0).astype(np.float32), digits == digit
    order = rng.permutation(len(x))
    rows, test = order[: len(x) // 2], order[len(x) // 2 :]
    negatives, positives = rows[~y[rows]], rows[y[rows]]
    kept = round(SHARE / (1 - SHARE) * len(negatives))
    rows = np.concatenate([negatives, positives[:kept]])
    model = train(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]).long(), method, seed=seed, **how)
    with torch.no_grad():
        logits = model(torch.from_numpy(x[test]))[:, 0].numpy()
    if not np.isfinite(logits).all():
        return 0.0
    weight = SHARE / (1 - SHARE) * np.sum(~y[test]) / np.sum(y[test])
    return average_precision_score(y[test], logits, sample_weight=np.where(y[test], weight, 1.0))


def train(
    x: Tensor, y: Tensor, method: str, *, seed: int, steps: int, sgd: float | None = None, clip: float = math.inf
) -> nn.Module:
    """Trains a network on one of the losses."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    loss_fn = make_loss(method, y, model[-1])
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    if sgd is not None:
        optimizer = torch.optim.SGD(model.parameters(), lr=sgd, momentum=0.9)
    for rows, is_iid in itertools.islice(batches(y, added=ADDED if "sampler" in method else 0, seed=seed), steps):
        optimizer.zero_grad()
        loss_fn(model(x[rows]), y[rows], is_iid).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return model


def make_loss(method: str, y: Tensor, last: nn.Linear) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of logits, labels and the mask of rows that are not added positives."""
    if method.startswith("pAUC"):
        return PAUCAtBudgetLoss.recommended(num_classes=1, budget=0.01)
    if method.startswith("Smooth-AP"):
        return SmoothAPLoss.recommended(num_classes=1)
    weight = None
    if method == "weighted BCE":
        weight = pos_weight(y.sum(), len(y))
    else:
        prior = round(float(y.double().mean()), 2)
        nn.init.constant_(last.bias, math.log(prior / (1 - prior)))
    cross_entropy = nn.BCEWithLogitsLoss(pos_weight=weight)
    return lambda logits, labels, _: cross_entropy(logits[:, 0], labels.float())


def batches(y: Tensor, *, added: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless random batches of rows, with so many added positives, and the mask of rows that are not added."""
    sampler = BalancedBatchSampler(y, batch_size=min(BATCH, len(y) // 2), added={1: added} if added else {}, seed=seed)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for rows in sampler:
            yield torch.as_tensor(rows), sampler.iid_mask


if __name__ == "__main__":
    main()

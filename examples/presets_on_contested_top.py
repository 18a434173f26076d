"""The presets beside their ranking losses alone, where the top of the ranking is contested; see contested_top.py.

    python examples/presets_on_contested_top.py
    python examples/presets_on_contested_top.py --cues radial --seeds 3     # a first look

For each cue and seed 40 000 rows are drawn, 60 of them positive, and a small network in PyTorch is trained on each loss
for 30 epochs, with the settings of coverage_at_budget_demo.py. Prints coverage, the share of the positives above the
threshold that 0.5% of the negatives exceed, and average precision (AP) on 600 000 other rows: means over the seeds, and
how much each preset is over its ranking loss alone, with 95% intervals over the seeds.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from contested_top import CUES, contested_top, coverage_at_budget, log_likelihood_ratio
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from tqdm import tqdm

from imbalanced_torch import PAUCAtBudgetLoss, SmoothAPLoss, pos_weight

ROWS, TEST_ROWS, TEST_SEED, BATCH, QUEUE, BUDGET, RATE = 40_000, 600_000, 1_000_000, 2048, 8192, 0.005, 1e-2
METHODS = ["weighted BCE", "pairs alone", "pAUC preset", "Smooth-AP alone", "Smooth-AP preset"]
PAIRED = {"pAUC preset": "pairs alone", "Smooth-AP preset": "Smooth-AP alone"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the results."""
    parser = argparse.ArgumentParser(prog="presets_on_contested_top.py", description=__doc__.split("\n")[0])
    parser.add_argument("--cues", nargs="+", choices=CUES, default=list(CUES))
    parser.add_argument("--seeds", type=int, default=12, help="training sets of each cue, at least 2 (default: 12)")
    parser.add_argument("--epochs", type=int, default=30, help="of training (default: 30)")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.epochs < 1:
        parser.error("--seeds must be at least 2 and --epochs at least 1")
    torch.set_num_threads(1)  # more threads only cost time on networks of this size
    with tqdm(total=len(options.cues) * options.seeds * len(METHODS), unit="run", ncols=100) as bar:
        tables = {cue: figures(cue, range(options.seeds), options.epochs, bar) for cue in options.cues}
    for cue, (best, table) in tables.items():
        print(f"{cue:18}{'coverage':>9}{'AP':>7}{'coverage over alone':>27}{'AP over alone':>27}")
        print(f"{'best possible':18}{best[0]:9.3f}{best[1]:7.3f}")
        for name, found in zip(METHODS, table, strict=True):
            line = f"{name:18}{found[:, 0].mean():9.3f}{found[:, 1].mean():7.3f}"
            if name in PAIRED:
                line += "".join(interval(x) for x in (found - table[METHODS.index(PAIRED[name])]).T)
            print(line)
        print()


def interval(differences: np.ndarray) -> str:
    """The mean, with a 95% interval."""
    mean, half = differences.mean(), 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]".rjust(27)


def figures(cue: str, seeds: Sequence[int], epochs: int, bar: tqdm) -> tuple[tuple[float, float], np.ndarray]:
    """Coverage and AP of the best possible score, and of each method and seed, [methods, seeds, 2]."""
    x, y = contested_top(TEST_ROWS, cue, TEST_SEED)
    table = np.zeros((len(METHODS), len(seeds), 2))
    for (place, method), seed in itertools.product(enumerate(METHODS), seeds):
        bar.set_description(f"{cue:8} {method:16}")
        model = train(*map(torch.from_numpy, contested_top(ROWS, cue, seed)), method, seed=seed, epochs=epochs)
        with torch.no_grad():
            table[place, seed] = measure(model(torch.from_numpy(x))[:, 0].numpy(), y)
        bar.update()
    return measure(log_likelihood_ratio(x, cue), y), table


def measure(scores: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Coverage and AP."""
    return coverage_at_budget(scores, y, BUDGET), float(average_precision_score(y, scores))


def train(x: Tensor, y: Tensor, method: str, *, seed: int, epochs: int) -> nn.Module:
    """Trains a network on one of the losses."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
    loss_fn = make_loss(method, y)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for rows in batches(len(x), epochs):
        optimizer.zero_grad()
        loss_fn(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model


def make_loss(method: str, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits and labels."""
    gated = method.endswith("preset")
    if method in ("pairs alone", "pAUC preset"):
        return PAUCAtBudgetLoss.recommended(num_classes=1, budget=BUDGET, queue_size=QUEUE, gated=gated)
    if method.startswith("Smooth-AP"):
        return SmoothAPLoss.recommended(num_classes=1, queue_size=QUEUE, gated=gated)
    cross_entropy = nn.BCEWithLogitsLoss(pos_weight=pos_weight(y.sum(), len(y)))
    return lambda logits, labels: cross_entropy(logits[:, 0], labels)


def batches(rows: int, epochs: int) -> Iterator[Tensor]:
    """The rows of full batches, reshuffled every epoch."""
    for _ in range(epochs):
        yield from torch.randperm(rows)[: rows // BATCH * BATCH].split(BATCH)


if __name__ == "__main__":
    main()

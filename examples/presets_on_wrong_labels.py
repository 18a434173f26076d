"""The presets beside cross entropies on small real tables with wrong labels, which a network can memorise.

    python examples/presets_on_wrong_labels.py
    python examples/presets_on_wrong_labels.py --steps 100 --seeds 4     # stopped early

For each table of scikit-learn and each seed, half of the rows are kept for the test, and of the positives of the other
half as many as the table names; then the stated share of all training labels is flipped. A small network in PyTorch is
trained on each loss with the same batches and settings, none of them tuned. Prints the average precision on the test
rows, whose labels are right, and the mean difference to weighted BCE with a 95% interval.
"""

import argparse
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from presets_on_digits import METHODS as ON_DIGITS
from presets_on_digits import train
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.metrics import average_precision_score
from tqdm import tqdm

METHODS = [name for name in ON_DIGITS if "sampler" not in name]
TABLES = {  # loader, class that is positive, positives in training, share of labels that are flipped
    "breast cancer": (load_breast_cancer, 0, 15, 0.1),
    "wine": (load_wine, 2, 8, 0.1),
    "digit 3": (load_digits, 3, 15, 0.05),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(prog="presets_on_wrong_labels.py", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="splits of each table, at least 2 (default: 10)")
    parser.add_argument("--steps", type=int, default=500, help="of training (default: 500)")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.steps < 1:
        parser.error("--seeds must be at least 2 and --steps at least 1")
    torch.set_num_threads(1)  # more cost time on networks of this size
    runs = list(itertools.product(TABLES, range(options.seeds), METHODS))
    scores = [score(*run, steps=options.steps) for run in tqdm(runs, unit="run", ncols=100)]
    table = np.reshape(scores, (len(TABLES), options.seeds, len(METHODS)))
    print(f"{'average precision':22}" + "".join(f"{name:>34}" for name in TABLES))
    for name, column in zip(METHODS, np.moveaxis(table, 2, 0), strict=True):
        difference = column - table[..., 0]
        mean, half = difference.mean(axis=1), 1.96 * difference.std(axis=1, ddof=1) / math.sqrt(options.seeds)
        against = [f" {m:+.3f} [{m - h:+.3f}, {m + h:+.3f}]" for m, h in zip(mean, half, strict=True)]
        against = [" " * 25] * len(TABLES) if name == METHODS[0] else against
        print(f"{name:22}" + "".join(f"{x.mean():9.3f}{a}" for x, a in zip(column, against, strict=True)))


def score(table: str, seed: int, method: str, *, steps: int) -> float:
    """The average precision of one network."""
    load, positive, count, flipped = TABLES[table]
    rng = np.random.default_rng([list(TABLES).index(table), seed])
    features, classes = load(return_X_y=True)
    order = rng.permutation(len(classes))
    rows, test = order[: len(order) // 2], order[len(order) // 2 :]
    is_positive = classes[rows] == positive
    rows = rng.permutation(np.concatenate([rows[~is_positive], rows[is_positive][:count]]))
    mean, spread = features[rows].mean(axis=0), features[rows].std(axis=0) + 1e-6
    x = torch.from_numpy(((features - mean) / spread).astype(np.float32))
    y = torch.from_numpy((classes[rows] == positive) ^ (rng.random(len(rows)) < flipped)).long()
    model = train(x[rows], y, method, seed=seed, steps=steps)
    with torch.no_grad():
        return average_precision_score(classes[test] == positive, model(x[test])[:, 0].numpy())


if __name__ == "__main__":
    main()

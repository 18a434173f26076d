"""What pixels.py, sampler_on_noise.py and many_labels.py share: BCE from the prior, expected AP, paired differences."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

BASELINE = "BCE from the prior"


def start_at(last: nn.Module, share: float | Tensor, factor: float = 1.0) -> None:
    """Starts the bias of the last layer at the log odds of the share of positives, times a factor."""
    share = torch.as_tensor(share, dtype=torch.float32)
    with torch.no_grad():
        last.bias.copy_((factor * torch.logit(share)).expand_as(last.bias))


def expected_ap(scores: NDArray, probability: NDArray) -> float:
    """The average precision if each row is positive with this probability: 0 or 1 where labels are clean."""
    labels = np.repeat([1, 0], len(scores))
    weight = np.concatenate([probability, 1 - probability])
    return average_precision_score(labels, np.tile(scores, 2), sample_weight=weight)


def print_differences(methods: Sequence[str], columns: dict[str, NDArray]) -> None:
    """Prints, for every column of [seed, method] results, the means and the paired differences from the baseline."""
    print(f"{'average precision':28}" + "".join(f"{name:>34}" for name in columns))
    baseline = methods.index(BASELINE)
    for index, method in enumerate(methods):
        line = f"{method:28}"
        for scores in columns.values():
            line += f"{scores[:, index].mean():9.3f}"
            line += " " * 25 if index == baseline else " " + interval(scores[:, index] - scores[:, baseline])
        print(line.rstrip())


def interval(difference: NDArray) -> str:
    """The mean, and its 95% interval by Student's t."""
    half = student.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / math.sqrt(len(difference))
    mean = difference.mean()
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"

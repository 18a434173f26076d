"""Normalised discounted cumulative gain of lists with graded labels as a function."""

from typing import Any

from torch import Tensor

from imbalanced_core import checks, reductions
from imbalanced_torch.functional.ranking import Number
from imbalanced_torch.ndcg import losses_of_lists
from imbalanced_torch.validation import readable


def ndcg_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    temperature: Number = 0.1,
    temperature_scale: str = "absolute",
    gain: str = "exponential",
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """One minus the smooth NDCG of lists [..., n]: the loss of `imbalanced_torch.NDCGLoss`, with its arguments."""
    checks.one_of("reduction", reduction, ("mean", "sum", "none"))
    options: dict[str, Any] = {"temperature_scale": temperature_scale, "gain": gain, "where": where}
    losses, counted = losses_of_lists(scores, relevance, sample_weight, temperature=temperature, **options)
    checks.weights(readable(sample_weight), where=readable(counted))
    return reductions.reduce_elements(losses, reduction=reduction, where=counted, weights=sample_weight)

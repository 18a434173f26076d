"""Normalised discounted cumulative gain (NDCG) of lists with graded labels, as a function."""

from typing import Unpack

from torch import Tensor

from imbalanced_core.losses.ndcg import ndcg
from imbalanced_torch.functional.pointwise import ListOptions, list_function, list_loss


@list_function
def ndcg_loss(
    scores: Tensor, relevance: Tensor, *, gain: str = "exponential", **options: Unpack[ListOptions]
) -> Tensor:
    """One minus the smooth NDCG of lists [..., n]: the loss of `imbalanced_torch.NDCGLoss`, with its arguments."""
    return list_loss(ndcg, scores, relevance, gain=gain, **options)

"""Framework-independent description of what is compared."""

from collections.abc import Callable
from typing import Any, NamedTuple

LARGEST_PAIRS = 3e8  # implementations that visit all pairs need about 14 bytes and 20 ns per pair
LARGEST_TABLE = 1 << 24  # pairs of a full table of n by n scores


class Contender(NamedTuple):
    """One way to compute a case: value and gradient, or the sort that serves as the limit.

    Attributes:
        role: "ours", "limit" (no loss of the kind can be expected to be much faster) or "other".
        build: returns the function that makes one step and returns (value, gradient), or (None, None) for a sort.
        is_compiled: whether the first step compiles.
    """

    role: str
    build: Callable[[], Callable[[], tuple[Any, Any]]]
    is_compiled: bool = False


def all_pairs(sigmoid: Callable[[Any], Any], scores: Any, positives: Any, temperature: float = 0.01) -> Any:
    """One minus the Smooth-AP of a row by its definition: n² pairs; positives are 0 or 1, floats."""
    above = sigmoid((scores[None, :] - scores[:, None]) / temperature)
    rank, rank_of_positives = 0.5 + above.sum(1), 0.5 + (above * positives).sum(1)
    return 1 - (positives * rank_of_positives / rank).sum() / positives.sum()

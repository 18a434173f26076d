"""Exact pairwise sigmoid sums over rows of scores, the engine of every ranking loss.

- `counts`: the operator, and the choice of algorithm
- `dense`: all pairs as one matrix
- `few`: sums at a few of the items
- `blocks`, `translation`: near field, moments and local expansions, and their translation along a tree
- `kernels`: the logistic function and its derivative as polynomials
"""

from imbalanced_core.pairwise.counts import Counts, of_counted, soft_counts_above, soft_counts_at

__all__ = ["Counts", "of_counted", "soft_counts_above", "soft_counts_at"]

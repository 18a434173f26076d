"""Ranking objectives simple enough to compute by hand, for tests of everything around them."""

from imbalanced_core.ops.namespace import array_namespace
from imbalanced_core.pool.items import count_of, weight_of


def gap(items, *, diagnostics):
    """(weighted mean score of the positives − mean score of all) / 10; valid with a positive and a negative."""
    xp = array_namespace(items.scores)
    everywhere = weight_of(items.where & xp.ones_like(items.positives), items)
    n, n_weighted = xp.sum(everywhere, axis=1), xp.sum(items.numerator, axis=1)
    valid = (n_weighted > 0) & (count_of(items.negatives, items) > 0)
    mean = xp.sum(items.scores * everywhere, axis=1) / xp.where(n > 0, n, 1.0)
    loss = xp.sum(items.scores * items.numerator, axis=1) / xp.where(n_weighted > 0, n_weighted, 1.0) - mean
    return loss / 10.0, valid, {}


def total(items, *, diagnostics):
    """Sum of all scores plus that of the positives, always valid: linear in the rows, so subsampling leaves no bias."""
    xp = array_namespace(items.scores)
    everywhere = weight_of(items.where & xp.ones_like(items.positives), items)
    loss = xp.sum(items.scores * (everywhere + items.numerator), axis=1)
    return loss, xp.ones_like(loss, dtype=xp.bool), {}


def with_figures(items, *, diagnostics):
    """`gap`, with the largest score and the number of iid rows as diagnostics."""
    xp = array_namespace(items.scores)
    loss, valid, _ = gap(items, diagnostics=diagnostics)
    iid = items.is_iid & items.where & xp.ones_like(items.positives)
    figures = {"t_alpha": xp.max(items.scores, axis=1), "band_neg_count": count_of(iid, items)}
    return loss, valid, figures if diagnostics else {}

"""Ranking objectives that are simple enough to work out by hand, for tests of everything around them."""

from typing import NamedTuple

from imbalanced_core.ops.namespace import array_namespace


def _masses(scores, positives, where, weights, multiplicity):
    xp = array_namespace(scores)
    mass = xp.astype(where & xp.ones_like(positives), scores.dtype)
    if multiplicity is not None:
        mass = mass * multiplicity
    of_positives = xp.where(positives, mass, 0.0)
    return xp, xp.where(mass > 0, scores, 0.0), mass, of_positives * weights, of_positives


def gap(scores, positives, *, where, weights, multiplicity, live):
    """(weighted mean score of the positives − mean score of all) / 10; valid with a positive and a negative."""
    xp, scores, mass, weighted, of_positives = _masses(scores, positives, where, weights, multiplicity)
    n, n_weighted = xp.sum(mass, axis=1), xp.sum(weighted, axis=1)
    valid = (n_weighted > 0) & (n > xp.sum(of_positives, axis=1))
    mean = xp.sum(scores * mass, axis=1) / xp.where(n > 0, n, 1.0)
    loss = xp.sum(scores * weighted, axis=1) / xp.where(n_weighted > 0, n_weighted, 1.0) - mean
    return xp.where(valid, loss / 10.0, 0.0), valid


def total(scores, positives, *, where, weights, multiplicity, live):
    """Sum of all scores plus that of the positives, always valid: linear in the rows, so subsampling leaves no bias."""
    xp, scores, mass, weighted, _ = _masses(scores, positives, where, weights, multiplicity)
    loss = xp.sum(scores * (mass + weighted), axis=1)
    return loss, xp.ones_like(loss, dtype=xp.bool)


class Figures(NamedTuple):
    t_alpha: object
    band_neg_count: object


def with_figures(scores, positives, *, where, weights, multiplicity, live, is_iid):
    """`gap`, with the largest score and the number of iid rows as figures."""
    xp = array_namespace(scores)
    loss, valid = gap(scores, positives, where=where, weights=weights, multiplicity=multiplicity, live=live)
    count = xp.sum(xp.astype(is_iid & where & xp.ones_like(positives), scores.dtype), axis=1)
    return loss, valid, Figures(xp.max(scores, axis=1), count)

"""The sums of small pools: all pairs as one matrix, in as few calls as possible.

The gradient uses that σ' is even: with the antisymmetric D = wᵀc − (wᵀc)ᵀ, one sum over D ∘ σ' holds both the effect of
item i on the counts of others and theirs on its own. An item's pair with itself cancels: it is set to 0, since its
rounding, where a compiler fuses a product and a difference, would swamp the terms of far items.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from operator import add

from imbalanced_core import ops
from imbalanced_core.ops.namespace import Array, array_namespace

_PAIRS_PER_PART = 2**18  # of rows on the CPU: temporaries of this many pairs stay in the cache
_MATRICES = 2  # of all pairs of a row, in use at a time


def counts(scores: Array, weights: Array, temperature: Array, *indices: Array) -> tuple[Array, Array]:
    """Σ_j weights_kj σ((s_j − s_i)/τ), [..., k, m], and (s_j − s_i)/τ, [..., m, n], which the gradient needs.

    Scores are [..., n], weights [..., k, n] and τ [...]; the requested items i are those at the `indices` [..., m],
    distinct within a row, or all.
    """
    requested = ops.gather(scores, *indices) if indices else scores
    x = ops.differences(scores, requested, temperature)
    return ops.matmul(weights, ops.sigmoid(x, absolute=True).mT), x


def vjp(cotangent: Array, x: Array, scores: Array, weights: Array, temperature: Array, *indices: Array) -> tuple:
    """The gradients of Σ_ki cotangent_ki · count_ki, each as a function that computes it."""

    def by_scores() -> Array:
        return _gradient(cotangent, x, weights, temperature, *indices)

    def by_weights() -> Array:
        return ops.matmul(cotangent, ops.sigmoid(x, absolute=True))

    return by_scores, by_weights, by_temperature(by_scores, scores, temperature), *(None for _ in indices)


def _gradient(
    cotangent: Array, x: Array, weights: Array, temperature: Array, *indices: Array, reuse: bool = False
) -> Array:
    """The gradient by the scores, [..., n], from the scaled differences x [..., m, n], which `reuse` may overwrite."""
    xp = array_namespace(x)
    if not indices:
        d = ops.matmul(weights.mT, cotangent)
        d = ops.times_logistic_derivative(ops.zero_diagonal(d - d.mT, 0), x, reuse=True)
        return xp.sum(d, axis=-1) / temperature[..., None]
    d = ops.matmul(cotangent.mT, weights)
    columns = xp.broadcast_to(indices[0][..., None, :], (*d.shape[:-1], d.shape[-2]))
    among = ops.gather(d, columns)  # pairs of two requested items
    d = ops.scatter(d, columns, among - among.mT, reuse=True)
    d = ops.times_logistic_derivative(d, x, reuse=True, reuse_at=reuse)
    gradient = ops.scatter(xp.sum(d, axis=-2), indices[0], -xp.sum(d, axis=-1))
    return gradient / temperature[..., None]


def counts_in_parts(scores: Array, weights: Array, temperature: Array, indices: Array) -> Array:
    """`counts` in parts, where a matrix of all pairs would exceed the cache; none is kept for the gradient."""
    return _row_by_row(_counts_of_rows, scores, weights, temperature, indices, width=math.prod(indices.shape[1:]))


def gradient_in_parts(cotangent: Array, scores: Array, weights: Array, temperature: Array, indices: Array) -> Array:
    """The gradient of Σ_ki cotangent_ki · count_ki by the scores, [..., n]."""
    arrays = (scores, weights, temperature, indices, cotangent)
    return _row_by_row(_gradient_of_rows, *arrays, width=math.prod(indices.shape[1:]))


def _row_by_row(function: Callable[..., Array], scores: Array, *more: Array, width: int) -> Array:
    """The function of these arrays, in pieces of rows whose matrices, of `width` pairs per score, fit in the cache."""
    if scores.ndim == 1:
        return function(scores, *more)
    return ops.in_pieces(function, (scores, *more), size=_MATRICES * scores.shape[-1] * width)


def _counts_of_rows(scores: Array, weights: Array, temperature: Array, indices: Array) -> Array:
    requested = ops.gather(scores, indices)

    def counts_of(part: slice) -> Array:
        x = ops.differences(scores[..., part], requested, temperature)
        return ops.matmul(weights[..., part], ops.sigmoid(x, reuse=True, absolute=True).mT)

    return reduce(add, map(counts_of, _parts(scores, indices)))


def _gradient_of_rows(scores: Array, weights: Array, temperature: Array, indices: Array, cotangent: Array) -> Array:
    xp = array_namespace(scores)
    requested = ops.gather(scores, indices)
    if len(parts := _parts(scores, indices)) == 1:
        x = ops.differences(scores, requested, temperature)
        return _gradient(cotangent, x, weights, temperature, indices, reuse=True)
    own_weights = of_each_sum(weights, indices)
    columns = xp.broadcast_to(indices[..., None, :], own_weights.shape)
    others = ops.scatter(weights, columns, 0.0)  # pairs of two requested items form a separate matrix
    by_column, by_row = [], []
    for part in parts:
        x = ops.differences(scores[..., part], requested, temperature)
        d = ops.times_logistic_derivative(ops.matmul(cotangent.mT, others[..., part]), x, reuse=True, reuse_at=True)
        by_column.append(xp.sum(d, axis=-2))
        by_row.append(xp.sum(d, axis=-1))
    tau = temperature[..., None]
    among = _gradient(cotangent, ops.differences(requested, requested, temperature), own_weights, temperature)
    return ops.scatter(xp.concat(by_column, axis=-1) / tau, indices, among - reduce(add, by_row) / tau)


def is_long(scores: Array, indices: Array) -> bool:
    """Whether the matrix of the requested items is evaluated in parts."""
    return math.prod(indices.shape) * scores.shape[-1] > _PAIRS_PER_PART


def with_constant_weights(gradient: Callable[..., Array]) -> Callable[..., tuple]:
    """A vjp from the gradient by the scores, of functions whose last arrays are scores, weights, τ and items.

    The items are the indices [..., m] of those counted, or a mask [..., n] of those whose counts are used. The scores
    before `start` are constants.
    """

    def vjp(cotangent: Array, *saved: Array, start: int = 0) -> tuple:
        scores, weights, temperature, items = saved[-4:]
        of_all = partial(gradient, cotangent, *saved)

        def of_newest() -> Array:
            arrays = (scores, weights, temperature, items, cotangent)
            width = math.prod(scores.shape[1:-1]) * (scores.shape[-1] - start)
            return _row_by_row(partial(_gradient_of_newest, start=start), *arrays, width=max(1, width))

        return of_newest if start else of_all, None, by_temperature(of_all, scores, temperature), None

    return vjp


def _gradient_of_newest(
    scores: Array, weights: Array, temperature: Array, items: Array, cotangent: Array, *, start: int
) -> Array:
    """The gradient by the scores, [..., n], 0 before `start`: only the pairs of the others are visited, in one matrix.

    With all cotangents in place, it is (1/τ) Σ_kj (w_km c_kj − c_km w_kj) σ'((s_j − s_m)/τ) for item m.
    """
    xp = array_namespace(scores)
    if items.dtype != xp.bool:
        columns = xp.broadcast_to(items[..., None, :], cotangent.shape)
        cotangent = ops.scatter(xp.zeros_like(weights), columns, cotangent, reuse=True)
    d = ops.matmul(weights[..., start:].mT, cotangent) - ops.matmul(cotangent[..., start:].mT, weights)
    d = ops.zero_diagonal(d, start)
    x = ops.differences(scores, scores[..., start:], temperature)
    gradient = xp.sum(ops.times_logistic_derivative(d, x, reuse=True, reuse_at=True), axis=-1)
    return xp.concat([xp.zeros_like(scores[..., :start]), gradient / temperature[..., None]], axis=-1)


def by_temperature(by_scores: Callable[[], Array], scores: Array, temperature: Array) -> Callable[[], Array]:
    """The gradient by τ [...] from the scores and their gradient, both [..., n]: counts depend only on s/τ."""
    return lambda: -array_namespace(scores).sum(scores * by_scores(), axis=-1) / temperature


def of_each_sum(weights: Array, indices: Array) -> Array:
    """The weights [..., k, m] of the items at `indices` [..., m]."""
    xp = array_namespace(indices)
    return ops.gather(weights, xp.broadcast_to(indices[..., None, :], (*weights.shape[:-1], indices.shape[-1])))


def _parts(scores: Array, indices: Array) -> list[slice]:
    step = max(1, _PAIRS_PER_PART // math.prod(indices.shape))
    return [slice(start, start + step) for start in range(0, scores.shape[-1], step)]

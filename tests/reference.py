"""Every loss by its definition, in plain float64 loops: slow, short, and written only from the formulas.

The tests compare the library with these functions; nothing here is shared with the library.
"""

import itertools
import math
from decimal import Decimal

import numpy as np

# ------------------------------------------------------------------------------------------------- pointwise losses


def gradient(function, x):
    """The derivatives of a scalar function of x, exact up to rounding, by a complex step."""
    x = np.asarray(x, np.float64)
    slopes = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        stepped = x.astype(complex)
        stepped[place] += 1e-30j
        slopes[place] = np.imag(function(stepped)) / 1e-30
    return slopes


def _log_one_plus_exp(x):
    """log(1 + exp(x)), for complex x too."""
    if np.real(x) > 0:
        return x + _log_one_plus_exp(-x)
    power = np.exp(x)
    return complex(np.log1p(power.real), power.imag / (1 + power.real)) if np.iscomplexobj(power) else np.log1p(power)


def sigmoid_focal(logits, targets, *, alpha=0.25, gamma=2.0):
    losses = np.zeros(np.shape(logits), np.asarray(logits).dtype)
    for place in np.ndindex(losses.shape):
        x, y = logits[place], targets[place]
        missed = np.exp(-_log_one_plus_exp(-x)) * (1 - y) + np.exp(-_log_one_plus_exp(x)) * y
        cross_entropy = y * _log_one_plus_exp(-x) + (1 - y) * _log_one_plus_exp(x)
        alpha_t = 1.0 if alpha is None else alpha * y + (1 - alpha) * (1 - y)
        losses[place] = alpha_t * (missed**gamma if gamma else 1.0) * cross_entropy
    return losses


def _log_softmax(row):
    """log p_c = −log(1 + Σ_{k≠c} exp(x_k − x_c)), separately for each class."""
    result = []
    for c in range(len(row)):
        others = [row[k] - row[c] for k in range(len(row)) if k != c]
        top = max((np.real(d) for d in others), default=0.0)
        total = sum(np.exp(d - top) for d in others)
        result.append(-_log_one_plus_exp(np.log(total) + top) if len(others) else 0.0 * row[c])
    return result


def one_hot(ids, num_classes):
    return (np.asarray(ids)[..., None] == np.arange(num_classes)).astype(float)


def softmax_focal(logits, targets, *, alpha=None, gamma=2.0, label_smoothing=0.0):
    """Classes on the last axis; targets are class ids or probabilities."""
    logits, targets = np.asarray(logits), np.asarray(targets)
    num_classes = logits.shape[-1]
    alpha = np.ones(num_classes) if alpha is None else alpha
    losses = np.zeros(logits.shape[:-1], logits.dtype)
    for place in np.ndindex(losses.shape):
        log_p = _log_softmax(logits[place])
        missed = [sum(np.exp(log_p[k]) for k in range(num_classes) if k != c) for c in range(num_classes)]
        focus = [missed[c] ** gamma if gamma else 1.0 for c in range(num_classes)]
        if targets.ndim < logits.ndim:
            y = int(targets[place])
            smoothed = [(1 - label_smoothing) * (c == y) + label_smoothing / num_classes for c in range(num_classes)]
            losses[place] = alpha[y] * focus[y] * -sum(smoothed[c] * log_p[c] for c in range(num_classes))
        else:
            smoothed = [(1 - label_smoothing) * y_c + label_smoothing / num_classes for y_c in targets[place]]
            losses[place] = sum(smoothed[c] * alpha[c] * focus[c] * -log_p[c] for c in range(num_classes))
    return losses


def symmetric_cross_entropy(logits, targets, *, alpha=1.0, beta=1.0, epsilon=1e-8):
    logits, targets = np.asarray(logits), np.asarray(targets)
    num_classes = logits.shape[-1]
    y = one_hot(targets, num_classes) if targets.ndim < logits.ndim else targets
    losses = np.zeros(logits.shape[:-1], logits.dtype)
    for place in np.ndindex(losses.shape):
        log_p = _log_softmax(logits[place])
        p = [np.exp(value) if np.exp(value).real > epsilon else epsilon for value in log_p]
        forward = -sum(y[place][c] * log_p[c] for c in range(num_classes))
        reverse = -sum(p[c] * math.log(max(y[place][c], epsilon)) for c in range(num_classes))
        losses[place] = alpha * forward + beta * reverse
    return losses


def _cross_entropies(logits, targets, cross_entropy):
    """Σ_c y_c cross_entropy(row, c) of every position."""
    logits, targets = np.asarray(logits), np.asarray(targets)
    y = one_hot(targets, logits.shape[-1]) if targets.ndim < logits.ndim else targets
    losses = np.zeros(logits.shape[:-1], logits.dtype)
    for place in np.ndindex(losses.shape):
        losses[place] = sum(y[place][c] * cross_entropy(logits[place], c) for c in range(logits.shape[-1]))
    return losses


def logit_adjusted(logits, targets, *, class_counts, tau=1.0):
    counts = np.asarray(class_counts, np.float64)
    return _cross_entropies(logits, targets, lambda row, c: -_log_softmax(row + tau * np.log(counts / sum(counts)))[c])


def vector_scaling(logits, targets, *, class_counts, gamma=0.15, tau=1.0):
    counts = np.asarray(class_counts, np.float64)
    scale, shift = (counts / max(counts)) ** gamma, tau * np.log(counts / sum(counts))
    return _cross_entropies(logits, targets, lambda row, c: -_log_softmax(row * scale + shift)[c])


def ldam(logits, targets, *, class_counts, max_margin=0.5, scale=30.0):
    margins = [max_margin * float(n) ** -0.25 / float(min(class_counts)) ** -0.25 for n in class_counts]

    def cross_entropy(row, c):
        return -_log_softmax([scale * (x - margins[c] * (k == c)) for k, x in enumerate(row)])[c]

    return _cross_entropies(logits, targets, cross_entropy)


def poly1(logits, targets, *, epsilon=1.0):
    def cross_entropy(row, c):
        log_p = _log_softmax(row)
        return -log_p[c] + epsilon * sum(np.exp(log_p[k]) for k in range(len(row)) if k != c)

    return _cross_entropies(logits, targets, cross_entropy)


def sigmoid_logit_adjusted(logits, targets, *, positive_rate, tau=1.0):
    rate = np.broadcast_to(np.asarray(positive_rate, np.float64), np.shape(logits))
    return sigmoid_focal(logits + tau * np.log(rate / (1 - rate)), targets, alpha=None, gamma=0.0)


def asymmetric(logits, targets, *, gamma_pos=1.0, gamma_neg=4.0, clip=0.05):
    losses = np.zeros(np.shape(logits), np.asarray(logits).dtype)
    for place in np.ndindex(losses.shape):
        x, y = logits[place], targets[place]
        p, q = np.exp(-_log_one_plus_exp(-x)), np.exp(-_log_one_plus_exp(x))
        positive = (q**gamma_pos if gamma_pos else 1.0) * _log_one_plus_exp(-x)
        shifted = p - clip if np.real(p) > clip else 0.0 * p
        log_rest = -_log_one_plus_exp(x) if clip == 0 else np.log(q + clip) if np.real(p) > clip else 0.0 * p
        losses[place] = y * positive - (1 - y) * (shifted**gamma_neg if gamma_neg else 1.0) * log_rest
    return losses


def hard_negative(logits, targets, *, share=0.25, axis=0, where=None):
    """0 where a negative is not among the hardest along the axis."""
    logits, targets = np.asarray(logits), np.asarray(targets)
    losses = sigmoid_focal(logits, targets, alpha=None, gamma=0.0)
    where = np.ones(logits.shape, bool) if where is None else where
    for place in np.ndindex(losses.shape):
        same_line = tuple(slice(None) if d == axis % logits.ndim else i for d, i in enumerate(place))
        rivals = sorted(logits[same_line][(targets[same_line] < 0.5) & where[same_line]].real, reverse=True)
        if targets[place] < 0.5 and where[place]:
            least = rivals[math.floor(share * (len(rivals) - 1) + 1e-9)]
            losses[place] = losses[place] if logits[place].real >= least else 0.0
    return losses


def reduce_elements(losses, *, reduction, where=None, weights=None, positives=None):
    total = count = positive = 0.0
    for place in np.ndindex(np.shape(losses)):
        if where is not None and not where[place]:
            continue
        weight = 1.0 if weights is None else weights[place]
        total = total + weight * losses[place]
        count += weight
        positive += weight * (0.0 if positives is None else positives[place])
    return total / {"mean": count or 1.0, "mean_positive": positive or 1.0, "sum": 1.0}[reduction]


def class_weights(counts, *, scheme, beta=0.999):
    """Normalised over the classes that occur; 0 for those that do not."""
    n = [count for count in counts if count > 0]
    if scheme == "effective":
        rarity = [(1 - beta) / (1 - beta**count) for count in n]
        unit = sum(rarity) / len(n)
    else:
        rarity = [1 / count for count in n]
        unit = max(rarity) if scheme == "inverse" else len(n) / sum(n)
    weights = iter(w / unit for w in rarity)
    return np.array([next(weights) if count > 0 else 0.0 for count in counts])


# --------------------------------------------------------------------------------------------------- ranking losses


def row_quantile(values, level, *, multiplicity=None, interpolation="higher"):
    """Quantile of the values of a row, each repeated `multiplicity` times if given; NaN for an empty row."""
    order = np.argsort(values)
    values = np.asarray(values, np.float64)[order]
    repeats = np.ones(len(values)) if multiplicity is None else np.asarray(multiplicity, np.float64)[order]
    if repeats.sum() == 0:
        return math.nan
    reached = np.cumsum(repeats)
    places = max(1, math.floor(reached[-1] + 0.5))

    def value_at(place):
        return next(v for v, r in zip(values, reached, strict=True) if r >= min(place + 0.5, reached[-1]))

    place = level * (places - 1)
    lower, upper = value_at(math.floor(place)), value_at(math.ceil(place))
    if interpolation == "nearest":
        return value_at(round(place))
    if interpolation == "lower" or upper == lower:
        return lower
    if interpolation == "higher":
        return upper
    return lower + {"midpoint": 0.5, "linear": place - math.floor(place)}[interpolation] * (upper - lower)


def level_below(share):
    """1 − share, computed on the decimal digits of the number."""
    return float(1 - Decimal(str(share)))


def sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, np.float64)))


def sigmoid_slope(x):
    return sigmoid(x) * sigmoid(-np.asarray(x, np.float64))


def _row(scores, positives, *, pos_numerator="pool", where=None, weights=None, multiplicity=None, live=None):
    """The unmasked items of a row: indices, scores, positives, numerator weights, multiplicities."""
    n = len(scores)
    kept = np.flatnonzero(np.broadcast_to(True if where is None else where, n))
    s = np.asarray(scores, np.float64)[kept]
    p = np.asarray(positives, bool)[kept]
    w = np.broadcast_to(1.0 if weights is None else weights, n).astype(np.float64)[kept]
    m = np.broadcast_to(1.0 if multiplicity is None else multiplicity, n).astype(np.float64)[kept]
    counts = p & np.broadcast_to(True if live is None else live, n)[kept] if pos_numerator == "live" else p
    return kept, s, p, np.where(counts, w * m, 0.0), m


def _spread(kind, s, m):
    if kind == "absolute":
        return 1.0
    if len(s) == 0 or m.sum() == 0:
        return 0.0
    if kind == "iqr":
        return row_quantile(s, 0.75, multiplicity=m) - row_quantile(s, 0.25, multiplicity=m)
    mean = sum(m * s) / sum(m)
    return math.sqrt(sum(m * (s - mean) ** 2) / sum(m))


def _unit(spread):
    """The unit of a temperature: 1 where all scores are equal, so that training can start."""
    return 1.0 if spread <= 1e-12 else spread


def smooth_ap(scores, positives, *, temperature=0.01, temperature_scale="absolute", margin=0.0, **row):
    """One row: loss, validity, and the gradient by the scores."""
    kept, s, p, numerator, m = _row(scores, positives, **row)
    gradient = np.zeros(len(scores))
    if numerator.sum() == 0 or p.all():
        return 0.0, False, gradient
    tau, average_precision = temperature * _unit(_spread(temperature_scale, s[~p], m[~p])), 0.0
    for i in np.flatnonzero(numerator):
        others = np.arange(len(s)) != i
        x = (s - s[i]) / tau + margin * ~p
        above = m * sigmoid(x) * others
        rank, positive_rank = 1 + above.sum(), 1 + above[p].sum()
        share = numerator[i] / numerator.sum()
        average_precision += share * positive_rank / rank
        slope = m * sigmoid_slope(x) / tau * others
        by_others = share * (p / rank - positive_rank / rank**2) * slope
        gradient[kept] -= by_others
        gradient[kept[i]] += by_others.sum()
    return 1 - average_precision, True, gradient


def recall_at_quantile(
    scores,
    positives,
    *,
    quantile=0.005,
    interpolation="higher",
    temperature=0.01,
    temperature_scale="absolute",
    margin=0.0,
    **row,
):
    """One row: loss, validity, and the gradient by the scores."""
    kept, s, p, numerator, m = _row(scores, positives, **row)
    gradient = np.zeros(len(scores))
    if numerator.sum() == 0:
        return 0.0, False, gradient
    tau = temperature * _unit(_spread(temperature_scale, s[~p], m[~p]))
    threshold = row_quantile(s, level_below(quantile), multiplicity=m, interpolation=interpolation)
    share = numerator / numerator.sum()
    x = (s - threshold) / tau - margin
    gradient[kept] = -share * sigmoid_slope(x) / tau
    return 1 - sum(share * sigmoid(x)), True, gradient


def auc(scores, positives, *, temperature=0.1, temperature_scale="absolute", margin=0.0, **row):
    """One row: loss, validity, and the gradient by the scores."""
    kept, s, p, numerator, m = _row(scores, positives, **row)
    gradient, loss = np.zeros(len(scores)), 0.0
    if numerator.sum() == 0 or m[~p].sum() == 0:
        return 0.0, False, gradient
    tau = temperature * _unit(_spread(temperature_scale, s[~p], m[~p]))
    for i in np.flatnonzero(numerator):
        x = (s - s[i]) / tau + margin
        weight = numerator[i] / numerator.sum() * np.where(p, 0.0, m) / m[~p].sum()
        loss += sum(weight * sigmoid(x))
        gradient[kept] += weight * sigmoid_slope(x) / tau
        gradient[kept[i]] -= sum(weight * sigmoid_slope(x)) / tau
    return loss, True, gradient


def _cut(s, p, m, *, k=None, recall=None, precision=None):
    """The threshold that flags k items, or as few as a recall needs, or as many as a precision allows."""
    cuts = []  # for every lowest flagged score, downwards: that score, and the items and positives from it up
    for i in sorted(range(len(s)), key=lambda i: -s[i]):
        if m[i] > 0:
            cuts.append((s[i], m[s >= s[i]].sum(), m[(s >= s[i]) & p].sum()))
    if k is not None:
        down = [(cut[0], m[s > cut[0]].sum() + m[s == cut[0]].sum()) for cut in cuts]
        last = next((score for score, count in down if count >= k - 0.5), None)
        rest = next((score for score, count in down if count >= k + 0.5), None)
        return None if rest is None else (last + rest) / 2
    if recall is not None:
        found = [cut[0] for cut in cuts if cut[2] >= recall * (1 - 1e-6) * m[p].sum()][:1]
    else:
        found = [cut[0] for cut in cuts if cut[2] >= precision * (1 - 1e-6) * cut[1]][-1:]
    if not found:
        return cuts[0][0]
    return (found[0] + max((score for score, *_ in cuts if score < found[0]), default=found[0])) / 2


def recall_at(
    scores,
    positives,
    *,
    k=None,
    precision=None,
    temperature=0.1,
    temperature_scale="absolute",
    margin=0.0,
    **row,
):
    """One row: loss, validity, and the gradient by the scores."""
    kept, s, p, numerator, m = _row(scores, positives, **row)
    gradient = np.zeros(len(scores))
    if numerator.sum() == 0 or m[~p].sum() == 0:
        return 0.0, False, gradient
    threshold = _cut(s, p, m, k=k, precision=precision)
    if threshold is None:
        return 0.0, False, gradient
    tau = temperature * _unit(_spread(temperature_scale, s[~p], m[~p]))
    share = numerator / numerator.sum()
    x = (threshold - s) / tau + margin
    gradient[kept] = -share * sigmoid_slope(x) / tau
    return sum(share * sigmoid(x)), True, gradient


def precision_at(
    scores, positives, *, k=None, recall=None, temperature=0.1, temperature_scale="absolute", margin=0.0, **row
):
    """One row: loss, validity, and the gradient by the scores."""
    kept, s, p, numerator, m = _row(scores, positives, **row)
    gradient = np.zeros(len(scores))
    threshold = _cut(s, p, m, k=k, recall=recall) if numerator.sum() and m[~p].sum() else None
    if threshold is None:
        return 0.0, False, gradient
    tau = temperature * _unit(_spread(temperature_scale, s[~p], m[~p]))
    weight = np.where(p, m[p].sum() * numerator / numerator.sum(), m)
    x = (s - threshold) / tau + np.where(p, -margin, margin)
    found, wrong = sum((weight * sigmoid(x))[p]), sum((weight * sigmoid(x))[~p]) + 1e-18
    by_item = np.where(p, -wrong, found) / (found + wrong) ** 2
    gradient[kept] = by_item * weight * sigmoid_slope(x) / tau
    return wrong / (found + wrong), True, gradient


def partial_auc(
    scores,
    positives,
    *,
    alpha=0.0,
    beta=0.005,
    surrogate="trapezoid",
    n_knots=2,
    temperature=0.1,
    temperature_scale="iqr",
    budget_basis="fpr",
    margin=0.0,
    min_tpr=0.0,
    quantile_interpolation="higher",
    is_iid=None,
    **row,
):
    """One row: loss, validity, the gradient by the scores, and (t_alpha, t_beta, tau, band negatives, variance).

    Thresholds without scores, and the variance of a row without a loss, are NaN.
    """
    kept, s, p, numerator, m = _row(scores, positives, **row)
    gradient = np.zeros(len(scores))
    if min_tpr > 0 and p.any():
        numerator = numerator * (
            s <= row_quantile(s[p], level_below(min_tpr), multiplicity=m[p], interpolation="lower")
        )
    iid = np.broadcast_to(True if is_iid is None else is_iid, len(scores))[kept]
    in_reference = iid & ~p if budget_basis == "fpr" else iid

    def threshold(rate):
        if not in_reference.any():
            return 0.0
        return row_quantile(
            s[in_reference], level_below(rate), multiplicity=m[in_reference], interpolation=quantile_interpolation
        )

    t_alpha, t_beta = threshold(alpha), threshold(beta)
    has_band_scale = temperature_scale == "band"
    spread = t_alpha - t_beta if has_band_scale else _spread(temperature_scale, s[in_reference], m[in_reference])
    tau = temperature * _unit(spread)
    in_band = (t_beta <= s) & (s <= t_alpha)
    band = np.where(in_band & ~p, m, 0.0)
    figures = [t_alpha, t_beta, tau, m[in_band & ~p & iid].sum(), math.nan]
    valid = numerator.sum() > 0 and (iid & ~p).any()
    if not in_reference.any():
        figures[:2] = math.nan, math.nan
    if not valid or (surrogate == "pairwise" and band.sum() == 0):
        return 0.0, False, gradient, tuple(figures) if len(s) else (math.nan,) * len(figures)
    share, contribution = numerator / numerator.sum(), np.zeros(len(s))
    knots = [threshold(rate) for rate in np.linspace(alpha, beta, n_knots)]
    for i in np.flatnonzero(numerator):
        if surrogate == "pairwise":
            x = (s[i] - s) / tau - margin
            contribution[i] = sum(band * sigmoid(x)) / band.sum()
            slope = share[i] * band / band.sum() * sigmoid_slope(x) / tau
            gradient[kept] += slope
            gradient[kept[i]] -= slope.sum()
            continue
        for pair in itertools.pairwise(knots):
            for knot in pair:
                x = (s[i] - knot) / tau - margin
                contribution[i] += sigmoid(x) / 2 / (n_knots - 1)
                gradient[kept[i]] -= share[i] * sigmoid_slope(x) / tau / 2 / (n_knots - 1)
    mean = sum(share * contribution)
    figures[4] = sum(share * (contribution - mean) ** 2)
    return 1 - mean, True, gradient, tuple(figures)


def contrast(scores, positives, *, weights=None, multiplicity=None):
    """The contrastive cross entropy of a batch, and its gradient: by pairs, in loops."""
    s, p, m = scores.astype(float), positives, np.ones(len(scores)) if multiplicity is None else multiplicity
    v = m if weights is None else weights * m
    total, loss, slopes = np.sum(v[p]), 0.0, np.zeros(len(s))
    if total == 0 or p.all():
        return loss, slopes
    for i in np.flatnonzero(p):
        others = [(j, m[j] / np.sum(m[p]) * np.exp(s[j] - s[i])) for j in np.flatnonzero(~p)]
        odds = sum(ratio for _, ratio in others)
        loss += v[i] / total * np.log1p(odds)
        slopes[i] -= v[i] / total * odds / (1 + odds)
        for j, ratio in others:
            slopes[j] += v[i] / total * ratio / (1 + odds)
    return loss, slopes


def ndcg(scores, relevance, *, temperature=0.1, temperature_scale="absolute", gain="exponential", where=None):
    """One list: loss, validity, and the gradient by the scores."""
    kept, s, _, y, _ = _row(scores, np.ones(len(scores), bool), where=where, weights=relevance)
    gradient = np.zeros(len(scores))
    if len(set(y)) < 2:
        return 0.0, False, gradient
    g = 2.0**y - 1 if gain == "exponential" else y
    ideal = sum(value / math.log2(2 + k) for k, value in enumerate(sorted(g, reverse=True)))
    tau, loss = temperature * _unit(_spread(temperature_scale, s, np.ones(len(s)))), 1.0
    for i in range(len(s)):
        x = np.delete(s - s[i], i) / tau
        rank = 1 + sigmoid(x).sum()
        loss -= g[i] / math.log2(1 + rank) / ideal
        by_rank = g[i] / ideal * math.log(2) / math.log(1 + rank) ** 2 / (1 + rank)
        gradient[np.delete(kept, i)] += by_rank * sigmoid_slope(x) / tau
        gradient[kept[i]] -= by_rank * sigmoid_slope(x).sum() / tau
    return loss, True, gradient


QUEUE_IGNORED = -1  # the target in a queue of rows without one, including empty slots


def queue_after(queue, batch):
    """A column of a queue (its logits, its targets, ...) after adding that of a batch; a queue keeps its length."""
    return np.concatenate([queue, batch])[len(batch) :]


# -------------------------------------------------------------------------------------------------------- schedules


def blend_weight(unit: int, warmup: int, blend: int, final: float) -> float:
    if unit < warmup:
        return 0.0
    k = unit - warmup
    return (k + 1) / (blend + 1) * final if k < blend else final


def geometric_decay(elapsed: int, start: float, end: float, decay_steps: int) -> float:
    return start * (end / start) ** min(1.0, max(0, elapsed) / decay_steps)

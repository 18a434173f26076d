"""The ranking metrics against scikit-learn, with ties, weights and masks, and against their definitions."""

from functools import partial

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from imbalanced_core import metrics
from imbalanced_core.losses.ranking import recall_at_quantile as recall_loss

METRICS = (
    metrics.average_precision,
    metrics.roc_auc,
    metrics.tied_pairs,
    partial(metrics.partial_auc, alpha=0.05, beta=0.3),
    partial(metrics.coverage_at_budget, budget=0.1),
    partial(metrics.recall_at_quantile, quantile=0.15),
    partial(metrics.precision_at_k, k=7),
)


def all_metrics(scores, positives, where=None, weights=None, *, chosen=METRICS):
    return tuple(metric(scores, positives, where=where, weights=weights) for metric in chosen)


def tied_rows(rng, rows=3, n=80):
    scores = np.round(rng.normal(size=(rows, n)), 1)  # about two items per distinct score
    positives = rng.random((rows, n)) < 0.2
    positives[:, :2] = [True, False]
    where = rng.random((rows, n)) < 0.8
    where[:, :2] = True
    weights = rng.random((rows, n)) * (rng.random((rows, n)) < 0.9) + 1e-3
    return scores, positives, where, weights


def area_of_band(fpr, tpr, alpha, beta):
    """The integral over the band of the linear interpolation between the points."""
    inner = np.unique(np.r_[alpha, fpr[(fpr > alpha) & (fpr < beta)], beta])
    upper = [np.interp(x, fpr, tpr) if x not in fpr else tpr[fpr == x].max() for x in inner[:-1]]
    lower = [np.interp(x, fpr, tpr) if x not in fpr else tpr[fpr == x].min() for x in inner[1:]]
    return sum((b - a) * (u + v) / 2 for a, b, u, v in zip(inner, inner[1:], upper, lower, strict=False)) / (
        beta - alpha
    )


def expected_precision(scores, positives, weights, k):
    """Precision of the k best items; a tie at rank k counts with the fraction that fits into the top k."""
    threshold = np.sort(scores)[::-1][min(k, len(scores)) - 1]
    above, tied = scores > threshold, scores == threshold
    share = above + tied * (min(k, len(scores)) - above.sum()) / tied.sum()
    return (share * weights * positives).sum() / (share * weights).sum()


def tied_share(scores, positives, weights):
    pairs = np.outer(weights[positives], weights[~positives])
    return (pairs * (scores[positives][:, None] == scores[~positives])).sum() / pairs.sum()


def of_sklearn(scores, positives, weights):
    fpr, tpr, _ = roc_curve(positives, scores, sample_weight=weights, drop_intermediate=False)
    found = positives & (scores >= np.quantile(scores, 0.85, method="higher"))
    return (
        average_precision_score(positives, scores, sample_weight=weights),
        roc_auc_score(positives, scores, sample_weight=weights),
        tied_share(scores, positives, weights),
        area_of_band(fpr, tpr, 0.05, 0.3),
        tpr[fpr <= 0.1].max(),
        weights[found].sum() / weights[positives].sum(),
        expected_precision(scores, positives, weights, 7),
    )


def test_every_metric_equals_scikit_learn(every_backend, rng):
    scores, positives, where, weights = tied_rows(rng, rows=6)
    good = zip(scores[:3], positives[:3], where[:3], weights[:3], strict=True)
    expected = np.full((6, len(METRICS)), np.nan)
    expected[:3] = [of_sklearn(s[m], p[m], w[m]) for s, p, m, w in good]
    scores[~where] = np.nan  # masked values do not matter
    weights[~where] = -1.0
    positives[3], where[4], scores[5, 0] = False, False, np.nan  # no positive, no item, NaN
    chosen = METRICS[:2] if every_backend.name == "jax" else METRICS  # JAX compiles one operation at a time
    values = every_backend.run(partial(all_metrics, chosen=chosen), scores, positives, where, weights)
    np.testing.assert_allclose(np.stack(values, axis=-1), expected[:, : len(chosen)], rtol=1e-12)
    assert all(value.shape == (6,) and value.dtype == np.float64 for value in values)


@pytest.mark.parametrize("max_fpr", [0.1, 0.3, 1.0])
def test_partial_auc_is_that_of_scikit_learn_before_its_standardisation(rng, max_fpr):
    scores, positives, _, weights = (x[0] for x in tied_rows(rng))
    standardised = roc_auc_score(positives, scores, sample_weight=weights, max_fpr=max_fpr)
    least = max_fpr**2 / 2
    area = least + (2 * standardised - 1) * (max_fpr - least) if max_fpr < 1 else standardised
    value = metrics.partial_auc(scores, positives, beta=max_fpr, weights=weights)
    np.testing.assert_allclose(value, area / max_fpr, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.7])
def test_a_budget_of_whole_negatives_is_reached(every_backend, weight):
    """Quotients and sums are rounded: in float32 XLA has 5/1000 > 0.005."""
    after = 1, 5, 10, 29, 100, 700  # negatives above each positive, of 1000
    positives = np.insert(np.zeros(1000, bool), after, True)
    scores = np.arange(len(positives), 0, -1).astype(np.float32)
    weights = np.full(len(positives), weight, np.float32)
    for number, count in enumerate(after, start=1):
        for given in ((), (weights,)):
            found = every_backend.run(
                lambda s, p, w=None, budget=count / 1000: metrics.coverage_at_budget(s, p, budget=budget, weights=w),
                *(scores, positives, *given),
            )
            assert found == pytest.approx(number / len(after))


def test_half_precision_and_float32_are_near(rng):
    scores, positives, where, weights = tied_rows(rng)
    expected = all_metrics(scores, positives, where, weights)
    values = all_metrics(scores.astype(np.float32), positives, where, weights.astype(np.float32))
    np.testing.assert_allclose(np.stack(values), np.stack(expected), rtol=2e-6)
    assert all(value.dtype == np.float32 for value in values)
    assert metrics.roc_auc(scores.astype(np.float16), positives).dtype == np.float32


def test_without_a_negative():
    values = all_metrics(np.array([3.0, 2.0, 1.0]), np.array([True] * 3))
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan, np.nan, np.nan, 1 / 3, 1.0])  # no false-positive rate


def test_infinite_scores_and_single_ties():
    scores, positives = np.array([np.inf, 0.0, -np.inf, -np.inf]), np.array([True, False, True, False])
    assert metrics.roc_auc(scores, positives) == roc_auc_score(positives, [9, 0, -9, -9])
    assert metrics.average_precision(scores, positives) == average_precision_score(positives, [9, 0, -9, -9])
    tied = np.zeros(4)
    assert metrics.roc_auc(tied, positives) == 0.5
    assert metrics.tied_pairs(tied, positives) == 1.0
    assert metrics.partial_auc(tied, positives, alpha=0.2, beta=0.4) == pytest.approx(0.3)
    assert metrics.average_precision(tied, positives) == 0.5
    assert metrics.precision_at_k(tied, positives, k=1) == 0.5
    assert metrics.precision_at_k(tied, positives, k=9) == 0.5
    assert metrics.coverage_at_budget(tied, positives, budget=0.5) == 0.0
    assert metrics.recall_at_quantile(tied, positives, quantile=0.1) == 1.0


def test_no_items_at_all():
    nothing = np.zeros((2, 0)), np.zeros((2, 0), dtype=bool)
    assert np.isnan(np.stack(all_metrics(*nothing))).all()


def test_what_an_item_of_weight_0_holds_does_not_matter(backend):
    scores, positives = np.array([5.0, 4.0, np.nan, 3.0, 2.0]), np.array([False, True, True, False, True])
    weights = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    chosen = (partial(metrics.precision_at_k, k=1), *METRICS[:5])
    values = backend.run(partial(all_metrics, chosen=chosen), scores, positives, None, weights)
    expected = all_metrics(scores[[1, 3, 4]], positives[[1, 3, 4]], chosen=chosen)
    np.testing.assert_allclose(np.stack(values), np.stack(expected))
    assert (
        metrics.recall_at_quantile(scores, positives, quantile=0.15, weights=weights) == 0
    )  # the item of weight 0 moves the quantile
    mean = metrics.of_classes(metrics.roc_auc, scores[:, None], positives, weights=weights)
    assert mean == metrics.roc_auc(scores[[1, 3, 4]], positives[[1, 3, 4]])


def test_a_negative_weight_is_nan():
    values = all_metrics(np.array([2.0, 1.0]), np.array([True, False]), None, np.array([1.0, -1.0]))
    assert np.isnan(np.stack(values)).all()


def test_recall_is_what_the_loss_tends_to(rng):
    scores, positives = rng.normal(size=(1, 300)), rng.random((1, 300)) < 0.1
    loss, _ = recall_loss(scores, positives, quantile=0.1, temperature=1e-9)
    value = metrics.recall_at_quantile(scores, positives, quantile=0.1)
    at_threshold = positives & (scores == np.quantile(scores, 0.9, method="higher"))
    np.testing.assert_allclose(value - at_threshold.sum() / positives.sum() / 2, 1 - loss)


def test_classes_against_the_rest(rng):
    logits, targets = rng.normal(size=(60, 4)), rng.integers(0, 3, size=60)  # class 3 is empty
    targets[:5] = -100
    logits[:5] = np.nan
    options = {"weights": rng.random(60)}
    per_class = metrics.of_classes(metrics.roc_auc, logits, targets, average="none", **options)
    mean = metrics.of_classes(metrics.roc_auc, logits, targets, **options)
    weights = options["weights"]
    expected = [roc_auc_score(targets[5:] == c, logits[5:, c], sample_weight=weights[5:]) for c in range(3)]
    np.testing.assert_allclose(per_class, [*expected, np.nan], rtol=1e-12)
    np.testing.assert_allclose(mean, np.mean(expected), rtol=1e-12)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("multilabel", [False, True])
def test_a_target_that_is_no_class_is_named_or_nan(backend, shape, multilabel, rng):
    if multilabel and len(shape) == 1:
        pytest.skip("labels have two axes")
    logits, bad = rng.normal(size=(4, 1 if multilabel else 3)), np.array([0, 1, 0, 3]).reshape(shape)
    of_classes = partial(metrics.of_classes, metrics.roc_auc, multilabel=multilabel)
    if backend.name in ("numpy", "torch"):
        rule = "0 or 1" if multilabel else r"class ids in \[0, 3\)"
        with pytest.raises(ValueError, match=f"targets must be {rule} or the ignore_index -100, got 3"):
            backend.run(of_classes, logits, bad)
    else:
        assert np.isnan(backend.run(of_classes, logits, bad))
    weights, targets = np.array([1.0, 1.0, 1.0, 0.0]), bad % 3
    expected = metrics.of_classes(metrics.roc_auc, logits, targets, multilabel=multilabel, weights=weights)
    of_weighted = lambda x, y, w: of_classes(x, y, weights=w)  # noqa: E731
    of_masked = lambda x, y, w: of_classes(x, y, where=w > 0)  # noqa: E731
    for function in (of_weighted, of_masked):
        np.testing.assert_allclose(backend.run(function, logits, bad, weights), expected, rtol=1e-6)


def test_labels_of_several_classes(rng):
    logits, targets = rng.normal(size=(50, 2)), rng.integers(0, 2, size=(50, 2))
    targets[:9, 1] = 7
    value = metrics.of_classes(metrics.average_precision, logits, targets, multilabel=True, ignore_index=7)
    first = average_precision_score(targets[:, 0], logits[:, 0])
    second = average_precision_score(targets[9:, 1], logits[9:, 1])
    np.testing.assert_allclose(value, (first + second) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, p: metrics.partial_auc(s, p, alpha=0.5, beta=0.5), "alpha must be less than beta"),
        (lambda s, p: metrics.partial_auc(s, p, beta="0.5"), r"beta must be a Python number in \[0, 1\], got '0.5'"),
        (lambda s, p: metrics.coverage_at_budget(s, p, budget=1.5), "budget must be"),
        (lambda s, p: metrics.recall_at_quantile(s, p, quantile=-0.1), "quantile must be"),
        (lambda s, p: metrics.precision_at_k(s, p, k=0), "k must be"),
        (lambda s, p: metrics.roc_auc(s, p[:1]), "positives must be of the same shape"),
        (lambda s, p: metrics.of_classes(metrics.roc_auc, s[:, None], p, average="micro"), "average must be one of"),
        (lambda s, p: metrics.of_classes(metrics.roc_auc, s, p), "logits must be of shape"),
        (
            lambda s, p: metrics.of_classes(metrics.roc_auc, s[:, None] + [0.0, 1.0], p, weights=np.eye(2)),
            r"weights must be of shape \[rows\] = \(2,\), got \(2, 2\)",
        ),
        (lambda s, p: metrics.roc_auc(s, p, weights=2.0), "weights must be an array, got 2.0"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([1.0, 2.0]), np.array([True, False]))


def test_integers_are_refused_with_what_to_pass():
    scores, positives = np.array([2, 1]), np.array([1, 0])
    with pytest.raises(TypeError, match=r"scores must be a floating-point array, got dtype int64; pass scores \* 1.0"):
        metrics.roc_auc(scores, positives)
    with pytest.raises(TypeError, match="positives must be a bool array, got dtype int64; pass positives == 1"):
        metrics.roc_auc(scores * 1.0, positives)
    assert metrics.roc_auc(scores * 1.0, positives == 1) == 1


def test_arguments_in_the_order_of_scikit_learn_are_refused():
    scores, positives = np.array([2.0, 1.0]), np.array([True, False])
    for wrong in (positives, positives.astype(int), positives * 1.0):
        with pytest.raises(TypeError, match=r"\(scores come first, the reverse of scikit-learn\)$"):
            metrics.average_precision(wrong, scores)

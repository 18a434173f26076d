from functools import partial

import numpy as np
import pytest
import toy

from imbalanced_core.losses import ranking
from imbalanced_core.pairwise import counts as pairwise
from imbalanced_core.pool import queue as queues
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import pooled_loss


def step(logits, targets, *queue, objective=toy.gap, **options):
    """`pooled_loss` on flat arrays, with the result flattened for numpy."""
    loss, result = pooled_loss(objective, logits, targets, Queue(*queue), **options)
    return loss, result.queue, result.per_class, result.valid, result.diagnostics


def batch(rng, n=12, num_classes=3):
    return rng.standard_normal((n, num_classes)).astype(np.float32), rng.integers(0, num_classes, n)


def empty(size=20, num_classes=3, **options):
    return queues.empty(size, num_classes, xp=np, **options)


def gaps(logits, targets, num_classes=3):
    """`toy.gap` of each class in numpy."""
    return np.asarray([logits[targets == c, c].mean() - logits[:, c].mean() for c in range(num_classes)]) / 10


@pytest.mark.parametrize("margin", [0.0, 1.0])
@pytest.mark.parametrize("of_pairs", [ranking.average_precision, ranking.pairs_in_order])
def test_the_gradient_by_the_temperature_is_that_of_differences(grad_backend, of_pairs, margin, rng, monkeypatch):
    monkeypatch.setattr(pairwise, "_PAIRS_KEPT", 0)
    logits, targets = rng.standard_normal((5, 2)), rng.integers(0, 2, 5)
    queue = Queue(rng.standard_normal((40, 2)), np.arange(40, dtype=np.int32) % 2, np.ones(40), np.ones(40, dtype=bool))

    def loss(temperature, logits, targets, *queue):
        objective = partial(of_pairs, temperature=temperature, margin=margin)
        return step(logits, targets, *queue, objective=objective, diagnostics=False)[0]

    _, by_temperature = grad_backend.value_and_grad(loss, np.float64(0.5), logits, targets, *queue)
    above, below = (loss(np.float64(0.5 + h), logits, targets, *queue) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(by_temperature, (above - below) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("backward", [False, True])
def test_an_empty_batch_ranks_the_queue(grad_backend, backward, rng, monkeypatch):
    monkeypatch.setattr(pairwise, "_PAIRS_KEPT", 0)
    queue = Queue(rng.standard_normal((40, 2)), np.arange(40, dtype=np.int32) % 2, np.ones(40), np.ones(40, dtype=bool))
    objective = partial(ranking.average_precision, temperature=0.5)
    arrays = np.zeros((0, 2)), np.zeros(0, dtype=np.int32), *queue
    run = grad_backend.value_and_grad if backward else grad_backend.run
    result = run(lambda *arrays: step(*arrays, objective=objective, diagnostics=False)[0], *arrays)
    loss, gradient = result if backward else (result, arrays[0])
    assert loss > 0
    assert gradient.shape == (0, 2)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_batch_and_queue_are_ranked_together(every_backend, rng, reduction):
    (first, first_targets), (second, second_targets) = batch(rng), batch(rng)
    run = partial(every_backend.run, partial(step, reduction=reduction))
    _, queue, *_ = run(first, first_targets, *empty(20))
    loss, queue, per_class, valid, diagnostics = run(second, second_targets, *queue)
    expected = gaps(np.concatenate([second, first]), np.concatenate([second_targets, first_targets]))
    np.testing.assert_allclose(per_class, expected, rtol=2e-5)
    reduced = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](expected)
    np.testing.assert_allclose(loss, reduced, rtol=2e-5)
    assert valid.all()
    np.testing.assert_array_equal(queue.logits, np.concatenate([first, second])[-20:])
    np.testing.assert_array_equal(diagnostics.grad_pos_count, np.bincount(second_targets, minlength=3))
    assert diagnostics.t_alpha is None
    of_all = np.std(np.concatenate([first, second]), axis=0)
    np.testing.assert_allclose(diagnostics.spread, of_all, rtol=2e-5)


def test_frozen_queue_comes_back_as_it_was(backend, rng):
    start = empty(4)
    _, queue, *_ = backend.run(partial(step, update_queue=False), *batch(rng), *start)
    for after, before in zip(queue, start, strict=True):
        np.testing.assert_array_equal(after, before)


def test_binary_targets_of_any_dtype(value_backend, rng):
    logits, targets = batch(rng, 12, 1)[0], np.arange(12) % 3 == 0
    dtypes = [np.uint8, np.float32, np.bool_]
    if value_backend.name != "strict":
        dtypes += [np.int8, np.int16, np.int32, np.float64, np.float16]
    for dtype in dtypes:
        given = targets.astype(dtype).reshape((12,) if dtype == np.bool_ else (12, 1))
        loss, queue, *_ = value_backend.run(step, logits, given, *empty(20, 1))
        np.testing.assert_allclose(loss, (logits[targets].mean() - logits.mean()) / 10, rtol=1e-5)
        np.testing.assert_array_equal(queue.targets[-12:], targets)
        np.testing.assert_array_equal(queue.targets[:8], -1)


def test_an_ignore_index_outside_the_dtype_ignores_nothing(value_backend, rng):
    logits = batch(rng, 12, 200)[0]
    targets = np.asarray([156, 0, 156, *range(9)], np.uint8)  # 156 is −100 modulo 256
    for ignore_index, kept in [(-100, targets), (156, np.where(targets == 156, -1, targets.astype(int)))]:
        run = partial(step, ignore_index=ignore_index)
        _, queue, _, valid, _ = value_backend.run(run, logits, targets, *empty(20, 200))
        np.testing.assert_array_equal(queue.targets[-12:], kept)
        assert valid[156] == (ignore_index == -100)


def test_ignored_rows_may_hold_anything(every_grad_backend, rng):
    logits, targets = batch(rng)
    weights = np.ones(12, np.float32)
    ignored = np.asarray([1, 5])
    dirty, dirty_weights = logits.copy(), weights.copy()
    dirty[1], dirty[5], dirty_weights[1] = np.nan, -np.inf, np.nan
    targets[ignored] = -100
    kept = np.delete(np.arange(12), ignored)

    def loss(a, b, w, *queue):
        return pooled_loss(toy.gap, a, b, Queue(*queue), sample_weight=w)[0]

    value, gradient = every_grad_backend.value_and_grad(loss, dirty, targets, dirty_weights, *empty())
    expected, expected_gradient = every_grad_backend.value_and_grad(
        loss, logits[kept], targets[kept], weights[kept], *empty(4)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[kept], expected_gradient, rtol=1e-5)
    assert (gradient[ignored] == 0).all()
    _, queue, *_ = every_grad_backend.run(step, dirty, targets, *empty())
    assert np.isfinite(queue.logits).all()
    np.testing.assert_array_equal(queue.targets[-12:], np.where(targets == -100, -1, targets))


def test_missing_labels_are_missing_for_their_class_only(backend, rng):
    logits = rng.standard_normal((8, 2)).astype(np.float32)
    labels = np.asarray([[1, 0], [0, 1], [1, -100], [0, 0], [-100, 1], [0, 0], [1, 1], [-100, -100]])
    logits[4, 0] = np.nan  # harmless: the label of class 0 is missing there
    loss, queue, per_class, _, diagnostics = backend.run(
        partial(step, multilabel=True), logits, labels, *empty(8, 2, multilabel=True)
    )
    for c in range(2):
        known = labels[:, c] != -100
        s, y = logits[known, c], labels[known, c] == 1
        np.testing.assert_allclose(per_class[c], (s[y].mean() - s.mean()) / 10, rtol=1e-5)
    np.testing.assert_allclose(loss, per_class.mean(), rtol=1e-6)
    np.testing.assert_array_equal(diagnostics.grad_pos_count, [3, 3])
    np.testing.assert_array_equal(queue.targets[4], [-1, -1])  # the row with the NaN
    stored = np.where(labels == -100, -1, labels)
    np.testing.assert_array_equal(np.delete(queue.targets, 4, 0), np.delete(stored, 4, 0))


BAD_INPUT = {
    "class id too large": {"target": 3},
    "negative class id": {"target": -1},
    "negative weight": {"weight": -1.0},
    "NaN weight": {"weight": np.nan},
    "infinite weight": {"weight": np.inf},
    "NaN logit": {"logit": np.nan},
}


@pytest.mark.parametrize("subsampled", [False, True])
def test_bad_input_is_nan_and_stays_out_of_the_queue(grad_backend, rng, subsampled):
    logits, targets = batch(rng)
    weights, noise = np.ones(12, np.float32), rng.random(32)
    noise[23] = 0.999  # so the bad row is not drawn
    options = {"max_pool_size": 3} if subsampled else {}

    def loss_and_queue(a, b, w, noise, *queue):
        return pooled_loss(toy.gap, a, b, Queue(*queue), sample_weight=w, noise=noise, **options)

    def loss_only(*arrays):
        return loss_and_queue(*arrays)[0]

    cases = []
    for bad in BAD_INPUT.values():
        a, b, w = logits.copy(), targets.copy(), weights.copy()
        a[3, 1], b[3], w[3] = bad.get("logit", a[3, 1]), bad.get("target", b[3]), bad.get("weight", 1.0)
        cases.append((bad, (a, b, w, noise, *empty(20))))
    for bad, arrays in cases:
        loss, result = grad_backend.run(loss_and_queue, *arrays)
        assert np.isnan(loss), bad
        np.testing.assert_array_equal(np.isnan(result.per_class[[0, 2]]), "logit" not in bad)
        assert all(np.isfinite(array).all() for array in result.queue), bad
        np.testing.assert_array_equal(np.flatnonzero(result.queue.targets == -1), [*range(8), 11])
        np.testing.assert_array_equal(result.queue.weights[[8, 9, 10]], 1)
    for bad, arrays in cases:
        _, gradient = grad_backend.value_and_grad(loss_only, *arrays)
        assert np.isnan(gradient).any(), bad


def test_binary_targets_that_are_no_label_are_nan(backend, rng):
    logits = batch(rng, 12, 1)[0]
    for targets in ([0, 1, 2, 0], [0.0, 1.0, 0.5, 0.0], [0.0, 1.0, np.nan, 0.0], [-0.0, 1.0, np.inf, 0.0]):
        targets = np.asarray(targets * 3)
        loss, queue, *_ = backend.run(step, logits, targets, *empty(20, 1))
        assert np.isnan(loss)
        np.testing.assert_array_equal(queue.targets[-12:], [0, 1, -1, 0] * 3)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_degenerate_batches_are_zero_with_zero_gradient(value_grad_backend, rng, reduction):
    logits = batch(rng, 6, 1)[0]

    def loss(a, b, *queue):
        value, _result = pooled_loss(toy.gap, a, b, Queue(*queue), reduction=reduction)
        return value if reduction == "mean" else value[0]

    for n, target in [(6, 0), (6, 1), (6, -100), (0, 0)]:
        if value_grad_backend.name.startswith("torch") and n == 0:
            continue
        value, gradient = value_grad_backend.value_and_grad(loss, logits[:n], np.full(n, target), *empty(3, 1))
        np.testing.assert_array_equal(value, 0.0 if reduction == "mean" else np.nan)
        assert (gradient == 0).all()


def test_weights_and_their_queue(value_backend, rng):
    logits, targets = batch(rng, 10, 1)[0], np.arange(10) % 2
    weights = rng.random(10).astype(np.float32)

    def two_steps(a, b, w, *queue):
        _, result = pooled_loss(toy.gap, a, b, Queue(*queue), sample_weight=w)
        return pooled_loss(toy.gap, a[:1, :], b[:1], result.queue)[0]

    loss = value_backend.run(two_steps, logits, targets, weights, *empty(10, 1))
    s, w, y = (np.concatenate([a[:1], a])[:, ...] for a in (logits[:, 0], weights, targets == 1))
    np.testing.assert_allclose(loss, (np.sum(s * w * y) / np.sum(w * y) - s.mean()) / 10, rtol=2e-5)


def test_ignore_index_is_not_looked_for_in_the_queue(value_backend, rng):
    logits, targets = batch(rng)
    queue = empty(12)._replace(logits=logits, targets=targets.astype(np.int32), weights=np.ones(12, np.float32))
    for ignore_index in (0, -1):
        loss, *_ = value_backend.run(
            partial(step, ignore_index=ignore_index), logits, np.full(12, ignore_index), *queue
        )
        np.testing.assert_allclose(loss, gaps(logits, targets).mean(), rtol=2e-5)


def test_every_negative_target_of_the_queue_is_an_empty_slot(value_backend, rng):
    logits, targets = batch(rng)
    for mark in (-1, -100):
        queue = empty()._replace(logits=np.full((20, 3), 9.0, np.float32), targets=np.full(20, mark, np.int32))
        loss, *_ = value_backend.run(step, logits, targets, *queue)
        np.testing.assert_allclose(loss, gaps(logits, targets).mean(), rtol=2e-5)


def test_rows_that_are_not_storable_count_once(backend, rng):
    logits, targets = batch(rng)
    is_storable = np.arange(12) % 3 > 0

    def run(a, b, m, *queue):
        return step(a, b, *queue, is_storable=m)

    loss, queue, *_ = backend.run(run, logits, targets, is_storable, *empty())
    np.testing.assert_allclose(loss, gaps(logits, targets).mean(), rtol=2e-5)
    np.testing.assert_array_equal(queue.targets[-12:], np.where(is_storable, targets, -1))
    np.testing.assert_array_equal(queue.is_iid[-12:], is_storable)
    again, *_ = backend.run(step, logits, targets, *queue)
    twice = [np.concatenate([a, a[is_storable]]) for a in (logits, targets)]
    np.testing.assert_allclose(again, gaps(*twice).mean(), rtol=2e-5)


def test_what_is_not_requested_is_none(rng):
    _, _, per_class, valid, diagnostics = step(*batch(rng), *empty(), per_class=False, diagnostics=False)
    assert per_class is None
    assert diagnostics is None
    assert valid.all()


def test_figures_iid_rows_and_local_rows(backend, rng):
    logits, targets = batch(rng, 6, 2)[0], np.asarray([0, 1, 1, 0, 1, -100])
    iid, local = np.asarray([1, 1, 0, 0, 1, 1], bool), np.asarray([1, 0, 1, 0, 0, 1], bool)

    def two_steps(a, b, i, m, *queue):
        run = partial(step, objective=toy.with_figures, iid_aware=True, local=m)
        return run(a, b, *run(a, b, *queue, iid_mask=i)[1])

    *_, diagnostics = backend.run(two_steps, logits, targets, iid, local, *empty(6, 2))
    np.testing.assert_array_equal(diagnostics.band_neg_count, [5 + 3, 5 + 3])
    np.testing.assert_array_equal(diagnostics.grad_pos_count, [1, 1])
    assert np.isfinite(diagnostics.t_alpha).all()
    assert diagnostics.tau_eff is None


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_expected_loss_of_a_subsampled_pool_is_that_of_the_pool(rng, multilabel):
    logits = (rng.standard_normal((150, 3)) + 2).astype(np.float64)
    targets = rng.choice(3, 150, p=[0.9, 0.07, 0.03])
    if multilabel:
        targets = (rng.random((150, 3)) < [0.5, 0.1, 0.02]).astype(int)
        targets[rng.random((150, 3)) < 0.1] = -100
    run = partial(pooled_loss, toy.total, logits, targets, empty(0, multilabel=multilabel), multilabel=multilabel)
    full, _ = run()
    draws = [run(max_pool_size=30, noise=rng.random(150))[0] for _ in range(800)]
    assert abs(np.mean(draws) - full) < 5 * np.std(draws) / np.sqrt(len(draws))
    assert np.std(draws) > 0


def test_subsampling_counts_kept_rows_with_their_multiplicity(value_backend, rng):
    logits, targets = batch(rng, 40, 1)[0], (np.arange(40) < 3).astype(int)

    def run(a, b, noise, *queue):
        return pooled_loss(toy.total, a, b, Queue(*queue), max_pool_size=12, noise=noise)[1].diagnostics

    diagnostics = value_backend.run(run, np.ones_like(logits), targets, rng.random(40, np.float32), *empty(0, 1))
    np.testing.assert_array_equal(diagnostics.grad_pos_count, [3])  # a quota of 3 keeps all positives


def test_dtypes_of_the_loss(value_backend, rng):
    logits, targets = batch(rng)
    for given, expected in [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]:
        if value_backend.name == "strict" and given == np.float16:
            continue
        loss, queue, per_class, *_ = value_backend.run(step, logits.astype(given), targets, *empty(4))
        assert loss.dtype == per_class.dtype == expected
        assert queue.logits.dtype == np.float32


WRONG_CALLS = {
    "targets of a wrong length": ({"targets": np.zeros(3, int)}, ValueError, r"targets must be of shape \[rows\]"),
    "float class ids": (
        {"targets": np.zeros(4)},
        TypeError,
        r"targets must be integer class ids if C > 1, got dtype float64; cast them$",
    ),
    "logits of one axis": (
        {"logits": np.zeros(4)},
        ValueError,
        r"logits must be of shape \[rows, classes\] \(for one class pass logits",
    ),
    "integer logits": ({"logits": np.zeros((4, 2), int)}, TypeError, "logits must be a floating-point array"),
    "queue of other classes": ({"queue": empty(4, 3)}, ValueError, r"queue.logits must be .* got \(4, 3\)"),
    "queue of other targets": ({"queue": empty(4, 2, multilabel=True)}, ValueError, "queue.targets must be"),
    "reduction": ({"reduction": "avg"}, ValueError, "reduction must be one of 'mean', 'sum', 'none', got 'avg'"),
    "labels per class": (
        {"targets": np.eye(4, 2, dtype=int)},
        ValueError,
        r"targets must be of shape \[rows\] = \(4,\), got \(4, 2\); one-hot: .*multilabel=True$",
    ),
    "multilabel targets": ({"multilabel": True}, ValueError, "targets must be of shape .*multilabel=True"),
    "weights of a wrong shape": ({"sample_weight": np.ones((4, 1))}, ValueError, "sample_weight must be of shape"),
    "mask of integers": ({"iid_mask": np.ones(4, int)}, TypeError, "iid_mask must be a bool array"),
    "small pool": ({"max_pool_size": 1}, ValueError, "max_pool_size must be an integer >= 2, got 1"),
    "no noise": ({"max_pool_size": 2}, ValueError, "noise must be given"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_errors_name_what_is_wrong(case):
    change, error, message = WRONG_CALLS[case]
    call = {"logits": np.zeros((4, 2)), "targets": np.zeros(4, int), "queue": empty(4, 2)} | change
    with pytest.raises(error, match=message):
        pooled_loss(toy.gap, call.pop("logits"), call.pop("targets"), call.pop("queue"), **call)

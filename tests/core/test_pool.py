import numpy as np
import pytest

from imbalanced_core.pool.labels import one_vs_rest, read_labels
from imbalanced_core.pool.subsampling import Pool, strata, subsample

CLASS_SIZES = (70, 9, 3, 1)  # of 4 classes


def make_pool(logits, labels):
    """A pool of numpy arrays."""
    m = len(labels)
    true = np.ones(m, bool)
    return Pool(logits, labels, np.ones(m, np.float32), true, true, None)


def imbalanced_pool():
    """A pool in which each logit is the row number: 90 rows, 83 of them not ignored."""
    labels = np.repeat(np.arange(5), [*CLASS_SIZES, 7]).astype(np.int32)
    labels[labels == 4] = -1
    labels = np.random.default_rng(1).permutation(labels)
    logits = np.arange(len(labels), dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)
    return make_pool(logits, labels)


def test_one_vs_rest(every_backend):
    ids = np.asarray([2, 0, -1, 1], np.int32)
    expected = [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    np.testing.assert_array_equal(every_backend.run(lambda t: one_vs_rest(t, 3), ids), expected)
    binary = every_backend.run(lambda t: one_vs_rest(t, 1), np.asarray([0, 1, -1], np.int32))
    np.testing.assert_array_equal(binary, [[False, True, False]])
    labels = np.asarray([[1, 0], [-1, 1], [1, 1]], np.int32)
    np.testing.assert_array_equal(every_backend.run(lambda t: one_vs_rest(t, 2), labels), [[1, 0, 1], [0, 1, 1]])


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float32])
@pytest.mark.parametrize("ignore_index", [-100, 0])
def test_labels_say_what_is_ignored_and_what_is_bad(backend, dtype, ignore_index):
    options = {"num_classes": 3, "ignore_index": ignore_index}
    targets = np.asarray([0, 2, ignore_index, 3, -1], dtype)
    first = -1 if ignore_index == 0 else 0
    if dtype != np.float32:
        labels, is_bad = backend.run(lambda t: read_labels(t, rows=5, multilabel=False, **options), targets)
        np.testing.assert_array_equal(labels, [first, 2, -1, -1, -1])
        np.testing.assert_array_equal(is_bad, [False, False, False, True, True])
        assert labels.dtype == np.int32
    targets = np.asarray([[0, 1, 1], [ignore_index, 1, 1], [ignore_index] * 3, [1, 1, 2], [-1, 1, 1]], dtype)
    labels, is_bad = backend.run(lambda t: read_labels(t, rows=5, multilabel=True, **options), targets)
    np.testing.assert_array_equal(labels, [[first, 1, 1], [-1, 1, 1], [-1] * 3, [-1] * 3, [-1] * 3])
    np.testing.assert_array_equal(is_bad, [False, False, False, True, True])


def test_every_class_gets_its_quota_and_the_rest_is_filled(every_backend, rng):
    pool = imbalanced_pool()

    def kept(noise, *arrays):
        small = subsample(Pool(*arrays, None), size=24, noise=noise)
        return small.labels, small.logits[:, 0], small.multiplicity

    labels, rows, multiplicity = every_backend.run(kept, rng.random(90, np.float32), *pool[:5])
    assert (labels >= 0).all()
    assert len(set(rows)) == 24
    np.testing.assert_array_equal(labels, pool.labels[rows.astype(int)])
    counts = np.bincount(labels, minlength=4)
    assert (counts >= [3, 3, 3, 1]).all()  # the quota is 24 // (2 · 4) = 3, and class 3 has a single row
    # 10 rows are reserved, so 14 of the 73 others are drawn
    probability = [3 / n + (1 - 3 / n) * 14 / 73 if n > 3 else 1 for n in CLASS_SIZES]
    np.testing.assert_allclose(multiplicity, 1 / np.asarray(probability)[labels], rtol=1e-6)


@pytest.mark.parametrize("size", [4, 5, 24, 60, 82])
def test_rows_are_kept_with_the_stated_probability(size):
    pool, rng, draws = imbalanced_pool(), np.random.default_rng(3), 4000
    hits, weight = np.zeros(4), np.zeros(4)
    for _ in range(draws):
        small = subsample(pool, size=size, noise=rng.random(len(pool.labels)))
        np.add.at(hits, small.labels, 1)
        np.add.at(weight, small.labels, small.multiplicity)
    quota = max(1, size // 8)
    reserved = np.minimum(quota, CLASS_SIZES)
    share = reserved / CLASS_SIZES
    probability = share + (1 - share) * (size - reserved.sum()) / (83 - reserved.sum())
    error = 5 * np.sqrt(np.asarray(CLASS_SIZES) * 0.25 / draws) + 1e-9
    assert (np.abs(hits / draws - probability * CLASS_SIZES) < error).all()
    assert (np.abs(weight / draws - CLASS_SIZES) < error / probability).all()


def test_every_row_of_a_class_has_the_same_chance():
    pool, rng, draws = imbalanced_pool(), np.random.default_rng(4), 6000
    hits = np.zeros(len(pool.labels))
    for _ in range(draws):
        hits[subsample(pool, size=24, noise=rng.random(len(pool.labels))).logits[:, 0].astype(int)] += 1
    for c in range(3):
        chance = hits[pool.labels == c] / draws
        assert np.abs(chance - chance.mean()).max() < 5 * np.sqrt(0.25 / draws)


def test_a_pool_that_fits_is_kept_whole(backend, rng):
    pool = imbalanced_pool()

    def kept(noise, *arrays):
        small = subsample(Pool(*arrays, None), size=83, noise=noise)
        return small.logits[:, 0], small.multiplicity, small.labels

    rows, multiplicity, labels = backend.run(kept, rng.random(90, np.float32), *pool[:5])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(pool.labels >= 0))
    assert (multiplicity == 1).all()
    assert (labels >= 0).all()
    small = subsample(pool, size=88, noise=rng.random(90))
    assert (small.labels >= 0).sum() == 83
    assert small.logits.shape == (88, 4)


def test_the_same_noise_keeps_the_same_rows(rng):
    pool, noise = imbalanced_pool(), rng.random(90)
    first, second = (subsample(pool, size=20, noise=noise) for _ in range(2))
    np.testing.assert_array_equal(first.logits, second.logits)
    assert not np.array_equal(first.logits, subsample(pool, size=20, noise=rng.random(90)).logits)


def test_a_multilabel_row_counts_for_its_rarest_positive_class(backend):
    # class 0 has 3 positives, class 1 has 2, class 2 has 2; the −1 entry is a missing label
    labels = np.asarray([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [0, -1, 0], [-1] * 3], np.int32)
    logits = np.zeros((7, 3), np.float32)
    pool = make_pool(logits, labels)
    result = backend.run(lambda *arrays: strata(Pool(*arrays, None)), *pool[:5])
    np.testing.assert_array_equal(result, [1, 2, 1, 0, 3, 3, 4])


def test_multilabel_subsampling_keeps_rare_positives(rng):
    labels = np.zeros((200, 2), np.int32)
    labels[:100, 0] = 1
    labels[7, 1] = 1
    pool = make_pool(np.arange(400, dtype=np.float32).reshape(200, 2), labels)
    for _ in range(20):
        small = subsample(pool, size=12, noise=rng.random(200))
        assert small.labels[:, 1].sum() == 1
        assert small.multiplicity[small.labels[:, 1] == 1] == 1


def test_a_size_below_the_number_of_classes_is_refused(rng):
    with pytest.raises(ValueError, match="max_pool_size must be an integer >= 4, got 3"):
        subsample(imbalanced_pool(), size=3, noise=rng.random(90))
    with pytest.raises(ValueError, match=r"noise must be of shape \[rows\] = \(90,\), got \(89,\)"):
        subsample(imbalanced_pool(), size=20, noise=rng.random(89))

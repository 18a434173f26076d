import numpy as np
import pytest

from imbalanced_core.ops.namespace import array_namespace
from imbalanced_core.pool import queue as queues
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import pooled_loss


def numbered(first, n, num_classes=2, *, multilabel=False):
    """Rows whose logits, targets and weights identify the row number."""
    number = np.arange(first, first + n)
    logits = (number[:, None] * np.ones(num_classes)).astype(np.float32)
    targets = np.tile(number[:, None] % 2, num_classes) if multilabel else number % num_classes
    return Queue(logits, targets.astype(np.int32), number.astype(np.float32), number % 3 > 0)


def run_pushes(backend, size, batches, *, multilabel=False):
    start = queues.empty(size, 2, xp=np, multilabel=multilabel)

    def pushes(*arrays):
        queue = Queue(*arrays[:4])
        for i in range(4, len(arrays), 4):
            queue = queues.push(queue, Queue(*arrays[i : i + 4]))
        return queue

    return backend.run(pushes, *start, *(array for batch in batches for array in batch))


def assert_rows(queue, expected):
    for name, array, values in zip(Queue._fields, queue, expected, strict=True):
        np.testing.assert_array_equal(array, values, err_msg=name)
        assert array.dtype == values.dtype


@pytest.mark.parametrize("multilabel", [False, True])
def test_newest_row_last_each_batch_in_its_own_order(every_backend, multilabel):
    batches = [numbered(0, 3, multilabel=multilabel), numbered(10, 2, multilabel=multilabel)]
    queue = run_pushes(every_backend, 4, batches, multilabel=multilabel)
    assert_rows(queue, Queue(*(np.concatenate(arrays)[-4:] for arrays in zip(*batches, strict=True))))
    np.testing.assert_array_equal(queue.logits[:, 0], [1, 2, 10, 11])


def test_empty_slots_are_ignored_and_the_last_rows_of_a_large_batch_stay(every_backend):
    queue = run_pushes(every_backend, 4, [numbered(5, 1)])
    np.testing.assert_array_equal(queue.targets, [-1, -1, -1, 1])
    for n in (3, 5):
        queue = run_pushes(every_backend, 3, [numbered(0, 2), numbered(10, n)])
        assert_rows(queue, Queue(*(array[-3:] for array in numbered(10, n))))


def test_a_queue_of_size_zero(every_backend):
    queue = run_pushes(every_backend, 0, [numbered(0, 2)])
    assert [array.shape for array in queue] == [(0, 2), (0,), (0,), (0,)]


def test_bad_rows_become_empty_slots(every_backend):
    batch = numbered(1, 4)
    batch.logits[0, 1], batch.logits[2, 0], batch.logits[3, 1] = np.nan, np.inf, -np.inf
    queue = run_pushes(every_backend, 5, [batch])
    np.testing.assert_array_equal(queue.targets, [-1, -1, 0, -1, -1])
    np.testing.assert_array_equal(queue.logits[:, 0], [0, 0, 2, 0, 0])
    np.testing.assert_array_equal(queue.is_iid, [False, False, True, False, False])


def test_numbers_that_overflow_the_queue_are_not_kept(every_backend):
    if every_backend.name == "strict":
        pytest.skip("the standard has no half precision")
    start = queues.empty(4, 1, xp=np, dtype=np.float16)
    assert start.weights.dtype == np.float32
    weights = np.asarray([1.0, 1.0, 1e300])  # the last is infinite in float32
    batch = Queue(np.asarray([[7e4], [2.0], [3.0]]), np.ones(3, np.int32), weights, np.ones(3, bool))
    with np.errstate(over="ignore"):
        queue = every_backend.run(lambda *a: queues.push(Queue(*a[:4]), Queue(*a[4:])), *start, *batch)
    assert queue.logits.dtype == np.float16
    np.testing.assert_array_equal(queue.targets, [-1, -1, 1, -1])
    np.testing.assert_array_equal(queue.logits[:, 0], [0, 0, 2, 0])
    np.testing.assert_array_equal(queue.weights, [0, 0, 1, 0])


def test_a_step_ranks_the_queue_in_front_of_the_batch(every_backend):
    start, batch = Queue(*numbered(10, 2)), numbered(1, 3)

    def seen(*arrays):
        found = []

        def objective(items, *, diagnostics):
            found.append(items)
            xp = array_namespace(items.scores)
            loss = xp.sum(items.scores, axis=1)
            return loss, xp.ones_like(loss, dtype=xp.bool), {}

        logits, targets, weights, is_iid = arrays[4:]
        options = {"sample_weight": weights, "iid_mask": is_iid, "iid_aware": True, "live_aware": True}
        pooled_loss(objective, logits, targets, Queue(*arrays[:4]), **options)
        return tuple(found[0])

    scores, where, positives, negatives, numerator, multiplicity, is_iid, live, has_nan, first = every_backend.run(
        seen, *start, *batch
    )
    np.testing.assert_array_equal(scores, [[10, 11, 1, 2, 3]] * 2)
    assert where.all()
    np.testing.assert_array_equal(positives, [[1, 0, 0, 1, 0], [0, 1, 1, 0, 1]])
    np.testing.assert_array_equal(negatives, ~positives)
    np.testing.assert_array_equal(numerator, [[10, 0, 0, 2, 0], [0, 11, 1, 0, 3]])
    assert multiplicity is None
    np.testing.assert_array_equal(is_iid, [[True, True, True, True, False]])
    np.testing.assert_array_equal(live, [[False, False, True, True, True]])
    assert not has_nan.any()
    assert first == len(start.weights)


def test_queued_rows_carry_no_gradient(every_grad_backend):
    batch = numbered(1, 3)

    def use(logits, *rest):
        xp = array_namespace(logits)
        queue = queues.push(Queue(*rest[:4]), Queue(logits, *rest[4:]))

        def objective(items, *, diagnostics):
            loss = xp.sum(items.scores * 2.0, axis=1)
            return loss, xp.ones_like(loss, dtype=xp.bool), {}

        return pooled_loss(objective, logits, rest[4], queue, reduction="sum")[0] + xp.sum(queue.logits)

    start = queues.empty(4, 2, xp=np)
    value, gradient = every_grad_backend.value_and_grad(use, batch.logits, *start, *batch[1:])
    assert value == 2 * 2 * 2 * (1 + 2 + 3) + 2 * (1 + 2 + 3)
    np.testing.assert_array_equal(gradient, np.full((3, 2), 2.0))


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="queue_size must be an integer >= 0, got -1"):
        queues.empty(-1, 2, xp=np)
    with pytest.raises(ValueError, match="num_classes must be an integer >= 1, got 0"):
        queues.empty(4, 0, xp=np)
    with pytest.raises(ValueError, match=r"queue_size must be an integer >= 0, got 4\.0"):
        queues.empty(4.0, 1, xp=np)
    with pytest.raises(ValueError, match="multilabel must be True or False, got 'yes'"):
        queues.empty(4, 1, xp=np, multilabel="yes")

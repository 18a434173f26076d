import numpy as np
import pytest

from imbalanced_core.ops.namespace import array_namespace
from imbalanced_core.pool import queue as queues
from imbalanced_core.pool.queue import Queue, Rows


def numbered(first, n, num_classes=2, *, multilabel=False):
    """Rows whose logits, targets and weights tell their number."""
    number = np.arange(first, first + n)
    logits = (number[:, None] * np.ones(num_classes)).astype(np.float32)
    targets = np.tile(number[:, None] % 2, num_classes) if multilabel else number % num_classes
    return Rows(logits, targets.astype(np.int32), number.astype(np.float32), number % 3 > 0)


def run_pushes(backend, size, batches, *, multilabel=False):
    start = queues.empty(size, 2, xp=np, multilabel=multilabel)

    def pushes(*arrays):
        queue = Queue(*arrays[:4])
        for i in range(4, len(arrays), 4):
            queue = queues.push(queue, Rows(*arrays[i : i + 4]))
        return queue

    return backend.run(pushes, *start, *(array for batch in batches for array in batch))


def assert_rows(queue, expected):
    for name, array, values in zip(Queue._fields, queue, expected, strict=True):
        np.testing.assert_array_equal(array, values, err_msg=name)
        assert array.dtype == values.dtype


@pytest.mark.parametrize("multilabel", [False, True])
def test_newest_batch_first_each_in_its_own_order(backend, multilabel):
    batches = [numbered(0, 3, multilabel=multilabel), numbered(10, 2, multilabel=multilabel)]
    queue = run_pushes(backend, 4, batches, multilabel=multilabel)
    expected = Rows(*(np.concatenate([new, old])[:4] for new, old in zip(batches[1], batches[0], strict=True)))
    assert_rows(queue, expected)
    np.testing.assert_array_equal(queue.logits[:, 0], [10, 11, 0, 1])


def test_empty_slots_are_ignored_and_a_large_batch_is_cut(backend):
    queue = run_pushes(backend, 4, [numbered(5, 1)])
    np.testing.assert_array_equal(queue.targets, [1, -100, -100, -100])
    assert_rows(run_pushes(backend, 3, [numbered(0, 2), numbered(10, 5)]), Rows(*(a[:3] for a in numbered(10, 5))))


def test_a_queue_of_size_zero(backend):
    queue = run_pushes(backend, 0, [numbered(0, 2)])
    assert [array.shape for array in queue] == [(0, 2), (0,), (0,), (0,)]


def test_bad_rows_become_empty_slots(backend):
    batch = numbered(1, 4)
    batch.logits[0, 1], batch.logits[2, 0], batch.weights[3] = np.nan, np.inf, np.inf
    queue = run_pushes(backend, 5, [batch])
    np.testing.assert_array_equal(queue.targets, [-100, 0, -100, -100, -100])
    np.testing.assert_array_equal(queue.logits[:, 0], [0, 2, 0, 0, 0])
    assert np.isfinite(queue.weights).all()
    assert not queue.is_iid[0]


def test_a_number_that_overflows_the_queue_is_not_kept(backend):
    if backend.name == "strict":
        pytest.skip("the standard has no half precision")
    start = queues.empty(3, 1, xp=np, dtype=np.float16)
    assert start.weights.dtype == np.float32
    batch = Rows(np.asarray([[7e4], [2.0]], np.float32), np.ones(2, np.int32), np.ones(2, np.float32), np.ones(2, bool))
    with np.errstate(over="ignore"):
        queue = backend.run(lambda *a: queues.push(Queue(*a[:4]), Rows(*a[4:])), *start, *batch)
    assert queue.logits.dtype == np.float16
    np.testing.assert_array_equal(queue.targets, [-100, 1, -100])


def test_join_puts_the_batch_in_front(backend):
    start = Queue(*numbered(10, 2))
    batch, local = numbered(0, 3), np.asarray([True, False, True])
    pool = backend.run(lambda m, *a: queues.join(Queue(*a[:4]), Rows(*a[4:]), local=m), local, *start, *batch)
    np.testing.assert_array_equal(pool.logits[:, 1], [0, 1, 2, 10, 11])
    np.testing.assert_array_equal(pool.weights, [0, 1, 2, 10, 11])
    np.testing.assert_array_equal(pool.live, [True, True, True, False, False])
    np.testing.assert_array_equal(pool.local, [True, False, True, False, False])
    assert pool.where.all()


def test_queued_rows_carry_no_gradient(grad_backend):
    batch = numbered(0, 3)

    def use(logits, *rest):
        xp = array_namespace(logits)
        queue = queues.push(Queue(*rest[:4]), Rows(logits, *rest[4:]))
        pool = queues.join(queue, Rows(logits, *rest[4:]))
        return xp.sum(pool.logits * 2.0)

    start = queues.empty(4, 2, xp=np)
    _, gradient = grad_backend.value_and_grad(use, batch.logits, *start, *batch[1:])
    np.testing.assert_array_equal(gradient, np.full((3, 2), 2.0))


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="queue_size must be an integer >= 0, got -1"):
        queues.empty(-1, 2, xp=np)
    with pytest.raises(ValueError, match="num_classes must be an integer >= 1, got 0"):
        queues.empty(4, 0, xp=np)
    with pytest.raises(ValueError, match=r"queue_size must be an integer >= 0, got 4\.0"):
        queues.empty(4.0, 1, xp=np)

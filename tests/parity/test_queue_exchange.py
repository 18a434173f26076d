"""A run that starts in one framework and continues in the other has the same queue, and hence the same losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import QUEUE_IGNORED, queue_after

import imbalanced_jax
import imbalanced_torch

STEPS, SWITCH, QUEUE = 20, 10, 30
TASKS = {"classes": (3, False), "multilabel": (2, True)}


def batch(step, task):
    classes, multilabel = TASKS[task]
    rng = np.random.default_rng(step)
    targets = rng.integers(0, 2 if multilabel else classes, (11, classes) if multilabel else 11)
    targets[rng.random(targets.shape) < 0.1] = -100
    weights = rng.random(11).astype(np.float32)
    return rng.standard_normal((11, classes)).astype(np.float32), targets, weights, rng.random(11) < 0.8


def make_torch(task, size=QUEUE):
    classes, multilabel = TASKS[task]
    return imbalanced_torch.PAUCAtBudgetLoss(
        classes, beta=0.4, surrogate="pairwise", queue_size=size, multilabel=multilabel
    )


def run_torch(loss_fn, task, steps):
    losses = []
    for step in steps:
        logits, targets, weights, iid = map(torch.from_numpy, batch(step, task))
        losses.append(loss_fn(logits, targets, iid, sample_weight=weights).item())
    return losses


@functools.cache
def jax_step(task):
    @jax.jit
    def step(logits, targets, weights, iid, queue):
        options = {"beta": 0.4, "surrogate": "pairwise", "multilabel": TASKS[task][1]}
        return imbalanced_jax.pauc_at_budget_loss(
            logits, targets, queue, sample_weight=weights, iid_mask=iid, **options
        )

    return step


def run_jax(queue, task, steps):
    losses = []
    for step in steps:
        loss, aux = jax_step(task)(*map(jnp.asarray, batch(step, task)), queue)
        queue = aux.queue
        losses.append(float(loss))
    return losses, queue


def to_jax(loss_fn):
    return imbalanced_jax.Queue(*(jnp.array(part.numpy(force=True)) for part in loss_fn.queue))


@pytest.mark.parametrize("task", TASKS)
def test_a_run_goes_on_in_the_other_framework(task):
    unbroken = make_torch(task)
    expected = run_torch(unbroken, task, range(STEPS))

    first = make_torch(task)
    losses = run_torch(first, task, range(SWITCH))
    after, queue = run_jax(to_jax(first), task, range(SWITCH, STEPS))
    np.testing.assert_allclose(losses + after, expected, rtol=1e-5)
    for ours, theirs in zip(queue, unbroken.queue, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # bitwise, with the same dtypes
        assert ours.dtype == theirs.numpy().dtype

    classes, multilabel = TASKS[task]
    losses, queue = run_jax(imbalanced_jax.init_queue(QUEUE, classes, multilabel=multilabel), task, range(SWITCH))
    second = make_torch(task)
    places = [part.data_ptr() for part in second.queue]
    second.queue = queue
    assert [part.data_ptr() for part in second.queue] == places
    np.testing.assert_allclose(losses + run_torch(second, task, range(SWITCH, STEPS)), expected, rtol=1e-5)
    for ours, theirs in zip(second.queue, unbroken.queue, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [0, 12, 40])
def test_a_queue_of_another_size_keeps_the_newest_rows(size):
    source = make_torch("classes")
    run_torch(source, "classes", range(4))
    other = make_torch("classes", size)
    other.queue = to_jax(source)
    for kept, column in zip(other.queue, source.queue, strict=True):
        empty = torch.full((size, *column.shape[1:]), QUEUE_IGNORED) if column.dtype == torch.int32 else None
        empty = torch.zeros((size, *column.shape[1:])) if empty is None else empty
        np.testing.assert_array_equal(kept, queue_after(empty, column))


def test_what_is_no_queue_of_this_loss_is_refused():
    loss_fn = make_torch("classes")
    before = [part.clone() for part in loss_fn.queue]
    with pytest.raises(TypeError, match=r"queue must be a Queue, such as .* of JAX, got dict"):
        loss_fn.queue = loss_fn.queue._asdict()
    with pytest.raises(ValueError, match=r"queue.logits must be of shape \[slots, classes\] = \(4, 3\), got \(4, 2\)"):
        loss_fn.queue = imbalanced_jax.init_queue(4, 2)
    with pytest.raises(ValueError, match=r"queue.weights must be of shape \[slots\] = \(30,\), got \(2,\)"):
        loss_fn.queue = loss_fn.queue._replace(weights=torch.ones(2))
    with pytest.raises(TypeError, match=r"queue\.targets must be an integer array, got dtype torch\.float32"):
        loss_fn.queue = loss_fn.queue._replace(targets=torch.rand(30))
    with pytest.raises(ValueError, match=r"class_parallel must be False to assign a queue; use load_state_dict\(\)"):
        imbalanced_torch.SmoothAPLoss(3, class_parallel=True).queue = loss_fn.queue
    assert all(map(torch.equal, before, loss_fn.queue))


def test_a_preset_goes_on_with_queue_and_gate():
    make = functools.partial(imbalanced_torch.PAUCAtBudgetLoss.recommended, 2, 0.1, queue_size=8)
    in_jax = functools.partial(imbalanced_jax.presets.pauc_at_budget, budget=0.1)
    generator = np.random.default_rng(0)
    batches = [(generator.standard_normal((16, 2)).astype(np.float32), np.arange(16) % 2) for _ in range(4)]
    unbroken, second, state = make(), make(), imbalanced_jax.presets.init_state(2, queue_size=8)
    expected = [unbroken(*map(torch.from_numpy, batch)) for batch in batches]
    for logits, targets in batches[:2]:
        _, (state, _) = in_jax(jnp.asarray(logits), jnp.asarray(targets), state)
    second.queue, second.gate = state
    assert (second.gate.reached < 1).all()
    torch.testing.assert_close([second(*map(torch.from_numpy, batch)) for batch in batches[2:]], expected[2:])
    with pytest.raises(TypeError, match=r"gate must be a Gate, .*, got dict"):
        second.gate = state.gate._asdict()
    with pytest.raises(ValueError, match="gated must be True to assign a gate, got False"):
        make_torch("classes").gate = state.gate


def test_a_checkpoint_restored_as_a_dict_is_a_queue_again(tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    _, queue = run_jax(imbalanced_jax.init_queue(QUEUE, 3), "classes", range(4))
    state = imbalanced_jax.presets.PresetState(queue, imbalanced_jax.init_gate(3))
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "queue", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "queue")
    again = imbalanced_jax.Queue(**restored["queue"])
    jax.tree.map(np.testing.assert_array_equal, state, type(state)(again, imbalanced_jax.Gate(**restored["gate"])))
    assert run_jax(again, "classes", range(4, 6))[0] == run_jax(queue, "classes", range(4, 6))[0]

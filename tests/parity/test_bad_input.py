"""Every loss on every bad input, in both frameworks: it works or its error says what is wrong."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from bad_input_cases import BLEND, CLASS_PARALLEL, LOSSES, ROWS, call, evaluate
from losses import IGNORED

import imbalanced_jax
import imbalanced_torch
from imbalanced_core.ops import on_torch
from imbalanced_core.ops.on_torch import order, pieces
from imbalanced_torch import functional

every_library = pytest.mark.parametrize("library", ["torch", "jax"])
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
every_loss_and_class_parallel = pytest.mark.parametrize("loss", [*LOSSES, CLASS_PARALLEL], ids=lambda loss: loss.name)
class_losses = pytest.mark.parametrize("loss", [x for x in LOSSES if x.case.kind == "ids"], ids=lambda loss: loss.name)


def change(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


ONES = np.ones(ROWS, np.float32)
# the change, the error, and the parts of its message: the condition and the value given
WRONG_CALLS = {
    "integer logits": (lambda x, y: (x.astype(np.int64), y), TypeError, "(logits|inputs) must be a floating-point"),
    "complex logits": (lambda x, y: (x + 0j, y), TypeError, "must be .* got dtype .*complex64"),
    "logits in a list": (lambda x, y: (x.tolist(), y), TypeError, "(logits|inputs) must be a .*, got builtins.list"),
    "no logits": (lambda _, y: (None, y), TypeError, "(logits|inputs) must be a .*, got None"),
    "no targets": (lambda x, _: (x, None), TypeError, "targets must be a .*, got None"),
    "targets in a list": (lambda x, y: (x, y.tolist()), TypeError, "targets must be a .*, got builtins.list"),
    "complex targets": (lambda x, y: (x, y + 0j), TypeError, "targets must be an array of bools.*complex"),
    "short targets": (lambda x, y: (x, y[1:]), ValueError, r"targets must be of .*\(12.*got \(11"),
    "a negative class": (lambda x, y: (x, y * 0 - 1), ValueError, r"targets must be .*, got -1"),
    "a short weight": (lambda x, y: (x, y, ONES[1:]), ValueError, r"sample_weight must be of shape .*, got \(11,\)"),
    "a negative weight": (lambda x, y: (x, y, -ONES), ValueError, "sample_weight must be finite and >= 0, got -1.0"),
    "an infinite weight": (lambda x, y: (x, y, ONES / 0), ValueError, "sample_weight must be finite .*, got inf"),
    "a NaN weight": (lambda x, y: (x, y, ONES * np.nan), ValueError, "sample_weight must be finite .*, got nan"),
    "a complex weight": (lambda x, y: (x, y, ONES + 0j), TypeError, "sample_weight must be an array of bools"),
    "weights in a list": (lambda x, y: (x, y, [1.0] * 12), TypeError, "sample_weight must be a .*, got builtins.list"),
}
WRONG_LABEL_CALLS = {
    "a class too many": (lambda x, y: (x, y * 0 + 7), ValueError, r"targets must be .*, got 7"),
}
WRONG_CLASS_CALLS = {
    **WRONG_LABEL_CALLS,
    "a weight per logit of a row": (lambda x, y: (x, y, ONES[:, None]), ValueError, "sample_weight must be of shape"),
    "logits without classes": (lambda x, y: (x[:, 0], y), ValueError, "(logits|inputs|targets) must be of shape"),
    "float ids": (lambda x, y: (x, y.astype(np.float32)), (TypeError, ValueError), "targets must be .*, got"),
}


@every_library
@every_loss
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_calls_say_what_must_hold_and_what_was_given(library, loss):
    cases = WRONG_CALLS | {"labels": WRONG_LABEL_CALLS, "lists": {}}.get(loss.case.kind, WRONG_CLASS_CALLS)
    for name, (make, error, message) in cases.items():
        with pytest.raises(error) as caught:
            call(library, loss, *make(*loss.batch()))
        assert re.search(loss.case.wording(message), str(caught.value)), f"{name}: {caught.value}"


@every_library
@every_loss
def test_arrays_of_the_other_framework_are_refused(library, loss):
    logits, targets = loss.batch()
    foreign = torch.from_numpy(logits) if library == "jax" else jnp.asarray(logits)
    for arguments in ((foreign, targets), (logits, foreign), (logits, targets, foreign[:, 0])):
        message = loss.case.wording(r"(logits|inputs|targets|sample_weight) must be a .*, got ")
        with pytest.raises(TypeError, match=message):
            call(library, loss, *arguments)


BAD_VALUES = {
    "great target": lambda x, y, w: (x, change(y, 2, 7), w),
    "negative target": lambda x, y, w: (x, change(y, 2, -1), w),
    "negative weight": lambda x, y, w: (x, y, change(w, 2, -1)),
    "infinite weight": lambda x, y, w: (x, y, change(w, 2, np.inf)),
    "NaN weight": lambda x, y, w: (x, y, change(w, 2, np.nan)),
    "NaN logit": lambda x, y, w: (change(x, (2, 0), np.nan), y, w),
}


@every_library
@every_loss_and_class_parallel
def test_bad_values_that_cannot_be_seen_make_the_loss_nan(library, loss, monkeypatch):
    """In torch as on an accelerator, where reading values would wait for the device."""
    looking = on_torch, pieces, order
    for module in (imbalanced_torch.validation, *looking):
        monkeypatch.setattr(module, "can_read" if hasattr(module, "can_read") else "is_eager_cpu", lambda _: False)
    logits, targets = loss.batch()
    assert np.isfinite(evaluate(library, loss, logits, targets)[0])
    for name in BAD_VALUES.keys() - ({"great target"} if loss.case.kind == "lists" else set()):
        assert np.isnan(evaluate(library, loss, *BAD_VALUES[name](logits, targets, ONES))[0]), name


@every_library
@every_loss_and_class_parallel
def test_ignored_rows_may_hold_anything(library, loss):
    logits, targets = loss.batch()
    targets = change(targets, [0, 5, 6], IGNORED)
    expected = evaluate(library, loss, change(logits, [0, 5, 6], 0.0), targets)
    dirty = logits.copy()
    dirty[0], dirty[5], dirty[6] = np.nan, np.inf, [3e38, -np.inf, 0.0]
    weights = change(change(change(ONES, 0, np.nan), 5, -1.0), 6, np.inf)
    value, gradient = evaluate(library, loss, dirty, targets, weights)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-9)
    assert (gradient[[0, 5, 6]] == 0).all()
    assert np.abs(gradient).max() > 0
    assert np.isfinite(np.asarray(call(library, loss, dirty, targets, weights)))  # nor does an eager call reject them


@every_library
@every_loss_and_class_parallel
def test_batches_without_a_loss_are_zero_with_zero_gradient(library, loss):
    logits, targets = loss.batch()
    assert np.asarray(call(library, loss, logits[:0], targets[:0])) == 0
    batches = {
        "all ignored": (logits, np.full_like(targets, IGNORED), ONES),
        "all weights zero": (logits, targets, 0 * ONES),
    }
    if loss.case.ranks and (library == "torch" or loss is LOSSES[0]):  # each needs a compilation
        column, labels = logits[:, :1], np.arange(ROWS) % 2
        batches["no positive"] = (column, 0 * labels, ONES)
        if loss.case.needs_a_negative:
            batches["no negative"] = (column, 0 * labels + 1, ONES)
    for name, batch in batches.items():
        value, gradient = evaluate(library, loss, *batch)
        assert value == 0, name
        assert (gradient == 0).all(), name


@every_library
@every_loss
def test_a_head_that_starts_at_zero_is_trained(library, loss):
    logits, targets = loss.batch()
    value, gradient = evaluate(library, loss, 0 * logits, targets)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max(axis=0).min() > 0  # in every class


@every_library
@every_loss
def test_huge_and_infinite_logits(library, loss):
    logits, targets = loss.batch()
    extremes = {"1e4": 1e4 * np.sign(logits), "1e30": np.float32(1e30) * logits}
    if loss.case.ranks or loss.case.kind == "lists":
        extremes["some inf"] = change(change(logits, (2, 0), np.inf), (5, 1), -np.inf)
        extremes["all inf"] = np.inf * np.sign(logits)
    for name, extreme in extremes.items():
        value, gradient = evaluate(library, loss, extreme, targets)
        assert np.isfinite(value), name
        assert np.isfinite(gradient).all(), name


@class_losses
def test_targets_of_any_integer_type(loss):
    """Torch only, since it cannot compare the larger unsigned types; JAX treats all integers alike."""
    logits, targets = loss.batch()
    expected = call("torch", loss, logits, targets)
    for dtype in (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64):
        assert call("torch", loss, logits, targets.astype(dtype)) == expected


@every_library
@pytest.mark.parametrize("loss", [x for x in LOSSES if x.case.kind in ("ids", "ranking")], ids=lambda loss: loss.name)
def test_ids_that_wrap_around_are_not_ignored(library, loss, monkeypatch):
    """2³² − 100 is −100 in 32 bits; under `jit`, or where torch reads no values, the loss is NaN."""
    logits, targets = loss.batch()
    targets = 0 * targets - 100
    if library == "jax":
        with jax.enable_x64(False):
            assert np.isnan(evaluate("jax", loss, logits, targets.astype(np.uint32))[0])
        return
    monkeypatch.setattr(imbalanced_torch.validation, "can_read", lambda _: False)
    monkeypatch.setattr(order, "is_eager_cpu", lambda _: False)
    assert np.isnan(evaluate("torch", loss, logits, targets.astype(np.uint64))[0])


@every_library
@every_loss
def test_weights_whose_sum_overflows_give_no_plausible_number(library, loss):
    logits, targets = loss.batch()
    expected = pytest.approx(evaluate(library, loss, logits, targets)[0], rel=1e-5)
    value, _ = evaluate(library, loss, logits, targets, 3e38 * ONES)
    assert np.isnan(value) or value == expected
    if loss.case.ranks:
        assert evaluate(library, loss, logits, targets, 1e28 * ONES)[0] == expected


@every_loss
def test_layout_does_not_matter(loss):
    """Torch only, since JAX arrays have no layout."""
    logits, targets = loss.batch()
    expected = evaluate("torch", loss, logits, targets)
    spread = torch.zeros(3, 2 * ROWS).T[::2]
    spread.copy_(torch.from_numpy(logits))
    labels = torch.from_numpy(np.repeat(targets, 2, axis=0))[::2]
    assert not spread.is_contiguous()
    value, gradient = evaluate("torch", loss, spread, labels)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-8)
    with pytest.raises(
        TypeError, match=loss.case.wording("targets must be a dense tensor, got layout torch.sparse_coo")
    ):
        loss.torch(3)(torch.from_numpy(logits), labels.to_sparse())


# ---------------------------------------------------------------------------------------------------------- parameters

t, j = imbalanced_torch, imbalanced_jax
X, Y = BLEND.batch()
TX, TY, JX, JY = torch.from_numpy(X), torch.from_numpy(Y), jnp.asarray(X), jnp.asarray(Y)
NUMBERS = {  # parameter: calls in both frameworks, bad values, expected message
    "sigmoid gamma": (
        lambda v: t.SigmoidFocalLoss(gamma=v)(TX, TX > 0),
        lambda v: j.sigmoid_focal_loss(JX, JX > 0, gamma=v),
        (-1, -0.5, np.nan, np.inf),
        "gamma must be a finite number >= 0",
    ),
    "sigmoid alpha": (
        lambda v: t.SigmoidFocalLoss(alpha=v)(TX, TX > 0),
        lambda v: j.sigmoid_focal_loss(JX, JX > 0, alpha=v),
        (-0.5, 1.5, np.nan),
        r"alpha must be a number in \[0, 1\]",
    ),
    "softmax gamma": (
        lambda v: t.SoftmaxFocalLoss(gamma=v)(TX, TY),
        lambda v: j.softmax_focal_loss(JX, JY, gamma=v),
        (-1, np.nan, np.inf),
        "gamma must be a finite number >= 0",
    ),
    "label_smoothing": (
        lambda v: t.SoftmaxFocalLoss(label_smoothing=v)(TX, TY),
        lambda v: j.softmax_focal_loss(JX, JY, label_smoothing=v),
        (-0.1, 1.5, np.nan),
        r"label_smoothing must be a number in \[0, 1\]",
    ),
    "symmetric beta": (
        lambda v: t.SymmetricCrossEntropyLoss(beta=v)(TX, TY),
        lambda v: j.symmetric_cross_entropy_loss(JX, JY, beta=v),
        (-1.0, np.nan, np.inf),
        "beta must be a finite number >= 0",
    ),
    "temperature": (
        lambda v: t.SmoothAPLoss(3, queue_size=0, temperature=v)(TX, TY),
        lambda v: j.smooth_ap_loss(JX, JY, temperature=v),
        (0.0, -1.0, np.nan, np.inf),
        "temperature must be a finite number > 0",
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_out_of_range_are_refused_whatever_holds_them(name):
    of_torch, of_jax, values, message = NUMBERS[name]
    for value in values:
        forms = [(of_torch, torch.tensor(value)), (of_jax, jnp.asarray(value)), (of_jax, np.asarray(value))]
        forms += [(run, kind(value)) for run in (of_torch, of_jax) for kind in (float, np.float32, np.float64)]
        for run, form in forms:
            with pytest.raises(ValueError, match=rf"{message}.*, got (np\.float\d\d\()?{value}"):
                run(form)
    # None is legal, and so is one weight per label
    for nonsense in ("1", 1j, *(() if name == "sigmoid alpha" else ([0.1],)), *(() if "alpha" in name else (None,))):
        for run in (of_torch, of_jax):
            with pytest.raises(ValueError, match=f"{message} or a 0-d array, got"):
                run(nonsense)
    for run in (of_torch, of_jax):
        run(np.float32(0.5))


def test_a_tensor_parameter_is_checked_at_every_call():
    loss_fn = t.SigmoidFocalLoss(gamma=torch.tensor(2.0), alpha=torch.tensor(0.25))
    loss_fn(TX, TX > 0)
    loss_fn.gamma.fill_(-1)
    with pytest.raises(ValueError, match=r"gamma must be a finite number >= 0, got -1\.0"):
        loss_fn(TX, TX > 0)
    ranking = t.SmoothAPLoss(3)
    with pytest.raises(ValueError, match=r"temperature must be a finite number > 0, got nan"):
        ranking.temperature = torch.tensor(np.nan)


@every_library
def test_a_temperature_known_at_run_time_only_is_nan_when_it_is_none(library):
    if library == "jax":
        step = jax.jit(lambda tau: j.smooth_ap_loss(JX, JY, temperature=tau)[0])
        losses = [step(tau) for tau in (0.1, 0.0, -1.0, np.nan)]
    else:
        loss_fn = t.SmoothAPLoss(3, queue_size=0)
        losses = []
        for tau in (0.1, 0.0, -1.0, np.nan):
            loss_fn._temperature.fill_(tau)  # as loading a checkpoint might do
            losses.append(loss_fn(TX, TY))
    assert [np.isfinite(float(loss)) for loss in losses] == [True, False, False, False]


INTEGERS = [  # call, expected message
    (lambda: t.SoftmaxFocalLoss(ignore_index=None), "ignore_index must be an integer of 32 bits, got None"),
    (lambda: t.SoftmaxFocalLoss(ignore_index=1.5), r"ignore_index must be an integer of 32 bits, got 1\.5"),
    (lambda: t.SigmoidFocalLoss(ignore_index=np.nan), "ignore_index must be an integer of 32 bits, got nan"),
    (lambda: t.SymmetricCrossEntropyLoss(ignore_index="x"), "ignore_index must be an integer of 32 bits, got 'x'"),
    (lambda: t.SymmetricCrossEntropyLoss(num_classes=0), "num_classes must be an integer >= 1, got 0"),
    (lambda: t.SmoothAPLoss(3, ignore_index=2**31), "ignore_index must be an integer of 32 bits, got 2147483648"),
    (lambda: t.SmoothAPLoss(True), "num_classes must be an integer >= 1, got True"),
    (lambda: t.SmoothAPLoss(3, queue_size=4.0), r"queue_size must be an integer >= 0, got 4\.0"),
    (lambda: j.softmax_focal_loss(JX, JY, ignore_index=None), "ignore_index must be an integer of 32 bits, got None"),
    (lambda: j.smooth_ap_loss(JX, JY, ignore_index=1.5), r"ignore_index must be an integer of 32 bits, got 1\.5"),
    (lambda: j.softmax_focal_loss(JX, JY, axis="1"), "axis must be an integer of 32 bits, got '1'"),
    (lambda: j.init_queue(4.0, 3), r"queue_size must be an integer >= 0, got 4\.0"),
    (lambda: j.blend_schedule(1.5), r"warmup_steps must be an integer >= 0, got 1\.5"),
]


@pytest.mark.parametrize(("mistake", "message"), INTEGERS)
def test_numbers_that_are_no_integers_are_refused(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


@pytest.mark.parametrize(
    ("of_torch", "of_jax", "instead"),
    [
        (t.SmoothAPLoss(3), j.smooth_ap_loss, r"; a label for each class: multilabel=True"),
        (t.SoftmaxFocalLoss(), j.softmax_focal_loss, ", or floats"),
    ],
)
def test_one_hot_targets_are_told_what_to_pass(of_torch, of_jax, instead):
    one_hot = np.eye(3, dtype=np.int32)[Y]
    message = rf"= \(12,\), got \(12, 3\); one-hot: pass targets\.argmax\(1\){instead}"
    with pytest.raises(ValueError, match=message):
        of_torch(TX, torch.from_numpy(one_hot))
    with pytest.raises(ValueError, match=message):
        of_jax(JX, jnp.asarray(one_hot))


HALF = torch.tensor(0.5)
PYTHON_NUMBERS = [  # call, expected message
    (
        lambda: t.PAUCAtBudgetLoss.recommended(3, HALF),
        r"budget must be a Python number in \(0, 1\), got tensor\(0\.5000\); call \.item\(\)",
    ),
    (lambda: t.PAUCAtBudgetLoss.recommended(3, budget=1), r"budget must be a Python number in \(0, 1\), got 1"),
    (lambda: t.RecallAtQuantileLoss(3, quantile=True), r"quantile must be a Python number in \[0, 1\], got True"),
    (lambda: t.RecallAtPrecisionLoss(3, precision=0), r"precision must be a Python number in \(0, 1\], got 0"),
    (
        lambda: jax.jit(lambda b: j.presets.pauc_at_budget(JX, JY, STATE, budget=b))(0.1),
        "budget must be a Python value, fixed when compiled, got",
    ),
]


@pytest.mark.parametrize(("mistake", "message"), PYTHON_NUMBERS)
def test_numbers_that_shape_the_program_are_python_numbers(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_numbers_of_numpy_are_python_numbers():
    half = np.float32(0.5)
    for make in (
        lambda x: t.PAUCAtBudgetLoss.recommended(3, x),
        lambda x: t.RecallAtQuantileLoss(3, quantile=x),
        lambda x: t.SymmetricCrossEntropyLoss(epsilon=x),
    ):
        assert make(half)(TX, TY) == make(0.5)(TX, TY)
    assert j.recall_at_quantile_loss(JX, JY, quantile=half)[0] == j.recall_at_quantile_loss(JX, JY, quantile=0.5)[0]


def test_no_more_rows_than_k_are_a_warning():
    for name in ("RecallAtKLoss", "PrecisionAtKLoss"):
        loss_fn = getattr(t, name)(3, k=12, queue_size=0)
        with pytest.warns(UserWarning, match="batch and queue have 12 rows, no more than k=12: the loss is 0") as seen:
            assert loss_fn(TX, TY) == loss_fn(TX, TY) == 0  # warns once
        assert [warning.filename for warning in seen] == [__file__]
        assert getattr(t, name)(3, k=12, queue_size=1)(TX, TY) == 0  # the queue will fill up
    for package, x, y in ((j, JX, JY), (functional, TX, TY)):
        for function in (package.recall_at_k_loss, package.precision_at_k_loss):
            for k in (12, np.int64(12)):
                with pytest.warns(
                    UserWarning, match="batch and queue have 12 rows, no more than k=12: the loss is"
                ) as seen:
                    assert function(x, y, k=k)[0] == 0
                assert [warning.filename for warning in seen] == [__file__]
            assert function(x, y, package.init_queue(1, 3), k=12)[0] == 0


def test_integers_of_numpy_are_integers():
    three = np.int64(3)
    assert t.SmoothAPLoss(three, queue_size=three)(TX, TY) == t.SmoothAPLoss(3, queue_size=3)(TX, TY)
    assert j.init_queue(three, three).logits.shape == (3, 3)
    assert j.blend_schedule(three)(three) == 1.0


# ------------------------------------------------------------------------------------------ what JAX alone has to check

QUEUE = imbalanced_jax.init_queue(4, 3)
smooth_ap = partial(imbalanced_jax.smooth_ap_loss, JX, JY)
STATE = j.presets.init_state(3, queue_size=4)
JAX_MISTAKES = [  # call, error, expected message
    (lambda: j.presets.smooth_ap(JX, JY, QUEUE), TypeError, "state must be a PresetState, .*, got Queue"),
    (lambda: j.presets.smooth_ap(JX, JY, STATE._asdict()), TypeError, "state must be a PresetState, .*, got dict"),
    (lambda: j.presets.pauc_at_budget(JX, JY, None, budget=0.1), TypeError, "state must be .*, got NoneType"),
    (
        lambda: j.presets.smooth_ap(JX, JY, STATE._replace(gate=None)),
        TypeError,
        r"state\.gate must be a Gate, .*, got None",
    ),
    (
        lambda: j.presets.smooth_ap(JX, JY, STATE._replace(gate=STATE.gate._asdict())),
        TypeError,
        "gate must be a Gate, .*, got dict",
    ),
    (
        lambda: smooth_ap(gate=imbalanced_jax.init_gate(1)),
        ValueError,
        r"gate.reached must be .* = \(3,\), got \(1,\); use init_gate, or init_state .*, with num_classes=3",
    ),
    (
        lambda: smooth_ap(imbalanced_jax.init_queue(4, 1)),
        ValueError,
        r"queue.logits must be .* = \(4, 3\), got \(4, 1\); use init_queue, or init_state .*, with num_classes=3",
    ),
    (lambda: smooth_ap(QUEUE._asdict()), TypeError, r"queue must be a Queue, .* \(a restored dict: Queue\(\*\*it\)\)"),
    (lambda: smooth_ap(tuple(QUEUE)), TypeError, "queue must be a Queue, .*, got tuple"),
    (lambda: smooth_ap(1024), TypeError, "queue must be a Queue, .*, got int"),
    (lambda: smooth_ap(QUEUE._replace(targets=QUEUE.weights)), TypeError, "queue.targets must be an integer array"),
    (lambda: smooth_ap(QUEUE._replace(weights=QUEUE.weights[1:])), ValueError, r"queue.weights must be of shape"),
    (lambda: smooth_ap(QUEUE._replace(is_iid=QUEUE.weights)), TypeError, "queue.is_iid must be a bool array"),
    (lambda: smooth_ap(QUEUE._replace(logits=QUEUE.logits.astype(int))), TypeError, "queue.logits must be a floating"),
    (lambda: smooth_ap(key=0, max_pool_size=6), TypeError, "key must be an array of jax.random.key, got 0"),
    (lambda: smooth_ap(update_queue=jnp.asarray(True)), ValueError, "update_queue must be a Python value, fixed when"),
    (lambda: smooth_ap(reduction=["mean"]), ValueError, "reduction must be a Python value, fixed when compiled"),
    (lambda: smooth_ap(ignore_index=JY[0]), ValueError, "ignore_index must be a Python value, fixed when compiled"),
    (lambda: smooth_ap(iid_mask=JX[:, 0]), TypeError, "iid_mask must be a bool array, got dtype float32"),
    (lambda: j.softmax_focal_loss(JX, JY, reduction=JX), ValueError, "reduction must be a Python value, fixed when"),
    (lambda: j.sigmoid_focal_loss(JX, JX > 0, where=JX), TypeError, "where must be a bool array, got dtype float32"),
    (lambda: j.softmax_focal_loss(JX, np.array(["a"] * 12)), TypeError, "targets must be an array of bools.*<U1"),
    (lambda: j.init_queue(4, 3, dtype=int), TypeError, "the logits of a queue must be a floating-point array"),
    (lambda: j.blend_schedule(3, 2, jnp.asarray(2.0)), ValueError, r"final_main_weight must be .*, got 2\.0"),
    (lambda: j.temperature_schedule(jnp.asarray(-1.0), 0.1, 3), ValueError, r"temp_start must be .*, got -1\.0"),
]


@pytest.mark.parametrize(("mistake", "error", "message"), JAX_MISTAKES)
def test_mistakes_in_jax(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()


def blend(step=2, warmup=lambda: jnp.float32(0), main=lambda q, tau: smooth_ap(q, temperature=tau), queue=QUEUE):
    return imbalanced_jax.warmup_blend(step, warmup, main, queue, warmup_steps=1, blend_steps=3)


BLEND_MISTAKES = [
    (lambda: blend(step=1.5), ValueError, r"step must be an integer or a 0-d integer array, got .*1\.5"),
    (lambda: blend(step=jnp.arange(2)), ValueError, "step must be an integer or a 0-d integer array"),
    (lambda: blend(queue=16), TypeError, "queue must be a Queue, .*, got int"),
    (lambda: blend(warmup=jnp.zeros(())), ValueError, "warmup_fn must be a function, got"),
    (lambda: blend(warmup=smooth_ap), TypeError, "warmup_fn must return a loss alone, an array, got tuple"),
    (lambda: blend(main=lambda _, tau: tau), TypeError, r"main_fn must return a pair \(loss, aux\), got"),
    (
        lambda: blend(main=lambda _, tau: (smooth_ap(temperature=tau), None), queue=None),
        TypeError,
        "the loss of main_fn must be an array, got tuple",
    ),
]


@pytest.mark.parametrize(("mistake", "error", "message"), BLEND_MISTAKES)
def test_mistakes_in_the_blend(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()


def test_the_mark_of_emptied_slots_need_not_be_given():
    """The slots that the switch empties are ignored for any ignore_index of the main loss."""

    def loss(of_main):
        def main(queue, temperature):
            return smooth_ap(queue, temperature=temperature, ignore_index=of_main)

        filled = smooth_ap(imbalanced_jax.init_queue(8, 3))[1].queue
        return imbalanced_jax.warmup_blend(1, lambda: jnp.float32(0), main, filled, warmup_steps=1)[0]

    assert loss(2) == smooth_ap(temperature=0.05, ignore_index=2)[0]


# ------------------------------------------------------------------------------------------- class weights, validation


@pytest.mark.parametrize("package", [imbalanced_torch, imbalanced_jax])
def test_class_weights_of_wrong_counts(package):
    mistakes = [
        (lambda: package.class_weights([3, -1]), ValueError, "counts must be finite and >= 0, got -1"),
        (lambda: package.class_weights([3, np.nan]), ValueError, "counts must be finite and >= 0, got nan"),
        (lambda: package.class_weights([0, 0]), ValueError, r"counts must be greater than 0 for some class, got \[0"),
        (lambda: package.class_weights([]), ValueError, r"counts must be of shape \[classes\], got \(0,\)"),
        (lambda: package.class_weights([[1, 2]]), ValueError, r"counts must be of shape \[classes\], got \(1, 2\)"),
        (lambda: package.class_weights(None), TypeError, "counts must be .*, got"),
        (lambda: package.class_weights(["a"]), TypeError, "counts must be .*, got"),
        (lambda: package.class_weights([1j]), TypeError, "counts must be .*, got"),
        (lambda: package.class_weights([1, 2], scheme="rare"), ValueError, "scheme must be one of 'inverse'"),
        (lambda: package.class_weights([1, 2], beta=1), ValueError, r"beta must be a Python number in \[0, 1\), got 1"),
        (lambda: package.pos_weight(20, 10), ValueError, "total - positives must be finite and >= 0, got -10"),
        (lambda: package.pos_weight([1, 2], [3, 4, 5]), ValueError, "total must be one number, or one per label"),
        (lambda: package.pos_weight([1], np.nan), ValueError, "total - positives must be finite and >= 0, got nan"),
        (lambda: package.pos_weight(None, 10), TypeError, "positives must be .*, got"),
        (lambda: package.pos_weight(1, None), TypeError, "total must be .*, got"),
    ]
    for make_mistake, error, message in mistakes:
        with pytest.raises(error, match=message):
            make_mistake()


@pytest.mark.parametrize("counts", [[3, 0, 1], [3, -1, 1], [3, np.nan, 1], [3, 1]])
@pytest.mark.parametrize("name", ["LogitAdjustedLoss", "VectorScalingLoss", "LDAMLoss"])
def test_counts_that_are_no_counts_are_refused(name, counts):
    case = next(loss.case for loss in LOSSES if loss.case.torch == name)
    for call_it in (
        lambda: case.in_torch(class_counts=counts)(TX, TY),
        lambda: case.in_jax(class_counts=counts)(JX, JY),
    ):
        with pytest.raises(ValueError, match=r"class_counts must be (finite and > 0|of shape .classes. = \(3,\)), got"):
            call_it()


@pytest.mark.parametrize("package", [imbalanced_torch, imbalanced_jax])
def test_class_weights_of_every_kind_of_numbers(package):
    np.testing.assert_allclose(package.pos_weight([1, 2], [10, 10]), [9, 4])
    np.testing.assert_allclose(package.class_weights([5_000_000_000, 5]), [1e-9, 1])
    make = torch.tensor if package is imbalanced_torch else jnp.array
    small = [make(np.array([n], np.uint8)) for n in (20, 10)]
    with pytest.raises(ValueError, match="total - positives must be finite and >= 0, got -10"):  # not 246 (uint8)
        package.pos_weight(*small)
    for dtype in (np.uint16, np.int8, np.bool_, np.float32):
        np.testing.assert_allclose(package.class_weights(make(np.array([1, 1], dtype))), [1, 1])


@pytest.mark.parametrize("package", [imbalanced_torch, imbalanced_jax])
def test_validate_targets_of_every_kind(package):
    make = torch.tensor if package is imbalanced_torch else jnp.array
    for dtype in (np.uint8, np.uint16, np.uint64, np.int64, np.float32):
        package.validate_targets(make(np.array([0, 2, 1], dtype)), num_classes=3)
        with pytest.raises(ValueError, match=r"targets must be class ids in \[0, 3\) .*, got 5"):
            package.validate_targets(make(np.array([0, 5, 1], dtype)), num_classes=3)
    mistakes = [
        (make(np.array([1j])), {}, TypeError, "targets must be an array of bools"),
        (make(np.array([np.nan])), {}, ValueError, "targets must be class ids .*, got nan"),
        (make(np.array([0])), {"num_classes": 0}, ValueError, "num_classes must be an integer >= 1, got 0"),
        (make(np.array([0])), {"num_classes": "3"}, ValueError, "num_classes must be an integer >= 1, got '3'"),
        (make(np.array([0])), {"ignore_index": "x"}, ValueError, "ignore_index must be an integer of 32 bits"),
    ]
    for targets, options, error, message in mistakes:
        with pytest.raises(error, match=message):
            package.validate_targets(targets, **{"num_classes": 3, **options})

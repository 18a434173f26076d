"""The state of the ranking modules: checkpoints, copies, casts, subsampling, compilation."""

import copy
import io
import pickle
import re
import warnings
from functools import partial
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from losses import every_ranking
from reference import QUEUE_IGNORED
from torch._dynamo.testing import CompileCounterWithBackend

from imbalanced_torch import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SmoothAPLoss,
    _guards,
    partial_auc,
)
from imbalanced_torch._state import uniform_noise

MODULES = {
    "smooth_ap": lambda **options: SmoothAPLoss(2, **options),
    "recall": lambda **options: RecallAtQuantileLoss(2, quantile=0.3, temperature_scale="iqr", **options),
    "pauc": lambda **options: PAUCAtBudgetLoss(2, beta=0.4, surrogate="pairwise", **options),
}


def batch(seed, n=16, num_classes=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, num_classes, generator=generator), torch.randint(0, 2, (n,), generator=generator)


def assert_same_state(first, second):
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def filled(**options):
    loss_fn = SmoothAPLoss(2, **{"queue_size": 24, "temperature": 0.1, **options})
    for seed in range(2):
        loss_fn(*batch(seed))
    return loss_fn


def test_everything_is_in_the_state_dict():
    loss_fn = filled()
    loss_fn.temperature = 0.03
    file = io.BytesIO()
    torch.save(loss_fn.state_dict(), file)
    file.seek(0)
    resumed = SmoothAPLoss(2, queue_size=24)
    resumed.load_state_dict(torch.load(file))
    assert resumed.temperature == 0.03
    assert_same_state(loss_fn, resumed)
    assert resumed(*batch(7)) == loss_fn(*batch(7))


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("size", [0, 10, 24, 40])
def test_a_queue_of_another_size_keeps_the_newest_rows(size, assign):
    saved = filled().state_dict()
    before = {name: tensor.clone() for name, tensor in saved.items()}
    other = torch.nn.ModuleList([SmoothAPLoss(2, queue_size=size)])
    other.load_state_dict({f"0.{name}": tensor for name, tensor in saved.items()}, assign=assign)
    loss_fn = other[0]
    kept = min(size, 24)
    assert loss_fn.queue_logits.shape == (size, 2)
    for name in ("queue_logits", "queue_targets", "queue_weights", "queue_is_iid"):
        assert torch.equal(getattr(loss_fn, name)[size - kept :], saved[name][24 - kept :])
        assert torch.equal(saved[name], before[name])
    assert (loss_fn.queue_targets[: size - kept] == QUEUE_IGNORED).all()
    loss_fn(*batch(9))


@pytest.mark.parametrize("persistent", [False, True])
def test_a_queue_that_is_not_in_the_state(persistent):
    """A state without a queue empties the queue; one with a queue fills it, even if the module does not save it."""
    without, filled_one = filled(persistent_queue=False), filled()
    for loss_fn in (without, SmoothAPLoss(2, persistent_queue=False, class_parallel=True)):
        assert [name for name in loss_fn.state_dict() if name.startswith("queue")] == []
    loss_fn = filled(persistent_queue=persistent)
    loss_fn.load_state_dict(without.state_dict(), strict=not persistent)
    assert (loss_fn.queue_targets == QUEUE_IGNORED).all()
    loss_fn.load_state_dict(filled_one.state_dict())
    assert all(map(torch.equal, loss_fn.queue, filled_one.queue))


@every_ranking
def test_a_gated_loss_resumes_to_the_bit(case):
    def make():
        return case.in_torch(2, queue_size=24, gated=True)

    def step(loss_fn, seed):
        logits, targets = batch(seed)
        logits.requires_grad_()
        loss = loss_fn(logits, targets)
        return torch.cat([loss.detach()[None], torch.autograd.grad(loss, logits)[0].flatten()])

    loss_fn, resumed = make(), make()
    for seed in range(3):
        step(loss_fn, seed)
    assert all(array.any() for array in loss_fn.gate)
    file = io.BytesIO()
    torch.save(loss_fn.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file))
    for seed in range(3, 6):
        assert torch.equal(step(loss_fn, seed), step(resumed, seed))
    assert_same_state(loss_fn, resumed)
    resumed.reset_parameters()
    assert_same_state(resumed, make())


def test_a_checkpoint_of_other_classes_is_refused():
    saved = filled().state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for queue_logits.*\[24, 2\].*\[24, 3\]"):
        SmoothAPLoss(3, queue_size=24).load_state_dict(saved)
    with pytest.raises(RuntimeError, match="size mismatch for queue_targets"):
        SmoothAPLoss(2, queue_size=24, multilabel=True).load_state_dict(saved)


def test_a_checkpoint_of_another_loss_is_refused():
    saved = filled(gated=True)
    others = torch.nn.ModuleList([PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=24)])
    with pytest.raises(RuntimeError, match=r"the state must be of .* band_auc; .*, got average_precision"):
        others.load_state_dict(torch.nn.ModuleList([saved]).state_dict())
    others[0].queue = saved.queue
    assert all(map(torch.equal, others[0].queue, saved.queue))


def test_a_checkpoint_without_a_gate_opens_it():
    loss_fn = SmoothAPLoss(2, queue_size=24, gated=True)
    loss_fn.gate = loss_fn.gate._replace(reached=torch.tensor([0.1, 0.2]))
    loss_fn.load_state_dict(filled().state_dict())
    assert loss_fn.gate.reached.tolist() == [1, 1]
    assert torch.equal(loss_fn.queue_logits, filled().queue_logits)


def test_assigning_a_state_of_half_precision_keeps_the_state_wide():
    loss_fn = PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=24)
    saved = {name: x.half() if x.is_floating_point() else x for name, x in loss_fn.state_dict().items()}
    other = PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=24)
    other.load_state_dict(saved, assign=True)
    for (name, mine), (_, wide) in zip(other.named_buffers(), loss_fn.named_buffers(), strict=True):
        assert mine.dtype == wide.dtype, name
    other(*batch(5))
    assert (other.gate.reached != other.gate.reached.half()).all()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_equal_and_apart(clone):
    loss_fn = filled(generator=torch.Generator().manual_seed(3))
    other = clone(loss_fn)
    assert_same_state(loss_fn, other)
    other.reset_queue()
    assert (loss_fn.queue_targets != QUEUE_IGNORED).any()


def test_casts_do_not_round_the_state():
    loss_fn = filled(temperature=0.01)
    expected, logits = loss_fn.queue_logits.clone(), batch(5)
    wanted = loss_fn.eval()(*logits)
    for cast in (loss_fn.half, loss_fn.bfloat16):
        cast()
        assert loss_fn.temperature == 0.01
        assert torch.equal(loss_fn.queue_logits, expected)
        assert loss_fn(*logits) == wanted
    loss_fn.double()
    assert loss_fn.queue_logits.dtype == torch.float64
    assert loss_fn(logits[0].double(), logits[1]).dtype == torch.float64
    loss_fn.float()
    assert loss_fn.queue_logits.dtype == torch.float32
    assert loss_fn.temperature == 0.01


def test_a_device_without_float64():
    """A function passed to `_apply` rejects float64, as such a device does."""

    def move(tensor):
        if tensor.dtype == torch.float64:
            raise TypeError("no float64 here")
        return tensor.clone()

    loss_fn = filled()._apply(move)
    assert loss_fn.temperature == 0.1


def test_the_meta_device():
    with torch.device("meta"):
        loss_fn = SmoothAPLoss(2, queue_size=8, temperature=0.25)
    assert loss_fn.queue_logits.is_meta
    assert "num_classes=2" in repr(loss_fn)
    loss_fn.to_empty(device="cpu")
    loss_fn.reset_parameters()
    assert_same_state(loss_fn, SmoothAPLoss(2, queue_size=8, temperature=0.25))


def test_what_is_made_on_the_meta_device_keeps_its_precision():
    """Float32 would round a temperature of 0.2 that other ranks hold in float64, and gathering losses compare it."""
    other = SmoothAPLoss.recommended(2, temperature=0.2)
    with torch.device("meta"):
        loss_fn = SmoothAPLoss.recommended(2, temperature=0.2)
    for moved in (copy.deepcopy(loss_fn).half(), copy.deepcopy(other).half().to("meta"), loss_fn):
        moved.to_empty(device="cpu").load_state_dict(other.state_dict())
        assert_same_state(moved, other)
        assert (moved._temperature.dtype, moved.gate.reached.dtype) == (torch.float64, torch.float32)


def test_float64_logits_keep_their_precision():
    logits, targets = batch(3)
    logits = logits.double() * 1.000000001
    loss = SmoothAPLoss(2, queue_size=8)(logits, targets)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, SmoothAPLoss(2, queue_size=0).double()(logits, targets), rtol=1e-12, atol=0)


# ------------------------------------------------------------------------------------------------------- subsampling


def test_subsampling_warns_once_where_it_was_called():
    loss_fn = SmoothAPLoss(2, queue_size=24, max_pool_size=20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(3):
            loss_fn(*batch(seed))
    assert [str(w.message)[:50] for w in caught] == ["a pool of 40 rows is cut to max_pool_size=20: the "]
    assert caught[0].category is UserWarning
    assert caught[0].filename == __file__


def test_scores_that_become_equal_are_a_warning_once(monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    loss_fn = SmoothAPLoss(2, queue_size=24)
    logits, targets = batch(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss_fn(logits, targets)
        loss_fn(logits / 50, targets)
        loss_fn.eval()(logits / 200, targets)
        loss_fn.train()(logits[:4] / 200, targets[:4])  # too few rows to judge
        assert not caught
        for _ in range(2):
            loss_fn(logits / torch.tensor([1.0, 200.0]), targets)  # one of two classes
    assert [str(w.message)[:60] for w in caught] == [
        "the spread of the scores has shrunk to less than 1/100 of wha"[:60]
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("wraps", [False, True])
def test_a_new_run_may_begin_with_less_spread(monkeypatch, wraps):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    loss_fn = SmoothAPLoss(2, queue_size=24)
    run = LossWarmupWrapper(torch.nn.CrossEntropyLoss(), loss_fn) if wraps else loss_fn
    logits, targets = batch(0)
    for _ in range(2):
        run.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss_fn(logits / 1000, targets)
            loss_fn(logits, targets)
        with pytest.warns(UserWarning, match="has shrunk"):
            loss_fn(logits / 200, targets)


def test_ignored_scores_are_no_spread(monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    loss_fn, (logits, targets) = SmoothAPLoss(2, queue_size=24), batch(0)
    is_ignored = torch.arange(len(logits)) < 2
    ignored = targets.masked_fill(is_ignored, -100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_fn(logits.masked_fill(is_ignored[:, None], 1e4), ignored)
        loss_fn(logits, targets)
    with pytest.warns(UserWarning, match="has shrunk"):
        loss_fn((logits / 200).masked_fill(is_ignored[:, None], torch.nan), ignored)


def test_few_known_labels_are_no_collapse_of_a_class(monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    loss_fn = SmoothAPLoss(3, queue_size=24, multilabel=True)
    logits, known = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)), torch.full((64, 3), -100)
    known[:, 0] = torch.arange(64) % 2
    targets = known.clone()
    targets[:1, 1] = 1  # one score of a class, or none, has no spread
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_fn(logits, known[:, :1].expand(64, 3))
        loss_fn(logits, targets)
    with pytest.warns(UserWarning, match="has shrunk"):  # that of the class with labels
        loss_fn(logits / 200, targets)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (
            partial(SmoothAPLoss, 1),
            "collapse.md): use SmoothAPLoss.recommended(...), or mix it with a weighted cross entropy",
        ),
        (partial(RecallAtQuantileLoss, 1), "collapse.md): mix it with a weighted cross entropy"),
        (partial(SmoothAPLoss.recommended, 1), "collapse.md)"),
    ],
)
def test_the_advice_where_scores_become_equal(make, advice, monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    logits, targets = torch.randn(64, 1, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
    loss_fn, first = make(), logits.clone()
    first[0] = 400.0  # a single outlier is not spread
    loss_fn(first, targets)
    loss_fn(logits, targets)
    with pytest.warns(UserWarning, match=re.escape(advice) + "$"):
        loss_fn(logits / 200, targets)


def test_an_outlier_in_an_earlier_batch_is_no_collapse_later(monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(64, 1, generator=generator), torch.arange(64) % 2
    loss_fn, odd, tied = SmoothAPLoss(1), logits.clone(), logits.clone()
    odd[0], tied[:60] = 1e4, -10.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch_of_scores in (logits, odd, logits, tied):
            loss_fn(batch_of_scores, targets)
    with pytest.warns(UserWarning, match="has shrunk"):
        loss_fn(logits / 200, targets)


def test_a_collapse_of_many_scores_far_from_zero_is_seen(monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    scores = torch.randn(2**18, 2, generator=torch.Generator().manual_seed(0))
    watch, where, valid = _guards.Watch(""), torch.zeros(2**18, 2), torch.ones(2, dtype=torch.bool)
    watch(scores, where, -100, valid)
    with pytest.warns(UserWarning, match="has shrunk"):
        watch(scores * 0.003 - 7.3, where, -100, valid)


@pytest.mark.parametrize("make", [partial(SmoothAPLoss, 2), partial(PAUCAtBudgetLoss.recommended, 2, 0.1)])
def test_labels_without_a_positive_are_a_warning_once(make, monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 2)
    loss_fn, (logits, targets) = make(), batch(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = [loss_fn(logits, torch.full_like(targets, -100)) + len(caught) for _ in range(50)]
    assert seen == [0] * 18 + [1] * 32  # the tenth of the checked steps
    assert "was 0 in all of the 10 steps that were checked among 19" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_single_step_with_a_loss_ends_the_search_for_labels(monkeypatch):
    monkeypatch.setattr(_guards, "_STEPS", 1)
    loss_fn, (logits, targets) = SmoothAPLoss(2, queue_size=0), batch(0)
    ignored = torch.full_like(targets, -100)
    for given in [ignored] * 9 + [targets] + [ignored] * 30:
        loss_fn(logits, given)


def test_a_loss_received_by_another_process_has_memory_of_its_own():
    loss_fn = filled().share_memory()  # as `torch.multiprocessing` does with an argument
    assert loss_fn.queue_logits.is_shared()
    received = pickle.loads(ForkingPickler.dumps(loss_fn))
    assert not any(buffer.is_shared() for buffer in received.buffers())
    assert all(map(torch.equal, received.queue, loss_fn.queue))


def test_one_step_of_twenty_is_looked_at():
    loss_fn, (logits, targets) = SmoothAPLoss(2, queue_size=24), batch(0)
    loss_fn(logits, targets)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = [loss_fn(logits / 200, targets) and len(caught) for _ in range(30)]
    assert seen == [0] * 19 + [1] * 11


def test_the_seed_librarys_surrogate_is_a_warning_once(monkeypatch):
    monkeypatch.setattr(partial_auc, "_has_warned", [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PAUCAtBudgetLoss(2, surrogate="trapezoid")
        PAUCAtBudgetLoss.recommended(2, 0.1)
        assert not caught
        for _ in range(2):
            assert PAUCAtBudgetLoss(2).surrogate == "trapezoid"
    assert [str(w.message)[:45] for w in caught] == ['PAUCAtBudgetLoss uses surrogate="trapezoid", ']
    assert caught[0].filename == __file__


def subsampled(**options):
    loss_fn = SmoothAPLoss(2, queue_size=24, max_pool_size=20, **options)
    loss_fn._has_warned = True
    return loss_fn


def test_subsampling_is_reproducible_and_goes_on_after_a_checkpoint():
    first, second = subsampled(), subsampled()
    torch.manual_seed(1)
    losses = [first(*batch(seed)) for seed in range(4)]
    torch.manual_seed(2)
    assert losses[:2] == [second(*batch(seed)) for seed in range(2)]
    resumed = subsampled()
    resumed.load_state_dict(second.state_dict())
    assert losses[2:] == [resumed(*batch(seed)) for seed in range(2, 4)]


def test_every_training_step_draws_anew_and_validation_does_not():
    loss_fn = subsampled(update_queue_in_eval=False)
    loss_fn(*batch(0, 32))
    loss_fn.eval()
    assert loss_fn(*batch(1)) == loss_fn(*batch(1))
    frozen = copy.deepcopy(loss_fn)
    loss_fn.train()(*batch(1))
    frozen._draws.copy_(loss_fn._draws)
    assert frozen(*batch(1)) != loss_fn.eval()(*batch(1))


def test_a_step_with_a_bad_temperature_leaves_the_gate_as_it_was():
    loss_fn = PAUCAtBudgetLoss.recommended(2, 0.1)
    loss_fn(*batch(0))
    before = loss_fn.gate.reached.clone()
    loss_fn._temperature.fill_(torch.nan)
    assert loss_fn(*batch(1)).isnan()
    assert torch.equal(loss_fn.gate.reached, before)


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_a_refused_batch_draws_nothing(generator):
    loss_fn, (logits, targets) = subsampled(generator=generator), batch(0, 32)
    before = loss_fn._draws.clone(), None if generator is None else generator.get_state()
    with pytest.raises(ValueError, match="class ids"):
        loss_fn(logits, targets + 7)
    assert loss_fn._draws == before[0]
    assert generator is None or torch.equal(generator.get_state(), before[1])


def test_a_generator_decides_the_draws():
    def losses(seed):
        loss_fn = subsampled(generator=torch.Generator().manual_seed(seed))
        return [loss_fn(*batch(step, 40)) for step in range(3)]

    assert losses(5) == losses(5)
    assert losses(5) != losses(6)


def test_a_generator_resumes_when_it_is_saved_beside_the_module():
    generator = torch.Generator().manual_seed(5)
    loss_fn = subsampled(generator=generator)
    loss_fn(*batch(0, 40))
    saved = {"loss": copy.deepcopy(loss_fn.state_dict()), "generator": generator.get_state()}
    expected = [loss_fn(*batch(step, 40)) for step in (1, 2)]

    def resumed(*, with_generator):
        generator = torch.Generator().manual_seed(5)
        other = subsampled(generator=generator)
        other.load_state_dict(saved["loss"])
        if with_generator:
            generator.set_state(saved["generator"])
        return [other(*batch(step, 40)) for step in (1, 2)]

    assert resumed(with_generator=True) == expected
    assert resumed(with_generator=False) != expected  # the state_dict alone does not include it


def test_the_queue_takes_all_rows_of_a_subsampled_batch():
    loss_fn, whole = subsampled(), SmoothAPLoss(2, queue_size=24)
    for seed in range(3):
        loss_fn(*batch(seed))
        whole(*batch(seed))
    assert torch.equal(loss_fn.queue_logits, whole.queue_logits)


def test_the_noise_is_uniform_and_independent():
    draws = torch.stack([uniform_noise(torch.tensor(draw), 4096) for draw in range(64)]).double()
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = torch.histc(draws, 64, min=0, max=1)
    expected = draws.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi-square, 63 degrees of freedom: p ≈ 2e-4
    correlation = np.corrcoef(draws)
    assert np.abs(correlation - np.eye(64)).max() < 5 / np.sqrt(4096)
    neighbours = np.corrcoef(draws[:, :-1].flatten(), draws[:, 1:].flatten())[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(draws.numel())


# ------------------------------------------------------------------------------------------------------- compilation


@pytest.mark.parametrize("name", MODULES)
def test_compiled_modules_follow_the_eager_ones_without_recompiling(name):
    torch.compiler.reset()
    eager = MODULES[name](queue_size=24)
    compiled_module = copy.deepcopy(eager)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(compiled_module, fullgraph=True, backend=counter)
    counts = []
    for step in range(4):
        gradients, losses = [], []
        for loss_fn, state in ((eager, eager), (compiled, compiled_module)):
            state.temperature = 0.3 / (step + 1)
            logits, targets = batch(step)
            logits.requires_grad_()
            loss = loss_fn(logits, targets)
            gradients += torch.autograd.grad(loss, logits)
            losses.append(loss.detach())
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*gradients)
        assert_same_state(eager, compiled_module)
        counts.append(counter.frame_count)
    assert counts == [counts[0]] * 4


def test_a_compiled_module_subsamples_as_the_eager_one():
    torch.compiler.reset()
    eager = subsampled()
    compiled_module = copy.deepcopy(eager)
    compiled_module._has_warned = False  # no warning, hence no graph break
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(compiled_module, fullgraph=True, backend=counter)
    for step in range(3):
        torch.testing.assert_close(compiled(*batch(step)), eager(*batch(step)))
    assert_same_state(eager, compiled_module)
    assert counter.frame_count == 1


def test_a_compiled_module_answers_bad_targets_with_nan():
    torch.compiler.reset()
    loss_fn = SmoothAPLoss(2, queue_size=24)
    compiled = torch.compile(loss_fn, fullgraph=True, backend="eager")
    logits, targets = batch(0)
    assert compiled(logits, targets).isfinite()
    assert compiled(logits, targets + 1).isnan()
    assert compiled(logits, targets).isfinite()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # raised by the compiler itself
def test_inductor():
    torch.compiler.reset()
    eager = SmoothAPLoss(2, queue_size=24, temperature=0.1)
    compiled_module = copy.deepcopy(eager)
    compiled = torch.compile(compiled_module, fullgraph=True)
    for step in range(2):
        torch.testing.assert_close(compiled(*batch(step)), eager(*batch(step)))
    assert_same_state(eager, compiled_module)


def test_a_gate_missing_from_the_state_starts_anew():
    gated = PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=24)
    gated(*batch(0))
    assert gated.gate.reached.max() < 1
    gated.load_state_dict(PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=24, gated=False).state_dict(), strict=False)
    assert (gated.gate.reached == 1).all()

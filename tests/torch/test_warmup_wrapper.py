import copy
import functools
import math
import warnings

import numpy as np
import pytest
import reference
import torch
from torch import nn

from imbalanced_core.pool.step import Diagnostics
from imbalanced_torch import functional as F
from imbalanced_torch.hard_examples import AsymmetricLoss, HardNegativeLoss
from imbalanced_torch.long_tail import SigmoidLogitAdjustedLoss
from imbalanced_torch.partial_auc import PAUCAtBudgetLoss
from imbalanced_torch.pointwise import SigmoidFocalLoss, SoftmaxFocalLoss, SymmetricCrossEntropyLoss
from imbalanced_torch.ranking import SmoothAPLoss
from imbalanced_torch.warmup import LossWarmupWrapper


class ToyRanking(nn.Module):
    """The parts of a ranking loss that the wrapper needs: a queue, a temperature in a buffer, results on request."""

    def __init__(self, queue_size=4):
        super().__init__()
        self.register_buffer("queue", torch.zeros(queue_size))
        self.register_buffer("tau", torch.tensor(0.01))
        self.calls = self.resets = 0
        self.gather_distributed = None

    @property
    def temperature(self):
        return self.tau

    @temperature.setter
    def temperature(self, value):
        self.tau = torch.tensor(value)

    def reset_queue(self):
        self.resets += 1
        self.queue = torch.zeros_like(self.queue)

    def forward(
        self, logits, targets, iid_mask=None, return_per_class=False, return_diagnostics=False, *, sample_weight=None
    ):
        if not torch.compiler.is_compiling():  # a counter would be a constant of the compiled graph
            self.calls += 1
        per_row = torch.sigmoid((self.queue[None, :] - logits[:, :1]) / (10 * self.tau)).mean(1)
        weights = torch.ones_like(per_row) if sample_weight is None else sample_weight
        loss = (per_row * weights).sum() / weights.sum()
        rows = logits.detach()[:, 0]
        self.queue = torch.cat([rows, self.queue])[: len(self.queue)]
        if return_per_class:
            return loss, loss.expand(logits.shape[1]), torch.ones(logits.shape[1], dtype=torch.bool)
        return loss


class PlainTemperature(nn.Module):
    """A user-defined loss with its temperature in a plain attribute and no queue."""

    def __init__(self):
        super().__init__()
        self.temperature = 1.0

    def forward(self, logits, targets):
        return torch.tanh(logits / self.temperature).square().mean()


def make(warmup_loss=None, main_loss=None, **options):
    return LossWarmupWrapper(warmup_loss or nn.BCEWithLogitsLoss(), main_loss or ToyRanking(), **options)


def batch(seed=0, rows=6):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 1, generator=generator)
    return logits.requires_grad_(), torch.randint(0, 2, (rows, 1), generator=generator).float()


@pytest.mark.parametrize(
    ("warmup", "blend", "final"), [(0, 0, 1.0), (2, 0, 1.0), (2, 2, 1.0), (1, 3, 0.75), (2, 0, 0.5)]
)
@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_the_whole_schedule_is_the_definition(unit, warmup, blend, final):
    """Weight, flags, temperature, the losses called, and the blend itself, at every batch."""
    wrapper = make(
        **{f"warmup_{unit}": warmup, f"blend_{unit}": blend},
        final_main_weight=final,
        temp_start=0.5,
        temp_end=0.01,
        temp_decay_steps=5,
    )
    switch = None
    for step in range(14):
        epoch = step // 2
        wrapper.on_train_epoch_start(epoch)
        wrapper.on_train_batch_start(step)
        now = epoch if unit == "epochs" else step
        weight = reference.blend_weight(now, warmup, blend, final)
        switch = step if switch is None and weight > 0 else switch
        assert wrapper.main_weight == pytest.approx(weight, rel=1e-15)
        assert (wrapper.in_warmup, wrapper.in_blend) == (now < warmup, warmup <= now < warmup + blend)
        temperature = 0.5 if switch is None else reference.geometric_decay(step - switch, 0.5, 0.01, 5)
        assert wrapper.current_temperature == pytest.approx(temperature, rel=1e-6)
        assert wrapper.switch_step == switch

        logits, targets = batch(step)
        main_before = copy.deepcopy(wrapper.main_loss)
        loss = wrapper(logits, targets)
        warm = wrapper.warmup_loss(logits, targets)
        main = main_before(logits, targets)
        torch.testing.assert_close(loss, (1 - weight) * warm + weight * main, rtol=1e-6, atol=0)
        assert wrapper.main_loss.calls == main_before.calls - (weight == 0)
        assert wrapper.main_loss.resets == (switch is not None)
        if weight in (0, 1):
            assert torch.equal(loss, warm if weight == 0 else main)


def test_a_loss_that_does_not_count_is_not_called():
    class Forbidden(nn.Module):
        def forward(self, logits, targets):
            raise AssertionError("called at weight 0")

    in_warmup = make(main_loss=Forbidden(), warmup_steps=1)
    in_main = make(warmup_loss=Forbidden(), warmup_steps=0)
    for wrapper in (in_warmup, in_main):
        wrapper.step()
        assert torch.isfinite(wrapper(*batch()))


def test_the_seeds_blend_example():
    wrapper = make(warmup_epochs=2, blend_epochs=2)
    weights = []
    for epoch in range(6):
        wrapper.on_train_epoch_start(epoch)
        weights.append(wrapper.main_weight)
    assert weights == [0, 0, 1 / 3, 2 / 3, 1, 1]


def test_queue_is_untouched_in_warmup_and_emptied_at_the_switch():
    wrapper = make(warmup_steps=2)
    wrapper.main_loss(*batch(9))  # puts rows into the queue
    filled = wrapper.main_loss.queue.clone()
    for step in range(2):
        wrapper.on_train_batch_start(step)
        wrapper(*batch(step))
        assert torch.equal(wrapper.main_loss.queue, filled)
    wrapper.on_train_batch_start(2)
    assert not wrapper.main_loss.queue.any()
    wrapper(*batch(2))
    kept = wrapper.main_loss.queue.clone()
    wrapper.on_train_batch_start(3)
    assert kept.any()
    assert torch.equal(wrapper.main_loss.queue, kept)


def test_reset_queue_each_epoch_only_in_the_main_phase_and_once_per_epoch():
    wrapper = make(warmup_epochs=1, blend_epochs=1, reset_queue_each_epoch=True)
    resets = []
    for epoch in range(4):
        wrapper.on_train_epoch_start(epoch)
        wrapper.on_train_epoch_start(epoch)  # a trainer that resumes within an epoch repeats this call
        resets.append(wrapper.main_loss.resets)
    assert resets == [0, 1, 2, 3]


def test_the_clock_starts_at_the_switch_and_repeated_steps_do_not_move_it():
    wrapper = make(warmup_epochs=1, temp_start=0.1, temp_end=0.001, temp_decay_steps=100)
    wrapper.on_train_epoch_start(0)
    wrapper.on_train_batch_start(900)
    assert (wrapper.switch_step, wrapper.current_temperature) == (None, pytest.approx(0.1))
    wrapper.on_train_epoch_start(1)
    for step, elapsed in ((1000, 0), (1000, 0), (1050, 50), (1050, 50), (1100, 100), (5000, 100)):
        wrapper.on_train_batch_start(step)
        assert wrapper.switch_step == 1000
        assert wrapper.current_temperature == pytest.approx(0.1 * 0.01 ** (elapsed / 100), rel=1e-6)
    assert wrapper.main_loss.resets == 1


def test_main_loss_without_temperature_or_queue():
    wrapper = make(main_loss=nn.MSELoss(), warmup_steps=1)
    assert wrapper.current_temperature is None
    for _ in range(3):
        wrapper.step()
        wrapper(*batch())
    assert wrapper.current_temperature is None


def test_cross_entropy_warm_up_with_class_ids():
    class Main(nn.Module):
        def forward(self, logits, targets):
            return nn.functional.multi_margin_loss(logits, targets)

    wrapper = make(nn.CrossEntropyLoss(), Main(), warmup_steps=0, blend_steps=1)
    wrapper.step()
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    expected = 0.5 * nn.functional.cross_entropy(logits, targets) + 0.5 * Main()(logits, targets)
    torch.testing.assert_close(wrapper(logits, targets), expected)


@pytest.mark.parametrize("blend", [0, 2])
@pytest.mark.parametrize(
    "warmup_loss",
    [
        nn.CrossEntropyLoss(),
        nn.functional.cross_entropy,
        functools.partial(nn.functional.cross_entropy, label_smoothing=0.1),
        SoftmaxFocalLoss(),
        SymmetricCrossEntropyLoss(),
    ],
)
def test_a_softmax_over_one_class_is_refused(warmup_loss, blend):
    """Its gradient is 0 whatever the targets, so the warm-up would train nothing."""
    wrapper = make(warmup_loss, ToyRanking(), warmup_steps=2 * (not blend), blend_steps=blend)
    wrapper.step()
    for targets in (torch.tensor([[0.0], [1.0], [0.0], [1.0]]), torch.zeros(4, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"must be of at least 2 classes .*use \w+\), got \(4, 1\)"):
            wrapper(torch.randn(4, 1), targets)


def test_a_softmax_over_the_rows_is_refused():
    wrapper = make(nn.CrossEntropyLoss(), ToyRanking(), warmup_steps=2)
    wrapper.step()
    with pytest.raises(ValueError, match=r"logits must be of shape \[N, C, \*\] .*, got \(4,\)"):
        wrapper(torch.randn(4), torch.tensor([0.0, 1.0, 0.0, 1.0]))


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("unit", ["epochs", "steps"])
@pytest.mark.parametrize("again", ["hooks", "step", "reset"])
def test_a_second_run_is_the_first_again(unit, warmup, again):
    wrapper = make(**{f"warmup_{unit}": warmup, f"blend_{unit}": 1}, temp_start=0.5, temp_end=0.1, temp_decay_steps=4)

    def run():
        trace = []
        for step in range(10):
            if again == "step":
                wrapper.step(step // 2)
            else:
                wrapper.on_train_epoch_start(step // 2)
                wrapper.on_train_batch_start(step)
            state = (wrapper.main_weight, wrapper.current_temperature, wrapper.switch_step)
            trace.append((*state, wrapper(*batch(step)).item()))
        return trace

    first = run()
    if again == "reset":
        wrapper.reset()
        assert not wrapper.main_loss.queue.any()
        assert (wrapper.switch_step, wrapper.current_temperature) == (None, 0.5)
        assert torch.equal(wrapper.get_extra_state(), torch.tensor([-1, -1, -1]))
    assert run() == first


def test_a_second_run_opens_the_gate_of_a_preset():
    wrapper = make(main_loss=PAUCAtBudgetLoss.recommended(1, 0.1, queue_size=8), warmup_steps=1, blend_steps=1)

    def run():
        losses = []
        for step in range(6):
            wrapper.on_train_batch_start(step)
            losses.append(wrapper(*batch(step)).item())
        return losses

    first = run()
    assert not any(map(torch.equal, wrapper.main_loss.gate, F.init_gate(1)))
    assert run() == first
    wrapper.reset()
    assert all(map(torch.equal, wrapper.main_loss.gate, F.init_gate(1)))


def test_going_back_empties_the_queue_at_once():
    wrapper = make(warmup_steps=2, temp_start=0.5, temp_end=0.1, temp_decay_steps=4)
    for step in (0, 2, 3, 6):
        wrapper.on_train_batch_start(step)
        wrapper(*batch(step))
    wrapper.on_train_batch_start(5)  # goes back, but not to before the switch
    assert (wrapper.main_loss.resets, wrapper.switch_step) == (1, 2)
    assert wrapper.main_loss.queue.any()
    wrapper.on_train_batch_start(1)
    assert (wrapper.main_weight, wrapper.switch_step, wrapper.current_temperature) == (0, None, 0.5)
    assert not wrapper.main_loss.queue.any()
    wrapper.on_train_batch_start(4)
    assert (wrapper.switch_step, wrapper.current_temperature) == (4, 0.5)


def test_an_epoch_that_goes_back_while_steps_go_on():
    wrapper = make(warmup_epochs=2, temp_start=0.5, temp_end=0.1, temp_decay_steps=4)
    for step, epoch in enumerate((0, 1, 2, 3, 0, 1, 2, 3)):
        wrapper.on_train_epoch_start(epoch)
        wrapper.on_train_batch_start(step)
        switch = (None, None, 2, 2, None, None, 6, 6)[step]
        assert wrapper.switch_step == switch
        assert wrapper.current_temperature == pytest.approx(0.5 * 0.2 ** ((step - (switch or step)) / 4))


def test_without_a_warm_up_the_clock_starts_at_step_0():
    for options in ({}, {"blend_epochs": 3}, {"warmup_steps": 0, "blend_steps": 80}):
        wrapper = make(temp_start=0.1, temp_end=0.001, temp_decay_steps=100, **options)
        wrapper.on_train_batch_start(50)
        assert wrapper.current_temperature == pytest.approx(0.01)
        assert (wrapper.switch_step, wrapper.main_loss.resets) == (0, 1)


PRESETS = {
    "smooth_ap": (lambda: SmoothAPLoss.recommended(1, queue_size=8), 0.2),
    "pauc": (lambda: PAUCAtBudgetLoss.recommended(1, 0.1, queue_size=8), 1.0),
    "overridden": (lambda: SmoothAPLoss.recommended(1, queue_size=8, temperature=0.7), 0.7),
    "copied": (lambda: copy.deepcopy(SmoothAPLoss.recommended(1, queue_size=8)), 0.2),
    "absolute": (lambda: SmoothAPLoss.recommended(1, queue_size=8, temperature_scale="absolute"), 0.2),
    "std": (lambda: SmoothAPLoss(1, queue_size=8, temperature=0.3, temperature_scale="std"), 0.3),
    "iqr": (lambda: PAUCAtBudgetLoss(1, queue_size=8, surrogate="pairwise", temperature_scale="iqr"), 0.1),
    "not gated": (lambda: PAUCAtBudgetLoss.recommended(1, 0.1, queue_size=8, gated=False), 1.0),
}


@pytest.mark.parametrize(("make_loss", "own"), PRESETS.values(), ids=PRESETS)
def test_a_preset_and_relative_units_keep_their_temperature(make_loss, own):
    wrapper = make(main_loss=make_loss(), warmup_steps=1, temp_decay_steps=2)
    for _ in range(5):
        wrapper.step()
        assert wrapper.current_temperature == wrapper.main_loss.temperature == own
    wrapper.main_loss.temperature = 0.3  # set by the user
    wrapper.step()
    assert wrapper.current_temperature == wrapper.main_loss.temperature == 0.3


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({"temp_start": 2.0}, (2.0, 0.2)),
        ({"temp_end": 0.1}, (0.2, 0.1)),
        ({"temp_start": 0.5, "temp_end": 0.05}, (0.5, 0.05)),
    ],
)
def test_given_temperatures_win_over_a_preset(ends, expected):
    start, end = expected
    wrapper = make(main_loss=SmoothAPLoss.recommended(1, queue_size=8), temp_decay_steps=2, **ends)
    for step, temperature in enumerate((start, math.sqrt(start * end), end, end)):
        wrapper.on_train_batch_start(step)
        assert wrapper.current_temperature == pytest.approx(temperature)
        assert wrapper.main_loss.temperature == pytest.approx(temperature)


@pytest.mark.parametrize(
    "make_loss",
    [
        functools.partial(SmoothAPLoss, 1),
        functools.partial(PAUCAtBudgetLoss, 1, surrogate="pairwise"),
    ],
    ids=["smooth_ap", "pauc"],
)
def test_other_losses_get_the_seeds_temperatures(make_loss):
    wrapper = make(main_loss=make_loss(queue_size=8, temperature=1.0), temp_decay_steps=2)
    for step, temperature in enumerate((0.05, math.sqrt(0.05 * 0.005), 0.005)):
        wrapper.on_train_batch_start(step)
        assert wrapper.main_loss.temperature == pytest.approx(temperature)


# ------------------------------------------------------------------------------------------------------------- targets

BCE = {
    "module": nn.BCEWithLogitsLoss(),
    "function": nn.functional.binary_cross_entropy_with_logits,
    "partial": functools.partial(nn.functional.binary_cross_entropy_with_logits, pos_weight=torch.tensor([1.0])),
}


@pytest.mark.parametrize("warmup_loss", BCE.values(), ids=BCE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_targets_are_converted_for_binary_cross_entropy(warmup_loss, dtype, shape):
    wrapper = make(warmup_loss, SmoothAPLoss(1, queue_size=4), warmup_steps=0, blend_steps=1)
    wrapper.step()
    logits, targets = batch()
    expected = 0.5 * nn.functional.binary_cross_entropy_with_logits(logits, targets)
    expected = expected + 0.5 * SmoothAPLoss(1, queue_size=4, temperature=0.05)(logits, targets)
    torch.testing.assert_close(wrapper(logits, targets.to(dtype).reshape(shape)), expected)


def test_losses_of_labels_get_the_shape_too_and_labels_per_class_stay():
    logits, targets = batch()
    for loss in (SigmoidFocalLoss(), SigmoidLogitAdjustedLoss(0.1), AsymmetricLoss(), HardNegativeLoss()):
        wrapper = make(loss, warmup_steps=1)
        wrapper.step()
        torch.testing.assert_close(wrapper(logits, targets[:, 0].long()), loss(logits, targets))
    wrapper, labels = make(warmup_steps=1), torch.randint(0, 2, (6, 3))
    wrapper.step()
    expected = nn.functional.binary_cross_entropy_with_logits(logits.expand(6, 3), labels.float())
    torch.testing.assert_close(wrapper(logits.expand(6, 3), labels), expected)


@pytest.mark.parametrize(
    ("warmup_loss", "logits", "targets", "message"),
    [
        (
            nn.BCEWithLogitsLoss(),
            torch.zeros(4, 3),
            torch.zeros(4, dtype=torch.int64),
            r"targets must be of the shape of the logits, \(4, 3\), for BCEWithLogitsLoss "
            r"\(class ids go with CrossEntropyLoss\), got \(4,\)",
        ),
        (
            nn.BCEWithLogitsLoss(),
            torch.zeros(4, 1),
            torch.tensor([0, 1, -100, 2]),
            "targets must be 0 or 1, got -100, 2",
        ),
        (
            nn.CrossEntropyLoss(),
            torch.zeros(4, 3),
            torch.zeros(4, 1, dtype=torch.int64),
            r"class ids of shape \(4,\) for CrossEntropyLoss with logits \(4, 3\) .*squeeze\(1\)\), got \(4, 1\)",
        ),
        (
            nn.functional.cross_entropy,
            torch.zeros(4, 3),
            torch.zeros(4),
            r"class ids of dtype int64 for cross_entropy \(pass targets.long\(\)\), got torch.float32",
        ),
    ],
)
def test_targets_that_cannot_be_converted(warmup_loss, logits, targets, message):
    wrapper = make(warmup_loss, warmup_steps=1)
    wrapper.step()
    with pytest.raises(ValueError, match=message):
        wrapper(logits, targets)


def test_bad_labels_are_nan_where_values_are_not_read():
    wrapper = make(warmup_steps=1)
    wrapper.step()
    logits, targets = batch()[0], torch.tensor([0, 1, 0, 1, 0, 1])
    losses = torch.func.vmap(wrapper, in_dims=(None, 0))(logits, torch.stack([targets, targets - 1]))
    assert losses.isnan().tolist() == [False, True]


def test_cross_entropy_takes_what_torch_takes():
    wrapper = make(nn.CrossEntropyLoss(), warmup_steps=1)
    wrapper.step()
    for shape in ((4, 3), (4, 3, 2)):
        logits = torch.randn(shape)
        small = [logits.argmax(1).to(torch.uint8)] if logits.ndim == 2 else []
        for targets in (logits.argmax(1), logits.softmax(1), *small):
            assert torch.equal(wrapper(logits, targets), nn.functional.cross_entropy(logits, targets))


# ------------------------------------------------------------------------------------------------------------ keywords


def test_a_loop_that_unpacks_works_in_every_phase():
    wrapper = make(warmup_steps=1, blend_steps=1)
    for step in range(3):
        wrapper.step()
        queue = wrapper.main_loss.queue.clone()
        logits, targets = batch(step)
        loss, per_class, valid = wrapper(logits, targets, return_per_class=True)
        assert loss.shape == ()
        assert per_class.shape == valid.shape == (1,)
        assert valid.dtype == torch.bool
        assert valid.all() == (step > 0) == per_class.isfinite().all()
        twin = copy.deepcopy(wrapper)
        twin.main_loss.queue = queue
        assert torch.equal(twin(logits, targets), loss)


def test_what_is_absent_in_warmup_has_the_form_of_what_comes_later():
    wrapper = make(warmup_steps=1)
    wrapper.step()
    logits, targets = torch.zeros(4, 3, dtype=torch.bfloat16), torch.zeros(4, 3, dtype=torch.bfloat16)
    loss, stats = wrapper(logits, targets, return_diagnostics=True)
    assert loss.shape == ()
    assert stats.keys() == set(Diagnostics._fields)
    assert all(value.isnan().all() and value.shape == (3,) for value in stats.values())
    loss, per_class, valid, stats = wrapper(logits, targets, return_per_class=True, return_diagnostics=True)
    assert per_class.dtype == torch.float32
    assert not valid.any()
    assert wrapper(logits, targets, return_per_class=False).shape == ()


@pytest.mark.parametrize("keywords", [{"return_per_class": True}, {"return_diagnostics": True}])
def test_absent_results_have_the_form_of_the_real_ones(keywords):
    wrapper = make(nn.CrossEntropyLoss(), PAUCAtBudgetLoss(3, beta=0.5, queue_size=8), warmup_steps=1)
    logits, targets = torch.randn(12, 3), torch.arange(12) % 3
    wrapper.step()
    in_warmup = wrapper(logits, targets, **keywords)
    wrapper.step()
    in_main = wrapper(logits, targets, **keywords)
    if "return_diagnostics" in keywords:  # the warm-up returns those of all ranking losses
        assert in_main[-1].keys() <= in_warmup[-1].keys()
        in_warmup = (in_warmup[0], *(in_warmup[-1][name] for name in in_main[-1]))
        in_main = (in_main[0], *in_main[-1].values())
    assert [(x.shape, x.dtype) for x in in_warmup] == [(x.shape, x.dtype) for x in in_main]


@pytest.mark.parametrize("keyword", ["return_per_class", "return_diagnostics"])
def test_extras_need_rows(keyword):
    wrapper = make(lambda *_: torch.tensor(1.0), warmup_steps=1)
    wrapper.step()
    with pytest.raises(TypeError, match="ToyRanking got an unexpected keyword argument 'return_per_clas'"):
        wrapper(torch.zeros(2, 3), None, return_per_clas=True)
    for logits, got in (({"a": 1}, "'dict'"), (torch.zeros(4), r"\(4,\)"), (torch.zeros(2, 4, 3), r"\(2, 4, 3\)")):
        assert wrapper(logits, None) == 1
        message = rf"logits must be a tensor \[N, C\] for {keyword} while the main loss is not computed, got {got}"
        with pytest.raises(ValueError, match=message):
            wrapper(logits, None, **{keyword: True})


def test_keywords_and_weights_reach_the_main_loss_in_blend_and_main():
    seen = []

    class Recorder(nn.Module):
        def forward(self, logits, targets, **keywords):
            seen.append(keywords)
            return logits.mean()

    class Weighted(nn.Module):
        def forward(self, logits, targets, sample_weight=None):
            seen.append(sample_weight)
            return logits.mean()

    wrapper = make(Weighted(), Recorder(), warmup_steps=1, blend_steps=1)
    weight, mask = torch.ones(6), torch.ones(6, dtype=torch.bool)
    for _ in range(3):
        wrapper.step()
        wrapper(*batch(), sample_weight=weight, iid_mask=mask)
    to_main = {"sample_weight": weight, "iid_mask": mask}
    assert [weight, to_main, weight, to_main] == seen


@pytest.mark.parametrize("takes", [True, False])
def test_sample_weight_and_the_warm_up_loss(takes):
    def weighted(logits, targets, *, sample_weight=None):
        return (logits[:, 0] * sample_weight).sum()

    wrapper = make(weighted if takes else nn.BCEWithLogitsLoss(), warmup_steps=2)
    logits, targets = batch()
    weight = torch.arange(6.0)
    wrapper.step()
    if takes:
        torch.testing.assert_close(wrapper(logits, targets, sample_weight=weight), (logits[:, 0] * weight).sum())
        return
    with pytest.warns(UserWarning, match=r"BCEWithLogitsLoss takes no sample_weight.*SigmoidFocalLoss") as caught:
        loss = wrapper(logits, targets, sample_weight=weight)
    assert caught[0].filename == __file__
    assert torch.equal(loss, wrapper(logits, targets, sample_weight=weight))  # warned once


def test_losses_of_different_shape_do_not_blend():
    wrapper = make(nn.BCEWithLogitsLoss(reduction="none"), warmup_steps=0, blend_steps=1)
    wrapper.step()
    with pytest.raises(
        ValueError, match=r"the warm-up loss must be of the same shape as the main loss, \(\), got \(6, 1"
    ):
        wrapper(*batch())


# --------------------------------------------------------------------------------------------------------------- hooks


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_step_is_the_hooks_in_one_call(unit):
    options = {f"warmup_{unit}": 2, f"blend_{unit}": 2, "temp_decay_steps": 7, "reset_queue_each_epoch": True}
    hooks, stepped = make(**options), make(**options)
    global_step = 0
    for epoch in range(6):
        hooks.on_train_epoch_start(epoch)
        for _ in range(3):
            hooks.on_train_batch_start(global_step)
            stepped.step(epoch)
            inputs = batch(global_step)
            assert torch.equal(hooks(*inputs), stepped(*inputs))
            assert hooks.main_weight == stepped.main_weight
            assert hooks.current_temperature == stepped.current_temperature
            assert hooks.main_loss.resets == stepped.main_loss.resets
            global_step += 1
    assert torch.equal(hooks.get_extra_state(), stepped.get_extra_state())


@pytest.mark.parametrize(
    ("options", "called", "advice"),
    [
        (
            {"warmup_epochs": 1},
            "",
            r"on_train_epoch_start\(epoch\) .* and on_train_batch_start\(global_step\) .*step\(epoch\)",
        ),
        ({"warmup_epochs": 1}, "epoch", r"call on_train_batch_start\(global_step\) before every batch; or"),
        ({"warmup_epochs": 1}, "batch", r"call on_train_epoch_start\(epoch\) before every epoch; or"),
        ({"warmup_epochs": 1}, "step", r"call on_train_epoch_start\(epoch\) before every epoch; or call step\(epoch\)"),
        ({"warmup_steps": 1}, "epoch", r"call on_train_batch_start\(global_step\) .*; or call step\(\)"),
        ({}, "epoch", r"stands still at main_weight=1: call on_train_batch_start"),
    ],
)
def test_a_missing_hook_is_named_once(options, called, advice):
    wrapper = make(**options)
    caught = []
    for step in range(12):
        if called == "epoch":
            wrapper.on_train_epoch_start(step // 4)
        elif called == "batch":
            wrapper.on_train_batch_start(step)
        elif called == "step":
            wrapper.step()
        with warnings.catch_warnings(record=True) as records:
            warnings.simplefilter("always")
            wrapper(*batch())
        caught += records
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=advice):
        warnings.warn(caught[0].message, stacklevel=1)


@pytest.mark.parametrize(
    ("options", "main_loss"),
    [
        ({}, nn.MSELoss()),
        ({"temp_start": 0.1, "temp_end": 0.1}, ToyRanking()),
        ({"warmup_epochs": 1}, nn.MSELoss()),
        ({"warmup_steps": 1}, ToyRanking()),
    ],
)
def test_no_warning_where_nothing_is_missing(options, main_loss):
    """Warnings are errors in these tests."""
    wrapper = make(main_loss=main_loss, **options)
    for step in range(8):
        if "warmup_epochs" in options:
            wrapper.on_train_epoch_start(step)
        if "warmup_steps" in options:
            wrapper.on_train_batch_start(step)
        wrapper(*batch())


def test_no_warning_in_eval():
    wrapper = make(warmup_epochs=1).eval()
    for _ in range(8):
        wrapper(*batch())


# ------------------------------------------------------------------------------------------------------------- tensors


def test_gradient_is_the_blend_of_the_gradients():
    wrapper = make(warmup_steps=0, blend_steps=2, final_main_weight=0.6)
    wrapper.step()
    (logits, targets), (warm_logits, _), (main_logits, _) = batch(), batch(), batch()
    wrapper(logits, targets).backward()
    nn.functional.binary_cross_entropy_with_logits(warm_logits, targets).backward()
    twin = ToyRanking()
    twin.temperature = 0.05
    twin(main_logits, targets).backward()
    torch.testing.assert_close(logits.grad, 0.8 * warm_logits.grad + 0.2 * main_logits.grad)


def test_backward_may_come_after_the_next_hook():
    wrapper = make(warmup_steps=0, blend_steps=5)
    logits, targets = batch()
    logits = logits.double()
    total = 0
    for _ in range(3):
        wrapper.step()
        total = total + wrapper(logits, targets.double())
    total.backward()


def test_half_modules_do_not_round_the_weight():
    wrapper = make(nn.MSELoss(), nn.L1Loss(), warmup_steps=0, blend_steps=2).half()
    wrapper.step()
    logits, targets = batch()
    expected = nn.functional.mse_loss(logits, targets) * 2 / 3 + nn.functional.l1_loss(logits, targets) / 3
    torch.testing.assert_close(wrapper(logits, targets), expected, rtol=1e-7, atol=1e-8)


def test_float64_losses_get_a_float64_weight():
    wrapper = make(nn.MSELoss(), nn.L1Loss(), warmup_steps=0, blend_steps=2)
    wrapper.step()
    logits, targets = (tensor.detach().double() for tensor in batch())
    expected = nn.functional.mse_loss(logits, targets) * 2 / 3 + nn.functional.l1_loss(logits, targets) / 3
    torch.testing.assert_close(wrapper(logits, targets), expected, rtol=1e-15, atol=0)


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"warmup_epochs": -1}, ValueError, "warmup_epochs must be an integer >= 0, got -1"),
        ({"warmup_epochs": 2.0}, ValueError, "warmup_epochs must be an integer >= 0, got 2.0"),
        ({"blend_epochs": True}, ValueError, "blend_epochs must be an integer >= 0, got True"),
        ({"warmup_steps": "5"}, ValueError, "warmup_steps must be an integer >= 0, got '5'"),
        ({"warmup_steps": 5, "blend_steps": -5}, ValueError, "blend_steps must be an integer >= 0, got -5"),
        (
            {"warmup_steps": 5, "warmup_epochs": 1},
            ValueError,
            "warmup_epochs must be 0 when warmup_steps is given.*got 1",
        ),
        (
            {"warmup_steps": 5, "blend_epochs": 2},
            ValueError,
            "blend_epochs must be 0 when warmup_steps is given.*got 2",
        ),
        ({"blend_steps": 2}, ValueError, "blend_steps must be given together with warmup_steps, got 2"),
        ({"temp_start": 0}, ValueError, "temp_start must be a finite number > 0, got 0"),
        ({"temp_end": float("nan")}, ValueError, "temp_end must be a finite number > 0, got nan"),
        ({"temp_decay_steps": 0}, ValueError, "temp_decay_steps must be an integer >= 1, got 0"),
        ({"temp_decay_steps": 1e4}, ValueError, "temp_decay_steps must be an integer >= 1, got 10000.0"),
        ({"final_main_weight": 0}, ValueError, r"final_main_weight must be a Python number in \(0, 1\], got 0"),
        ({"final_main_weight": 1.1}, ValueError, r"final_main_weight must be a Python number in \(0, 1\], got 1.1"),
        ({"main_loss": nn.MSELoss}, TypeError, "main_loss must be a loss module or function, got <class"),
        ({"warmup_loss": "bce"}, TypeError, "warmup_loss must be a loss module or function, got 'bce'"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_bad_hook_arguments():
    wrapper = make(warmup_epochs=1)
    with pytest.raises(ValueError, match=r"epoch must be an integer >= 0, got 0\.5"):
        wrapper.on_train_epoch_start(0.5)
    with pytest.raises(ValueError, match="global_step must be an integer >= 0, got -1"):
        wrapper.on_train_batch_start(-1)
    wrapper.on_train_epoch_start(np.int64(1))
    wrapper.on_train_batch_start(torch.tensor(3))
    assert wrapper.switch_step == 3


def test_a_warmup_loss_that_returns_more_is_named():
    wrapper = make(warmup_loss=lambda logits, _: (logits.mean(), None), warmup_steps=1)
    with pytest.raises(TypeError, match="warmup_loss must return a loss alone, a tensor, got tuple"):
        wrapper(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))


def test_positional_order_and_defaults_are_the_seeds():
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), ToyRanking(), 5, 0.5, 0.01, 50_000, blend_epochs=2)
    assert (wrapper.warmup_epochs, wrapper.blend_epochs) == (5, 2)
    assert (wrapper.temp_start, wrapper.temp_end, wrapper.temp_decay_steps) == (0.5, 0.01, 50_000)
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), ToyRanking())
    assert (wrapper.temp_start, wrapper.temp_end, wrapper.temp_decay_steps) == (0.05, 0.005, 10_000)
    assert (wrapper.in_warmup, wrapper.in_blend, wrapper.main_weight) == (False, False, 1.0)
    assert "warmup_epochs=0, blend_epochs=0, final_main_weight=1.0, temp_start=0.05" in repr(wrapper)


def test_gather_distributed_goes_to_the_main_loss():
    for value in (None, True, False):
        assert make(gather_distributed=value).main_loss.gather_distributed is value


@pytest.mark.parametrize("options", [{"gather_distributed": False}, {"reset_queue_each_epoch": True}])
def test_an_option_without_effect_is_a_warning(options):
    (name,) = options
    with pytest.warns(UserWarning, match=rf"{name}=\w+ has no effect: MSELoss has no `") as caught:
        wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), nn.MSELoss(), **options)
    assert caught[0].filename == __file__
    wrapper.on_train_epoch_start(0)
    assert not hasattr(wrapper.main_loss, "gather_distributed")

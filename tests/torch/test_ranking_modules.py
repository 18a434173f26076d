"""The ranking modules against a replay in plain numpy, and their behaviour in use."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from losses import IGNORED, RANKING, every_ranking_variant
from reference import QUEUE_IGNORED, queue_after
from replay import TASKS, Replay, batches

from imbalanced_core import quantile
from imbalanced_core.ops.on_torch import constants
from imbalanced_torch import PAUCAtBudgetLoss, RecallAtQuantileLoss, SmoothAPLoss


def tensors(*arrays):
    return tuple(torch.from_numpy(np.asarray(array)) for array in arrays)


def small_batch(num_classes=2, n=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, num_classes, generator=generator)
    return logits, torch.randint(0, max(2, num_classes), (n,), generator=generator)


@pytest.fixture(params=RANKING, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture
def module(case):
    return case.in_torch(2, queue_size=24, temperature=0.1)


@pytest.mark.parametrize("task", TASKS)
@every_ranking_variant
def test_modules_do_what_the_definition_says(case, task):
    num_classes, multilabel = TASKS[task]
    loss_fn = case.in_torch(num_classes, multilabel=multilabel, queue_size=30)
    replay = Replay(case, task, queue_size=30)
    for batch in batches(task, 4):
        logits, targets, weights, iid = tensors(*batch)
        logits.requires_grad_()
        loss, per_class, valid = loss_fn(logits, targets, iid, return_per_class=True, sample_weight=weights)
        (gradient,) = torch.autograd.grad(loss, logits)
        expected = replay.step(*batch)
        for result, wanted in zip((loss, per_class, valid, gradient), expected, strict=True):
            np.testing.assert_allclose(result.detach(), wanted, rtol=2e-4, atol=3e-6)
        for kept, wanted in zip(loss_fn.queue, replay.queue, strict=True):
            np.testing.assert_array_equal(kept, wanted)


def test_the_arguments_are_those_of_the_seed_library_in_its_order():
    def positional(cls):
        parameters = list(inspect.signature(cls).parameters.values())
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    common = "queue_size temperature reduction ignore_index update_queue_in_eval gather_distributed"
    assert positional(SmoothAPLoss) == f"num_classes {common} max_pool_size".split()
    recall = f"num_classes quantile {common} quantile_interpolation max_pool_size"
    assert positional(RecallAtQuantileLoss) == recall.split()
    band = "alpha beta surrogate n_knots tau_scale pos_numerator budget_basis"
    assert positional(PAUCAtBudgetLoss) == f"num_classes {band} {common} quantile_interpolation max_pool_size".split()


def test_the_forms_of_the_result():
    logits, targets = small_batch(3)
    logits.requires_grad_()
    loss_fn = PAUCAtBudgetLoss(3, beta=0.3, queue_size=0)
    loss = loss_fn(logits, targets)
    loss2, per_class, valid = loss_fn(logits, targets, None, True)
    loss3, stats = loss_fn(logits, targets, None, False, True)
    loss4, per_class4, valid4, stats4 = loss_fn(logits, targets, return_per_class=True, return_diagnostics=True)
    assert loss.shape == ()
    assert loss == loss2 == loss3 == loss4
    assert torch.equal(per_class, per_class4)
    assert torch.equal(valid, valid4)
    assert valid.dtype == torch.bool
    assert list(stats) == ["t_alpha", "t_beta", "tau_eff", "band_neg_count", "pauc_var", "grad_pos_count", "spread"]
    for name, figure in stats.items():
        assert figure.shape == (3,)
        assert not figure.requires_grad
        assert torch.equal(figure, stats4[name])
    assert torch.equal(stats["grad_pos_count"], torch.bincount(targets, minlength=3).float())
    per_class.sum().backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_with_a_class_that_does_not_occur(reduction):
    logits, targets = small_batch(3)
    targets[targets == 2] = 0
    loss_fn = SmoothAPLoss(3, queue_size=0, reduction=reduction)
    loss, per_class, valid = loss_fn(logits, targets, return_per_class=True)
    assert valid.tolist() == [True, True, False]
    assert per_class.isnan().tolist() == [False, False, True]
    if reduction == "none":
        assert torch.equal(loss.isnan(), per_class.isnan())
    else:
        torch.testing.assert_close(loss, getattr(per_class[:2], reduction)())


def test_float_and_column_targets_of_the_binary_case():
    logits, targets = small_batch(1)
    expected = SmoothAPLoss(1)(logits, targets)
    for given in (targets.float(), targets.bool(), targets[:, None].float(), targets.to(torch.uint8)[:, None]):
        assert SmoothAPLoss(1)(logits, given) == expected


def test_rows_enter_the_queue_in_training_mode_with_gradients_enabled(module):
    logits, targets = small_batch()
    module(logits, targets)
    before = module.queue_logits.clone()

    def leaves_it_alone():
        first = module(-logits, targets)
        return module(-logits, targets) == first and torch.equal(module.queue_logits, before)

    module.eval()
    assert leaves_it_alone()
    module.train()
    with torch.no_grad():  # validation with a loss that was not switched to eval()
        assert leaves_it_alone()
    with torch.inference_mode():
        assert leaves_it_alone()
    module(2 * logits, targets)
    np.testing.assert_array_equal(module.queue_logits, queue_after(before, 2 * logits))
    module.reset_queue()
    assert (module.queue_targets == QUEUE_IGNORED).all()
    assert (module.queue_logits == 0).all()


@pytest.mark.parametrize("gated", [False, True])
def test_a_call_decides_whether_its_rows_enter_the_queue(case, gated):
    module = case.in_torch(2, queue_size=24, temperature=0.1, gated=gated)
    logits, targets = small_batch()
    module(logits, targets)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(3 * logits, targets, update_queue=False)
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    expected = state["queue_logits"]
    module.eval()
    for factor, options in ((4, {"update_queue": True}), (5, {})):
        with torch.no_grad():
            module(factor * logits, targets, **options)
        expected = queue_after(expected, factor * logits)
        np.testing.assert_array_equal(module.queue_logits, expected)
        module.update_queue_in_eval = True
    with torch.inference_mode():
        module(6 * logits, targets)
    np.testing.assert_array_equal(module.queue_logits, queue_after(expected, 6 * logits))
    module.train()(logits.requires_grad_(), targets).backward()  # the buffers still work in training
    with pytest.raises(ValueError, match="update_queue must be True or False, got 1"):
        module(logits, targets, update_queue=1)


def test_a_queue_of_size_zero(case):
    alone = case.in_torch(2, queue_size=0)
    logits, targets = small_batch()
    assert alone(logits, targets) == alone(logits, targets)
    assert alone.queue_logits.shape == (0, 2)


def test_a_temperature_may_change_at_any_time(module):
    logits, targets = small_batch()
    logits.requires_grad_()
    module.eval()
    loss = module(logits, targets)
    (expected,) = torch.autograd.grad(loss, logits, retain_graph=True)
    module.temperature = 3.0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient, expected)
    assert module.temperature == 3.0
    assert module(logits, targets) != loss
    module.temperature = torch.tensor(0.1)
    torch.testing.assert_close(module(logits, targets), loss)
    module.temperature = 0.07
    assert module.temperature == 0.07  # not the nearest float32
    with pytest.raises(ValueError, match="temperature must be a finite number > 0, got -1"):
        module.temperature = -1


def test_an_annealed_quantile_leaves_no_tables_behind():
    loss_fn, (logits, targets) = RecallAtQuantileLoss(2, queue_size=0), small_batch()
    for step in range(300):
        loss_fn.quantile = 0.5 * 0.99**step
        loss_fn(logits, targets)
    assert constants._kept.cache_info().currsize <= 256
    assert quantile._tables.cache_info().currsize <= 64


def test_two_steps_before_one_backward(module):
    """The queue is changed in place, so it must not be saved for backward."""
    (first, first_targets), (second, second_targets) = small_batch(seed=1), small_batch(seed=2)
    first.requires_grad_()
    losses = module(first, first_targets) + module(second, second_targets)
    module.reset_queue()
    losses.backward()
    assert first.grad.isfinite().all()


def test_other_arrays_and_logits_without_a_class_axis_are_told_what_to_pass():
    logits, targets = torch.randn(4), torch.tensor([0, 1, 0, 1])
    with pytest.raises(TypeError, match=r"got numpy\.ndarray; pass torch\.as_tensor\(targets\)"):
        SmoothAPLoss(1)(logits[:, None], targets.numpy())
    with pytest.raises(ValueError, match=r"= \[N, 1\] \(for one class pass logits\[:, None\]\), got \(4,\)"):
        SmoothAPLoss(1)(logits, targets)


def test_labels_of_minus_one_and_one_are_told_what_to_pass():
    with pytest.raises(ValueError, match=r"0 or 1 \(for labels of -1 and 1 pass targets > 0\)"):
        SmoothAPLoss(1)(torch.randn(4, 1), torch.tensor([-1, 1, -1, 1]))
    with pytest.raises(
        ValueError, match="must be 0 or 1 or the ignore_index -100, got -1"
    ):  # which may be ignored rows
        SmoothAPLoss(1)(torch.randn(4, 1), torch.tensor([-1, 1, 0, 1]))


def test_bad_values_are_errors_that_leave_the_queue_alone(module):
    logits, targets = small_batch()
    with pytest.raises(ValueError, match=r"targets must be class ids in \[0, 2\) .* got 2"):
        module(logits, targets + 1)
    weights = torch.ones(16)
    weights[3] = -0.5
    with pytest.raises(ValueError, match=r"sample_weight must be finite and >= 0, got -0\.5"):
        module(logits, targets, sample_weight=weights)
    targets[3] = IGNORED
    weights[3] = float("nan")
    module.eval()(logits, targets, sample_weight=weights)  # NaN weight of an ignored row
    assert (module.queue_targets == QUEUE_IGNORED).all()
    with pytest.raises(ValueError, match=r"targets must be 0 or 1 or the ignore_index -100, got 0\.5"):
        SmoothAPLoss(1)(logits[:, :1], torch.full((16,), 0.5))


WRONG_CALLS = {
    "logits of other classes": (lambda f, x, y: f(x[:, :1], y), ValueError, r"logits must be .* = \[N, 2\], got"),
    "one-hot targets": (lambda f, x, y: f(x, torch.eye(2)[y].long()), ValueError, r"targets must be of shape \[rows\]"),
    "float targets": (lambda f, x, y: f(x, y.float()), TypeError, "targets must be integer class ids"),
    "logits elsewhere": (lambda f, x, y: f(x.to("meta"), y.to("meta")), ValueError, "on the device of the loss, cpu"),
    "integer logits": (lambda f, x, y: f(x.long(), y), TypeError, "logits must be a floating-point array"),
    "weights per class": (lambda f, x, y: f(x, y, sample_weight=x.abs()), ValueError, "sample_weight must be of shape"),
    "a mask of numbers": (lambda f, x, y: f(x, y, y), TypeError, "iid_mask must be a bool array"),
}


@pytest.mark.parametrize("mistake", WRONG_CALLS)
def test_wrong_calls_are_named(module, mistake):
    call, error, message = WRONG_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(module, *small_batch())


WRONG_OPTIONS = [  # `test_every_option.py` tests values of the wrong type for every option
    (lambda: SmoothAPLoss(0), "num_classes must be an integer >= 1, got 0"),
    (lambda: SmoothAPLoss(2, queue_size=-1), "queue_size must be an integer >= 0, got -1"),
    (lambda: SmoothAPLoss(5, max_pool_size=4), "max_pool_size must be an integer >= 5, got 4"),
    (lambda: RecallAtQuantileLoss(2, quantile=1.5), "quantile must be"),
    (lambda: PAUCAtBudgetLoss(2, alpha=0.2, beta=0.1), "alpha must be less than beta"),
    (lambda: PAUCAtBudgetLoss(2, n_knots=1), "n_knots must be an integer >= 2"),
]


@pytest.mark.parametrize(("construct", "message"), WRONG_OPTIONS)
def test_wrong_options_are_refused_by_the_constructor(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()


def test_nan_logits_give_a_nan_loss_and_spare_the_queue(module):
    logits, targets = small_batch()
    logits[5, 1] = float("nan")
    assert module(logits, targets).isnan()
    assert module.queue_logits.isfinite().all()
    assert (module.queue_targets == QUEUE_IGNORED).sum() == 24 - 15  # 8 slots are empty
    logits[5], targets[5] = float("inf"), IGNORED
    assert module(logits, targets).isfinite()


def test_degenerate_batches_are_silent_zeros(case):
    for n, target in [(0, 0), (8, 0), (8, IGNORED)]:
        loss_fn = case.in_torch(1, queue_size=4)
        logits = torch.zeros(n, 1, requires_grad=True)
        loss = loss_fn(logits, torch.full((n,), target))
        loss.backward()
        assert loss == 0
        assert (logits.grad == 0).all()


def test_an_empty_batch_ranks_the_queue(case):
    loss_fn = case.in_torch(5, queue_size=256, pos_numerator="pool")
    full = loss_fn(*map(torch.from_numpy, case.batch(0, 256, num_classes=5)))
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = loss_fn(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    torch.testing.assert_close(loss, full)
    assert logits.grad.shape == (0, 5)


def test_a_pool_without_rows_has_no_figure(case):
    loss_fn = case.in_torch(2, queue_size=0)
    loss, stats = loss_fn(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), return_diagnostics=True)
    assert loss == 0
    assert stats.pop("grad_pos_count").tolist() == [0, 0]
    assert all(figure.shape == (2,) and figure.isnan().all() for figure in stats.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(module, dtype):
    logits, targets = small_batch()
    halves = logits.to(dtype)
    expected = module.eval()(halves.float(), targets)
    assert module(halves, targets) == expected
    with torch.autocast("cpu", dtype=dtype):
        assert module(halves, targets) == expected
    assert expected.dtype == torch.float32


def test_tau_scale_has_the_name_of_the_other_losses_too():
    logits, targets = small_batch()
    seed_name = PAUCAtBudgetLoss(2, beta=0.5, tau_scale="std")(logits, targets)
    assert PAUCAtBudgetLoss(2, beta=0.5, temperature_scale="std")(logits, targets) == seed_name
    assert PAUCAtBudgetLoss(2, beta=0.5)(logits, targets) != seed_name


def test_repr_tells_the_configuration():
    text = repr(RecallAtQuantileLoss(3, quantile=0.1, queue_size=7, temperature=0.05))
    for part in ("num_classes=3", "quantile=0.1", "queue_size=7", "temperature=0.05"):
        assert part in text


def test_construction_and_use_are_without_warnings(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(*small_batch())

"""Losses under torch's transforms, recomputation, accumulation, copies and graphs."""

import copy

import numpy as np
import pytest
import torch
import torch.distributed as dist
from losses import LOSSES, POINTWISE, RANKING, each, every_loss, every_ranking, with_variants
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from imbalanced_core.ops.on_torch import constants
from imbalanced_torch import LossWarmupWrapper, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss


def batch(seed=0, case=RANKING[0], dtype=np.float32):
    return tuple(map(torch.from_numpy, case.batch(seed, 16, dtype=dtype)))


def make(case, **options):
    return case.in_torch(3, **options if case.ranks else {})


def gradient(loss_fn, x, y):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(loss_fn(x, y), x)[0]


# ------------------------------------------------------------------------------------------------------ recomputation


@pytest.mark.parametrize("use_reentrant", [False, True])
@every_loss
def test_recomputation_without_a_queue_is_right(case, use_reentrant):
    x, y = batch(case=case)
    again = x.clone().requires_grad_()
    checkpoint(make(case, queue_size=0), again, y, use_reentrant=use_reentrant).backward()
    torch.testing.assert_close(again.grad, gradient(make(case, queue_size=0), x, y))


@pytest.mark.parametrize("state", [{"queue_size": 24}, {"gated": True}, {"max_pool_size": 8}], ids=str)
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:a pool of")
@every_ranking
def test_recomputation_is_refused_where_a_state_has_moved_on(case, use_reentrant, state):
    x, y = batch()
    loss_fn = make(case, **{"queue_size": 0} | state)
    loss = checkpoint(loss_fn, x.requires_grad_(), y, use_reentrant=use_reentrant)
    with pytest.raises(RuntimeError, match=r"must not be computed again during backward; keep it out of torch\.utils"):
        loss.backward()
    checkpoint(loss_fn.eval(), x, y, use_reentrant=use_reentrant).backward()  # no state changes


@every_loss
def test_make_fx_traces_what_runs(case):
    x, y = batch(case=case)
    loss_fn = make(case, queue_size=0)
    torch.testing.assert_close(make_fx(lambda x: gradient(loss_fn, x, y))(x)(x), gradient(loss_fn, x, y))


@pytest.fixture
def no_constants(monkeypatch):
    """No constant has been made yet."""
    monkeypatch.setattr(constants, "_SCALARS", {})
    for kept in (constants._kept, constants._arange):
        kept.cache_clear()


@every_loss
def test_constants_made_in_transforms_are_not_kept(case, no_constants):
    x, y = batch(case=case)
    loss_fn = make(case, queue_size=0)
    first = torch.func.grad(lambda x: loss_fn(x, y))
    torch.func.grad(lambda x: first(x).square().sum())(x)
    torch.testing.assert_close(first(x), gradient(loss_fn, x, y))


@every_loss
def test_constants_made_among_fake_tensors_are_not_kept(case, no_constants):
    x, y = batch(case=case)
    loss_fn = make(case, queue_size=0)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        gradient(loss_fn, mode.from_tensor(x), mode.from_tensor(y))
    assert type(gradient(loss_fn, x, y)) is torch.Tensor


@every_loss
def test_constants_made_in_inference_mode_can_be_trained_with(case, no_constants):
    x, y = batch(case=case)
    loss_fn = make(case, queue_size=0)
    constants._kept.cache_clear()  # of those by the constructor
    with torch.inference_mode():
        loss_fn(x, y)
    gradient(loss_fn, x, y)


@pytest.mark.parametrize("rows", [16, 2048, 3000])  # all pairs, whole blocks, or padded ones
@every_loss
def test_batched_gradients_are_those_of_each(case, rows):
    x, y = map(torch.from_numpy, case.batch(0, rows, dtype=np.float64))
    loss_fn = make(case, queue_size=0)
    loss = loss_fn(x.requires_grad_(), y)
    several = torch.autograd.grad(loss, x, torch.tensor([1.0, -2.0]), is_grads_batched=True, retain_graph=True)[0]
    one = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(several, torch.stack([one, -2 * one]))
    x, line = x.detach(), torch.ones(2, dtype=torch.float64)
    second = [
        torch.autograd.functional.hessian(lambda line: loss_fn(line[0] * x + line[1] * x**2, y), line, vectorize=fast)
        for fast in (False, True)
    ]
    torch.testing.assert_close(*second)


@pytest.mark.parametrize("classes", [1, 5])
@every_ranking
def test_batched_gradients_with_a_queue_are_those_of_each(case, classes):
    x, y = map(torch.from_numpy, case.batch(0, 16, dtype=np.float64, num_classes=classes))
    loss_fn = case.in_torch(classes, queue_size=256)
    for seed in range(16):
        loss_fn(*map(torch.from_numpy, case.batch(seed, 16, dtype=np.float64, num_classes=classes)))
    loss = loss_fn(x.requires_grad_(), y)
    several = torch.autograd.grad(loss, x, torch.tensor([1.0, -2.0]), is_grads_batched=True, retain_graph=True)[0]
    one = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(several, torch.stack([one, -2 * one]))


@every_ranking
def test_accumulated_gradients_are_those_of_the_sum(case):
    first, second = make(case, queue_size=24), make(case, queue_size=24)
    weight = torch.eye(3).requires_grad_()
    total = sum(first(x @ weight, y) for x, y in map(batch, range(3)))
    (expected,) = torch.autograd.grad(total, weight)
    for x, y in map(batch, range(3)):
        second(x @ weight, y).backward()
    torch.testing.assert_close(weight.grad, expected)


@every_ranking
def test_state_stays_where_it_is_so_that_a_captured_graph_finds_it(case):
    main = make(case, queue_size=24)
    loss_fn = LossWarmupWrapper(SoftmaxFocalLoss(), main, warmup_steps=1, blend_steps=2, temp_decay_steps=3)
    places = {key: buffer.data_ptr() for key, buffer in loss_fn.named_buffers()}
    for step in range(5):
        loss_fn.on_train_batch_start(step)
        loss_fn(*batch(step))
    main.reset_queue()
    main.load_state_dict(copy.deepcopy(main).state_dict())
    assert {key: buffer.data_ptr() for key, buffer in loss_fn.named_buffers()} == places


# ---------------------------------------------------------------------------------------------------------- transforms


@every_loss
def test_grad_and_vmap_are_a_loop(case):
    loss_fn = make(case, queue_size=0)
    batches = [batch(seed, case) for seed in range(3)]
    stacked = [torch.stack(tensors) for tensors in zip(*batches, strict=True)]
    each = torch.func.vmap(torch.func.grad(loss_fn))(*stacked)
    torch.testing.assert_close(each, torch.stack([gradient(loss_fn, x, y) for x, y in batches]))
    torch.testing.assert_close(torch.func.vmap(loss_fn)(*stacked), torch.stack([loss_fn(x, y) for x, y in batches]))


def test_a_queue_inside_of_a_transform_is_an_error():
    loss_fn = SmoothAPLoss(3, queue_size=24)
    with pytest.raises(RuntimeError, match="in-place"):
        torch.func.grad(loss_fn)(*batch())
    torch.func.grad(loss_fn.eval())(*batch())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")  # from torch itself; the category varies
@each(case for case in LOSSES if "torch" in case.forward_mode)
def test_forward_mode(case):
    loss_fn = make(case, queue_size=0)
    x, y = batch(case=case, dtype=np.float64)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    _, slope = torch.func.jvp(lambda x: loss_fn(x, y), (x,), (direction,))
    torch.testing.assert_close(slope, (gradient(loss_fn, x, y) * direction).sum())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")  # from torch itself; the category varies
@each(case for case in LOSSES if "torch" not in case.forward_mode)
def test_forward_mode_that_is_not_there_is_an_error(case):
    x, y = batch(case=case)
    with pytest.raises(NotImplementedError, match="implement the jvp function"):
        torch.func.jvp(lambda x: make(case, queue_size=0)(x, y), (x,), (x,))


@every_ranking
def test_second_derivatives_are_those_of_the_first(case):
    """Only with respect to scores that set no threshold or scale, since these are constants in differentiation."""
    x, y = batch(case=case, dtype=np.float64)
    loss_fn = make(case, queue_size=0).double()
    moving = torch.nn.functional.one_hot(y, 3).bool()
    if case.threshold_of == "no item" and case.scale == "absolute":
        moving = torch.ones_like(x, dtype=torch.bool)
    if case.threshold_of == "all items":  # fix the threshold and its two neighbours
        threshold = loss_fn(x, y, return_diagnostics=True)[1]["t_beta"]
        moving = moving & (x < torch.where(x < threshold, x, -torch.inf).amax(dim=0))

    def moved(part):
        return loss_fn(torch.masked_scatter(x, moving, part), y)

    assert torch.autograd.gradgradcheck(moved, x[moving].clone().requires_grad_())
    hessian = torch.autograd.functional.hessian(moved, x[moving])
    assert hessian.abs().max() > 1e-3


@every_loss
def test_compiled_second_derivatives_are_those_of_eager_mode(case):
    """PyTorch's compiler takes the second derivative of an autograd function of a computed value for 0."""
    x, y = batch(case=case, dtype=np.float64)
    loss_fn = make(case, queue_size=0)

    def slope(x):
        return torch.func.grad(lambda x: loss_fn(3 * x, y))(x).square().sum()

    expected = torch.func.grad(slope)(x)
    assert expected.abs().max() > 0
    torch.compiler.reset()
    compiled = torch.compile(torch.func.grad(slope), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.parametrize("compiled", [False, True])
@each(with_variants(LOSSES))
def test_results_may_be_changed_in_place(case, compiled):
    """As those of PyTorch's losses: FSDP2 loses the gradient of a view that is changed in place."""
    x, y = batch(case=case)
    x.requires_grad_()
    torch.compiler.reset()
    for reduction in ("mean", "sum", "none"):
        loss_fn = case.in_torch(3, reduction=reduction)
        loss_fn = torch.compile(loss_fn, backend="aot_eager", fullgraph=True) if compiled else loss_fn
        loss = loss_fn(x, y)
        assert not loss._is_view()
        (expected,) = torch.autograd.grad(loss.nansum(), x, retain_graph=True)
        loss *= 4
        torch.testing.assert_close(torch.autograd.grad(loss.nansum(), x)[0], 4 * expected)


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@each(with_variants(POINTWISE))
def test_second_derivatives_of_pointwise_losses_are_finite(case, size):
    x, y = batch(case=case)
    x = (size * x.sign()).requires_grad_()
    (slope,) = torch.autograd.grad(make(case)(x, y), x, create_graph=True)
    assert torch.autograd.grad(slope.square().sum() + slope.sum(), x)[0].isfinite().all()


def test_a_number_changed_on_a_compiled_module_is_noticed():
    """It recompiles, which a 0-d tensor would avoid, but never uses a stale number."""
    torch.compiler.reset()
    x, y = batch()
    loss_fn = SoftmaxFocalLoss()
    compiled = torch.compile(loss_fn, backend="eager", fullgraph=True)
    for gamma in (2.0, 0.5, 0.75):
        loss_fn.gamma = gamma
        torch.testing.assert_close(compiled(x, y), loss_fn(x, y))


# -------------------------------------------------------------------------------------------------------------- copies


def test_a_copy_works_with_the_same_processes():
    group = dist.ProcessGroup(0, 1)
    with pytest.raises(TypeError):
        copy.deepcopy(group)
    x, y = batch()
    loss_fn = LossWarmupWrapper(SoftmaxFocalLoss(process_group=group), SmoothAPLoss(3, 24, process_group=group))
    loss_fn(x, y)
    other = copy.deepcopy(loss_fn)
    assert other.main_loss.process_group is other.warmup_loss.process_group is group
    assert other(*batch(1)) == loss_fn(*batch(1))
    other.main_loss.reset_queue()
    assert (loss_fn.main_loss.queue_targets >= 0).all()  # 24 of 32 rows
    twins = copy.deepcopy([loss_fn.main_loss, loss_fn.main_loss])
    assert twins[0] is twins[1]


def test_a_queue_that_ddp_has_overwritten_is_noticed():
    loss_fn = SmoothAPLoss(4, queue_size=8, class_parallel=True)
    loss_fn._hold((2, 2))
    loss_fn._check_block()
    loss_fn.queue_block.copy_(torch.tensor([0, 2]))  # like the buffers of rank 0
    with pytest.raises(ValueError, match=r"queue_block must be .*sync_buffers=False .*, got \(0, 2\)"):
        loss_fn._check_values({"targets": torch.tensor([1]), "sample_weight": None}, with_block=True)
    loss_fn.reset_queue()
    loss_fn._check_block()


# ------------------------------------------------------------------------------------------------------- empty batches


@pytest.mark.parametrize("warmup", [nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()])
def test_a_warmup_loss_of_no_rows_counts_as_zero(warmup):
    classes = 1 if isinstance(warmup, nn.BCEWithLogitsLoss) else 3
    loss_fn = LossWarmupWrapper(warmup, SmoothAPLoss(classes, queue_size=8), warmup_steps=1, blend_steps=3)
    targets = torch.zeros((0, 1)) if classes == 1 else torch.zeros(0, dtype=torch.long)
    for step in (0, 2, 6):
        loss_fn.on_train_batch_start(step)
        weight = torch.ones(2, classes, requires_grad=True)
        loss = loss_fn(torch.zeros(0, 2) @ weight, targets)
        loss.backward()
        assert loss == 0
        assert (weight.grad == 0).all()


# ------------------------------------------------------------------------------------------------- no look at a device


@every_loss
def test_nothing_is_read_from_a_device(case):
    """Tensors of the meta device have no values: reading one is an error."""
    x, y = (tensor.to("meta") for tensor in batch(case=case))
    x.requires_grad_()
    loss = make(case).to("meta")(x, y, sample_weight=torch.empty(16, device="meta"))
    loss.backward()
    assert x.grad.is_meta


def test_no_parameter_is_read_from_a_device():
    x, _ = (tensor.to("meta") for tensor in batch())
    loss_fn = SigmoidFocalLoss(gamma=torch.tensor(2.0, device="meta"))
    assert loss_fn(x, torch.empty_like(x)).is_meta

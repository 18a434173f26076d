"""The pointwise losses as modules: configuration, reductions, bad input, and torch-specific behaviour."""

import copy
import inspect
import typing

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from losses import POINTWISE, each
from torch import nn

from imbalanced_core.losses.pointwise import softmax_focal as core_softmax_focal
from imbalanced_core.losses.pointwise import symmetric_cross_entropy as core_symmetric
from imbalanced_torch import (
    LDAMLoss,
    SigmoidFocalLoss,
    SigmoidLogitAdjustedLoss,
    SoftmaxFocalLoss,
    SymmetricCrossEntropyLoss,
    class_weights,
    pos_weight,
    validate_targets,
)

ALPHA = [0.5, 2.0, 1.0]
IGNORED = -100


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def draw(generator, *shape):
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def value_and_grad(loss_fn, x, *arguments, **options):
    x = x.detach().requires_grad_()
    loss = loss_fn(x, *arguments, **options)
    loss.backward()
    return loss.item(), x.grad


# ------------------------------------------------------------------------------------------------------ reductions


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_reductions(generator, reduction, weighted):
    x = draw(generator, 6, 4)
    y = torch.randint(0, 2, (6, 4), generator=generator)
    y[1, 2] = y[3, 0] = -1
    weights = torch.rand((6, 4), generator=generator, dtype=torch.float64) if weighted else None
    loss = SigmoidFocalLoss(alpha=0.4, gamma=1.5, reduction=reduction, ignore_index=-1)(x, y, sample_weight=weights)
    where, targets = (y != -1).numpy(), y.clamp(min=0).numpy().astype(float)
    losses = reference.sigmoid_focal(x.numpy(), targets, alpha=0.4, gamma=1.5)
    w = None if weights is None else weights.numpy()
    if reduction == "none":
        expected = np.where(where, losses * (1.0 if w is None else w), 0.0)
    else:
        expected = reference.reduce_elements(losses, reduction=reduction, where=where, weights=w, positives=targets)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum", "none"])
@pytest.mark.parametrize("weights_of", ["nothing", "positions", "rows"])
def test_softmax_reductions(generator, reduction, weights_of):
    x = draw(generator, 4, 3, 5)
    y = torch.randint(0, 3, (4, 5), generator=generator)
    y[0, 1] = y[2, 4] = IGNORED
    weights = {"nothing": None, "positions": torch.rand(4, 5).double(), "rows": torch.rand(4).double()}[weights_of]
    loss_fn = SoftmaxFocalLoss(alpha=ALPHA, gamma=2.0, reduction=reduction, background_class=1)
    loss = loss_fn(x, y, sample_weight=weights)
    where, targets = (y != IGNORED).numpy(), y.clamp(min=0).numpy()
    losses = reference.softmax_focal(np.moveaxis(x.numpy(), 1, -1), targets, alpha=ALPHA)
    w = None if weights is None else np.broadcast_to(weights.numpy().reshape(4, -1), (4, 5))
    if reduction == "none":
        expected = np.where(where, losses * (1.0 if w is None else w), 0.0)
    else:
        positives = (targets != 1).astype(float)
        expected = reference.reduce_elements(losses, reduction=reduction, where=where, weights=w, positives=positives)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


def test_probability_targets_count_their_share_of_foreground(generator):
    x, y = draw(generator, 4, 3), torch.softmax(draw(generator, 4, 3), dim=1)
    loss = SoftmaxFocalLoss(reduction="mean_positive", background_class=2)(x, y)
    losses = reference.softmax_focal(x.numpy(), y.numpy())
    np.testing.assert_allclose(loss, losses.sum() / (1 - y.numpy()[:, 2]).sum(), rtol=1e-12)


def test_only_background_divides_by_one(generator):
    x, y = draw(generator, 4, 3), torch.zeros(4, dtype=torch.long)
    np.testing.assert_allclose(
        SoftmaxFocalLoss(reduction="mean_positive")(x, y), SoftmaxFocalLoss(reduction="sum")(x, y)
    )


# ------------------------------------------------------------------------------------------------ known special cases


@pytest.mark.parametrize("gamma", [0, 0.0])
def test_gamma_zero_is_binary_cross_entropy(generator, gamma):
    x, y = draw(generator, 8, 2), torch.rand((8, 2), generator=generator, dtype=torch.float64)
    value, gradient = value_and_grad(SigmoidFocalLoss(alpha=-1, gamma=gamma), x, y)
    expected, slope = value_and_grad(F.binary_cross_entropy_with_logits, x, y)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10)
    np.testing.assert_allclose(SigmoidFocalLoss(alpha=None, gamma=gamma)(x, y), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (2, 3, 4, 2)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_gamma_zero_is_cross_entropy(generator, shape, label_smoothing, soft):
    x = draw(generator, *shape)
    if soft:
        y = torch.softmax(draw(generator, *shape), dim=1)
    else:
        y = torch.randint(0, 3, (shape[0], *shape[2:]), generator=generator)
        y.view(-1)[1] = IGNORED
    loss_fn = SoftmaxFocalLoss(gamma=0.0, label_smoothing=label_smoothing)
    value, gradient = value_and_grad(loss_fn, x, y)
    expected, slope = value_and_grad(F.cross_entropy, x, y, label_smoothing=label_smoothing)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-15)


def test_symmetric_cross_entropy_is_the_common_recipe():
    x, y = torch.tensor([[10.0, 5.0, -6.0], [8.0, 8.0, 8.0]], dtype=torch.float64), torch.tensor([0, 2])
    p = torch.softmax(x, dim=1).clamp(1e-8, 1.0)
    labels = F.one_hot(y, 3).double().clamp(1e-8, 1.0)
    expected = 0.5 * F.cross_entropy(x, y) - 2.0 * (p * labels.log()).sum(1).mean()
    loss_fn = SymmetricCrossEntropyLoss(alpha=0.5, beta=2.0, num_classes=3)
    np.testing.assert_allclose(loss_fn(x, y), expected, rtol=1e-12)


# ------------------------------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("gamma", [0.5, 2.0, torch.tensor(1.3, dtype=torch.float64)])
def test_second_derivatives(generator, gamma):
    x = draw(generator, 4, 3)
    x[0] = 0.0  # where the formula switches branches
    x.requires_grad_()
    y = torch.tensor([[0.0, 1.0, 0.25]] * 4, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: SigmoidFocalLoss(gamma=gamma)(x, y), x)
    ids = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradgradcheck(lambda x: SoftmaxFocalLoss(gamma=gamma)(x, ids), x)
    assert torch.autograd.gradgradcheck(lambda x: SoftmaxFocalLoss(gamma=gamma, label_smoothing=0.1)(x, ids), x)
    assert torch.autograd.gradgradcheck(lambda x: SymmetricCrossEntropyLoss()(x, ids), x)


def test_large_inputs_are_evaluated_in_blocks_of_the_same_result(generator):
    size = 2**18 * torch.get_num_threads()
    x = torch.randn(size + 7, generator=generator)
    y = (torch.rand(size + 7, generator=generator) < 0.1).float()
    loss_fn = SigmoidFocalLoss(reduction="sum")
    _, gradient = value_and_grad(loss_fn, x, y)
    pieces = [value_and_grad(loss_fn, a, b)[1] for a, b in zip(x.split(1000), y.split(1000), strict=True)]
    torch.testing.assert_close(gradient, torch.cat(pieces), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [(300, 1000), (2, 5, 200, 301), (2, 5)])
def test_large_class_logits_are_evaluated_in_blocks_of_the_same_result(generator, shape):
    shape = (shape[0] * torch.get_num_threads() * 2, *shape[1:])
    x = torch.randn(shape, generator=generator)
    y = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    loss_fn = SoftmaxFocalLoss(reduction="sum")
    value, gradient = value_and_grad(loss_fn, x, y)
    pieces = [value_and_grad(loss_fn, a, b) for a, b in zip(x.split(1), y.split(1), strict=True)]
    torch.testing.assert_close(gradient, torch.cat([piece[1] for piece in pieces]), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(value, sum(piece[0] for piece in pieces), rtol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(loss_fn(x, y), value, rtol=1e-6)


def test_function_transforms(generator):
    x, y = draw(generator, 5, 3), torch.randint(0, 3, (5,), generator=generator)
    loss_fn = SoftmaxFocalLoss()
    per_row = torch.func.vmap(torch.func.grad(lambda row, label: loss_fn(row[None], label[None])))(x, y)
    rows = [value_and_grad(loss_fn, x[i : i + 1], y[i : i + 1])[1][0] for i in range(5)]
    torch.testing.assert_close(per_row, torch.stack(rows))
    targets = (x > 0).double()
    binary = SigmoidFocalLoss(gamma=0.5)
    per_row = torch.func.vmap(torch.func.grad(binary))(x, targets)
    rows = [value_and_grad(binary, x[i], targets[i])[1] for i in range(5)]
    torch.testing.assert_close(per_row, torch.stack(rows))


def test_compiled_modules_agree_with_eager_ones(generator):
    torch.compiler.reset()
    x, y = draw(generator, 6, 3), torch.tensor([0, 1, 2, IGNORED, 1, 0])
    loss_fn = SoftmaxFocalLoss(alpha=ALPHA, reduction="mean_positive")
    compiled = torch.compile(loss_fn, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(value_and_grad(compiled, x, y), value_and_grad(loss_fn, x, y), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert compiled(x, torch.tensor([0, 1, 2, 3, 1, 0])).isnan()
    with torch.no_grad():
        np.testing.assert_allclose(compiled(x, y), loss_fn(x, y), rtol=1e-12)


def test_a_tensor_gamma_changes_without_a_recompilation(generator):
    torch.compiler.reset()
    x, y = draw(generator, 6, 3), torch.rand((6, 3), generator=generator, dtype=torch.float64)
    loss_fn = SigmoidFocalLoss(gamma=torch.tensor(2.0))
    count = 0

    def backend(graph, _inputs):
        nonlocal count
        count += 1
        return graph

    compiled = torch.compile(loss_fn, fullgraph=True, backend=backend)
    for gamma in (2.0, 1.0, 0.5):
        loss_fn.gamma.fill_(gamma)
        np.testing.assert_allclose(compiled(x, y), SigmoidFocalLoss(gamma=gamma)(x, y), rtol=1e-6)
    assert count == 1


# ------------------------------------------------------------------------------------------------- shapes and dtypes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(generator, dtype):
    x = draw(generator, 6, 3).to(dtype).requires_grad_()
    loss = SigmoidFocalLoss()(x, (x > 0).to(dtype))
    assert loss.dtype == torch.float32
    loss.backward()
    assert x.grad.dtype == dtype
    ids = torch.tensor([0, 1, 2, 0, 1, 2])
    for loss_fn in (SoftmaxFocalLoss(), SymmetricCrossEntropyLoss()):
        np.testing.assert_array_equal(loss_fn(x, ids).detach(), loss_fn(x.float(), ids).detach())


def test_autocast(generator):
    linear, x = torch.nn.Linear(4, 3), torch.randn((6, 4), generator=generator)
    ids = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = linear(x)
        inside = [SoftmaxFocalLoss()(logits, ids), SigmoidFocalLoss()(logits, logits.detach() > 0)]
    outside = [SoftmaxFocalLoss()(logits, ids), SigmoidFocalLoss()(logits, logits.detach() > 0)]
    assert logits.dtype == torch.bfloat16
    for a, b in zip(inside, outside, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        a.backward(retain_graph=True)
    assert linear.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool])
def test_target_dtypes(generator, dtype):
    x, y = draw(generator, 6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(SoftmaxFocalLoss()(x, y.to(dtype)), SoftmaxFocalLoss()(x, y))
    both = torch.stack([y, 1 - y], dim=1)
    np.testing.assert_array_equal(SigmoidFocalLoss()(x, both.to(dtype)), SigmoidFocalLoss()(x, both.double()))


def test_eight_bit_ids_are_not_taken_for_the_ignore_index(generator):
    x = draw(generator, 2, 200)
    ids = torch.tensor([156, 3], dtype=torch.uint8)  # −100 modulo 256
    np.testing.assert_allclose(SoftmaxFocalLoss()(x, ids), SoftmaxFocalLoss()(x, ids.long()), rtol=0)


def test_strides_do_not_matter(generator):
    x, y = draw(generator, 3, 5, 4, 2), torch.randint(0, 3, (5, 2, 4), generator=generator)
    strided, ids = x.permute(1, 0, 3, 2), y
    value, gradient = value_and_grad(SoftmaxFocalLoss(), strided, ids)
    expected, slope = value_and_grad(SoftmaxFocalLoss(), strided.contiguous(), ids)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12)
    np.testing.assert_allclose(
        SigmoidFocalLoss()(x[..., ::2], x[..., ::2] > 0), SigmoidFocalLoss()(x[..., ::2].clone(), x[..., ::2] > 0)
    )


@pytest.mark.parametrize("loss_fn", [SigmoidFocalLoss(), SoftmaxFocalLoss(), SymmetricCrossEntropyLoss()])
def test_no_row_is_zero_with_zero_gradient(loss_fn):
    x = torch.zeros((0, 3), requires_grad=True)
    y = torch.zeros((0, 3)) if isinstance(loss_fn, SigmoidFocalLoss) else torch.zeros(0, dtype=torch.long)
    loss = loss_fn(x, y)
    loss.backward()
    assert loss.item() == 0
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum"])
def test_all_ignored_is_zero_with_zero_gradient(reduction):
    x = torch.full((4, 3), torch.nan)
    value, gradient = value_and_grad(SoftmaxFocalLoss(reduction=reduction), x, torch.full((4,), IGNORED))
    assert value == 0
    assert (gradient == 0).all()
    loss_fn = SigmoidFocalLoss(reduction=reduction, ignore_index=2)
    value, gradient = value_and_grad(loss_fn, x, torch.full((4, 3), 2.0))
    assert value == 0
    assert (gradient == 0).all()


def test_ignored_rows_with_nan_and_inf_leave_the_others_alone(generator):
    x, y = draw(generator, 6, 3), torch.tensor([0, IGNORED, 2, 1, IGNORED, 0])
    dirty = x.clone()
    dirty[1], dirty[4] = torch.nan, torch.inf
    for loss_fn in (SoftmaxFocalLoss(), SoftmaxFocalLoss(label_smoothing=0.1), SymmetricCrossEntropyLoss()):
        value, gradient = value_and_grad(loss_fn, dirty, y)
        expected, slope = value_and_grad(loss_fn, x, y)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-12)
        assert (gradient[[1, 4]] == 0).all()
    weights = torch.tensor([1.0, torch.nan, 1.0, 2.0, -1.0, 1.0])
    assert SoftmaxFocalLoss()(dirty, y, sample_weight=weights).isfinite()


# --------------------------------------------------------------------------------------------------------- bad input


def test_values_that_can_be_read_are_checked(generator):
    x = draw(generator, 4, 3)
    with pytest.raises(ValueError, match=r"class ids in \[0, 3\) or the ignore_index -100, got -1, 3, 7"):
        SoftmaxFocalLoss()(x, torch.tensor([3, -1, 7, 0]))
    with pytest.raises(ValueError, match=r"class ids in \[0, 3\)"):
        SymmetricCrossEntropyLoss()(x, torch.tensor([3, -1, 7, 0]))
    with pytest.raises(ValueError, match=r"targets must be in \[0, 1\], got 2"):
        SigmoidFocalLoss()(x, torch.full((4, 3), 2))
    with pytest.raises(ValueError, match=r"targets must be in \[0, 1\], got nan"):
        SigmoidFocalLoss()(x, torch.full((4, 3), torch.nan))
    with pytest.raises(ValueError, match=r"sample_weight must be finite and >= 0, got -2\.0"):
        SoftmaxFocalLoss()(x, torch.zeros(4, dtype=torch.long), sample_weight=torch.tensor([1.0, -2.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="sample_weight must be finite and >= 0, got nan"):
        SigmoidFocalLoss()(x, x > 0, sample_weight=torch.full((4, 3), torch.nan))


def test_wrong_shapes_and_dtypes_are_named(generator):
    x = draw(generator, 4, 3)
    with pytest.raises(ValueError, match=r"targets must be of the same shape as inputs, \(4, 3\), got \(4,\)"):
        SigmoidFocalLoss()(x, torch.zeros(4))
    with pytest.raises(ValueError, match=r"as inputs, \(4, 1\), got \(4,\); pass targets\[:, None\]"):
        SigmoidFocalLoss()(x[:, :1], torch.zeros(4))
    with pytest.raises(TypeError, match=r"inputs must be a floating-point array, got dtype torch\.int64"):
        SigmoidFocalLoss()(x.long(), x)
    with pytest.raises(ValueError, match=r"targets must be of shape .* = \(4,\), got \(4, 1\)"):
        SoftmaxFocalLoss()(x, torch.zeros((4, 1), dtype=torch.long))
    with pytest.raises(ValueError, match="or integers for class ids, got"):
        SoftmaxFocalLoss()(x, torch.zeros(4))
    with pytest.raises(ValueError, match=r"inputs must be of shape \[N, C\] or \[N, C, \*\], got \(3,\)"):
        SoftmaxFocalLoss()(x[0], torch.tensor(1))
    with pytest.raises(ValueError, match=r"sample_weight must be of shape .*, got \(3,\)"):
        SoftmaxFocalLoss()(x, torch.zeros(4, dtype=torch.long), sample_weight=torch.ones(3))
    with pytest.raises(ValueError, match=r"alpha must be of shape \[classes\] = \(3,\), got \(2,\)"):
        SoftmaxFocalLoss(alpha=[1.0, 2.0])(x, torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"background_class must be a class id in \[0, 3\), got 5"):
        SoftmaxFocalLoss(reduction="mean_positive", background_class=5)(x, torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="as num_classes says, got"):
        SymmetricCrossEntropyLoss(num_classes=4)(x, torch.zeros(4, dtype=torch.long))
    with pytest.raises(TypeError, match=r"targets must be a torch\.Tensor, got"):
        SigmoidFocalLoss()(x, np.zeros((4, 3)))


@pytest.mark.parametrize("loss_fn", [SoftmaxFocalLoss(), SymmetricCrossEntropyLoss()])
def test_a_class_axis_elsewhere_is_named(generator, loss_fn):
    x = draw(generator, 2, 5, 7, 3)
    with pytest.raises(ValueError, match=r"class axis 1 \(axis 3 would fit\) = \(2, 7, 3\), got \(2, 5, 7\)"):
        loss_fn(x, torch.zeros((2, 5, 7), dtype=torch.long))
    with pytest.raises(ValueError, match=r"without the class axis 1 = \(2, 7, 3\), got \(2, 5\)"):
        loss_fn(x, torch.zeros((2, 5), dtype=torch.long))


@pytest.mark.parametrize("loss_fn", [SoftmaxFocalLoss(), SymmetricCrossEntropyLoss()])
@pytest.mark.parametrize("shape", [(4, 1), (4, 1, 3)])
def test_one_logit_has_no_softmax(loss_fn, shape):
    x = torch.zeros(shape)
    for targets in (torch.zeros(4, *shape[2:], dtype=torch.long), torch.ones(shape)):
        with pytest.raises(ValueError, match=r"inputs must be of at least 2 classes on axis 1 \(for one logit use Sig"):
            loss_fn(x, targets)


def test_an_ignore_index_that_could_be_a_class_is_ignored(generator):
    """Fails if all targets are taken as classes because they are in range."""
    x, y = draw(generator, 6, 3), torch.tensor([0, 1, 2, 1, 0, 2])
    value, gradient = value_and_grad(SoftmaxFocalLoss(ignore_index=1), x, y)
    expected, slope = value_and_grad(SoftmaxFocalLoss(), x[y != 1], y[y != 1])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    torch.testing.assert_close(gradient[y != 1], slope)
    assert (gradient[y == 1] == 0).all()


def test_a_backward_can_be_repeated_and_differentiated_again(generator):
    """The forward pass saves temporaries that it overwrote in place."""
    x, y = draw(generator, 5, 3).requires_grad_(), torch.tensor([0, 1, 2, IGNORED, 1])
    before = x.detach().clone()
    loss = SoftmaxFocalLoss(gamma=1.5)(x, y)
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(x.detach(), before)
    assert torch.autograd.gradgradcheck(lambda x: SoftmaxFocalLoss(gamma=1.5)(x, y), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SigmoidFocalLoss(alpha=2.0), r"alpha must be a number in \[0, 1\].*, got 2.0"),
        (lambda: SigmoidFocalLoss(alpha=-0.5), r"alpha must be a number in \[0, 1\].*, got -0.5"),
        (lambda: SigmoidFocalLoss(gamma=-1), "gamma must be a finite number >= 0.*, got -1"),
        (lambda: SoftmaxFocalLoss(gamma=float("nan")), "gamma must be .*, got nan"),
        (lambda: SigmoidFocalLoss(reduction="avg"), "reduction must be one of 'mean', .*, got 'avg'"),
        (
            lambda: SymmetricCrossEntropyLoss(reduction="mean_positive"),
            "reduction must be one of 'mean', 'sum', 'none'",
        ),
        (lambda: SoftmaxFocalLoss(alpha=[1.0, -1.0]), "alpha must be finite and >= 0, got -1.0"),
        (lambda: SoftmaxFocalLoss(alpha=[[1.0]]), "alpha must be one weight per class"),
        (lambda: SoftmaxFocalLoss(alpha=0.25), "alpha must be one weight per class"),
        (lambda: SoftmaxFocalLoss(label_smoothing=2.0), "label_smoothing must be"),
        (lambda: SoftmaxFocalLoss(background_class=-1), "background_class must be an integer >= 0"),
        (lambda: SymmetricCrossEntropyLoss(epsilon=1.0), r"epsilon must be a Python number in \(0, 1\), got 1.0"),
        (lambda: SymmetricCrossEntropyLoss(beta=-1.0), "beta must be a finite number >= 0"),
        (lambda: SigmoidFocalLoss(gather_distributed="yes"), "gather_distributed must be one of None, True, False"),
        (lambda: SigmoidFocalLoss(grad_reduction="avg"), "grad_reduction must be one of 'mean', 'sum', got 'avg'"),
    ],
)
def test_bad_configuration_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_misspelt_option_is_named_with_the_class_and_similar_ones():
    with pytest.raises(TypeError, match=r"^LDAMLoss got an unexpected keyword argument 'margin'.* 'max_margin'"):
        LDAMLoss([1, 2], margin=1.0)


def test_gather_without_a_process_group_says_what_to_do():
    with pytest.raises(RuntimeError, match="init_process_group"):
        SigmoidFocalLoss(gather_distributed=True)(torch.zeros(2), torch.zeros(2))


# ------------------------------------------------------------------------------------------- modules, class weights


def test_alpha_moves_with_the_module_and_stays_out_of_checkpoints():
    loss_fn = SoftmaxFocalLoss(alpha=[1, 2, 3])
    assert loss_fn.half().alpha.dtype == torch.float32
    assert loss_fn.state_dict() == {}
    logits, targets = torch.zeros(2, 3, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    assert loss_fn(logits, targets).device.type == "meta"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: SigmoidFocalLoss(alpha=[0.1, 0.2]), "alpha"),
        (lambda: SoftmaxFocalLoss(alpha=[0.1, 0.2]), "alpha"),
        (lambda: LDAMLoss([0.1, 0.2]), "class_counts"),
        (lambda: SigmoidLogitAdjustedLoss([0.1, 0.2]), "positive_rate"),
    ],
)
def test_arrays_survive_the_meta_device(make, name):
    """As in `from_pretrained` of transformers, which also replaces all buffers by empty memory."""
    with torch.device("meta"):
        model = nn.ModuleDict({"loss": make()})
    model = copy.deepcopy(model.to("meta")).to_empty(device="cpu")
    assert getattr(model["loss"], name).tolist() == pytest.approx([0.1, 0.2])


def test_modules_show_their_configuration():
    assert repr(SigmoidFocalLoss()).startswith("SigmoidFocalLoss(alpha=0.25, gamma=2.0, reduction='mean'")
    assert "label_smoothing=0.1" in repr(SoftmaxFocalLoss(label_smoothing=0.1))
    assert "epsilon=1e-08" in repr(SymmetricCrossEntropyLoss())


def test_class_weights():
    counts = torch.bincount(torch.tensor([0, 0, 0, 0, 1, 1, 2]))
    torch.testing.assert_close(class_weights(counts), torch.tensor([0.25, 0.5, 1.0]))
    torch.testing.assert_close(class_weights([4, 2, 1], scheme="balanced"), torch.tensor([7 / 12, 7 / 6, 7 / 3]))
    torch.testing.assert_close(pos_weight(torch.tensor([10, 50]), 100), torch.tensor([9.0, 1.0]))
    torch.testing.assert_close(pos_weight(20, 100), torch.tensor(4.0))
    with pytest.raises(ValueError, match="counts must be finite and >= 0, got -1"):
        class_weights([3, -1])
    with pytest.raises(ValueError, match="total - positives must be finite and >= 0, got -10"):
        pos_weight(20, 10)


def test_validate_targets():
    validate_targets(torch.tensor([0, 2, IGNORED]), num_classes=3)
    validate_targets(torch.tensor([[0, 1], [IGNORED, 1]]), num_classes=2, multilabel=True)
    with pytest.raises(ValueError, match=r"class ids in \[0, 3\) or the ignore_index -100, got 3"):
        validate_targets(torch.tensor([0, 3]), num_classes=3)
    with pytest.raises(ValueError, match=r"got 0\.5"):
        validate_targets(torch.tensor([0.0, 0.5]), num_classes=3)
    with pytest.raises(ValueError, match="targets must be 0 or 1, got 2"):
        validate_targets(torch.tensor([0, 2]), num_classes=1, ignore_index=None)


# --------------------------------------------------------------------- soft targets, weights that broadcast, class axis


def test_class_weights_of_soft_targets_are_those_of_cross_entropy():
    x, y = torch.zeros(1, 2), torch.full((1, 2), 0.5)
    _, gradient = value_and_grad(SoftmaxFocalLoss(alpha=[1.0, 100.0], gamma=0.0), x, y)
    torch.testing.assert_close(gradient, torch.tensor([[24.75, -24.75]]))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_gamma_zero_with_class_weights_is_cross_entropy_of_soft_targets(generator, label_smoothing, reduction):
    x, y = draw(generator, 5, 3, 2), torch.softmax(draw(generator, 5, 3, 2), dim=1)
    loss_fn = SoftmaxFocalLoss(alpha=ALPHA, gamma=0.0, label_smoothing=label_smoothing, reduction=reduction).double()
    weight = torch.tensor(ALPHA, dtype=torch.float64)
    expected = F.cross_entropy(x, y, weight, label_smoothing=label_smoothing, reduction=reduction)
    torch.testing.assert_close(loss_fn(x, y), expected)


def test_a_mix_of_targets_is_the_mix_of_the_hard_losses(generator):
    x, a, b = draw(generator, 6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1, 1, 0, 2, 2, 0])
    loss_fn = SoftmaxFocalLoss(alpha=ALPHA, gamma=1.5, reduction="none").double()
    mixed = loss_fn(x, 0.3 * F.one_hot(a, 3).double() + 0.7 * F.one_hot(b, 3).double())
    torch.testing.assert_close(mixed, 0.3 * loss_fn(x, a) + 0.7 * loss_fn(x, b))


def test_class_weights_with_smoothing_of_ids_differ_from_pytorch():
    """PyTorch weights each term of the smoothed sum; both results are checked against their documented formulas."""
    x, y = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64), torch.tensor([0])
    options = {"label_smoothing": 0.3, "reduction": "none"}
    ours = SoftmaxFocalLoss(alpha=[1.0, 5.0, 5.0], gamma=0.0, **options).double()(x, y)
    pytorch = F.cross_entropy(x, y, torch.tensor([1.0, 5.0, 5.0], dtype=torch.float64), **options)
    log_p = torch.log_softmax(x, dim=1)[0]
    torch.testing.assert_close(ours[0], -(0.8 * log_p[0] + 0.1 * log_p[1] + 0.1 * log_p[2]))
    torch.testing.assert_close(pytorch[0], -(0.8 * log_p[0] + 0.5 * log_p[1] + 0.5 * log_p[2]))
    np.testing.assert_allclose([ours.item(), pytorch.item()], [0.669846, 2.805723], atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum", "none"])
@pytest.mark.parametrize("shape", [(4,), (4, 1, 5), (4, 3, 1), (4, 1, 1)])
def test_sample_weights_broadcast(generator, reduction, shape):
    x = draw(generator, 4, 3, 5)
    y, weights = (x > 0).double(), torch.rand(shape, generator=generator, dtype=torch.float64)
    loss_fn = SigmoidFocalLoss(reduction=reduction)
    full = (weights[:, None, None] if weights.ndim == 1 else weights).expand(4, 3, 5)
    torch.testing.assert_close(loss_fn(x, y, sample_weight=weights), loss_fn(x, y, sample_weight=full))
    expected = (full * SigmoidFocalLoss(reduction="none")(x, y)).sum() / full.sum()
    torch.testing.assert_close(SigmoidFocalLoss()(x, y, sample_weight=weights), expected)
    if len(shape) == 1 or shape[1] == 1:
        ids, per_position = x.argmax(dim=1), full[:, 0]
        own = weights if weights.ndim == 1 else weights[:, 0]
        loss_fn = SoftmaxFocalLoss(reduction=reduction)
        torch.testing.assert_close(loss_fn(x, ids, sample_weight=own), loss_fn(x, ids, sample_weight=per_position))


@pytest.mark.parametrize("shape", [(1, 3), (3,), (4, 2), (1,), ()])
def test_sample_weights_of_other_shapes_are_refused(generator, shape):
    x = draw(generator, 4, 3)
    with pytest.raises(ValueError, match=r"sample_weight must be of shape \(4, 3\) .* got \("):
        SigmoidFocalLoss()(x, x > 0, sample_weight=torch.ones(shape))


@pytest.mark.parametrize("make", [SoftmaxFocalLoss, SymmetricCrossEntropyLoss])
def test_the_class_axis_is_an_option(generator, make):
    x, y = draw(generator, 2, 5, 3), torch.randint(0, 3, (2, 5), generator=generator)
    y[0, 1] = IGNORED
    for targets, moved in ((y, y), (torch.softmax(x, dim=-1), torch.softmax(x, dim=-1).movedim(-1, 1))):
        torch.testing.assert_close(make(axis=-1)(x, targets), make()(x.movedim(-1, 1), moved))
    with pytest.raises(ValueError, match="axis must be an axis of 3-d inputs, got 3"):
        make(axis=3)(x, y)
    positive = SoftmaxFocalLoss(axis=-1, reduction="mean_positive")(x, torch.softmax(x, dim=-1))
    expected = SoftmaxFocalLoss(reduction="mean_positive")(x.movedim(-1, 1), torch.softmax(x, dim=-1).movedim(-1, 1))
    torch.testing.assert_close(positive, expected)


def test_alpha_per_label(generator):
    x = draw(generator, 6, 3)
    y, alpha = (x > 0).double(), [0.1, 0.5, 1.0]
    loss_fn = SigmoidFocalLoss(alpha=alpha, gamma=1.5, reduction="none").double()
    columns = [SigmoidFocalLoss(alpha=a, gamma=1.5, reduction="none")(x[:, i], y[:, i]) for i, a in enumerate(alpha)]
    torch.testing.assert_close(loss_fn(x, y), torch.stack(columns, dim=1))
    assert loss_fn.state_dict() == {}
    assert "alpha=[" in repr(loss_fn)
    w = pos_weight(torch.tensor([10, 50, 20]), 100)
    weighted = F.binary_cross_entropy_with_logits(x, y, pos_weight=w.double(), reduction="none")
    focal = SigmoidFocalLoss(alpha=w / (1 + w), gamma=0.0, reduction="none").double()(x, y)
    torch.testing.assert_close(focal * (1 + w), weighted, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match=r"alpha must be a number in \[0, 1\] or one per label, \(3,\), got \(2,\)"):
        SigmoidFocalLoss(alpha=[0.1, 0.2])(x, y)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 9\.0"):
        SigmoidFocalLoss(alpha=[0.5, 9.0])


def test_a_mask_and_an_ignore_index_agree(generator):
    x, y = draw(generator, 6, 3), torch.randint(0, 2, (6, 3), generator=generator).double()
    missing = torch.rand((6, 3), generator=generator) < 0.4
    x[missing] = torch.nan
    expected = value_and_grad(SigmoidFocalLoss(ignore_index=-1), x, y.masked_fill(missing, -1))
    got = value_and_grad(SigmoidFocalLoss(), x, y.masked_fill(missing, 7), where=~missing)
    both = value_and_grad(
        SigmoidFocalLoss(ignore_index=-1), x, y.masked_fill(missing, -1), where=torch.ones_like(~missing)
    )
    for value, gradient in (got, both):
        assert value == expected[0]
        torch.testing.assert_close(gradient, expected[1], rtol=0, atol=0)
    with pytest.raises(TypeError, match="where must be a bool array"):
        SigmoidFocalLoss()(x, y, where=y)
    with pytest.raises(ValueError, match="where must be of the same shape as inputs"):
        SigmoidFocalLoss()(x, y, where=missing[0])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.7])
@pytest.mark.parametrize("size", [45.0, 80.0, 300.0])
def test_second_derivatives_of_confident_rows_are_finite(gamma, size):
    x = torch.tensor([[size, 0.0, -1.0], [0.0, size, 3.0]])
    for targets in (torch.tensor([0, 0]), torch.eye(3)[[0, 0]]):
        hessian = torch.autograd.functional.hessian(lambda x, y=targets: SoftmaxFocalLoss(gamma=gamma)(x, y), x)
        assert hessian.isfinite().all()
    y = (x > 1).float()
    assert torch.autograd.functional.hessian(lambda x: SigmoidFocalLoss(gamma=gamma)(x, y), x).isfinite().all()


def test_gradients_by_probabilities_and_numbers(generator):
    """First derivatives where they are requested, and mixed second derivatives."""
    x = draw(generator, 3, 4)
    y, alpha = torch.softmax(draw(generator, 3, 4), dim=1), torch.rand(4, generator=generator, dtype=torch.float64)
    gamma = torch.tensor(1.5, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, y, alpha, gamma)]

    def mix(x, y, alpha, gamma):
        return core_softmax_focal(x, y, alpha=alpha, gamma=gamma, label_smoothing=0.1, axis=1)

    def symmetric(x, y, alpha, gamma):
        return core_symmetric(x, y, alpha=gamma, beta=alpha[0], epsilon=1e-4, axis=1)

    for function in (mix, symmetric):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("gap", [1.0, 40.0, 60.0, 87.0, 95.0])
def test_the_greatest_margin_keeps_the_loss_of_confident_logits(gap):
    logits, targets = torch.zeros(1, 1000), torch.tensor([3])
    logits[0, 3] = gap / 60
    loss = LDAMLoss([1.0] * 1000, max_margin=1.0, scale=60.0)
    value, gradient = value_and_grad(loss, logits, targets)
    precise, slope = value_and_grad(loss, logits.double(), targets)
    assert value == pytest.approx(precise, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


def test_a_margin_that_is_too_great_is_refused():
    with pytest.raises(ValueError, match=r"^max_margin must be at most 60 / scale = 2, got 3\.0"):
        LDAMLoss([1.0, 2.0, 3.0], max_margin=torch.tensor(3.0))


@each(POINTWISE)
def test_a_missing_option_is_refused_at_once(case):
    parameters = inspect.signature(case.torch_class).parameters.values()
    needed = [p.name for p in parameters if p.kind != p.VAR_KEYWORD and not _allows_none(p)]
    assert needed
    for name in needed:
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, got None"):
            case.in_torch(**{name: None})


def _allows_none(parameter):
    return parameter.default is None or type(None) in typing.get_args(parameter.annotation)

"""Half precision, autocast and loss scaling: the losses are computed in float32 whatever the input."""

import pytest
import torch
from losses import POINTWISE, RANKING, each, every_loss, with_variants
from torch import nn

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
HALVES = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}  # dtype: relative rounding error
every_case = each([*RANKING, *with_variants(POINTWISE)])
every_half = pytest.mark.parametrize("dtype", HALVES)
every_device = pytest.mark.parametrize("device", DEVICES)


def make(case, device):
    return case.in_torch(3, **{"queue_size": 32} if case.ranks else {}).to(device)


def batch(seed, case, device="cpu"):
    return tuple(torch.from_numpy(array).to(device) for array in case.batch(seed, 64))


def value_and_grad(loss_fn, x, y):
    x = x.detach().requires_grad_()
    loss = loss_fn(x, y)
    loss.backward()
    return loss.detach(), x.grad


@every_device
@every_half
@every_case
def test_half_precision_is_float64_up_to_the_rounding_of_the_gradient(case, dtype, device):
    of_halves, of_doubles = make(case, device), make(case, device).double()
    for seed in range(2):  # in the second step the queue is filled
        x, y = batch(seed, case, device)
        x = x.to(dtype)
        value, gradient = value_and_grad(of_halves, x, y)
        expected, slope = value_and_grad(of_doubles, x.double(), y)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
        # subnormal half-precision numbers have absolute precision only
        torch.testing.assert_close(gradient.double(), slope, rtol=HALVES[dtype], atol=1e-6)


@every_device
@every_half
@every_case
def test_autocast_changes_nothing(case, dtype, device):
    plain, cast = make(case, device), make(case, device)
    for seed in range(2):
        x, y = batch(seed, case, device)
        expected, slope = value_and_grad(plain, x, y)
        x = x.detach().requires_grad_()
        with torch.autocast(device, dtype=dtype):
            value = cast(x, y)
        value.backward()
        assert torch.equal(value, expected)
        assert torch.equal(x.grad, slope)


@every_device
@every_half
@every_case
def test_backward_inside_of_autocast_changes_nothing(case, dtype, device):
    x, y = batch(0, case, device)
    _, slope = value_and_grad(make(case, device), x, y)
    with torch.autocast(device, dtype=dtype):
        _, gradient = value_and_grad(make(case, device), x, y)
    assert torch.equal(gradient, slope)


@every_device
@every_loss
def test_a_scaled_run_is_the_run_and_an_overflow_costs_one_step(case, device):
    def train(scaler, *, overflow):
        torch.manual_seed(0)
        model, loss_fn = nn.Linear(5, 3).to(device), make(case, device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(5):
            if step == 2 and not overflow:
                continue
            inputs = torch.randn(64, 5, generator=torch.Generator().manual_seed(step)).to(device)
            logits = model(inputs)
            targets = (inputs[:, :3] > 0.5).float() if case.has_label_of_each else inputs[:, :3].argmax(1)
            if step == 2:
                logits = logits * torch.inf  # the result of an overflow in the model: inf, and NaN where a logit was 0
                logits = torch.where(torch.arange(64, device=device)[:, None] == 3, torch.nan, logits)
            optimizer.zero_grad()
            scaler.scale(loss_fn(logits, targets)).backward()
            scaler.step(optimizer)
            scaler.update()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    plain = torch.amp.GradScaler(device, enabled=False)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**14)
    expected, found = train(plain, overflow=False), train(scaler, overflow=True)
    assert found.isfinite().all()
    assert scaler.get_scale() == 2.0**13
    torch.testing.assert_close(found, expected, rtol=0.3 if case.ranks else 1e-5, atol=1e-2)

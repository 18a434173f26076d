"""Counts how often a schedule compiles, with the real ranking loss."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from imbalanced_torch.ranking import SmoothAPLoss
from imbalanced_torch.warmup import LossWarmupWrapper

SCHEDULE = {"warmup_steps": 3, "blend_steps": 4, "temp_start": 0.5, "temp_end": 0.05, "temp_decay_steps": 6}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 1, generator=generator).requires_grad_(), (torch.arange(8)[:, None] % 3 == 0).float()


def run(wrapper, loss_fn):
    losses, gradients = [], []
    for step in range(14):
        wrapper.on_train_batch_start(step)
        logits, targets = batch(step)
        loss = loss_fn(logits, targets)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(logits.grad)
    return torch.stack(losses), torch.stack(gradients)


def expected():
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=16), **SCHEDULE)
    return run(wrapper, wrapper)


def test_each_compiled_loss_compiles_exactly_once():
    counters = CompileCounter(), CompileCounter()
    losses = nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=16)
    compiled = (torch.compile(loss, fullgraph=True, backend=c) for loss, c in zip(losses, counters, strict=True))
    wrapper = LossWarmupWrapper(*compiled, **SCHEDULE)
    result = run(wrapper, wrapper)
    assert [counter.frame_count for counter in counters] == [1, 1]
    for actual, wanted in zip(result, expected(), strict=True):
        torch.testing.assert_close(actual, wanted)
    assert losses[1].temperature == pytest.approx(0.05)  # the temperature reached the loss inside the compiled module


def test_a_compiled_wrapper_compiles_once_per_combination_of_losses():
    """Warm-up, both, main: a graph holds only the losses it calls, and no weight or temperature adds a graph."""
    counter = CompileCounter()
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=16), **SCHEDULE)
    result = run(wrapper, torch.compile(wrapper, fullgraph=True, backend=counter))
    assert counter.frame_count == 3
    for actual, wanted in zip(result, expected(), strict=True):
        torch.testing.assert_close(actual, wanted)


def test_a_permanent_mix_without_warm_up_is_one_graph():
    counter = CompileCounter()
    schedule = SCHEDULE | {"warmup_steps": 0, "final_main_weight": 0.8}
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=16), **schedule)
    run(wrapper, torch.compile(wrapper, fullgraph=True, backend=counter))
    assert counter.frame_count == 1

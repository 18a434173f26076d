"""Stop and resume with the real ranking loss: the losses of the two halves are bitwise those of an unbroken run."""

import io

import pytest
import torch
from torch import nn

from imbalanced_torch.ranking import SmoothAPLoss
from imbalanced_torch.warmup import LossWarmupWrapper

STEPS_PER_EPOCH = 3
STEPS = 24
SCHEDULES = {
    "epochs": {"warmup_epochs": 2, "blend_epochs": 2, "reset_queue_each_epoch": True},
    "steps": {"warmup_steps": 6, "blend_steps": 6},
}


class PlainTemperature(nn.Module):
    """A user-defined loss whose temperature is a plain attribute, which is not in the state_dict."""

    def __init__(self):
        super().__init__()
        self.temperature = 1.0

    def forward(self, logits, targets):
        return torch.tanh((logits - targets) / self.temperature).square().mean()


class Run:
    """A model, its optimizer and its loss: everything a checkpoint holds."""

    def __init__(self, main_loss, **schedule):
        torch.manual_seed(0)
        self.model = nn.Linear(5, 1)
        self.loss_fn = LossWarmupWrapper(
            nn.BCEWithLogitsLoss(), main_loss, temp_start=0.5, temp_end=0.05, temp_decay_steps=10, **schedule
        )
        self.optimizer = torch.optim.Adam([*self.model.parameters(), *self.loss_fn.parameters()], lr=0.05)

    def train(self, start, stop, drive):
        losses = []
        for step in range(start, stop):
            drive(self.loss_fn, step)
            generator = torch.Generator().manual_seed(step)
            inputs = torch.randn(16, 5, generator=generator)
            targets = (inputs[:, :1] > 0.8).float()
            self.optimizer.zero_grad()
            loss = self.loss_fn(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach().clone())
        return losses

    def save(self):
        file = io.BytesIO()
        parts = (self.model, self.optimizer, self.loss_fn)
        torch.save([part.state_dict() for part in parts], file)
        return file

    def load(self, file):
        file.seek(0)
        states = torch.load(file, weights_only=True)
        for part, state in zip((self.model, self.optimizer, self.loss_fn), states, strict=True):
            part.load_state_dict(state)


def by_hooks(loss_fn, step):
    if step % STEPS_PER_EPOCH == 0:
        loss_fn.on_train_epoch_start(step // STEPS_PER_EPOCH)
    loss_fn.on_train_batch_start(step)


def by_step(loss_fn, step):
    loss_fn.step(step // STEPS_PER_EPOCH)


@pytest.mark.parametrize("unit", ["epochs", "steps"])
@pytest.mark.parametrize("stop", [4, 6, 8, 12, 16], ids=["warm-up", "switch", "blend", "main", "decay"])
def test_resume_is_bitwise(unit, stop):
    def make():
        return Run(SmoothAPLoss(1, queue_size=24), **SCHEDULES[unit])

    unbroken = make().train(0, STEPS, by_hooks)
    first = make()
    before = first.train(0, stop, by_hooks)
    second = make()
    second.load(first.save())
    after = second.train(stop, STEPS, by_hooks)
    assert torch.equal(torch.stack(before + after), torch.stack(unbroken))
    assert len(set(torch.stack(unbroken).tolist())) == STEPS


@pytest.mark.parametrize("main_loss", [PlainTemperature, lambda: SmoothAPLoss(1, queue_size=24)])
def test_resume_of_a_loop_that_counts_nothing_itself(main_loss):
    for stop in (3, 8, 15):
        unbroken = Run(main_loss(), **SCHEDULES["steps"]).train(0, STEPS, by_step)
        first, second = (Run(main_loss(), **SCHEDULES["steps"]) for _ in range(2))
        before = first.train(0, stop, by_step)
        second.load(first.save())
        loss_fn = second.loss_fn
        assert (loss_fn.main_weight, loss_fn.current_temperature, loss_fn.switch_step) == (
            first.loss_fn.main_weight,
            first.loss_fn.current_temperature,
            first.loss_fn.switch_step,
        )
        assert torch.equal(torch.stack(before + second.train(stop, STEPS, by_step)), torch.stack(unbroken))


def test_resume_neither_restarts_the_clock_nor_empties_the_queue():
    first = Run(SmoothAPLoss(1, queue_size=24), **SCHEDULES["steps"])
    first.train(0, 10, by_hooks)
    second = Run(SmoothAPLoss(1, queue_size=24), **SCHEDULES["steps"])
    second.load(first.save())
    second.loss_fn.on_train_batch_start(10)
    assert second.loss_fn.switch_step == 6
    assert second.loss_fn.current_temperature == pytest.approx(0.5 * 0.1**0.4)
    assert torch.equal(second.loss_fn.main_loss.queue_logits, first.loss_fn.main_loss.queue_logits)


def test_state_dict_holds_tensors_only_and_refuses_a_foreign_state():
    loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=4), warmup_epochs=1)
    state = loss_fn.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert torch.equal(state["_extra_state"], torch.tensor([-1, -1, -1]))
    with pytest.raises(ValueError, match=r"state of a LossWarmupWrapper must be an integer tensor of shape \(3,\)"):
        loss_fn.set_extra_state(torch.zeros(2))
    del state["_extra_state"]
    with pytest.raises(RuntimeError, match="_extra_state"):
        loss_fn.load_state_dict(state)

"""The callback in real Lightning training runs."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from imbalanced_torch.ranking import SmoothAPLoss
from imbalanced_torch.warmup import LossWarmupWrapper

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed", exc_type=ImportError)

pytestmark = [  # Lightning's own advice
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning"),
]


class Model(lightning.LightningModule):
    """A module without hooks of its own."""

    def __init__(self, **schedule):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)
        self.loss_fn = LossWarmupWrapper(
            nn.BCEWithLogitsLoss(),
            SmoothAPLoss(1, queue_size=16),
            temp_start=0.5,
            temp_end=0.05,
            temp_decay_steps=5,
            **schedule,
        )
        self.seen = []
        self.queue_during_validation = []

    def training_step(self, batch, batch_idx):
        loss = self.loss_fn(self.layer(batch[0]), batch[1])
        fn = self.loss_fn
        self.seen.append((self.global_step, fn.main_weight, fn.current_temperature, loss.item()))
        return loss

    def validation_step(self, batch, batch_idx):
        before = self.loss_fn.main_loss.queue_logits.clone()
        self.loss_fn(self.layer(batch[0]), batch[1])
        self.queue_during_validation.append(torch.equal(before, self.loss_fn.main_loss.queue_logits))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithPreset(Model):
    def __init__(self):
        super().__init__()
        self.loss_fn = SmoothAPLoss.recommended(1, queue_size=16)

    def training_step(self, batch, batch_idx):
        loss = self.loss_fn(self.layer(batch[0]), batch[1])
        self.seen.append(loss.item())
        return loss


class WithoutWrapper(Model):
    def __init__(self):
        super().__init__()
        self.loss_fn = nn.BCEWithLogitsLoss()


class WithHooks(Model):
    """Hooks written by hand, as in the wrapper's documentation."""

    def on_train_epoch_start(self):
        self.loss_fn.on_train_epoch_start(self.current_epoch)

    def on_train_batch_start(self, batch, batch_idx):
        self.loss_fn.on_train_batch_start(self.global_step)


def loader(rows=32):
    inputs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(inputs, (inputs[:, :1] > 0.6).float()), batch_size=8)


def make_trainer(tmp_path, *, callback=True, **options):
    from imbalanced_torch.lightning import LossWarmupCallback

    return lightning.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LossWarmupCallback()] if callback else [],
        **({"enable_checkpointing": False, "max_epochs": 5} | options),
    )


def test_epochs(tmp_path):
    model = Model(warmup_epochs=1, blend_epochs=2)
    make_trainer(tmp_path).fit(model, loader(), loader())
    steps, weights, temperatures, losses = zip(*model.seen, strict=True)
    assert steps == tuple(range(20))
    assert weights == tuple(w for w in (0, 1 / 3, 2 / 3, 1, 1) for _ in range(4))
    expected = [0.5 * 0.1 ** (min(max(step - 4, 0), 5) / 5) for step in steps]
    assert temperatures == pytest.approx(expected, rel=1e-6)
    assert all(torch.isfinite(torch.tensor(losses)))
    assert model.queue_during_validation
    assert all(model.queue_during_validation)


def test_the_callback_is_the_wiring_by_hand(tmp_path):
    runs = []
    for model, callback in ((WithHooks(warmup_epochs=2), False), (Model(warmup_epochs=2), True)):
        make_trainer(tmp_path, callback=callback).fit(model, loader())
        runs.append(model.seen)
    assert runs[0] == runs[1]


def test_steps_are_steps_of_the_optimizer(tmp_path):
    model = Model(warmup_steps=2, blend_steps=1)
    make_trainer(tmp_path, accumulate_grad_batches=2, max_epochs=2).fit(model, loader())
    assert [row[:2] for row in model.seen] == [
        (0, 0), (0, 0), (1, 0), (1, 0), (2, 0.5), (2, 0.5), (3, 1), (3, 1),
    ]  # fmt: skip
    assert model.loss_fn.switch_step == 2


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_second_fit_is_the_first_again(tmp_path, epochs):
    model = Model(warmup_epochs=1, blend_epochs=1)
    runs = []
    for _ in range(2):
        model.seen = []
        nn.init.constant_(model.layer.weight, 0.1)
        nn.init.zeros_(model.layer.bias)
        make_trainer(tmp_path, max_epochs=epochs).fit(model, loader())
        runs.append(model.seen)
    assert runs[0] == runs[1]


def test_log(tmp_path):
    model = Model(warmup_steps=0, blend_steps=1)
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, loader())
    assert trainer.logged_metrics["train/main_weight"] == 1
    assert trainer.logged_metrics["train/temperature"] == pytest.approx(0.5 * 0.1**0.6)


def test_no_log(tmp_path):
    from imbalanced_torch.lightning import LossWarmupCallback

    trainer = make_trainer(tmp_path, callback=False, max_epochs=1)
    trainer.callbacks.append(LossWarmupCallback(log=False))
    trainer.fit(Model(warmup_steps=0), loader())
    assert not trainer.logged_metrics


@pytest.mark.parametrize("stop", [1, 2, 4], ids=["warm-up", "blend", "decay"])
def test_resume_is_bitwise(tmp_path, stop):
    unbroken = Model(warmup_epochs=2, blend_epochs=1)
    make_trainer(tmp_path, max_epochs=6).fit(unbroken, loader())
    first = Model(warmup_epochs=2, blend_epochs=1)
    trainer = make_trainer(tmp_path, max_epochs=stop)
    trainer.fit(first, loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = Model(warmup_epochs=2, blend_epochs=1)
    make_trainer(tmp_path, max_epochs=6).fit(second, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert first.seen + second.seen == unbroken.seen


def test_a_preset_resumes_to_the_bit_without_a_callback(tmp_path):
    options = {"callback": False, "max_epochs": 4}
    unbroken, first, second = WithPreset(), WithPreset(), WithPreset()
    make_trainer(tmp_path, **options).fit(unbroken, loader())
    trainer = make_trainer(tmp_path, **options | {"max_epochs": 2})
    trainer.fit(first, loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    make_trainer(tmp_path, **options).fit(second, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert first.seen + second.seen == unbroken.seen
    assert len(set(unbroken.seen)) > 8


def test_a_module_without_wrapper_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold a LossWarmupWrapper .* got WithoutWrapper; assign the loss"):
        make_trainer(tmp_path).fit(WithoutWrapper(), loader())


def test_nothing_is_imported_until_it_is_used():
    import subprocess

    code = (
        "import sys, imbalanced_torch; assert not {'lightning', 'pytorch_lightning', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

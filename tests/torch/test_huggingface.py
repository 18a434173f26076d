"""Presets and warm-ups in real training runs with the Trainer of transformers, on a tiny model made from a config."""

import json

import pytest
import torch
from torch import nn

from imbalanced_torch.partial_auc import PAUCAtBudgetLoss
from imbalanced_torch.pointwise import SigmoidFocalLoss
from imbalanced_torch.ranking import SmoothAPLoss
from imbalanced_torch.warmup import LossWarmupWrapper

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")


class Data(torch.utils.data.Dataset):
    def __init__(self, rows=24):
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randint(1, 20, (rows, 6), generator=generator)
        self.labels = (self.inputs[:, 0] > 13).long()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"input_ids": self.inputs[index], "labels": self.labels[index]}


def make_model():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        num_labels=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return transformers.BertForSequenceClassification(config)


class Recorder(transformers.TrainerCallback):
    def __init__(self, loss_fn):
        self.loss_fn = loss_fn
        self.rows = []

    def on_step_end(self, args, state, control, **kwargs):
        progress = (getattr(self.loss_fn, name, None) for name in ("main_weight", "current_temperature"))
        self.rows.append((state.global_step - 1, *progress))


def make_loss(**schedule):
    main_loss = SmoothAPLoss(2, queue_size=16)
    return LossWarmupWrapper(
        nn.CrossEntropyLoss(), main_loss, temp_start=0.5, temp_end=0.05, temp_decay_steps=5, **schedule
    )


def make_trainer(loss_fn, folder, *, batch=8, accumulate=1, epochs=4, resume_from=None, **options):
    from imbalanced_torch.huggingface import LossWarmupTrainerCallback, WarmupLossFunction

    defaults = {"save_strategy": "no", "logging_steps": 1, "learning_rate": 0.05, "optim": "sgd"}
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        lr_scheduler_type="constant",
        **(defaults | options),
    )
    recorder = Recorder(loss_fn)
    trainer = transformers.Trainer(
        make_model(),
        args,
        train_dataset=Data(),
        eval_dataset=Data(8),
        compute_loss_func=WarmupLossFunction(loss_fn),
        callbacks=[LossWarmupTrainerCallback(loss_fn, resume_from=resume_from), recorder],
    )
    return trainer, recorder


def losses_of(trainer):
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def test_epochs(tmp_path):
    loss_fn = make_loss(warmup_epochs=1, blend_epochs=2)
    trainer, recorder = make_trainer(loss_fn, tmp_path, epochs=5)
    trainer.train()
    steps, weights, temperatures = zip(*recorder.rows, strict=True)
    assert steps == tuple(range(15))
    assert weights == tuple(w for w in (0, 1 / 3, 2 / 3, 1, 1) for _ in range(3))
    assert temperatures == pytest.approx([0.5 * 0.1 ** (min(max(step - 3, 0), 5) / 5) for step in steps], rel=1e-6)
    assert all(torch.isfinite(torch.tensor(losses_of(trainer))))


def test_steps_are_steps_of_the_optimizer(tmp_path):
    loss_fn = make_loss(warmup_steps=2, blend_steps=1)
    trainer, recorder = make_trainer(loss_fn, tmp_path, batch=4, accumulate=2, epochs=2)
    trainer.train()
    assert [row[:2] for row in recorder.rows] == [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 1), (5, 1)]


def test_log(tmp_path):
    loss_fn = make_loss(warmup_steps=2, blend_steps=1)
    trainer, recorder = make_trainer(loss_fn, tmp_path, epochs=2, eval_strategy="epoch")
    trainer.train()
    rows = [
        (row["step"] - 1, row["main_weight"], row["temperature"]) for row in trainer.state.log_history if "loss" in row
    ]
    assert rows == recorder.rows
    assert len({row[1:] for row in rows}) > 3
    assert all("main_weight" not in row for row in trainer.state.log_history if "loss" not in row)


def test_a_second_training_is_the_first_again(tmp_path):
    loss_fn = make_loss(warmup_epochs=1, blend_epochs=1)
    runs = []
    for _ in range(2):
        trainer, recorder = make_trainer(loss_fn, tmp_path, epochs=3)
        trainer.train()
        runs.append((recorder.rows, losses_of(trainer)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("num_items", [None, 20])
@pytest.mark.parametrize("multilabel", [False, True])
def test_token_classification_is_flattened(multilabel, num_items):
    from imbalanced_torch.huggingface import WarmupLossFunction

    def make():
        warmup_loss = SigmoidFocalLoss() if multilabel else nn.CrossEntropyLoss()
        loss_fn = LossWarmupWrapper(warmup_loss, SmoothAPLoss(3, queue_size=8, multilabel=multilabel), warmup_steps=1)
        loss_fn.step()
        return loss_fn

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, generator=generator)
    labels = torch.randint(0, 2, (2, 5, 3) if multilabel else (2, 5), generator=generator)
    if not multilabel:
        labels[:, 3:] = -100
    rows, flat = logits.reshape(10, 3), labels.reshape((10, 3) if multilabel else 10)
    function, plain = WarmupLossFunction(make()), make()
    share = 1 if num_items is None else (labels != -100).sum() / num_items
    for _ in range(2):  # warm-up, main
        expected, per_class, valid = plain(rows, flat, return_per_class=True)
        loss, *extras = function({"logits": logits}, labels, num_items, return_per_class=True)
        torch.testing.assert_close(loss, expected * share)
        torch.testing.assert_close(extras, [per_class, valid], equal_nan=True)
        function.loss_fn.step()
        plain.step()
    assert function({"logits": logits}, labels).shape == ()


@pytest.mark.parametrize("num_items", [0, torch.tensor(0)])
def test_a_step_of_padding_alone_trains_nothing(num_items):
    from imbalanced_torch.huggingface import WarmupLossFunction

    logits = torch.randn(2, 5, 3, requires_grad=True)
    function = WarmupLossFunction(SmoothAPLoss.recommended(3))
    loss = function({"logits": logits}, torch.full((2, 5), -100), num_items)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_accumulated_batches_train_as_one(tmp_path):
    """The last step of an epoch accumulates fewer batches: 24 rows are 10 + 10 + 4, or 4 batches of 5 and one of 4."""
    parameters = []
    for batch, accumulate in ((10, 1), (5, 2)):
        trainer, _ = make_trainer(make_loss(warmup_epochs=9), tmp_path, batch=batch, accumulate=accumulate)
        trainer.train()
        parameters.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(*parameters, rtol=1e-5, atol=1e-6)
    start = torch.cat([p.detach().flatten() for p in make_model().parameters()])
    assert (parameters[0] - start).abs().max() > 1e-2


def test_evaluation_leaves_the_queue_alone(tmp_path):
    loss_fn = make_loss(warmup_steps=0)
    trainer, _ = make_trainer(loss_fn, tmp_path, epochs=1)
    trainer.train()
    queue = loss_fn.main_loss.queue_logits.clone()
    metrics = trainer.evaluate()
    assert 0 < metrics["eval_loss"] < 1
    assert torch.equal(loss_fn.main_loss.queue_logits, queue)
    assert not loss_fn.training


@pytest.mark.parametrize("stop", [2, 5, 8], ids=["warm-up", "blend", "decay"])
def test_resume_is_bitwise(tmp_path, stop):
    """The checkpoint folder is found automatically; with another output folder, `resume_from` names it."""
    schedule = {"warmup_epochs": 1, "blend_epochs": 1, "reset_queue_each_epoch": True}
    saving = {"save_strategy": "steps", "save_steps": stop, "save_only_model": False}
    unbroken, _ = make_trainer(make_loss(**schedule), tmp_path / "a", **saving)
    unbroken.train()
    checkpoint = tmp_path / "a" / f"checkpoint-{stop}"
    assert (checkpoint / "loss_warmup.pt").is_file()
    for output, resume_from in (("a", None), ("b", checkpoint)):
        resumed, recorder = make_trainer(make_loss(**schedule), tmp_path / output, resume_from=resume_from)
        resumed.train(resume_from_checkpoint=str(checkpoint))
        assert recorder.rows[0][0] == stop
        assert losses_of(resumed) == losses_of(unbroken)
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    assert len(history) == stop


def test_a_missing_state_is_named(tmp_path):
    saved, _ = make_trainer(make_loss(warmup_steps=1), tmp_path / "a", epochs=1, save_strategy="epoch")
    saved.train()
    (tmp_path / "a" / "checkpoint-3" / "loss_warmup.pt").unlink()
    resumed, _ = make_trainer(make_loss(warmup_steps=1), tmp_path / "a", epochs=2)
    with pytest.warns(UserWarning, match=r"there is no .*loss_warmup\.pt, so the loss starts anew"):
        resumed.train(resume_from_checkpoint=True)
    lost = make_trainer(make_loss(warmup_steps=1), tmp_path / "a", epochs=2, resume_from=tmp_path)[0]
    with pytest.raises(FileNotFoundError, match=r"resume_from must hold loss_warmup\.pt"):
        lost.train(resume_from_checkpoint=True)


class Sum(nn.Module):
    """A user-defined loss that contains a preset and a wrapper."""

    def __init__(self):
        super().__init__()
        self.preset = PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=16)
        self.wrapper = make_loss(warmup_epochs=1)

    def forward(self, logits, labels):
        return self.preset(logits, labels) + self.wrapper(logits, labels)


PRESETS = {
    "pauc": lambda: PAUCAtBudgetLoss.recommended(2, 0.1, queue_size=16),
    "smooth_ap": lambda: SmoothAPLoss.recommended(2, queue_size=16),
    "inside": Sum,
}


@pytest.mark.parametrize("make", PRESETS.values(), ids=PRESETS)
def test_a_preset_resumes_to_the_bit_and_a_second_training_is_the_first(tmp_path, make):
    saving = {"save_strategy": "steps", "save_steps": 5, "save_only_model": False}
    loss_fn = make()
    unbroken, _ = make_trainer(loss_fn, tmp_path, **saving)
    unbroken.train()
    state = loss_fn.state_dict()
    gate = state[next(name for name in state if name.endswith("gate_reached"))]
    assert (gate < 1).all() or make is PRESETS["smooth_ap"]  # which has no use for it
    for checkpoint in (None, str(tmp_path / "checkpoint-5")):
        again = loss_fn if checkpoint is None else make()
        trainer, _ = make_trainer(again, tmp_path)
        trainer.train(resume_from_checkpoint=checkpoint)
        assert losses_of(trainer) == losses_of(unbroken)
        torch.testing.assert_close(again.state_dict(), state, rtol=0, atol=0)


def test_a_wrapper_inside_of_a_loss_is_driven(tmp_path):
    trainer, _ = make_trainer(Sum(), tmp_path, epochs=2)
    trainer.train()
    assert [row["main_weight"] for row in trainer.state.log_history if "loss" in row] == [0, 0, 0, 1, 1, 1]


def test_callback_wants_a_module():
    from imbalanced_torch.huggingface import LossWarmupTrainerCallback

    with pytest.raises(TypeError, match="loss_fn must be a loss module, got <function cross_entropy"):
        LossWarmupTrainerCallback(nn.functional.cross_entropy)

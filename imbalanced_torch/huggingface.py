"""Integration with the Trainer of Hugging Face transformers. Needs `transformers`.

It takes two arguments of the Trainer, one for the loss and one for its state::

    loss_fn = SmoothAPLoss.recommended(num_classes)
    trainer = Trainer(
        model, args, train_dataset=dataset,
        compute_loss_func=WarmupLossFunction(loss_fn),
        callbacks=[LossWarmupTrainerCallback(loss_fn)],
    )
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imbalanced_torch._callbacks import progress_of, wrappers_in
from imbalanced_torch._state import RankingState
from imbalanced_torch.warmup import LossWarmupWrapper

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise ImportError("imbalanced_torch.huggingface needs transformers: pip install transformers accelerate") from error

STATE_FILE = "loss_warmup.pt"


class WarmupLossFunction:
    """A loss module as the Trainer's `compute_loss_func`, for logits [N, C] and, per token, [B, T, C].

    The loss module is not part of the model, so this also sets it to training mode if gradients are enabled and to eval
    mode otherwise: evaluation does not change the queue. The tokens of a batch are ranked together, as rows [B · T, C];
    tokens with the label -100 are ignored.

    Under gradient accumulation each batch is weighted by its fraction of the labels that are not -100 (the Trainer's
    count, whatever the loss's `ignore_index`), so that the mean losses of accumulated batches, and of processes, add up
    to the mean over all labels. (A loss that gathers the rows of all processes is exact if they hold equally many
    labels, as with the Trainer's sampler.)

    Args:
        loss_fn: called as `loss_fn(logits, labels)`: a preset, a `LossWarmupWrapper`, or any loss module.
        logits_from: the field of the model's output that holds the logits.
    """

    def __init__(self, loss_fn: torch.nn.Module, *, logits_from: str = "logits") -> None:
        self.loss_fn = loss_fn
        self.logits_from = logits_from

    def __call__(
        self,
        outputs: Any,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        *,
        return_per_class: bool = False,
    ) -> Any:
        """The loss of a batch, scaled to its fraction of the labels of the step.

        Args:
            outputs: the output of the model.
            labels: [N] or [B, T], or multilabel in the shape of the logits.
            num_items_in_batch: the number of labels that are not -100 in the whole step; None: no scaling.
            return_per_class: whether to return (loss, per_class, valid), of a ranking loss or a wrapper of one;
                per_class is not scaled. For direct calls: the Trainer accepts only the loss.
        """
        self.loss_fn.train(torch.is_grad_enabled())
        logits = outputs[self.logits_from]
        if logits.ndim > 2 and labels.shape in (logits.shape[:-1], logits.shape):
            labels = labels.flatten() if labels.ndim < logits.ndim else labels.flatten(0, -2)
            logits = logits.flatten(0, -2)
        keywords = {"return_per_class": True} if return_per_class else {}
        result = self.loss_fn(logits, labels, **keywords)
        loss, *extras = result if return_per_class else (result,)
        if num_items_in_batch is not None:
            share = (labels != -100).sum() / torch.as_tensor(num_items_in_batch).clip(min=1)  # 0 where none is counted
            loss = loss * share.to(loss.dtype)
        return (loss, *extras) if return_per_class else loss


class LossWarmupTrainerCallback(TrainerCallback):
    """Moves a loss to the device, saves and restores it with the checkpoints, and drives its warm-up if it has one.

    The state of the loss (queue, gate, temperature, phase) is saved in each checkpoint folder as `loss_warmup.pt` and
    restored from the folder that training resumes from, `output_dir/checkpoint-STEP` unless `resume_from` is given.
    Training that starts at step 0 resets the loss.

    It calls the hooks of any `LossWarmupWrapper` in the loss, with the optimizer steps `state.global_step`, and adds
    `main_weight` and `temperature` to the logged training losses: in `state.log_history`, and for callbacks after this
    one. The `report_to` reporters come before it unless it is moved to the front:
    `trainer.callback_handler.callbacks.insert(0, callback)` instead of `callbacks=[callback]`.

    Args:
        loss_fn: the loss module inside `compute_loss_func`; anything else is a TypeError.
        resume_from: the folder given to `Trainer.train(resume_from_checkpoint=...)`, if it is not a checkpoint of this
            run: the Trainer does not pass it to callbacks. Without the file in it, resuming is a FileNotFoundError.
    """

    def __init__(self, loss_fn: torch.nn.Module, *, resume_from: str | Path | None = None) -> None:
        if not isinstance(loss_fn, torch.nn.Module):
            raise TypeError(f"loss_fn must be a loss module, got {loss_fn!r}")
        self.loss_fn = loss_fn
        self.resume_from = resume_from

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Moves the loss to the device and resets it or, if training resumes, restores it."""
        self.loss_fn.to(args.device)
        for part in self.loss_fn.modules():
            if isinstance(part, (LossWarmupWrapper, RankingState)):
                part.reset()
        if state.global_step > 0:
            self._restore(Path(self.resume_from or _checkpoint_folder(args, state)), args.device)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Passes the epoch to the wrappers."""
        for wrapper in wrappers_in(self.loss_fn).values():
            wrapper.on_train_epoch_start(int(state.epoch + 1e-6))  # rounding may leave the sum of fractions just below

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Passes the step to the wrappers."""
        for wrapper in wrappers_in(self.loss_fn).values():
            wrapper.on_train_batch_start(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Adds a wrapper's weight and temperature of the last step to the log of the training loss."""
        if logs is None or "loss" not in logs:
            return
        progress = progress_of(wrappers_in(self.loss_fn))
        logs |= progress
        state.log_history[-1] |= progress

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Saves the state of the loss beside the checkpoint of the model."""
        if args.should_save:
            torch.save(self.loss_fn.state_dict(), _checkpoint_folder(args, state) / STATE_FILE)

    def _restore(self, folder: Path, device: Any) -> None:
        path = folder / STATE_FILE
        if path.is_file():
            self.loss_fn.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        elif self.resume_from is not None:
            raise FileNotFoundError(f"resume_from must hold {STATE_FILE}, got {self.resume_from}")
        else:
            warnings.warn(
                f"training resumes, but there is no {path}, so the loss starts anew, with an empty queue; "
                "give LossWarmupTrainerCallback the folder as resume_from",
                stacklevel=2,
            )


def _checkpoint_folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"

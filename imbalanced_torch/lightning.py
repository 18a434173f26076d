"""A Lightning callback that drives `LossWarmupWrapper`. Needs `lightning` or `pytorch_lightning`."""

import importlib
import sys
from types import ModuleType
from typing import Any

from imbalanced_torch._callbacks import progress_of, wrappers_in


def _lightning() -> ModuleType:
    """The Lightning package already imported, else an installed one: both may be installed, with different classes."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not name.startswith(error.name or "?"):
                raise
    raise ImportError("imbalanced_torch.lightning needs Lightning: pip install lightning")


_Callback: Any = _lightning().Callback


class LossWarmupCallback(_Callback):
    """Drives every `LossWarmupWrapper` in the trained module: `Trainer(callbacks=[LossWarmupCallback()])`.

    The wrapper, an attribute such as `self.loss_fn`, then needs no hooks. A module without a wrapper, as with a preset,
    needs no callback.

    Epochs are `trainer.current_epoch`; steps are `trainer.global_step`, which counts optimizer steps: with
    `accumulate_grad_batches=k` it advances once every k batches, with two optimizers by 2. The progress of the wrapper
    is saved and restored with the module's `state_dict`. A `fit` that starts at step 0 resets the wrappers, so
    cross-validation folds may share one.

    Args:
        log: whether to log the weight and the temperature of every step, as `{prefix}main_weight` and
            `{prefix}temperature`; with several wrappers, each name is prefixed with the wrapper's name in the module.
        prefix: prefix of the names in the log.

    Raises:
        ValueError: when training starts, if there is no `LossWarmupWrapper` in the module.
    """

    def __init__(self, *, log: bool = True, prefix: str = "train/") -> None:
        super().__init__()
        self._logs = log  # Lightning itself assigns `callback.log`
        self.prefix = prefix

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Rejects a module without a wrapper, for which the callback would silently do nothing."""
        if not wrappers_in(pl_module):
            name = type(pl_module).__name__
            raise ValueError(
                f"the trained module must hold a LossWarmupWrapper for LossWarmupCallback to drive, got {name}; "
                "assign the loss to an attribute of the module, such as self.loss_fn"
            )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Resets the wrappers, unless training resumes."""
        if trainer.global_step == 0:  # known only after `on_fit_start`, when a checkpoint has been restored
            for wrapper in wrappers_in(pl_module).values():
                wrapper.reset()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Passes the epoch to the wrappers."""
        for wrapper in wrappers_in(pl_module).values():
            wrapper.on_train_epoch_start(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Passes the step to the wrappers."""
        wrappers = wrappers_in(pl_module)
        for wrapper in wrappers.values():
            wrapper.on_train_batch_start(trainer.global_step)
        for name, value in progress_of(wrappers).items() if self._logs else ():
            pl_module.log(self.prefix + name, value)

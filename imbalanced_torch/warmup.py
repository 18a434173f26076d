"""Warm-up: training that starts with one loss, blends into another and lowers its temperature."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from imbalanced_core import checks
from imbalanced_core.losses import schedules
from imbalanced_torch import _wrapped

_CALLS_BEFORE_WARNING = 3  # a training loop calls a hook before its first loss; a quick experiment may not


class LossWarmupWrapper(nn.Module):
    """Trains with a pointwise loss first, then blends into a ranking loss and lowers its temperature.

    A preset (`recommended`) needs no wrapper. Other ranking losses have almost no gradient on a random model. This
    module computes ::

        loss = (1 - w) · warmup_loss + w · main_loss
        temperature = temp_start · (temp_end / temp_start) ^ min(1, steps since the switch / temp_decay_steps)

    where w, `main_weight`, is 0 for the first W = `warmup_epochs` epochs, (k + 1) / (B + 1) · `final_main_weight` in
    epoch k of the B = `blend_epochs` that follow, and `final_main_weight` from then on. At w = 0 the main loss is not
    called and its queue does not change; at w = 1 the warm-up loss is not called. The switch is the first batch with
    w > 0, which empties the queue of the main loss; without a warm-up (W = 0), global step 0.

    Drive it in one of these ways:

    - `on_train_epoch_start(epoch)` before every epoch (not needed with `warmup_steps`) and
      `on_train_batch_start(global_step)` before every batch;
    - `step()`, or `step(epoch)` when epochs are counted, before every batch;
    - `imbalanced_torch.lightning.LossWarmupCallback`, `imbalanced_torch.huggingface.LossWarmupTrainerCallback`.

    The progress is part of `state_dict()`, so a resumed run continues bit for bit. Call `reset()` before a second run;
    the schedule also restarts if the step returns to the switch or before it, or the epoch to the warm-up or to 0. A
    compiled step compiles three times: warm-up, both, main. Compile the model without the loss, or compile each loss
    once: `LossWarmupWrapper(torch.compile(a), torch.compile(b))`.

    Args:
        warmup_loss: called as `warmup_loss(logits, targets)`, with `sample_weight` too if it accepts it. For
            `BCEWithLogitsLoss` the targets are converted to floats of the logits' shape.
        main_loss: called as `main_loss(logits, targets, **keywords)`. Its `temperature` and `reset_queue()` are used if
            it has them.
        warmup_epochs, blend_epochs: W and B; if both are 0 the wrapper only schedules the temperature.
        warmup_steps, blend_steps: W and B in steps; the schedule then counts steps.
        temp_start, temp_end: temperature at the switch and after `temp_decay_steps`, > 0, in the units of the loss.
            None: 0.05 and 0.005; for a loss that is gated or in the units `temperature_scale` or `tau_scale="std"`, its
            own temperature, which with neither given is never set. `temp_decay_steps` is at least 1.
        final_main_weight: w after the ramp, in (0, 1]. Below 1 the warm-up loss is never dropped, which protects
            against the collapse described in `docs/collapse.md`; at 1 nothing does.
        reset_queue_each_epoch: whether to also empty the queue at the start of every epoch with w > 0.
        gather_distributed: if not None, set as `main_loss.gather_distributed`. Where this or the previous option has no
            effect on `main_loss`, there is a UserWarning.

    Raises:
        ValueError, TypeError: on an invalid number, if epochs are mixed with steps, or if a loss is not callable.
    """

    def __init__(
        self,
        warmup_loss: Callable[..., Tensor],
        main_loss: Any,
        warmup_epochs: int = 0,
        temp_start: float | None = None,
        temp_end: float | None = None,
        temp_decay_steps: int = 10_000,
        *,
        blend_epochs: int = 0,
        warmup_steps: int | None = None,
        blend_steps: int | None = None,
        final_main_weight: float = 1.0,
        reset_queue_each_epoch: bool = False,
        gather_distributed: bool | None = None,
    ) -> None:
        super().__init__()
        for name, loss in (("warmup_loss", warmup_loss), ("main_loss", main_loss)):
            if not callable(loss) or isinstance(loss, type):
                raise TypeError(f"{name} must be a loss module or function, got {loss!r}")
        self.warmup_loss, self.main_loss = warmup_loss, main_loss
        self.warmup_epochs = _wrapped.whole_number("warmup_epochs", warmup_epochs)
        self.blend_epochs = _wrapped.whole_number("blend_epochs", blend_epochs)
        self.warmup_steps = None if warmup_steps is None else _wrapped.whole_number("warmup_steps", warmup_steps)
        self.blend_steps = None if blend_steps is None else _wrapped.whole_number("blend_steps", blend_steps)
        has_both = warmup_steps is not None or blend_steps is None
        checks.require(has_both, "blend_steps", "given together with warmup_steps", blend_steps)
        for name, epochs in (("warmup_epochs", self.warmup_epochs), ("blend_epochs", self.blend_epochs)):
            rule = "0 when warmup_steps is given: a schedule counts either epochs or steps"
            checks.require(warmup_steps is None or epochs == 0, name, rule, epochs)
        checks.python_number("final_main_weight", final_main_weight, "(0, 1]")
        self.final_main_weight = float(final_main_weight)
        self.temp_decay_steps = _wrapped.whole_number("temp_decay_steps", temp_decay_steps, least=1)
        self._set_temperature_ends(temp_start, temp_end)
        self.reset_queue_each_epoch = reset_queue_each_epoch
        if reset_queue_each_epoch:
            _wrapped.warn_unless_it_has(main_loss, "reset_queue", "reset_queue_each_epoch=True")
        if gather_distributed is not None:
            option = f"gather_distributed={gather_distributed}"
            if _wrapped.warn_unless_it_has(main_loss, "gather_distributed", option):
                main_loss.gather_distributed = gather_distributed
        self._warmup_takes_weights = _wrapped.takes(warmup_loss, "sample_weight")
        self._has_warned_of_weights = False
        self._restart()

    def _set_temperature_ends(self, start: float | None, end: float | None) -> None:
        self._sets_temperature = getattr(self.main_loss, "temperature", None) is not None  # read once: a host sync
        has_own = self._sets_temperature and schedules.keeps_temperature(self.main_loss)
        self.temp_start, self.temp_end = None, None
        if has_own and start is None and end is None:
            self._sets_temperature = False
            return
        start, end = schedules.temperature_ends(start, end, own=float(self.main_loss.temperature) if has_own else None)
        checks.positive("temp_start", start)
        checks.positive("temp_end", end)
        self.temp_start, self.temp_end = float(start), float(end)

    def _restart(self) -> None:
        self._epoch = self._step = self._switch_step = -1  # not known yet
        self._batch_hook_called, self._calls_without_hooks = False, 0
        self._update()

    def reset(self) -> None:
        """Restarts the schedule for a new run: clears epoch, step and switch, and empties the queue."""
        self._restart()
        _wrapped.reset(self.main_loss)

    def _update(self) -> None:
        """Recomputes what depends on the counters."""
        weight = self.main_weight
        self._losses = "warmup" if weight == 0 else "main" if weight == 1 else "both"
        # A new tensor, since backward may still need the old one. On the CPU, where any device can read a 0-d tensor
        # without a copy; not a buffer, since `.half()` would round it and MPS has no float64.
        self._weight = torch.tensor(weight, dtype=torch.float64, device="cpu")
        if self._sets_temperature:
            self.main_loss.temperature = self.current_temperature

    @property
    def _position(self) -> tuple[int, int, int]:
        """The current unit of the schedule, a step or an epoch, and the units of the warm-up and of the blend."""
        if self.warmup_steps is not None:
            return max(self._step, 0), self.warmup_steps, self.blend_steps or 0
        return max(self._epoch, 0), self.warmup_epochs, self.blend_epochs

    @property
    def in_warmup(self) -> bool:
        """Whether only the warm-up loss is computed."""
        return self.main_weight == 0

    @property
    def in_blend(self) -> bool:
        """Whether the weight is on its ramp."""
        unit, warmup, blend = self._position
        return 0 <= unit - warmup < blend

    @property
    def main_weight(self) -> float:
        """The current weight w of the main loss, in [0, final_main_weight]."""
        unit, warmup, blend = self._position
        return schedules.blend_weight(unit, warmup=warmup, blend=blend, final=self.final_main_weight)

    @property
    def switch_step(self) -> int | None:
        """The global step of the first batch with w > 0, None before it; 0 without a warm-up."""
        return None if self._switch_step < 0 else self._switch_step

    @property
    def current_temperature(self) -> float | None:
        """The scheduled temperature of `main_loss`, or its own if none is scheduled; None if it has none."""
        if not self._sets_temperature:
            temperature = getattr(self.main_loss, "temperature", None)
            return None if temperature is None else float(temperature)
        elapsed = 0 if self._switch_step < 0 else self._step - self._switch_step
        return schedules.geometric_decay(elapsed, start=self.temp_start, end=self.temp_end, steps=self.temp_decay_steps)

    def on_train_epoch_start(self, epoch: int) -> None:
        """Call before every training epoch, counted from 0. Repeating an epoch changes nothing."""
        epoch = _wrapped.whole_number("epoch", epoch)
        if self.warmup_steps is None and epoch < min(self._epoch, max(self.warmup_epochs, 1)):
            self.reset()
        is_new = epoch != self._epoch
        self._epoch = epoch
        self._update()
        if is_new and self.reset_queue_each_epoch and not self.in_warmup:
            _wrapped.reset_queue(self.main_loss)

    def on_train_batch_start(self, global_step: int) -> None:
        """Call before every training batch with the number of optimizer steps so far. Repeating a step is harmless."""
        step = _wrapped.whole_number("global_step", global_step)
        if step < self._step and step <= self._switch_step:
            self._switch_step = -1
            _wrapped.reset(self.main_loss)
        self._step = step
        self._batch_hook_called = True
        if self._switch_step < 0 and not self.in_warmup:
            _, warmup, _ = self._position
            self._switch_step = step if warmup > 0 else 0
            _wrapped.reset_queue(self.main_loss)
        self._update()

    def step(self, epoch: int | None = None) -> None:
        """Both hooks in one call, for loops without a step counter; call it before the loss of every batch.

        The first call starts step 0. (A `torch.optim` scheduler is stepped after the batch, this before, so that the
        first batch of an epoch already uses that epoch's weight.) `epoch` is the epoch of the batch; needed when the
        schedule counts epochs, else only for `reset_queue_each_epoch`. Going back to epoch 0 restarts at step 0.
        """
        if epoch is not None:
            if epoch == 0 < self._epoch:
                self.reset()
            self.on_train_epoch_start(epoch)
        self.on_train_batch_start(self._step + 1)

    def forward(self, logits: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None, **keywords: Any) -> Any:
        """The loss of a batch at the current point of the schedule.

        Logits and targets are as the main loss accepts them, and the warm-up loss too, except the shape of targets of
        independent labels. `sample_weight` is passed to the main loss, and to the warm-up loss if that accepts it,
        else there is one warning; `**keywords`, such as `return_per_class=True`, to the main loss whenever it is
        called.

        Returns:
            What the main loss returns, with its loss replaced by the blend. A NaN warm-up loss of an empty batch, such
            as a mean on a rank without rows, counts as 0. While the main loss is not called: the warm-up loss, with NaN
            and False for each class if `return_per_class` or `return_diagnostics` is set.

        Raises:
            ValueError: if the shapes of the two losses differ, or if the targets or the logits do not fit the warm-up
                loss, such as one logit for `CrossEntropyLoss`: a softmax over one class trains nothing.
        """
        if self.training and not torch.compiler.is_compiling():
            self._warn_of_missing_hooks()
        if self._losses == "warmup":
            value = self._warmup(logits, targets, sample_weight)
            return _wrapped.with_absent_extras(self.main_loss, value, logits, keywords)
        if sample_weight is not None:
            keywords["sample_weight"] = sample_weight
        result = self.main_loss(logits, targets, **keywords)
        if self._losses == "main":
            return result
        main_loss, *extras = result if isinstance(result, tuple) else (result,)
        loss = schedules.blend_losses(self._warmup(logits, targets, sample_weight), main_loss, self._weight)
        return (loss, *extras) if isinstance(result, tuple) else loss

    def _warmup(self, logits: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Tensor:
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if not self._warmup_takes_weights:
            if weights and not torch.compiler.is_compiling() and not self._has_warned_of_weights:
                self._has_warned_of_weights = True
                warnings.warn(
                    f"{_wrapped.name_of(self.warmup_loss)} takes no sample_weight, so the warm-up loss is computed "
                    "without it; SigmoidFocalLoss(alpha=None, gamma=0) is BCEWithLogitsLoss, and "
                    "SoftmaxFocalLoss(gamma=0) is CrossEntropyLoss, with sample_weight",
                    stacklevel=5,
                )
            weights = {}
        value = self.warmup_loss(logits, _wrapped.targets_for(self.warmup_loss, logits, targets), **weights)
        if not isinstance(value, Tensor):
            raise TypeError(f"warmup_loss must return a loss alone, a tensor, got {type(value).__name__}")
        # torch's means are NaN on a rank without rows
        return value.nan_to_num(nan=0.0) if isinstance(logits, Tensor) and logits.numel() == 0 else value

    def _warn_of_missing_hooks(self) -> None:
        """Warns if the hooks are not called, without which the warm-up would never end."""
        _, warmup, blend = self._position
        counts_steps = self.warmup_steps is not None
        decays = self._sets_temperature and self.temp_start != self.temp_end
        missing = []
        if warmup + blend > 0 and not counts_steps and self._epoch < 0:
            missing.append("on_train_epoch_start(epoch) before every epoch")
        if not self._batch_hook_called and (decays or (warmup + blend > 0 and counts_steps)):
            missing.append("on_train_batch_start(global_step) before every batch")
        self._calls_without_hooks += bool(missing)
        if missing and self._calls_without_hooks == _CALLS_BEFORE_WARNING:
            warnings.warn(
                f"the schedule of LossWarmupWrapper stands still at main_weight={self.main_weight:.3g}: call "
                f"{' and '.join(missing)}; or call step({'' if counts_steps else 'epoch'}) before every batch",
                stacklevel=5,
            )

    def get_extra_state(self) -> Tensor:
        """Epoch, step and switch step, -1 where unknown: part of `state_dict()`."""
        return torch.tensor([self._epoch, self._step, self._switch_step], dtype=torch.int64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Restores what `get_extra_state` returned; called by `load_state_dict()`."""
        if not isinstance(state, Tensor) or state.shape != (3,):
            raise ValueError(f"the state of a LossWarmupWrapper must be an integer tensor of shape (3,), got {state!r}")
        self._epoch, self._step, self._switch_step = (max(int(n), -1) for n in state.tolist())
        self._update()

    def extra_repr(self) -> str:
        """The schedule, for `repr`."""
        unit, (_, warmup, blend) = "epochs" if self.warmup_steps is None else "steps", self._position
        phases = f"warmup_{unit}={warmup}, blend_{unit}={blend}, final_main_weight={self.final_main_weight}"
        decay = f"temp_start={self.temp_start}, temp_end={self.temp_end}, temp_decay_steps={self.temp_decay_steps}"
        return f"{phases}, {decay}"

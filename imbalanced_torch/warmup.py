"""Warm-up, blend and temperature: a loss that starts as one and ends as another."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from imbalanced_core import checks
from imbalanced_core.losses.schedules import blend_losses, blend_weight, geometric_decay
from imbalanced_torch import _wrapped
from imbalanced_torch._wrapped import name_of, takes_sample_weight, whole_number, with_absent_extras

_CALLS_BEFORE_WARNING = 3  # a loop that drives the schedule does so before its first loss; a quick try may not


class LossWarmupWrapper(nn.Module):
    r"""Trains with an ordinary loss first, then blends into a ranking loss, then sharpens it.

    A ranking loss has almost no gradient on a random model. This module computes ::

        loss = (1 - w) · warmup_loss + w · main_loss

    where w, `main_weight`, is 0 for the first W = `warmup_epochs` epochs, (k + 1) / (B + 1) · `final_main_weight` in
    epoch k of the B = `blend_epochs` that follow, and `final_main_weight` from then on. At w = 0 the main loss is not
    called and its queue stays as it is; at w = 1 the warm-up loss is not called. With `warmup_steps` all is counted in
    steps instead. At the first batch with w > 0, the switch, the main loss forgets its queue, and from there its
    temperature moves as ::

        temperature = temp_start · (temp_end / temp_start) ^ min(1, steps since the switch / temp_decay_steps)

    It is `temp_start` until then: the wrapper owns `main_loss.temperature`.

    Drive it by one of:

    - `on_train_epoch_start(epoch)` before every epoch (needless with `warmup_steps`) and
      `on_train_batch_start(global_step)` before every batch;
    - `step()`, or `step(epoch)` when epochs are counted, before every batch;
    - `imbalanced_torch.lightning.LossWarmupCallback`, `imbalanced_torch.huggingface.LossWarmupTrainerCallback`.

    Its progress is in `state_dict()`, so that a resumed run continues to the bit.

    Compilation: the weight and the temperature are tensors, so a compiled step is compiled once for each of the three
    combinations of losses (warm-up, both, main) and never because the schedule moves. To compile everything
    exactly once, compile the parts: `LossWarmupWrapper(torch.compile(a), torch.compile(b))`.

    Args:
        warmup_loss: called as `warmup_loss(logits, targets)`, with `sample_weight` too if it takes it.
        main_loss: called as `main_loss(logits, targets, **keywords)`. Its `temperature` and `reset_queue()` are used
            where it has them.
        warmup_epochs: W, the epochs before the main loss takes part; 0 starts with it.
        temp_start: temperature at the switch, > 0.
        temp_end: temperature after `temp_decay_steps`, > 0.
        temp_decay_steps: steps from one to the other, at least 1.
        blend_epochs: B, the epochs of the linear ramp; 0 is a hard switch.
        warmup_steps: W in steps; this counts the schedule in steps.
        blend_steps: B in steps; needs `warmup_steps`.
        final_main_weight: w after the ramp, in (0, 1]. Below 1 the warm-up loss stays in the mix for good.
        reset_queue_each_epoch: forget the queue at the start of every epoch with w > 0, too.
        gather_distributed: if not None, set as `main_loss.gather_distributed`.

    Raises:
        ValueError: on a bad number, on epochs mixed with steps, or on an option that `main_loss` does not have.
        TypeError: if a loss cannot be called.
    """

    def __init__(
        self,
        warmup_loss: Callable[..., Tensor],
        main_loss: Any,
        warmup_epochs: int = 0,
        temp_start: float = 0.05,
        temp_end: float = 0.005,
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
        self.warmup_loss = warmup_loss
        self.main_loss = main_loss
        self.warmup_epochs = whole_number("warmup_epochs", warmup_epochs)
        self.blend_epochs = whole_number("blend_epochs", blend_epochs)
        self.warmup_steps = None if warmup_steps is None else whole_number("warmup_steps", warmup_steps)
        self.blend_steps = None if blend_steps is None else whole_number("blend_steps", blend_steps)
        self._check_units()
        checks.positive("temp_start", temp_start)
        checks.positive("temp_end", temp_end)
        in_range = isinstance(final_main_weight, (int, float)) and 0 < final_main_weight <= 1
        checks.require(in_range, "final_main_weight", "a number in (0, 1]", final_main_weight)
        self.temp_start, self.temp_end = float(temp_start), float(temp_end)
        self.temp_decay_steps = whole_number("temp_decay_steps", temp_decay_steps, least=1)
        self.final_main_weight = float(final_main_weight)
        self.reset_queue_each_epoch = reset_queue_each_epoch
        if reset_queue_each_epoch:
            self._require_of_main_loss("reset_queue_each_epoch", "reset_queue")
        if gather_distributed is not None:
            self._require_of_main_loss("gather_distributed", "gather_distributed")
            self.main_loss.gather_distributed = gather_distributed
        # Asked once, since reading it may wait for the device.
        self._has_temperature = getattr(main_loss, "temperature", None) is not None
        self._warmup_takes_weights = takes_sample_weight(warmup_loss)
        self._epoch: int | None = None  # None: not known yet, taken as 0
        self._step: int | None = None
        self._switch_step: int | None = None
        self._batch_hook_called = False
        self._calls_without_hooks = 0
        self._has_warned_of_weights = False
        self._update()

    @property
    def in_warmup(self) -> bool:
        """Whether only the warm-up loss is computed."""
        return self._unit < self._plan[0]

    @property
    def in_blend(self) -> bool:
        """Whether the weight is on its ramp."""
        warmup, blend = self._plan
        return warmup <= self._unit < warmup + blend

    @property
    def main_weight(self) -> float:
        """w: how much the main loss counts now, in [0, final_main_weight]."""
        warmup, blend = self._plan
        return blend_weight(self._unit, warmup=warmup, blend=blend, final=self.final_main_weight)

    @property
    def current_temperature(self) -> float | None:
        """The temperature of `main_loss` now, None if it has none. Reading it waits for the device."""
        return float(self.main_loss.temperature) if self._has_temperature else None

    @property
    def switch_step(self) -> int | None:
        """The global step of the first batch that the main loss took part in; None before it."""
        return self._switch_step

    @property
    def _counts_steps(self) -> bool:
        return self.warmup_steps is not None

    @property
    def _plan(self) -> tuple[int, int]:
        if self.warmup_steps is not None:
            return self.warmup_steps, self.blend_steps or 0
        return self.warmup_epochs, self.blend_epochs

    @property
    def _unit(self) -> int:
        return (self._step if self._counts_steps else self._epoch) or 0

    def on_train_epoch_start(self, epoch: int) -> None:
        """Call before every training epoch, counted from 0. Calling it again for the same epoch changes nothing."""
        epoch = whole_number("epoch", epoch)
        is_new = epoch != self._epoch
        self._epoch = epoch
        self._update()
        if is_new and self.reset_queue_each_epoch and not self.in_warmup:
            self._reset_queue()

    def on_train_batch_start(self, global_step: int) -> None:
        """Call before every training batch with the number of optimizer steps so far. Repeating a step is harmless."""
        self._step = whole_number("global_step", global_step)
        self._batch_hook_called = True
        if self._switch_step is None and not self.in_warmup:
            self._switch_step = self._step
            self._reset_queue()
        self._update()

    def step(self, epoch: int | None = None) -> None:
        """Both hooks in one call, for loops that count no steps: call it before the loss of every batch.

        The first call begins step 0. (A scheduler of `torch.optim` is stepped after the batch; this comes before it,
        so that the first batch of an epoch already has that epoch's weight.)

        Args:
            epoch: the epoch of the batch; needed when the schedule counts epochs, else only for
                `reset_queue_each_epoch`.
        """
        if epoch is not None:
            self.on_train_epoch_start(epoch)
        self.on_train_batch_start(0 if self._step is None else self._step + 1)

    def forward(self, logits: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None, **keywords: Any) -> Any:
        """The loss of a batch at the current point of the schedule.

        Args:
            logits: as both losses take them, such as [N, C].
            targets: as both losses take them.
            sample_weight: passed to the main loss, and to the warm-up loss if it takes it; a warm-up loss that does not
                is computed without, and a warning says so once.
            **keywords: passed to the main loss whenever it is called, such as `return_per_class=True`.

        Returns:
            What the main loss returns, with its loss replaced by the blend. A warm-up loss of no rows that is NaN, as a
            mean is on a rank without data, counts as 0. While the main loss is not called, the
            warm-up loss, and for `return_per_class` and `return_diagnostics` what a ranking loss without a valid class
            gives: NaN and False for each class. So a loop that unpacks works in every phase.

        Raises:
            ValueError: if both losses take part and their shapes differ, or if the warm-up loss is
                `nn.CrossEntropyLoss` and the model has one logit: a softmax over one class trains nothing.
        """
        if self.training and not torch.compiler.is_compiling():
            self._warn_of_missing_hooks()
        if self._losses == "warmup":
            return with_absent_extras(self._warmup(logits, targets, sample_weight), logits, keywords)
        if sample_weight is not None:
            keywords["sample_weight"] = sample_weight
        result = self.main_loss(logits, targets, **keywords)
        if self._losses == "main":
            return result
        main_loss, *extras = result if isinstance(result, tuple) else (result,)
        loss = blend_losses(self._warmup(logits, targets, sample_weight), main_loss, self._weight)
        return (loss, *extras) if isinstance(result, tuple) else loss

    def _warmup(self, logits: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Tensor:
        _wrapped.check_several_classes(self.warmup_loss, logits)
        loss = self._call_warmup_loss(logits, targets, sample_weight)
        # On a rank without rows torch's own means are NaN; a NaN that came with rows is left alone.
        return loss.nan_to_num(nan=0.0) if logits.numel() == 0 else loss

    def _call_warmup_loss(self, logits: Tensor, targets: Tensor, sample_weight: Tensor | None) -> Tensor:
        if sample_weight is None:
            return self.warmup_loss(logits, targets)
        if self._warmup_takes_weights:
            return self.warmup_loss(logits, targets, sample_weight=sample_weight)
        if not torch.compiler.is_compiling() and not self._has_warned_of_weights:
            self._has_warned_of_weights = True
            warnings.warn(
                f"{name_of(self.warmup_loss)} takes no sample_weight, so the warm-up loss is computed without it; "
                "SigmoidFocalLoss(alpha=None, gamma=0) is BCEWithLogitsLoss, and SoftmaxFocalLoss(gamma=0) is "
                "CrossEntropyLoss, with sample_weight",
                stacklevel=6,
            )
        return self.warmup_loss(logits, targets)

    def get_extra_state(self) -> Tensor:
        """Epoch, step and switch step, -1 where unknown: part of `state_dict()`."""
        state = [-1 if number is None else number for number in (self._epoch, self._step, self._switch_step)]
        return torch.tensor(state, dtype=torch.int64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Takes up what `get_extra_state` gave; called by `load_state_dict()`."""
        if not isinstance(state, Tensor) or state.shape != (3,):
            raise ValueError(f"the state of a LossWarmupWrapper must be an integer tensor of shape (3,), got {state!r}")
        self._epoch, self._step, self._switch_step = (None if n < 0 else int(n) for n in state.tolist())
        self._update()

    def extra_repr(self) -> str:
        """The schedule, for `repr`."""
        unit = "steps" if self._counts_steps else "epochs"
        warmup, blend = self._plan
        return (
            f"warmup_{unit}={warmup}, blend_{unit}={blend}, final_main_weight={self.final_main_weight}, "
            f"temp_start={self.temp_start}, temp_end={self.temp_end}, temp_decay_steps={self.temp_decay_steps}"
        )

    def _update(self) -> None:
        """Brings what `forward` and the main loss read in line with the counters."""
        weight = self.main_weight
        self._losses = "warmup" if weight == 0 else "main" if weight == 1 else "both"
        # A new tensor, since backward may still need the old one. On the CPU, where any device can read a 0-d tensor
        # without a copy; no buffer, since `.half()` would round it and MPS has no float64.
        self._weight = torch.tensor(weight, dtype=torch.float64, device="cpu")
        if self._has_temperature:
            elapsed = 0 if self._switch_step is None or self._step is None else self._step - self._switch_step
            self.main_loss.temperature = geometric_decay(
                elapsed, start=self.temp_start, end=self.temp_end, steps=self.temp_decay_steps
            )

    def _reset_queue(self) -> None:
        if hasattr(self.main_loss, "reset_queue"):
            self.main_loss.reset_queue()

    def _check_units(self) -> None:
        if self.blend_steps is not None and self.warmup_steps is None:
            raise ValueError(f"blend_steps must be given together with warmup_steps, got {self.blend_steps}")
        for name, epochs in (("warmup_epochs", self.warmup_epochs), ("blend_epochs", self.blend_epochs)):
            rule = "0 when warmup_steps is given: a schedule counts either epochs or steps"
            checks.require(self.warmup_steps is None or epochs == 0, name, rule, epochs)

    def _require_of_main_loss(self, option: str, attribute: str) -> None:
        if not hasattr(self.main_loss, attribute):
            raise ValueError(f"main_loss must have `{attribute}` when {option} is given, got {name_of(self.main_loss)}")

    def _warn_of_missing_hooks(self) -> None:
        """A schedule that nobody drives would train on, forever in its warm-up."""
        has_phases = sum(self._plan) > 0
        decays = self._has_temperature and self.temp_start != self.temp_end
        missing = []
        if has_phases and not self._counts_steps and self._epoch is None:
            missing.append("on_train_epoch_start(epoch) before every epoch")
        if not self._batch_hook_called and (decays or (has_phases and self._counts_steps)):
            missing.append("on_train_batch_start(global_step) before every batch")
        self._calls_without_hooks += bool(missing)
        if missing and self._calls_without_hooks == _CALLS_BEFORE_WARNING:
            warnings.warn(
                f"the schedule of LossWarmupWrapper stands still at main_weight={self.main_weight:.3g}: call "
                f"{' and '.join(missing)}; or call step({'' if self._counts_steps else 'epoch'}) before every batch",
                stacklevel=5,
            )

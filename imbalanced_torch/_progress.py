"""Progress of training in the warm-up schedule: epoch, step and switch, and the resulting weight of the main loss."""

import warnings

import torch
from torch import Tensor, nn

from imbalanced_core import checks
from imbalanced_core.losses.schedules import blend_weight
from imbalanced_torch._wrapped import whole_number

_CALLS_BEFORE_WARNING = 3  # a training loop calls a hook before its first loss; a quick experiment may not


class WarmupProgress(nn.Module):
    """Base class with the lengths of a schedule, in epochs or steps, and its counters."""

    def __init__(
        self,
        *,
        warmup_epochs: int,
        blend_epochs: int,
        warmup_steps: int | None,
        blend_steps: int | None,
        final_main_weight: float,
    ) -> None:
        super().__init__()
        self.warmup_epochs = whole_number("warmup_epochs", warmup_epochs)
        self.blend_epochs = whole_number("blend_epochs", blend_epochs)
        self.warmup_steps = None if warmup_steps is None else whole_number("warmup_steps", warmup_steps)
        self.blend_steps = None if blend_steps is None else whole_number("blend_steps", blend_steps)
        if blend_steps is not None and warmup_steps is None:
            raise ValueError(f"blend_steps must be given together with warmup_steps, got {blend_steps}")
        for name, epochs in (("warmup_epochs", self.warmup_epochs), ("blend_epochs", self.blend_epochs)):
            rule = "0 when warmup_steps is given: a schedule counts either epochs or steps"
            checks.require(warmup_steps is None or epochs == 0, name, rule, epochs)
        checks.python_number("final_main_weight", final_main_weight, "(0, 1]")
        self.final_main_weight = float(final_main_weight)

    def _restart(self) -> None:
        self._epoch: int | None = None  # None: not known yet, taken as 0
        self._step: int | None = None
        self._switch_step: int | None = None
        self._batch_hook_called = False
        self._calls_without_hooks = 0
        self._update()

    def _update(self) -> None:
        """Recomputes what depends on the counters."""
        weight = self.main_weight
        self._losses = "warmup" if weight == 0 else "main" if weight == 1 else "both"
        # A new tensor, since backward may still need the old one. On the CPU, where any device can read a 0-d tensor
        # without a copy; not a buffer, since `.half()` would round it and MPS has no float64.
        self._weight = torch.tensor(weight, dtype=torch.float64, device="cpu")

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
        """The current weight w of the main loss, in [0, final_main_weight]."""
        warmup, blend = self._plan
        return blend_weight(self._unit, warmup=warmup, blend=blend, final=self.final_main_weight)

    @property
    def switch_step(self) -> int | None:
        """The global step of the first batch with w > 0, None before it; 0 without a warm-up."""
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

    def get_extra_state(self) -> Tensor:
        """Epoch, step and switch step, -1 where unknown: part of `state_dict()`."""
        state = [-1 if number is None else number for number in (self._epoch, self._step, self._switch_step)]
        return torch.tensor(state, dtype=torch.int64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Restores what `get_extra_state` returned; called by `load_state_dict()`."""
        if not isinstance(state, Tensor) or state.shape != (3,):
            raise ValueError(f"the state of a LossWarmupWrapper must be an integer tensor of shape (3,), got {state!r}")
        self._epoch, self._step, self._switch_step = (None if n < 0 else int(n) for n in state.tolist())
        self._update()

    def extra_repr(self) -> str:
        """The schedule, for `repr`."""
        unit = "steps" if self._counts_steps else "epochs"
        warmup, blend = self._plan
        return f"warmup_{unit}={warmup}, blend_{unit}={blend}, final_main_weight={self.final_main_weight}"

    def _warn_of_missing_hooks(self, *, decays: bool) -> None:
        """Warns if the hooks are not called, without which the warm-up would never end."""
        has_phases = sum(self._plan) > 0
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

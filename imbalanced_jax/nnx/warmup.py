"""Warm-up as an NNX module that counts its own steps."""

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from imbalanced_core import checks
from imbalanced_core.losses.schedules import keeps_temperature, temperature_ends
from imbalanced_jax.nnx.module import LossState
from imbalanced_jax.nnx.pooled import PooledLoss, with_extras
from imbalanced_jax.warmup import blend_schedule, temperature_schedule, warmup_blend

_SCHEDULE = ("warmup_steps", "blend_steps", "final_main_weight", "temp_start", "temp_end", "temp_decay_steps")


class LossWarmupWrapper(nnx.Module):
    """Trains with an ordinary loss first, then blends into a ranking loss, then sharpens it: `warmup_blend` with state.

    A preset (`recommended`) needs no wrapper. The step of `imbalanced_jax.warmup_blend` is the number of calls made in
    training mode so far; one compilation serves the whole schedule. For a second run call `reset()`. In `eval()` mode
    the step and the queue do not change (see `PooledLoss`): the loss is that of the next training step.

    Attributes:
        step: the Variable of the number of training steps so far, an int32 0-d array; `loss_fn.step[...] = 9` sets it.
        deterministic: whether the step is frozen; `train()`, `eval()` and `nnx.view` set it here and in the main loss.

    Args:
        warmup_loss: called as `warmup_loss(logits, targets)`, with `sample_weight` too if it accepts it. A function or
            a module that writes no Variables.
        main_loss: a ranking module of this package; or a loss without state, called as the warm-up loss is.
        warmup_steps: steps with w = 0; for epochs, multiply by the steps per epoch. 0 skips the warm-up: without a
            blend the wrapper then only schedules the temperature.
        temp_start, temp_end: as in `imbalanced_jax.warmup_blend`, in the units of the loss. A loss that is gated or in
            the units `temperature_scale` or `tau_scale="std"` keeps its own temperature instead of 0.05 and 0.005; with
            neither given, it is never set.
        temp_decay_steps, blend_steps: as in `imbalanced_jax.warmup_blend`.
        final_main_weight: w after the ramp, in (0, 1]. Below 1 the warm-up loss is never dropped, which protects
            against the collapse described in `docs/collapse.md`; at 1 nothing does.
        deterministic: whether the wrapper starts in `eval()` mode; `main_loss` has its own mode.

    Raises:
        ValueError, TypeError: on an invalid number, or if a loss is not callable.
    """

    def __init__(
        self,
        warmup_loss: Callable[..., Array],
        main_loss: Callable[..., Any],
        warmup_steps: int = 0,
        temp_start: float | None = None,
        temp_end: float | None = None,
        temp_decay_steps: int = 10_000,
        *,
        blend_steps: int = 0,
        final_main_weight: float = 1.0,
        deterministic: bool = False,
    ) -> None:
        for name, loss in (("warmup_loss", warmup_loss), ("main_loss", main_loss)):
            if not callable(loss) or isinstance(loss, type):
                raise TypeError(f"{name} must be a loss module or function, got {loss!r}")
        checks.flag("deterministic", deterministic)
        blend_schedule(warmup_steps, blend_steps, final_main_weight)  # checks the numbers
        keeps = isinstance(main_loss, PooledLoss) and keeps_temperature(main_loss)
        if not keeps or temp_start is not None or temp_end is not None:
            own = float(main_loss.temperature[...]) if keeps else None  # type: ignore[attr-defined]
            temp_start, temp_end = temperature_ends(temp_start, temp_end, own=own)
        temperature_schedule(*temperature_ends(temp_start, temp_end), temp_decay_steps, warmup_steps)
        self.temp_start = temp_start  # None: the temperature is never set
        self.temp_end = temp_end
        self.warmup_loss = warmup_loss
        self.main_loss = main_loss
        self.warmup_steps = warmup_steps
        self.blend_steps = blend_steps
        self.final_main_weight = final_main_weight
        self.temp_decay_steps = temp_decay_steps
        self.deterministic = deterministic
        self.step = LossState(jnp.zeros((), jnp.int32))
        self._show_temperature()

    @property
    def main_weight(self) -> Array:
        """The weight w of the main loss at the current step, in [0, final_main_weight], 0-d."""
        return jnp.asarray(blend_schedule(self.warmup_steps, self.blend_steps, self.final_main_weight)(self.step[...]))

    @property
    def current_temperature(self) -> Array:
        """The temperature of the main loss at the current step, 0-d."""
        if self.temp_start is None:
            return self.main_loss.temperature[...]  # type: ignore[attr-defined]
        ends = temperature_ends(self.temp_start, self.temp_end)
        return jnp.asarray(temperature_schedule(*ends, self.temp_decay_steps, self.warmup_steps)(self.step[...]))

    def reset(self) -> None:
        """Restarts the schedule for a new run: step 0 and an empty queue."""
        self.step[...] = jnp.zeros((), jnp.int32)
        if isinstance(self.main_loss, PooledLoss):
            self.main_loss.reset()
        self._show_temperature()

    set_view = PooledLoss.set_view

    def __call__(
        self,
        logits: Array,
        targets: Array,
        iid_mask: Array | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: Array | None = None,
        update_queue: bool | None = None,
    ) -> Any:
        """The loss of a batch at the current step; in training mode, then advances the step.

        Arguments and results are those of the ranking modules, and both losses must accept the logits and targets.
        `iid_mask` is passed to a main loss with a queue, `sample_weight` to each loss that accepts it; a loss that does
        not is named in a warning. With `update_queue=False`, for the second pass over a batch, the step does not
        advance either. While the main loss is not computed, the values per class are NaN and False.
        """
        advances = not self.deterministic and update_queue is not False
        if update_queue is None:
            update_queue = isinstance(self.main_loss, PooledLoss) and self.main_loss.updates_queue
        queue, main_fn = self._main(logits, targets, iid_mask, sample_weight, update_queue)
        warmup_fn = partial(_plain, self.warmup_loss, logits, targets, sample_weight)
        schedule = {name: getattr(self, name) for name in _SCHEDULE}
        loss, aux = warmup_blend(self.step[...], warmup_fn, main_fn, queue, **schedule)
        if isinstance(self.main_loss, PooledLoss) and update_queue:
            self.main_loss.store(aux.queue, aux.gate)
        if advances:
            self._show_temperature()
            self.step[...] += 1
        return with_extras(loss, aux, return_per_class=return_per_class, return_diagnostics=return_diagnostics)

    def _show_temperature(self) -> None:
        """Writes the temperature of this step to the main loss."""
        if isinstance(self.main_loss, PooledLoss) and self.temp_start is not None:
            variable = self.main_loss.temperature
            variable[...] = self.current_temperature.astype(variable[...].dtype)

    def _main(self, logits: Any, targets: Any, iid_mask: Any, sample_weight: Any, update_queue: bool) -> tuple:
        """The queue before the step, and the main loss as `warmup_blend` calls it."""
        main_loss = self.main_loss
        if not isinstance(main_loss, PooledLoss):
            return None, lambda _queue, _temperature: (_plain(main_loss, logits, targets, sample_weight), None)
        options = {"iid_mask": iid_mask, "sample_weight": sample_weight, "update_queue": update_queue}
        options["key"] = main_loss.draw_key()
        own = main_loss.temperature[...] if self.temp_start is None else None
        return main_loss.queue, lambda queue, temperature: main_loss.evaluate(
            logits, targets, queue, temperature=temperature if own is None else own, **options
        )


def _plain(loss: Callable[..., Array], logits: Any, targets: Any, sample_weight: Any) -> Array:
    if sample_weight is None:
        return loss(logits, targets)
    parameters = inspect.signature(loss).parameters
    if "sample_weight" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return loss(logits, targets, sample_weight=sample_weight)
    name = getattr(loss, "__name__", type(loss).__name__)
    warnings.warn(f"{name} takes no sample_weight and is computed without it", stacklevel=2)
    return loss(logits, targets)

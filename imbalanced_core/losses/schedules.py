"""Warm-up schedules: the weight of the main loss, its temperature, and the blend of two losses."""

import math
from typing import Any

from imbalanced_core import checks
from imbalanced_core.ops.namespace import Array, array_namespace

Number = Any  # a Python number, or an array of numbers


def blend_weight(step: Number, *, warmup: int, blend: int = 0, final: Number = 1.0) -> Number:
    """The weight of the main loss at a step: 0 during the warm-up, then a linear ramp, then `final`.

    With k = step - warmup the weight is ::

        0                             k < 0
        (k + 1) / (blend + 1) · final 0 <= k < blend
        final                         k >= blend

    Args:
        step: the step or epoch, counted from 0: a number, or an array of signed integers or floats.
        warmup: the length of the warm-up, in the unit of `step`.
        blend: the length of the ramp after it; 0 is a hard switch.
        final: the weight after the ramp, in (0, 1]. Below 1, some of the warm-up loss remains.

    Returns:
        The weight, in [0, final]: a Python float for a Python number, else an array in the shape of `step`, in its
        float dtype or, for integers, in the library's default one.

    Raises:
        ValueError: if `warmup` or `blend` is not a non-negative integer, or `final` is outside (0, 1].
        TypeError: if `step` holds unsigned integers or bools.
    """
    checks.at_least("warmup", warmup, 0)
    checks.at_least("blend", blend, 0)
    checks.positive("final", final)
    checks.in_unit_interval("final", final)
    if not _is_number(final):  # known only at run time
        final = array_namespace(final).where((final > 0) & (final <= 1), final, math.nan)
    return _steps_since(step, warmup - 1, warmup + blend) / (blend + 1) * final


def geometric_decay(elapsed: Number, *, start: Number, end: Number, steps: int) -> Number:
    """A temperature that moves geometrically from `start` to `end`.

    With f = min(1, elapsed / steps) it is start · (end / start)^f, computed as start^(1 - f) · end^f, which is exact at
    both ends.

    Args:
        elapsed: steps since the decay began: a number, or an array of signed integers or floats. Below 0 counts as 0.
        start: the temperature until then, > 0.
        end: the temperature from step `steps` on, > 0; it may lie above `start`.
        steps: the length of the decay, at least 1.

    Returns:
        The temperature: a Python float for Python numbers, else an array as from `blend_weight`, with the same errors.
    """
    checks.positive("start", start)
    checks.positive("end", end)
    checks.at_least("steps", steps, 1)
    fraction = _steps_since(elapsed, 0, steps) / steps
    return start ** (1 - fraction) * end**fraction


def keeps_temperature(loss: object) -> bool:
    """Whether a loss keeps its own temperature unless a schedule is given: if it is gated, or in relative units.

    The defaults of `temperature_ends` are in units of the logits, and far too sharp in units of their spread. Partial
    AUC with `tau_scale` "iqr" or "band" uses them nevertheless, as in imbalanced-losses.
    """
    scale = getattr(loss, "temperature_scale", None) or "absolute"
    return scale != "absolute" or getattr(loss, "tau_scale", None) == "std" or bool(getattr(loss, "gated", False))


def temperature_ends(start: Number | None, end: Number | None, *, own: Number | None = None) -> tuple[Number, Number]:
    """The temperatures at the switch and after the decay, with defaults for those that are None.

    The default of both is `own`, the temperature of a loss that keeps its own; without it, 0.05 and 0.005.
    """
    first, last = (0.05, 0.005) if own is None else (own, own)
    return first if start is None else start, last if end is None else end


def blend_losses(warmup_loss: Array, main_loss: Array, weight: Array) -> Array:
    """(1 - weight) · warmup_loss + weight · main_loss, for a 0-d weight in [0, 1], a constant in differentiation.

    If both losses are finite, it is exactly `warmup_loss` at weight 0 and `main_loss` at weight 1. ValueError if their
    shapes differ: broadcasting a mean against losses of rows or classes would hide a mistake.
    """
    checks.same_shape("the warm-up loss", warmup_loss, "the main loss", main_loss)
    xp = array_namespace(warmup_loss, main_loss, weight)
    return xp.astype(1 - weight, warmup_loss.dtype) * warmup_loss + xp.astype(weight, main_loss.dtype) * main_loss


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _steps_since(step: Number, first: int, last: int) -> Number:
    """The step, clipped to [first, last], minus `first`, as a float.

    Integers until then, since float32 cannot count the steps of a long run; clipped first, since the largest integer
    would wrap around.
    """
    if _is_number(step):
        return float(min(max(step, first), last) - first)
    xp = array_namespace(step)
    if xp.isdtype(step.dtype, ("bool", "unsigned integer")):
        raise TypeError(f"a step must be a signed integer or a float, got dtype {step.dtype}")
    steps = xp.clip(step, first, last) - first
    return steps if xp.isdtype(steps.dtype, "real floating") else xp.astype(steps, xp.zeros(()).dtype)

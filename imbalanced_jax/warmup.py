"""Stateless warm-up: schedules of weight and temperature, and a step that blends two losses by them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from imbalanced_core import checks
from imbalanced_core.losses.gated import Gate
from imbalanced_core.losses.schedules import blend_losses, blend_weight, geometric_decay, temperature_ends
from imbalanced_core.pool.queue import Queue, emptied
from imbalanced_jax import _versions, validation

Schedule = Callable[[Any], Any]  # as in optax: step -> value


def blend_schedule(warmup_steps: int, blend_steps: int = 0, final_main_weight: float = 1.0) -> Schedule:
    """The weight of the main loss as an optax schedule: `step -> weight`.

    The weight is 0 for `warmup_steps` steps, (k + 1) / (blend_steps + 1) · final_main_weight in step k of the
    `blend_steps` that follow (0 is a hard switch), and final_main_weight, in (0, 1], from then on: a number or a 0-d
    array. A step that is a number gives a Python float; an array of signed integers gives an array of the default float
    type. An invalid number raises a ValueError.
    """
    checks.at_least("warmup_steps", warmup_steps, 0)
    checks.at_least("blend_steps", blend_steps, 0)
    final = validation.number(final_main_weight)
    if not isinstance(final, Array):
        checks.python_number("final_main_weight", final, "(0, 1]")
    return lambda step: blend_weight(step, warmup=warmup_steps, blend=blend_steps, final=final_main_weight)


def temperature_schedule(temp_start: float, temp_end: float, temp_decay_steps: int, warmup_steps: int = 0) -> Schedule:
    """The temperature of the main loss as an optax schedule: `step -> temperature`.

    It is temp_start · (temp_end / temp_start) ^ min(1, (step - warmup_steps) / temp_decay_steps), and temp_start before
    step `warmup_steps`. The two ends are > 0, numbers or 0-d arrays, and `temp_decay_steps` at least 1. Types and
    errors as for `blend_schedule`.
    """
    checks.positive("temp_start", validation.number(temp_start))
    checks.positive("temp_end", validation.number(temp_end))
    checks.at_least("temp_decay_steps", temp_decay_steps, 1)
    checks.at_least("warmup_steps", warmup_steps, 0)
    return lambda step: geometric_decay(step - warmup_steps, start=temp_start, end=temp_end, steps=temp_decay_steps)


def warmup_blend(
    step: Any,
    warmup_fn: Callable[[], Array],
    main_fn: Callable[[Queue | None, Array], tuple[Array, Any]],
    queue: Queue | None = None,
    *,
    warmup_steps: int,
    blend_steps: int = 0,
    final_main_weight: float = 1.0,
    temp_start: float | None = None,
    temp_end: float | None = None,
    temp_decay_steps: int = 10_000,
) -> tuple[Array, Any]:
    """One step of a training that starts with one loss and ends with another: the stateless `LossWarmupWrapper`.

    The loss is (1 - w) · warmup_fn() + w · main_fn(queue, temperature)[0], with w from `blend_schedule` and the
    temperature from `temperature_schedule` at this step. While w is 0 the main loss is not computed and the queue does
    not change; while w is 1 the warm-up loss is not computed. At step `warmup_steps`, the switch, the main loss gets an
    empty queue. The step may be traced: one compilation serves the whole schedule. All state is in the arguments, so a
    run resumes bit for bit. Call it inside the function that `jax.value_and_grad(..., has_aux=True)` differentiates,
    under `jit`::

        def loss_fn(params, step, queue):
            logits = model(params, inputs)
            return warmup_blend(
                step,
                lambda: softmax_focal_loss(logits, targets, gamma=0.0),
                lambda queue, temperature: smooth_ap_loss(logits, targets, queue, temperature=temperature),
                queue,
                warmup_steps=1000, blend_steps=500,
            )

        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, step, queue)

    Args:
        step: the number of this step, counted from 0: an integer or a 0-d integer array. It must increase with every
            call, since the queue is emptied whenever it equals `warmup_steps`. A second run restarts at 0.
        warmup_fn: `() -> loss`. A model with one logit needs a binary cross entropy here: the softmax over one class is
            always 1 and trains nothing. Its targets must have the shape of the logits: optax broadcasts [N, 1] against
            [N] to [N, N] without an error.
        main_fn: `(queue, temperature) -> (loss, aux)`, with a loss of the same shape. With a queue, `aux` must be a
            NamedTuple with the next queue in its field `queue`, as returned by all ranking losses here. A loss with its
            own temperature ignores the second argument. A preset takes its state from the enclosing function, without
            `queue`: `lambda *_: presets.smooth_ap(logits, targets, state)`; the next state is `aux[0]`.
        queue: the queue before this step; None if the main loss has none.
        warmup_steps: see `blend_schedule`.
        blend_steps: see `blend_schedule`.
        final_main_weight: see `blend_schedule`.
        temp_start: see `temperature_schedule`. None: 0.05.
        temp_end: see `temperature_schedule`. None: 0.005.
        temp_decay_steps: see `temperature_schedule`.

    Returns:
        The loss and the `aux` of the main loss. While the main loss is not computed, `aux` has the same structure: the
        queue unchanged, other queues empty, gates as before the first step, and NaN (with `jax_debug_nans` 0), False
        and 0 elsewhere.

    Raises:
        ValueError: on an invalid number, or if the two losses differ in shape.
        TypeError: if there is a queue and `aux` has no field `queue`.

    Cost: that of the losses with a weight > 0. Under `vmap` over the step both are computed. Outside `jit` every call
    is traced again, which is slow.
    """
    weight_at = blend_schedule(warmup_steps, blend_steps, final_main_weight)
    temperature_at = temperature_schedule(*temperature_ends(temp_start, temp_end), temp_decay_steps, warmup_steps)
    step = jnp.asarray(step)
    is_step = step.ndim == 0 and jnp.issubdtype(step.dtype, jnp.integer)  # a float may never equal `warmup_steps`
    checks.require(is_step, "step", "an integer or a 0-d integer array", step)
    for name, function in (("warmup_fn", warmup_fn), ("main_fn", main_fn)):
        checks.require(callable(function), name, "a function", function)
    weight, temperature = jnp.asarray(weight_at(step)), jnp.asarray(temperature_at(step))
    if queue is not None:
        if not isinstance(queue, Queue):
            rule = "a Queue, from init_queue or aux.queue, or None (for a preset, whose state main_fn passes itself)"
            raise TypeError(f"queue must be {rule}, got {type(queue).__name__}")
        queue = jax.tree.map(lambda old, new: jnp.where(step == warmup_steps, new, old), queue, emptied(queue))
    main_form, aux_form = _form_of_main(main_fn, queue, temperature)
    warmup_form = jax.eval_shape(warmup_fn)
    if not isinstance(warmup_form, jax.ShapeDtypeStruct):
        raise TypeError(f"warmup_fn must return a loss alone, an array, got {type(warmup_form).__name__}")

    def without_main(queue: Queue | None) -> tuple[Array, Any]:
        aux = jax.tree.map(_absent, aux_form, is_leaf=lambda form: isinstance(form, (Queue, Gate)))
        return _full(main_form, 0), aux if queue is None else aux._replace(queue=queue)

    main_loss, aux = lax.cond(weight > 0, lambda queue: main_fn(queue, temperature), without_main, queue)
    warmup_loss = lax.cond(weight < 1, warmup_fn, lambda: _full(warmup_form, 0))
    return blend_losses(warmup_loss, main_loss, weight), aux


def _form_of_main(main_fn: Callable, queue: Queue | None, temperature: Array) -> tuple[Any, Any]:
    """Shapes and dtypes of the main loss and of its aux."""
    form = jax.eval_shape(main_fn, queue, temperature)
    if type(form) is not tuple or len(form) != 2:
        raise TypeError(f"main_fn must return a pair (loss, aux), got {type(form).__name__}")
    loss, aux = form
    if not isinstance(loss, jax.ShapeDtypeStruct):
        raise TypeError(f"the loss of main_fn must be an array, got {type(loss).__name__}")
    if queue is not None and not hasattr(aux, "queue"):
        rule = "(loss, aux) with the next queue in the field aux.queue"
        raise TypeError(f"main_fn must return {rule}, got {type(aux).__name__}")
    return form


def _absent(form: Any) -> Any:
    """Placeholder for a value that was not computed: an empty queue, an open gate, or else NaN, False or 0."""
    if isinstance(form, Queue):
        return Queue(*(_full(array, 0) for array in form))._replace(targets=_full(form.targets, -1))
    if isinstance(form, Gate):
        return Gate(_full(form.reached, 1.0))
    may_be_nan = not jax.config.jax_debug_nans  # type: ignore[attr-defined]
    return _full(form, jnp.nan if may_be_nan and jnp.issubdtype(form.dtype, jnp.floating) else 0)


def _full(form: jax.ShapeDtypeStruct, value: float) -> Array:
    """A constant of the given form, including the varying mesh axes, which `cond` compares too."""
    array = jnp.full(form.shape, value, form.dtype)
    varying = tuple(_versions.varying_axes(form))
    return _versions.mark_varying(array, varying) if varying else array

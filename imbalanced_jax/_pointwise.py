"""Shared code of the pointwise functions: keywords, checks of concrete values, and one jitted call of the core."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from imbalanced_core import checks, options, reductions
from imbalanced_core.options import with_options
from imbalanced_core.pool.labels import are_probabilities, foreground, taking_part
from imbalanced_jax import distributed, validation
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.validation import readable

Rules = Mapping[str, Callable[[str, Any], None]]
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class LabelOptions(options.LabelOptions, total=False):
    """Keywords of losses for independent labels."""

    axis_name: AxisName


class ClassOptions(options.ClassOptions, total=False):
    """Keywords of losses for exclusive classes."""

    axis_name: AxisName


class ListOptions(options.ListOptions, total=False):
    """Keywords of list losses."""

    axis_name: AxisName


label_function = with_options(LabelOptions, {**options.LABEL_DEFAULTS, "axis_name": None})
class_function = with_options(ClassOptions, {**options.CLASS_DEFAULTS, "axis_name": None})
list_function = with_options(ListOptions, {**options.LIST_DEFAULTS, "axis_name": None})


def label_loss(
    function: Callable[..., Any],
    logits: Array,
    targets: Array,
    numbers: Mapping[str, Any],
    *,
    rules: Rules,
    static: Mapping[str, Any] = NO_OPTIONS,
    where: Array | None,
    sample_weight: Array | None,
    ignore_index: int | None,
    **reducing: Any,
) -> Array:
    """Reduced loss of independent labels; the core's `function` may also return the mask of entries.

    A new value in `numbers` does not recompile, one in `static` does; `rules` check both, and values without a rule are
    checked elsewhere. The rest holds all of `LabelOptions`.
    """
    numbers = _checked(numbers, static, rules)
    validation.check_arrays(logits=logits, targets=targets, where=where, sample_weight=sample_weight)
    checks.boolean("where", where)
    validation.check_static(reduction=reducing["reduction"], ignore_index=ignore_index)
    if ignore_index is not None:
        checks.index("ignore_index", ignore_index)
    if where is None or validation.can_read(where):  # entries that a traced mask excludes may hold anything
        checks.probabilities(readable(targets), ignore_index=ignore_index, where=readable(where))
        if ignore_index is None or validation.can_read(targets):
            counted = _counted(targets, where, ignore_index, np)
            checks.weights(readable(sample_weight), where=readable(counted))
    fixed: dict[str, Any] = {"function": function, "static": tuple(static.items()), "ignore_index": ignore_index}
    reducing["axis_name"] = distributed.axis_names(reducing["axis_name"])
    return _step(logits, targets, where, sample_weight, numbers, **fixed, **reducing)


def class_loss(
    function: Callable[..., Array],
    logits: Array,
    targets: Array,
    numbers: Mapping[str, Any],
    *,
    rules: Rules,
    static: Mapping[str, Any] = NO_OPTIONS,
    background_class: int | None = None,
    sample_weight: Array | None,
    ignore_index: int | None,
    axis: int,
    **reducing: Any,
) -> Array:
    """As `label_loss`, for exclusive classes and `ClassOptions`; "mean_positive" needs a background class."""
    numbers = _checked(numbers, static, rules)
    if "class_counts" in numbers:
        numbers["class_counts"] = validation.as_floats("class_counts", numbers["class_counts"], checks.positive_values)
    validation.check_static(reduction=reducing["reduction"], axis=axis, ignore_index=ignore_index)
    if background_class is None:
        checks.one_of("reduction", reducing["reduction"], reductions.CLASS_REDUCTIONS)
    validation.check_arrays(logits=logits, targets=targets, sample_weight=sample_weight)
    checks.index("axis", axis)
    checks.index("ignore_index", ignore_index)
    checks.logits_of_ids("logits", logits, targets)
    checks.several_classes("logits", logits, axis=axis, instead="sigmoid_focal_loss")
    if are_probabilities(targets):  # their shape, and that of the ids, is checked by the core
        ignore_index = None
        if targets.shape == logits.shape:
            checks.probabilities(readable(targets))
        checks.weights(readable(sample_weight))
    elif -logits.ndim <= axis < logits.ndim:
        checks.class_ids(readable(targets), logits.shape[axis], ignore_index=ignore_index)
        if validation.can_read(targets):  # else a row of any weight may be an ignored one
            checks.weights(readable(sample_weight), where=readable(_counted(targets, None, ignore_index, np)))
    logits = distributed.replicate_axis(logits, axis)
    if are_probabilities(targets):
        targets = distributed.replicate_axis(targets, axis)
    fixed: dict[str, Any] = {"static": (*static.items(), ("axis", axis)), "background_class": background_class}
    fixed |= {"function": function, "ignore_index": ignore_index}
    reducing["axis_name"] = distributed.axis_names(reducing["axis_name"])
    return _step(logits, targets, None, sample_weight, numbers, **fixed, **reducing)


def list_loss(
    function: Callable[..., Any],
    scores: Array,
    relevance: Array,
    *,
    rules: Rules,
    temperature: Any,
    where: Array | None,
    sample_weight: Array | None,
    reduction: str,
    axis_name: AxisName,
    **static: Any,
) -> Array:
    """Reduced loss of lists; the core's `function` takes the other options and returns losses and the mask of lists."""
    validation.check_static(reduction=reduction)
    checks.one_of("reduction", reduction, reductions.CLASS_REDUCTIONS)
    numbers = _checked({"temperature": temperature}, static, rules)
    validation.check_arrays(scores=scores, relevance=relevance, where=where, sample_weight=sample_weight)
    if where is None or validation.can_read(where):
        checks.weights(readable(relevance), where=readable(where), name="relevance")
        checks.weights(readable(sample_weight), where=readable(where))
    arrays = distributed.replicate((scores, relevance, where, sample_weight), automatic=False)
    fixed: dict[str, Any] = {"function": function, "static": tuple(static.items()), "ignore_index": None}
    fixed |= {"reduction": reduction, "axis_name": distributed.axis_names(axis_name)}
    return _step(*arrays, numbers, **fixed)


@partial(jax.jit, static_argnames=("function", "static", "ignore_index", "background_class", "reduction", "axis_name"))
def _step(
    logits: Array,
    targets: Array,
    where: Array | None,
    weights: Array | None,
    numbers: dict[str, Any],
    *,
    function: Callable[..., Any],
    static: tuple[tuple[str, Any], ...],
    ignore_index: int | None,
    background_class: int | None = None,
    reduction: str,
    axis_name: tuple,
) -> Array:
    """The losses of all positions, reduced over all devices of the axis."""
    own, positives = dict(static), targets
    where = _counted(targets, where, ignore_index, jnp)
    losses = function(logits, targets, where=where, **numbers, **own)
    if isinstance(losses, tuple):
        losses, where = losses
    if reduction == "mean_positive" and background_class is not None:
        axis = own["axis"]
        positives = foreground(targets, num_classes=logits.shape[axis], background_class=background_class, axis=axis)
    parts: dict[str, Any] = {"where": where, "weights": weights, "positives": positives}
    if reduction == "none" or not axis_name:
        return reductions.reduce_elements(losses, reduction=reduction, **parts)
    total, divisor = reductions.element_sum_and_divisor(losses, reduction=reduction, **parts)
    return distributed.global_ratio(total, divisor, axis_name=axis_name, is_weighted=weights is not None)


def _counted(targets: Any, where: Any, ignore_index: int | None, xp: Any) -> Any:
    """Mask of the counted entries; in numpy outside jit, as transformations trace what JAX computes."""
    if ignore_index is None:
        return where
    is_label = taking_part(xp.asarray(targets), ignore_index=ignore_index)
    return is_label if where is None else is_label & xp.asarray(where)


def _checked(numbers: Mapping[str, Any], static: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """The numbers after checks, with Python ints as floats, since jit compiles once per type."""
    validation.check_static(**static)
    for name, value in {**numbers, **static}.items():
        # arrays per label or class are checked elsewhere
        if name in rules and getattr(value, "ndim", 0) == 0:
            rules[name](name, value if name in static else validation.number(value))
    return {name: float(value) if isinstance(value, int) else value for name, value in numbers.items()}

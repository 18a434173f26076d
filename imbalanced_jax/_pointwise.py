"""Shared code of the pointwise functions: keywords, checks of concrete values, and one jitted call of the core."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from imbalanced_core import checks, reductions
from imbalanced_core import options as shared
from imbalanced_core.options import with_options
from imbalanced_core.pool.labels import are_probabilities, foreground, taking_part
from imbalanced_jax import distributed, validation
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.validation import readable

Rules = Mapping[str, Callable[[str, Any], None]]
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class PointwiseOptions(TypedDict, total=False):
    """Keywords that all pointwise functions share; see `imbalanced_jax.pointwise`."""

    sample_weight: jax.Array | None
    reduction: str
    axis_name: AxisName


class LabelOptions(PointwiseOptions, total=False):
    """Keywords of losses for independent labels."""

    ignore_index: int | None
    where: jax.Array | None


class ClassOptions(PointwiseOptions, total=False):
    """Keywords of losses for exclusive classes."""

    ignore_index: int
    axis: int


class ListOptions(shared.ListOptions, total=False):
    """Keywords of list losses."""

    axis_name: AxisName


_COMMON = {"sample_weight": None, "reduction": "mean", "axis_name": None}
label_function = with_options(LabelOptions, {"ignore_index": None, "where": None, **_COMMON})
class_function = with_options(ClassOptions, {"ignore_index": -100, "axis": -1, **_COMMON})
list_function = with_options(ListOptions, {**shared.LIST_DEFAULTS, "axis_name": None})


def label_loss(
    function: Callable[..., Any],
    logits: jax.Array,
    targets: jax.Array,
    numbers: Mapping[str, Any],
    *,
    rules: Rules,
    static: Mapping[str, Any] = NO_OPTIONS,
    **options: Any,
) -> jax.Array:
    """Reduced loss of independent labels; the core's `function` may also return the mask of entries.

    A new value in `numbers` does not recompile, one in `static` does; `rules` check both, and values without a rule are
    checked elsewhere. `options` holds all of `LabelOptions`.
    """
    numbers = _checked(numbers, static, rules)
    where, sample_weight, ignore_index = (options[name] for name in ("where", "sample_weight", "ignore_index"))
    validation.check_arrays(logits=logits, targets=targets)
    validation.check_optional_arrays(where=where, sample_weight=sample_weight)
    checks.boolean("where", where)
    validation.check_static(reduction=options["reduction"], ignore_index=ignore_index)
    if ignore_index is not None:
        checks.index("ignore_index", ignore_index)
    if where is None or validation.can_read(where):  # entries that a traced mask excludes may hold anything
        checks.probabilities(readable(targets), ignore_index=ignore_index, where=readable(where))
        if ignore_index is None or validation.can_read(targets):
            counted = _counted(targets, where, ignore_index, np)
            checks.weights(readable(sample_weight), where=readable(counted))
    return _label_loss(logits, targets, numbers, function=function, static=tuple(static.items()), **options)


@partial(jax.jit, static_argnames=("function", "static", "ignore_index", "reduction", "axis_name"))
def _label_loss(
    logits: jax.Array,
    targets: jax.Array,
    numbers: dict[str, Any],
    *,
    where: jax.Array | None,
    sample_weight: jax.Array | None,
    function: Callable[..., Any],
    static: tuple[tuple[str, Any], ...],
    ignore_index: int | None,
    reduction: str,
    axis_name: AxisName,
) -> jax.Array:
    where = _counted(targets, where, ignore_index, jnp)
    losses = function(logits, targets, where=where, **numbers, **dict(static))
    if isinstance(losses, tuple):
        losses, where = losses
    return reduce(losses, where, sample_weight, targets, reduction=reduction, axis_name=axis_name)


def class_loss(
    function: Callable[..., jax.Array],
    logits: jax.Array,
    targets: jax.Array,
    numbers: Mapping[str, Any],
    *,
    rules: Rules,
    static: Mapping[str, Any] = NO_OPTIONS,
    background_class: int | None = None,
    **options: Any,
) -> jax.Array:
    """As `label_loss`, for exclusive classes and `ClassOptions`; "mean_positive" needs a background class."""
    axis, ignore_index, sample_weight = (options[name] for name in ("axis", "ignore_index", "sample_weight"))
    numbers = _checked(numbers, static, rules)
    if "class_counts" in numbers:
        counts = validation.as_floats("class_counts", numbers["class_counts"])
        checks.positive_values(readable(counts), name="class_counts")
        numbers = {**numbers, "class_counts": counts}
    validation.check_static(reduction=options["reduction"])
    if background_class is None:
        checks.one_of("reduction", options["reduction"], ("mean", "sum", "none"))
    validation.check_arrays(logits=logits, targets=targets)
    validation.check_optional_arrays(sample_weight=sample_weight)
    validation.check_static(axis=axis, ignore_index=ignore_index)
    checks.index("axis", axis)
    checks.index("ignore_index", ignore_index)
    checks.several_classes("logits", logits, axis=axis, instead="sigmoid_focal_loss")
    if are_probabilities(targets):  # their shape, and that of the ids, is checked by the core
        if targets.shape == logits.shape:
            checks.probabilities(readable(targets))
        checks.weights(readable(sample_weight))
    elif -logits.ndim <= axis < logits.ndim:
        checks.class_ids(readable(targets), logits.shape[axis], ignore_index=ignore_index)
        if validation.can_read(targets):  # else a row of any weight may be an ignored one
            checks.weights(readable(sample_weight), where=readable(_counted(targets, None, ignore_index, np)))
    fixed: dict[str, Any] = {"static": tuple(static.items()), "background_class": background_class}
    return _class_loss(logits, targets, numbers, function=function, **fixed, **options)


@partial(
    jax.jit,
    static_argnames=("function", "static", "background_class", "ignore_index", "reduction", "axis", "axis_name"),
)
def _class_loss(
    logits: jax.Array,
    targets: jax.Array,
    numbers: dict[str, Any],
    *,
    sample_weight: jax.Array | None,
    function: Callable[..., jax.Array],
    static: tuple[tuple[str, Any], ...],
    background_class: int | None,
    ignore_index: int,
    reduction: str,
    axis: int,
    axis_name: AxisName,
) -> jax.Array:
    logits, targets, sample_weight = distributed.replicate((logits, targets, sample_weight))
    where = None if are_probabilities(targets) else taking_part(targets, ignore_index=ignore_index)
    losses = function(logits, targets, axis=axis, where=where, **numbers, **dict(static))
    positives = None
    if reduction == "mean_positive" and background_class is not None:
        positives = foreground(targets, num_classes=logits.shape[axis], background_class=background_class, axis=axis)
    return reduce(losses, where, sample_weight, positives, reduction=reduction, axis_name=axis_name)


def list_loss(
    function: Callable[..., Any],
    scores: jax.Array,
    relevance: jax.Array,
    *,
    rules: Rules,
    temperature: Any,
    where: jax.Array | None,
    sample_weight: jax.Array | None,
    reduction: str,
    axis_name: AxisName,
    **static: Any,
) -> jax.Array:
    """Reduced loss of lists; the core's `function` takes the other options and returns losses and the mask of lists."""
    validation.check_static(reduction=reduction, **static)
    checks.one_of("reduction", reduction, reductions.CLASS_REDUCTIONS)
    numbers = _checked({"temperature": temperature}, static, rules)
    validation.check_arrays(scores=scores, relevance=relevance)
    validation.check_optional_arrays(where=where, sample_weight=sample_weight)
    if where is None or validation.can_read(where):  # entries that a traced mask excludes may hold anything
        checks.weights(readable(relevance), where=readable(where), name="relevance")
        checks.weights(readable(sample_weight), where=readable(where))
    scores, relevance, where, sample_weight = distributed.replicate((scores, relevance, where, sample_weight))
    fixed: dict[str, Any] = {"static": tuple(static.items()), "ignore_index": None, "axis_name": axis_name}
    arrays = {"where": where, "sample_weight": sample_weight}
    return _label_loss(scores, relevance, numbers, function=function, reduction=reduction, **arrays, **fixed)


def reduce(
    losses: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    positives: jax.Array | None,
    *,
    reduction: str,
    axis_name: AxisName,
) -> jax.Array:
    """The losses of all positions, reduced over all devices of the axis."""
    parts: dict[str, Any] = {"where": where, "weights": weights, "positives": positives, "is_masked": True}
    if reduction == "none" or axis_name is None:
        return reductions.reduce_elements(losses, reduction=reduction, **parts)
    return distributed.global_ratio(
        *reductions.element_sum_and_mass(losses, reduction=reduction, **parts), axis_name=axis_name
    )


def _counted(targets: Any, where: Any, ignore_index: int | None, xp: Any) -> Any:
    """Mask of the counted entries; in numpy outside jit, as transformations trace what JAX computes."""
    if ignore_index is None:
        return where
    is_label = taking_part(xp.asarray(targets), ignore_index=ignore_index)
    return is_label if where is None else is_label & xp.asarray(where)


def _checked(numbers: Mapping[str, Any], static: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """The numbers after checks, with Python ints as floats, since jit compiles once per type."""
    for name, value in {**numbers, **static}.items():
        if name in rules and getattr(value, "ndim", 0) == 0:  # arrays per label or class are checked elsewhere
            rules[name](name, value if name in static else validation.number(value))
    return {name: float(value) if isinstance(value, int) else value for name, value in numbers.items()}

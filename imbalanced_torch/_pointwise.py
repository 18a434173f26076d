"""Shared code of the pointwise modules: the reduction, over one or all processes, and checks of class logits."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypedDict, Unpack

import torch
from torch import Tensor

from imbalanced_core import checks, reductions
from imbalanced_core.options import check_options, unknown_keyword
from imbalanced_core.pool.labels import foreground, taking_part
from imbalanced_torch import distributed, validation
from imbalanced_torch.validation import holds_numbers, readable


class PointwiseOptions(TypedDict, total=False):
    """Keywords that all pointwise modules share; see `imbalanced_torch.pointwise`."""

    reduction: str
    gather_distributed: bool | None
    process_group: Any
    grad_reduction: str


class LabelOptions(PointwiseOptions, total=False):
    """Keywords of losses for independent labels."""

    ignore_index: int | None


class ClassOptions(PointwiseOptions, total=False):
    """Keywords of losses for exclusive classes."""

    ignore_index: int
    axis: int


class PointwiseLoss(distributed.GroupMember):
    """Base class of losses that are a sum or mean of a core function over positions."""

    function: ClassVar[Callable[..., Any]]  # (inputs, targets, *, where, **numbers) -> one loss per position
    rules: ClassVar[Mapping[str, Callable[[str, Any], None]]]  # checks of the numbers, unless done elsewhere
    reductions: ClassVar[tuple[str, ...]] = reductions.ELEMENT_REDUCTIONS
    _shown: tuple[str, ...]  # the options shown in `repr`

    def __init__(
        self,
        numbers: dict[str, Any],
        *,
        reduction: str = "mean",
        gather_distributed: bool | None = None,
        process_group: Any = None,
        grad_reduction: str = "mean",
        **unknown: Any,
    ) -> None:
        super().__init__()
        for name in unknown:  # named here, since Python would name this class
            bases = (base for base in type(self).__mro__ if issubclass(base, PointwiseLoss))
            known = dict.fromkeys(option for base in bases for option in inspect.signature(base).parameters)
            raise unknown_keyword(type(self).__name__, name, known)
        checks.one_of("reduction", reduction, self.reductions)
        check_options({"gather_distributed": gather_distributed, "grad_reduction": grad_reduction})
        distributed.check_group(process_group)
        self.reduction = reduction
        self.gather_distributed = gather_distributed
        self.process_group = process_group
        self.grad_reduction = grad_reduction
        self._numbers = tuple(numbers)
        self._shown = (*self._numbers, "reduction")
        for name, value in numbers.items():
            setattr(self, name, value)
        self._check_parameters()

    def _check_parameters(self) -> None:
        for name in self._numbers:
            value = getattr(self, name)
            # arrays are checked by the constructor
            if name in self.rules and not checks.shape_of(value):
                self.rules[name](name, validation.number(value))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PointwiseLoss":
        """Moves the arrays, which are no buffers: `to_empty`, and transformers' `from_pretrained`, empty buffers."""
        super()._apply(fn, recurse)
        for name in self._numbers:
            if holds_numbers(value := getattr(self, name)):
                device = fn(value.new_empty(0)).device
                setattr(self, name, value if device.type == "meta" else value.to(device))
        return self

    def _losses(self, inputs: Tensor, targets: Tensor, where: Tensor | None, **options: Any) -> Any:
        self._check_parameters()  # again, since they may have changed
        for name in self._numbers:
            value = getattr(self, name)
            options[name] = value.to(inputs.device) if holds_numbers(value) else value
        return type(self).function(inputs, targets, where=where, **options)

    def _gathers(self) -> bool:
        training = self.training and torch.is_grad_enabled()
        return distributed.should_gather(self.gather_distributed, training=training, process_group=self.process_group)

    def _loss(self, kind: Callable[..., Any], inputs: Tensor, targets: Tensor, **options: Any) -> Tensor:
        """The loss by one of the functions below, over one or all processes."""
        evaluate = partial(self._evaluate, kind, inputs, targets, reduction=self.reduction, **options)
        if self.reduction == "none" or not self._gathers():
            return evaluate()
        validation.refuse_sharded(**{options.get("name", "scores"): inputs, "targets": targets})
        tensors = [x for x in (inputs, targets, options["sample_weight"]) if isinstance(x, Tensor)]
        return distributed.global_ratio(
            partial(evaluate, reduce=reductions.element_sum_and_divisor),
            device=tensors[0].device if tensors else torch.device("cpu"),
            process_group=self.process_group,
            grad_reduction=self.grad_reduction,
            is_weighted=options["sample_weight"] is not None,
        )

    def _evaluate(self, kind: Callable[..., Any], inputs: Tensor, targets: Tensor, **options: Any) -> Any:
        return kind(self._losses, inputs, targets, **options)

    def extra_repr(self) -> str:
        shown = {name: getattr(self, name) for name in self._shown}
        return ", ".join(f"{name}={x.tolist() if holds_numbers(x) else x!r}" for name, x in shown.items())


class LabelLoss(PointwiseLoss):
    """Base class of losses for independent labels, one per logit."""

    def __init__(
        self, numbers: dict[str, Any], *, ignore_index: int | None = None, **options: Unpack[PointwiseOptions]
    ) -> None:
        if ignore_index is not None:
            checks.index("ignore_index", ignore_index)
        super().__init__(numbers, **options)
        self.ignore_index = ignore_index
        self._shown += ("ignore_index",)

    def forward(
        self, inputs: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None, where: Tensor | None = None
    ) -> Tensor:
        """The loss of logits against targets.

        `inputs` are floating-point logits of any shape, `targets` in [0, 1], of any dtype, in the same shape. `where`
        is bool, in that shape; False masks an entry, as `ignore_index` does. `sample_weight`: see
        `imbalanced_torch.pointwise`.
        """
        options: dict[str, Any] = {"sample_weight": sample_weight, "where": where, "ignore_index": self.ignore_index}
        return self._loss(label_loss, inputs, targets, name="inputs", **options)


class ClassLoss(PointwiseLoss):
    """Base class of losses for exclusive classes, with the classes on `axis`."""

    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    background_class: int | None = None  # what "mean_positive" does not count

    def __init__(
        self, numbers: dict[str, Any], *, ignore_index: int = -100, axis: int = 1, **options: Unpack[PointwiseOptions]
    ) -> None:
        checks.index("ignore_index", ignore_index)
        checks.index("axis", axis)
        super().__init__(numbers, **options)
        self.ignore_index = ignore_index
        self.axis = axis
        self._shown += ("ignore_index", "axis")

    def forward(self, inputs: Tensor, targets: Tensor, *, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of logits against targets.

        `inputs` are floating-point logits [N, C, *], or with the classes on `axis`; `targets` class ids [N, *] of any
        integer or bool dtype, or probabilities in the shape of `inputs`. `sample_weight`: see
        `imbalanced_torch.pointwise`.
        """
        options: dict[str, Any] = {"sample_weight": sample_weight, "ignore_index": self.ignore_index, "axis": self.axis}
        options |= {"background_class": self.background_class, "name": "inputs", "instead": "SigmoidFocalLoss"}
        return self._loss(class_loss, inputs, targets, **options)


def label_loss(
    function: Callable[..., Any],
    logits: Tensor,
    targets: Tensor,
    *,
    where: Tensor | None,
    ignore_index: int | None,
    sample_weight: Tensor | None,
    reduction: str,
    reduce: Callable[..., Any] = reductions.reduce_elements,
    name: str = "logits",
) -> Any:
    """Reduced loss of independent labels; the core's `function` may also return the mask of entries.

    Checks the arguments, their values too where that is free; `name` is that of the logits in errors. `reduce` is a
    function of `imbalanced_core.reductions`.
    """
    if ignore_index is not None:
        checks.index("ignore_index", ignore_index)
    validation.check_tensors(**{name: logits}, targets=targets, where=where)
    checks.floating(name, logits)
    checks.same_shape("targets", targets, name, logits)
    checks.boolean("where", where)
    if where is not None:
        checks.same_shape("where", where, name, logits)
    checks.probabilities(readable(targets), ignore_index=ignore_index, where=readable(where))
    if ignore_index is not None:
        is_label = taking_part(targets, ignore_index=ignore_index)
        where = is_label if where is None else is_label & where
    losses = function(logits, targets, where=where)
    if isinstance(losses, tuple):
        losses, where = losses
    _check_weights(sample_weight, losses, where)
    parts: dict[str, Any] = {"where": where, "weights": sample_weight, "positives": targets}
    return reduce(losses, reduction=reduction, **parts)


def class_loss(
    function: Callable[..., Tensor],
    logits: Tensor,
    targets: Tensor,
    *,
    background_class: int | None = None,
    ignore_index: int,
    axis: int,
    sample_weight: Tensor | None,
    reduction: str,
    reduce: Callable[..., Any] = reductions.reduce_elements,
    name: str = "logits",
    instead: str = "sigmoid_focal_loss",
) -> Any:
    """As `label_loss`, for exclusive classes; "mean_positive" needs a background class."""
    if background_class is None:
        checks.one_of("reduction", reduction, ClassLoss.reductions)
    checks.index("ignore_index", ignore_index)
    checks.index("axis", axis)
    validation.check_tensors(**{name: logits}, targets=targets)
    checks.floating(name, logits)
    if axis == 1:
        checks.require(logits.ndim >= 2, name, "of shape [N, C] or [N, C, *]", tuple(logits.shape))
    checks.logits_of_ids(name, logits, targets)
    checks.require(-logits.ndim <= axis < logits.ndim, "axis", f"an axis of {logits.ndim}-d {name}", axis)
    checks.several_classes(name, logits, axis=axis, instead=instead)
    where = _counted_positions(logits, targets, ignore_index, axis)
    losses, positives = function(logits, targets, where=where, axis=axis), None
    if reduction == "mean_positive" and background_class is not None:
        positives = foreground(targets, num_classes=logits.shape[axis], background_class=background_class, axis=axis)
    _check_weights(sample_weight, losses, where)
    parts: dict[str, Any] = {"where": where, "weights": sample_weight, "positives": positives}
    return reduce(losses, reduction=reduction, **parts)


def _counted_positions(logits: Tensor, targets: Tensor, ignore_index: int, axis: int) -> Tensor | None:
    """Mask of the counted positions, None for all; checks the readable values."""
    if targets.is_floating_point():
        if targets.shape == logits.shape:  # else the core raises
            checks.probabilities(readable(targets))
        return None
    num_classes = logits.shape[axis]
    are_classes = checks.class_ids(readable(targets), num_classes, ignore_index=ignore_index)
    all_counted = are_classes and not 0 <= ignore_index < num_classes
    return None if all_counted else taking_part(targets, ignore_index=ignore_index)


def list_loss(
    function: Callable[..., Any],
    scores: Tensor,
    relevance: Tensor,
    *,
    where: Tensor | None,
    sample_weight: Tensor | None,
    reduction: str,
    reduce: Callable[..., Any] = reductions.reduce_elements,
    **options: Any,
) -> Any:
    """As `label_loss`, for lists; the core's `function` takes the other options and returns the mask of lists."""
    checks.one_of("reduction", reduction, reductions.CLASS_REDUCTIONS)
    validation.check_tensors(scores=scores, relevance=relevance, where=where)
    losses, counted = function(scores, relevance, where=where, **options)
    checks.weights(readable(relevance), where=readable(where), name="relevance")
    _check_weights(sample_weight, losses, counted)
    return reduce(losses, reduction=reduction, where=counted, weights=sample_weight)


def _check_weights(weights: Tensor | None, losses: Tensor, where: Tensor | None) -> None:
    if weights is not None:
        validation.check_tensors(sample_weight=weights)
        reductions.spread_weights(weights, losses)  # checks the shape first
        checks.weights(readable(weights), where=readable(where))

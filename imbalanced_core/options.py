"""The keywords shared by all functions of rankings, of single predictions and of lists: meaning, types and defaults."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, TypeVar

from imbalanced_core import checks
from imbalanced_core.losses.gated import Gate
from imbalanced_core.ops.namespace import Array
from imbalanced_core.pool.items import POSITIVE_NUMERATORS
from imbalanced_core.reductions import CLASS_REDUCTIONS

Function = TypeVar("Function", bound=Callable[..., Any])


class RankingOptions(TypedDict, total=False):
    """The keywords common to all ranking functions.

    Attributes:
        reduction: "mean" or "sum" over the valid classes, or "none": one loss per class, NaN where invalid.
        ignore_index: the target of rows (with `multilabel`: of single labels) that are ignored; a Python number.
        multilabel: whether targets are 0/1 per class, [N, C], instead of class ids.
        temperature: τ > 0, a number or a 0-d array, in units of `temperature_scale`; smaller is closer to the ranking
            and harder to optimise. A new value does not recompile. 0.1, or 0.01 for smooth AP and recall at a quantile.
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" or "std" of the class's negatives make
            the sharpness independent of the scale of the logits.
        pos_numerator: the mean is over all positives ("pool") or over those of the batch ("live"). With "live" a long
            queue does not dilute the gradient of the positives, but no gradient of similar size pushes the negatives
            down: in long runs the scores may drift upwards and the ranking degrade.
        margin: >= 0, in units of the temperature: by how much a positive must outscore what it is compared with.
        gate: the state of a gated loss, from `init_gate` or `aux.gate` of the previous step: the loss is then a blend
            with a contrastive cross entropy of the batch, which gains weight where the ranking fails (for smooth AP it
            is constant); see `imbalanced_core.losses.gated`. None: the ranking loss alone.
        sample_weight: >= 0, [N]; the weights of positives, without gradient. None: all 1.
        iid_mask: bool [N], the rows drawn from the population; kept in the queue. Used only by partial AUC, whose
            thresholds and scale depend on these rows alone. None: all.
        max_pool_size: rank a random subset of at most this many rows, rare classes first; expected counts are those
            of all rows. None (recommended): all.
        update_queue: whether the batch enters the queue and the gate is updated; False for validation.
    """

    reduction: str
    ignore_index: int
    multilabel: bool
    temperature: float | Array
    temperature_scale: str | None
    pos_numerator: str
    margin: float
    gate: Gate | None
    sample_weight: Array | None
    iid_mask: Array | None
    max_pool_size: int | None
    update_queue: bool


RANKING_DEFAULTS: RankingOptions = {
    "reduction": "mean",
    "ignore_index": -100,
    "multilabel": False,
    "temperature": 0.1,
    "temperature_scale": "absolute",
    "pos_numerator": "pool",
    "margin": 0.0,
    "gate": None,
    "sample_weight": None,
    "iid_mask": None,
    "max_pool_size": None,
    "update_queue": True,
}


class ListOptions(TypedDict, total=False):
    """The keywords common to all functions of lists [..., n].

    Attributes:
        temperature: τ > 0, a number or a 0-d array, in units of `temperature_scale`. A new value does not recompile.
        temperature_scale: the unit of the temperature: "absolute" is 1, or "iqr" or "std" of the scores of the list.
        where: bool, the shape of the scores: False for padding. None: all True.
        sample_weight: >= 0, one per list, [...], without gradient. None: all 1.
        reduction: "mean" over the valid lists, "sum", or "none": one loss per list, 0 where invalid.
    """

    temperature: float | Array
    temperature_scale: str
    where: Array | None
    sample_weight: Array | None
    reduction: str


LIST_DEFAULTS: ListOptions = {
    "temperature": 0.1,
    "temperature_scale": "absolute",
    "where": None,
    "sample_weight": None,
    "reduction": "mean",
}


class LabelOptions(TypedDict, total=False):
    """Keywords of the losses for independent labels.

    Attributes:
        where: bool, the shape of the logits; False masks an entry, which may then hold anything. None: no mask.
        ignore_index: target value of masked entries; None for no such value.
        sample_weight: >= 0, one per entry or per row; carries no gradient. None: all 1.
        reduction: "mean", "mean_positive", "sum" or "none".
    """

    where: Array | None
    ignore_index: int | None
    sample_weight: Array | None
    reduction: str


class ClassOptions(TypedDict, total=False):
    """Keywords of the losses for exclusive classes.

    Attributes:
        ignore_index: class id of masked positions.
        sample_weight: >= 0, one per position or per row; carries no gradient. None: all 1.
        reduction: "mean", "sum" or "none"; for the focal loss also "mean_positive".
        axis: the class axis.
    """

    ignore_index: int
    sample_weight: Array | None
    reduction: str
    axis: int


LABEL_DEFAULTS: LabelOptions = {"where": None, "ignore_index": None, "sample_weight": None, "reduction": "mean"}
CLASS_DEFAULTS: ClassOptions = {"ignore_index": -100, "sample_weight": None, "reduction": "mean", "axis": -1}


_CHOICES = {
    "reduction": CLASS_REDUCTIONS,
    "pos_numerator": POSITIVE_NUMERATORS,
    "gather_distributed": (None, True, False),
    "grad_reduction": ("mean", "sum"),
}
_FLAGS = ("multilabel", "gated", "class_parallel", "update_queue", "update_queue_in_eval", "persistent_queue")


def check_options(options: Mapping[str, Any]) -> None:
    """Checks the keywords of a ranking loss, in any package, that are names, flags or the ignore_index."""
    for name, value in options.items():
        if name in _CHOICES:
            checks.one_of(name, value, _CHOICES[name])
        elif name in _FLAGS:
            checks.flag(name, value)
        elif name == "ignore_index":
            checks.index(name, value)


SMOOTH_AP_PRESET: dict[str, Any] = {"temperature_scale": "std", "temperature": 0.2}


def pauc_preset(budget: float) -> dict[str, Any]:
    """The preset of partial AUC: pairs in a band of twice the budget, at a temperature of one standard deviation."""
    checks.python_number("budget", budget, "(0, 1)")
    return {"beta": min(1.0, 2 * budget), "surrogate": "pairwise", "tau_scale": "std", "temperature": 1.0}


def with_options(kinds: type, defaults: Mapping[str, Any]) -> Callable[[Function], Function]:
    """Decorator of a function or constructor ending in `**options: Unpack[kinds]`, which fills in those not given.

    They are in its signature, after its own keywords. An unknown keyword raises a TypeError that names similar ones.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()
        types, keyword_only = kinds.__annotations__, inspect.Parameter.KEYWORD_ONLY
        common = [
            inspect.Parameter(name, keyword_only, default=value, annotation=types[name])
            for name, value in defaults.items()
        ]
        known = (*(parameter.name for parameter in own), *defaults)
        name = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*arrays: Any, **given: Any) -> Any:
            for keyword in given:
                if keyword not in known:
                    raise unknown_keyword(name, keyword, known)
            return function(*arrays, **{**defaults, **given})

        call.__signature__ = signature.replace(parameters=[*own, *common])  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of objectives, except the temperature, and the keywords of the step."""
    rest = dict(options)
    return {name: rest.pop(name) for name in ("temperature_scale", "margin")}, rest


def unknown_keyword(function: str, keyword: str, known: Iterable[str]) -> TypeError:
    """The error for an unknown keyword of a function, which names similar ones."""
    similar = difflib.get_close_matches(keyword, known)
    hint = f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""
    return TypeError(f"{function} got an unexpected keyword argument {keyword!r}{hint}")


def of_metric(metric: type, own: Iterable[str]) -> str:
    """The names of the options of the class of a metric, its `own` ones first, for errors."""
    parameters = inspect.signature(metric.__init__).parameters  # type: ignore[misc]
    return "the options are " + ", ".join((*own, *(name for name in parameters if name not in ("self", "options"))))

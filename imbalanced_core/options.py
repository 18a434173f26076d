"""The keywords that all ranking functions share, and all of lists: their meaning, types and defaults, once."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, TypeVar

from imbalanced_core import checks
from imbalanced_core.losses.gated import Gate
from imbalanced_core.ops.namespace import Array

Function = TypeVar("Function", bound=Callable[..., Any])


class RankingOptions(TypedDict, total=False):
    """The keywords of every ranking function, beside those of its own.

    Attributes:
        reduction: "mean" or "sum" over the classes that count, or "none": one loss per class, NaN where it does not.
        ignore_index: the target of rows (with `multilabel`: of single labels) that are ignored; a Python number.
        multilabel: whether targets are 0/1 per class, [N, C], instead of class ids.
        temperature: τ > 0, a number or a 0-d array, in units of `temperature_scale`; smaller is closer to the ranking
            and harder to optimise. A new value does not recompile. 0.1; of smooth AP and recall at a quantile 0.01.
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" or "std" of the class's negatives make
            the sharpness independent of the scale of the logits.
        pos_numerator: the mean runs over all positives ("pool") or over those of the batch ("live"). With "live" a long
            queue does not dilute the gradient of the positives, but nothing of like size holds the negatives down: in
            long runs the scores may drift upwards and the ranking suffer.
        margin: >= 0, in units of the temperature: by how much a positive is to score above what it is compared with.
        gate: the state of a gated loss, from `init_gate` or `aux.gate` of the step before: the loss is then a blend
            with a weighted cross entropy of the batch, which comes in where the ranking does not succeed; see
            `imbalanced_core.losses.gated`. None: the ranking loss alone.
        positive_rate: of a gated loss, the share of positives to expect in a batch, in (0, 1). None: as seen so far.
        sample_weight: >= 0, [N]; how much a positive counts. Carries no gradient. None: all 1.
        iid_mask: bool [N], the rows drawn as the population is; kept in the queue. Only partial AUC looks at it: these
            rows alone set its thresholds and its scale. None: all.
        max_pool_size: rank a random part of the rows, of no more than this many, rare classes first; the expected
            counts stay those of all rows. None (recommended): all.
        update_queue: whether the batch enters the queue, and a gate moves; False for validation.
    """

    reduction: str
    ignore_index: int
    multilabel: bool
    temperature: float | Array
    temperature_scale: str | None
    pos_numerator: str
    margin: float
    gate: Gate | None
    positive_rate: float | None
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
    "positive_rate": None,
    "sample_weight": None,
    "iid_mask": None,
    "max_pool_size": None,
    "update_queue": True,
}


class ListOptions(TypedDict, total=False):
    """The keywords of every function of lists [..., n], beside those of its own.

    Attributes:
        temperature: τ > 0, a number or a 0-d array, in units of `temperature_scale`. A new value does not recompile.
        temperature_scale: the unit of the temperature: "absolute" is 1, or "iqr" or "std" of the scores of the list.
        where: bool, the shape of the scores: the items that are there, as opposed to padding. None: all.
        sample_weight: >= 0, one per list, [...]; carries no gradient. None: all 1.
        reduction: "mean" over the lists that count, "sum", or "none": one loss per list, 0 where it does not count.
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


SMOOTH_AP_PRESET = {"temperature_scale": "std", "temperature": 0.2}


def pauc_preset(budget: float) -> dict[str, Any]:
    """The options of partial AUC in the preset: pairs in a band of twice the budget, at one standard deviation."""
    checks.python_number("budget", budget, "(0, 1]")
    return {"beta": min(1.0, 2 * budget), "surrogate": "pairwise", "tau_scale": "std", "temperature": 1.0}


def with_options(function: Function, kinds: type, defaults: Mapping[str, Any]) -> Function:
    """A function that ends in `**options: Unpack[kinds]` with the defaults filled in, and a signature that shows them.

    Args:
        function: what to call, a constructor too; its own keywords come first.
        kinds: the TypedDict of the further keywords.
        defaults: a value for each of them.

    Returns:
        A function of the same type. An unknown keyword is a TypeError that names similar ones.
    """
    signature = inspect.signature(function)
    *own, _ = signature.parameters.values()
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kinds.__annotations__[name])
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


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords that every objective takes, beside the temperature, and those of the step that it is part of."""
    rest = dict(options)
    return {name: rest.pop(name) for name in ("temperature_scale", "margin") if name in rest}, rest


def unknown_keyword(function: str, keyword: str, known: Iterable[str]) -> TypeError:
    """The error for a keyword that a function lacks, which names those that look like it."""
    similar = difflib.get_close_matches(keyword, known)
    hint = f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""
    return TypeError(f"{function} got an unexpected keyword argument {keyword!r}{hint}")

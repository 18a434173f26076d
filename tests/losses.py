"""The table of all losses, which every test of properties, parity, bad input, transforms and distribution reads.

A new loss is one row here and one function of the same name in `reference.py`; no test names a loss, except those for
features of a single loss. A framework is imported when one of its columns is used.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import reference

IGNORED = -100
# keyword of the classes and JAX functions: its names in the core, where different, and in the reference
SPELLINGS = {"tau_scale": "temperature_scale", "quantile_interpolation": "interpolation"}


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss with some options. The options in `more` are also tried wherever a case is cheap."""

    name: str
    core: str  # module of imbalanced_core.losses, and function; the reference has the name of the function
    torch: str | None  # the class in imbalanced_torch and imbalanced_jax.nnx; None: not available yet
    jax: str | None  # the function
    options: dict[str, Any] = field(default_factory=dict)  # as the class and the JAX function spell them
    more: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    kind: str = "ranking"  # or by target: "ids" of classes, "labels" per logit, "lists" of logits with graded labels
    forward_mode: tuple[str, ...] = ("torch", "jax")  # elsewhere the derivative is written by hand and jvp raises
    # of ranking losses
    like: str = ""  # a loss that differs only in its objective: slow tests of the common code run for that one
    needs_a_negative: bool = True  # for a row to be valid
    threshold_of: str = "no item"  # whose quantile carries no gradient: also "negatives", "all items"
    mean_of: str = "losses"  # what the weights of positives average: also "reciprocals" of losses
    margin_raises_scores: bool = False  # extreme scores lose the margin, since it is rounded to their spacing
    copies_compete: bool = False  # m copies of a positive rank above each other, unlike one positive of multiplicity m
    # of pointwise losses and lists
    reductions: tuple[str, ...] = ("mean", "mean_positive", "sum")
    mixes_probabilities: bool = False  # differences of numbers near 1, whose errors are absolute
    smallest: float = 0.0  # losses below this have absolute errors
    selects: bool = False  # the core also returns which entries count
    draw: Callable[[np.random.Generator, int], dict[str, Any]] | None = None  # options of a random call, by the classes

    @property
    def ranks(self) -> bool:
        return self.kind == "ranking"

    @property
    def has_label_of_each(self) -> bool:
        """Whether targets have the shape of the logits."""
        return self.kind in ("labels", "lists")

    @cached_property
    def objective(self) -> Callable:
        """The function of the core, with its options."""
        module, function = self.core.split(".")
        return self._with_options(getattr(import_module(f"imbalanced_core.losses.{module}"), function))

    @cached_property
    def definition(self) -> Callable:
        """The function of the reference, with its options."""
        return self._with_options(getattr(reference, self.core.split(".")[1]))

    def _with_options(self, function: Callable) -> Callable:
        names = inspect.signature(function).parameters
        spellings = {SPELLINGS[name]: self.options[name] for name in self.options if SPELLINGS.get(name) in names}
        others = {name: value for name, value in self.options.items() if SPELLINGS.get(name) not in names}
        return partial(function, **spellings, **others)

    @property
    def torch_class(self) -> type:
        return getattr(import_module("imbalanced_torch"), self.torch)

    @property
    def jax_function(self) -> Callable:
        return getattr(import_module("imbalanced_jax"), self.jax)

    @property
    def nnx_class(self) -> type:
        return getattr(import_module("imbalanced_jax.nnx"), self.torch)

    def in_torch(self, num_classes: int = 3, **options: Any) -> Any:
        """The module; ignored labels of lists are masked for it."""
        defaults = {"ignore_index": IGNORED} if self.kind == "labels" else {}
        module = self.torch_class(*self._sizes(num_classes), **defaults | self.options | options)
        if self.kind == "lists":
            module.register_forward_pre_hook(lambda _, arrays: (*arrays, _is_given(arrays[1])))
        return module

    def in_nnx(self, num_classes: int = 3, **options: Any) -> Any:
        """The nnx module."""
        return self.nnx_class(*self._sizes(num_classes), **self.options | options)

    def _sizes(self, num_classes: int) -> tuple[int, ...]:
        return (num_classes,) if self.ranks else ()

    def in_jax(self, **options: Any) -> Callable:
        """The JAX function with its options, called with ignored labels masked."""
        function = partial(self.jax_function, **self.options | options)
        if not self.has_label_of_each:
            return function

        def masked(logits: Any, targets: Any, **arguments: Any) -> Any:
            return function(logits, targets, **{"where": _is_given(targets)} | arguments)

        return masked

    def value_in_jax(self, queue: Any = None, **options: Any) -> Callable:
        """(logits, targets, sample_weight=None) -> the loss alone, as a module gives it."""
        function = self.in_jax(**options)
        if not self.ranks:
            return function
        return lambda logits, targets, **arguments: function(logits, targets, queue, **arguments)[0]

    def wording(self, message: str) -> str:
        """The message as worded by this loss, with its names of logits and targets."""
        if self.kind != "lists":
            return message
        return message.replace("(logits|inputs", "(scores").replace("targets", "relevance")

    @property
    def scale(self) -> str:
        """The unit of the temperature."""
        return inspect.signature(self.objective).parameters["temperature_scale"].default

    @property
    def is_live(self) -> bool:
        return self.options.get("pos_numerator") == "live"

    @property
    def takes_is_iid(self) -> bool:
        """Whether rows not sampled from the population are treated differently."""
        return "is_iid" in inspect.signature(self.definition).parameters

    def batch(self, seed: int = 0, rows: int = 12, num_classes: int = 3, dtype: Any = np.float32) -> tuple:
        """Logits [rows, num_classes] and targets, in numpy; every class occurs."""
        logits = np.random.default_rng(seed).standard_normal((rows, num_classes)).astype(dtype)
        ids = np.arange(rows) % max(num_classes, 2)
        if self.kind == "lists":
            return logits, (ids[:, None] + np.arange(num_classes)) % 4
        return logits, (logits > 0.5).astype(dtype) if self.kind == "labels" else ids

    def wrong(self, targets: Any) -> Any:
        """Targets, some of them out of range."""
        return {"labels": 2 + 0 * targets, "lists": -1 - targets}.get(self.kind, targets + 1)

    def definition_of_rows(self, scores: np.ndarray, positives: np.ndarray, **arrays: Any) -> tuple[np.ndarray, ...]:
        """(losses, valid, gradients, ...) of a ranking loss, row by row."""
        arrays = {name: np.broadcast_to(array, scores.shape) for name, array in arrays.items() if array is not None}
        rows = [
            self.definition(scores[r], positives[r], **{name: array[r] for name, array in arrays.items()})
            for r in range(len(scores))
        ]
        return tuple(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))


OBJECTIVES = (
    Loss(
        "smooth AP", "ranking.smooth_ap", "SmoothAPLoss", "smooth_ap_loss", {"temperature": 0.2},
        more={
            "iqr": {"temperature": 0.1, "temperature_scale": "iqr", "margin": 0.5},
            "std live": {"temperature": 0.1, "temperature_scale": "std", "pos_numerator": "live"},
        },
        forward_mode=(), copies_compete=True, margin_raises_scores=True,
    ),
    Loss(
        "recall", "ranking.recall_at_quantile", "RecallAtQuantileLoss", "recall_at_quantile_loss",
        {"quantile": 0.3, "quantile_interpolation": "linear", "temperature": 0.3,
         "temperature_scale": "std", "pos_numerator": "live"},
        more={
            "absolute": {"quantile": 0.1, "temperature": 0.3},
            "iqr lower": {"quantile": 0.2, "quantile_interpolation": "lower", "temperature": 0.2,
                          "temperature_scale": "iqr", "margin": 1.0},
        },
        needs_a_negative=False, threshold_of="all items",
    ),
    Loss(
        "pAUC trapezoid", "partial_auc.partial_auc", "PAUCAtBudgetLoss", "pauc_at_budget_loss",
        {"surrogate": "trapezoid", "beta": 0.2},
        more={
            "band population live": {"surrogate": "trapezoid", "alpha": 0.05, "beta": 0.5, "n_knots": 5, "margin": 0.5,
                                     "quantile_interpolation": "linear", "tau_scale": "band",
                                     "budget_basis": "population", "pos_numerator": "live"},
            "absolute live": {"surrogate": "trapezoid", "beta": 0.5, "temperature": 0.4, "tau_scale": "absolute",
                              "pos_numerator": "live"},
        },
        threshold_of="negatives",
    ),
    Loss(
        "pAUC pairwise", "partial_auc.partial_auc", "PAUCAtBudgetLoss", "pauc_at_budget_loss",
        {"surrogate": "pairwise", "alpha": 0.05, "beta": 0.5},
        more={
            "std population": {"surrogate": "pairwise", "beta": 0.5, "tau_scale": "std", "budget_basis": "population",
                               "margin": 0.5},
            "absolute live": {"surrogate": "pairwise", "beta": 0.8, "temperature": 0.3, "tau_scale": "absolute",
                              "pos_numerator": "live"},
            "two-way": {"surrogate": "pairwise", "beta": 0.5, "tau_scale": "std", "min_tpr": 0.4},
        },
        forward_mode=(), threshold_of="negatives",
    ),
    Loss(
        "AUC", "ranking.auc", "AUCLoss", "auc_loss", {"temperature": 0.3},
        more={"std live": {"temperature": 0.2, "temperature_scale": "std", "pos_numerator": "live", "margin": 0.5}},
        forward_mode=(), margin_raises_scores=True, like="smooth AP",
    ),
    Loss(
        "recall-at-k", "operating_point.recall_at", "RecallAtKLoss", "recall_at_k_loss", {"k": 3, "temperature": 0.3},
        more={"std live": {"k": 4, "temperature": 0.2, "temperature_scale": "std", "pos_numerator": "live"}},
        threshold_of="all items", like="recall",
    ),
    Loss(
        "precision-at-k", "operating_point.precision_at", "PrecisionAtKLoss", "precision_at_k_loss",
        {"k": 3, "temperature": 0.3},
        more={"iqr": {"k": 4, "temperature": 0.2, "temperature_scale": "iqr", "margin": 0.5}},
        forward_mode=(), threshold_of="all items", mean_of="reciprocals", like="recall",
    ),
    Loss(
        "precision-at-recall", "operating_point.precision_at", "PrecisionAtRecallLoss", "precision_at_recall_loss",
        {"recall": 0.2, "temperature": 0.3},
        more={"std live": {"recall": 0.8, "temperature": 0.2, "temperature_scale": "std", "pos_numerator": "live"}},
        forward_mode=(), threshold_of="all items", mean_of="reciprocals", like="recall",
    ),
    Loss(
        "recall-at-precision", "operating_point.recall_at", "RecallAtPrecisionLoss", "recall_at_precision_loss",
        {"precision": 0.6, "temperature": 0.3},
        more={"iqr": {"precision": 0.4, "temperature": 0.2, "temperature_scale": "iqr", "margin": 0.5}},
        threshold_of="all items", like="recall",
    ),
)  # fmt: skip
RANKING = tuple(case for case in OBJECTIVES if case.torch)
STEPS = tuple(case for case in RANKING if not case.like)  # one loss of each kind of step
POINTWISE = (
    Loss(
        "sigmoid focal", "pointwise.sigmoid_focal", "SigmoidFocalLoss", "sigmoid_focal_loss", kind="labels",
        forward_mode=("jax",),
        more={"no alpha": {"alpha": None, "gamma": 0.5}},
        draw=lambda rng, _: {"alpha": number(rng, 0.0, 0.25, 0.9), "gamma": number(rng, 0.0, 0.5, 1.0, 2.0, 3.7)},
    ),
    Loss(
        "softmax focal", "pointwise.softmax_focal", "SoftmaxFocalLoss", "softmax_focal_loss", kind="ids",
        more={"smoothed": {"label_smoothing": 0.1}, "weighted": {"alpha": [0.2, 0.5, 0.9]}},
        forward_mode=("jax",),
        draw=lambda rng, classes: {"alpha": rng.random(classes).astype(np.float32),
                                   "gamma": number(rng, 0.0, 0.5, 1.0, 2.0, 3.7)},
    ),
    Loss(
        "symmetric cross entropy", "pointwise.symmetric_cross_entropy", "SymmetricCrossEntropyLoss",
        "symmetric_cross_entropy_loss", kind="ids",
        reductions=("mean", "sum"), mixes_probabilities=True, forward_mode=("jax",),
        draw=lambda rng, _: {"alpha": number(rng, 0.0, 0.25, 0.9), "beta": number(rng, 0.0, 0.5, 1.0, 3.7)},
    ),
    Loss(
        "logit-adjusted", "long_tail.logit_adjusted", "LogitAdjustedLoss", "logit_adjusted_loss",
        {"class_counts": [60.0, 9.0, 4.0]}, kind="ids", reductions=("mean", "sum"), forward_mode=("jax",),
        draw=lambda rng, classes: {"class_counts": shares(rng, classes), "tau": number(rng, 0.0, 0.5, 1.0, 2.0)},
    ),
    Loss(
        "vector scaling", "long_tail.vector_scaling", "VectorScalingLoss", "vector_scaling_loss",
        {"class_counts": [60.0, 9.0, 4.0]}, kind="ids", reductions=("mean", "sum"), forward_mode=("jax",),
        # powers of two: rounding of the scale would show in large logits
        draw=lambda rng, classes: {"class_counts": np.float32(0.5) ** rng.integers(0, 7, classes).astype(np.float32),
                                   "gamma": number(rng, 0.0, 1.0, 2.0), "tau": number(rng, 0.0, 0.5, 1.0)},
    ),
    Loss(
        "LDAM", "long_tail.ldam", "LDAMLoss", "ldam_loss", {"class_counts": [60.0, 9.0, 4.0], "scale": 3.0}, kind="ids",
        reductions=("mean", "sum"), forward_mode=("jax",),
        draw=lambda rng, classes: {"class_counts": shares(rng, classes), "max_margin": number(rng, 0.0, 0.5, 1.0),
                                   "scale": number(rng, 1.0, 3.0)},
    ),
    Loss(
        "Poly-1", "hard_examples.poly1", "Poly1Loss", "poly1_loss", kind="ids", reductions=("mean", "sum"),
        forward_mode=("jax",), draw=lambda rng, _: {"epsilon": number(rng, -0.5, 0.0, 1.0, 3.0)},
    ),
    Loss(
        "sigmoid logit-adjusted", "long_tail.sigmoid_logit_adjusted", "SigmoidLogitAdjustedLoss",
        "sigmoid_logit_adjusted_loss", {"positive_rate": 0.1}, kind="labels", forward_mode=("jax",),
        draw=lambda rng, classes: {"positive_rate": 0.9 * shares(rng, classes), "tau": number(rng, 0.0, 0.5, 1.0)},
    ),
    Loss(
        "asymmetric", "hard_examples.asymmetric", "AsymmetricLoss", "asymmetric_loss", kind="labels", smallest=1e-3,
        more={"no clip": {"clip": 0.0, "gamma_neg": 1.0}},
        draw=lambda rng, _: {"gamma_pos": number(rng, 0.0, 0.5, 1.0), "gamma_neg": number(rng, 0.0, 0.5, 2.0, 4.0)},
    ),
    Loss(
        "hard negatives", "hard_examples.hard_negative", "HardNegativeLoss", "hard_negative_loss",
        kind="labels", selects=True, more={"of a row": {"axis": -1}}, forward_mode=("jax",), draw=lambda *_: {},
    ),
    Loss(
        "NDCG", "ndcg.ndcg", "NDCGLoss", "ndcg_loss",
        {"temperature": 0.2, "temperature_scale": "std", "gain": "linear"},
        more={"iqr": {"temperature": 0.2, "temperature_scale": "iqr"}}, kind="lists", reductions=("mean", "sum"),
        forward_mode=(), smallest=0.1, draw=lambda rng, _: {"temperature": number(rng, 0.005, 0.05, 0.3, 2.0)},
    ),
)  # fmt: skip
LOSSES = RANKING + POINTWISE
OF_ROWS = OBJECTIVES + tuple(case for case in POINTWISE if case.kind == "lists")  # whose core returns a loss per row


def _is_given(targets: Any) -> Any:
    """Which targets are not ignored; None for anything but a dense array, which a loss rejects."""
    is_dense = hasattr(targets, "dtype") and "sparse" not in str(getattr(targets, "layout", ""))
    return targets != IGNORED if is_dense else None


def shares(rng: np.random.Generator, classes: int) -> np.ndarray:
    """Relative frequencies of classes, up to 1."""
    return rng.uniform(0.01, 1.0, classes).astype(np.float32)


def number(rng: np.random.Generator, *values: float) -> float:
    """One of the values, rounded to float32."""
    return float(np.float32(rng.choice(values)))


def with_variants(losses: tuple[Loss, ...]) -> Iterator[Loss]:
    for loss in losses:
        yield loss
        for name, options in loss.more.items():
            yield replace(loss, name=f"{loss.name} {name}", options=options, more={})


def each(losses: Any, argument: str = "case") -> pytest.MarkDecorator:
    return pytest.mark.parametrize(argument, list(losses), ids=lambda loss: loss.name)


every_loss = each(LOSSES)
every_ranking = each(RANKING)
every_pointwise = each(POINTWISE)
every_ranking_variant = each(with_variants(RANKING))
every_pointwise_variant = each(with_variants(POINTWISE))
every_objective = each(OBJECTIVES)
every_row_loss_variant = each(with_variants(OF_ROWS))
every_objective_variant = each(with_variants(OBJECTIVES))

"""The ranking metrics of `imbalanced_core.metrics` as `torchmetrics.Metric`, one-vs-rest.

Needs torchmetrics; the functions of `imbalanced_core.metrics` take tensors without it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from imbalanced_core import checks, ops
from imbalanced_core import metrics as core
from imbalanced_core.options import check_options, of_metric
from imbalanced_core.pool.labels import check_logits
from imbalanced_torch import validation

try:
    import torchmetrics
    from torchmetrics.utilities import dim_zero_cat
except ModuleNotFoundError as error:
    if error.name != "torchmetrics":
        raise
    message = (
        "imbalanced_torch.metrics needs torchmetrics: python -m pip install torchmetrics. "
        "The functions of imbalanced_core.metrics take tensors and do not"
    )
    raise ModuleNotFoundError(message, name="torchmetrics") from error


class RankingMetric(torchmetrics.Metric):
    """Base class of the metrics below: an exact ranking metric over all rows since `reset`.

    The state keeps all rows in growing lists, about 4·(C + 3) bytes per row in float32 (with `multilabel` 12·C + 4);
    processes gather their rows, so the value is that of one process with all rows. `compute` sorts every class: O(C·n
    log n). torchmetrics' `compute_on_cpu=True` keeps the rows in host memory.

    Args:
        num_classes: C; 1 is binary.
        average, multilabel, ignore_index: as in `imbalanced_core.metrics.of_classes`.
        **options: of the metric, such as `beta` of `PartialAUC`, and of `torchmetrics.Metric`.
    """

    function: ClassVar[Callable[..., Tensor]]
    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound, plot_upper_bound = 0.0, 1.0
    logits: list[Tensor]
    targets: list[Tensor]
    weights: list[Tensor]

    def __init_subclass__(cls, *, function: Callable[..., Tensor] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is not None:
            cls.function = staticmethod(function)

    def __init__(
        self,
        num_classes: int,
        *,
        average: str = "macro",
        multilabel: bool = False,
        ignore_index: int = -100,
        **options: Any,
    ) -> None:
        known = core.options_of(self.function)
        own = {name: options.pop(name) for name in known if name in options}
        try:
            super().__init__(**options)
        except ValueError as error:
            if "Unexpected keyword" not in str(error):
                raise
            raise ValueError(f"{error}; {of_metric(type(self), known)}, and those of torchmetrics.Metric") from None
        checks.at_least("num_classes", num_classes, 1)
        self.num_classes = num_classes
        self.multilabel = multilabel
        self._labels: dict[str, Any] = {"multilabel": multilabel, "ignore_index": ignore_index}
        check_options(self._labels)
        metric = partial(self.function, **own)
        self._of_classes: Callable[..., Tensor] = partial(core.of_classes, metric, average=average, **self._labels)
        self._of_no_rows()  # checks the options
        for name in ("logits", "targets", "weights"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def _of_no_rows(self) -> Tensor:
        logits = torch.zeros((0, self.num_classes), device=self.device)
        return self._of_classes(logits, (logits if self.multilabel else logits[:, 0]).long())

    def update(self, logits: Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds the rows of a batch: `logits` (any score works), `targets` as in `imbalanced_core.metrics.of_classes`.

        `sample_weight` is >= 0, [N]; None: 1. A ValueError or TypeError on a wrong shape or dtype, or (on the CPU) a
        value out of range; elsewhere `compute` then returns NaN.
        """
        validation.check_tensors(logits=logits, targets=targets, sample_weight=sample_weight)
        check_logits(logits, self.num_classes)
        rows = (logits.shape[0],)
        weights = logits.new_ones(rows) if sample_weight is None else sample_weight.to(ops.widen(logits).dtype)
        checks.shaped("sample_weight", weights, rows, "[rows]")
        targets = targets if self.multilabel or targets.shape != (*rows, 1) else targets[:, 0]
        checks.shaped("targets", targets, rows + tuple(targets.shape[1:]), "[rows, ...]")
        self._of_classes(logits.to("meta"), targets.to("meta"))  # checks the other axes and the dtypes
        values = validation.readable(targets), validation.readable(weights)
        checks.batch(*values, num_classes=self.num_classes, **self._labels)
        self.logits.append(logits.detach())
        self.targets.append(targets.detach())
        self.weights.append(weights.detach())

    def compute(self) -> Tensor:
        """The value over all rows: 0-d, or [C] for average "none". NaN where the metric is undefined."""
        if len(self.logits) == 0:
            return self._of_no_rows()
        logits, targets, weights = (dim_zero_cat(x) for x in (self.logits, self.targets, self.weights))
        return self._of_classes(logits, targets, weights=weights)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """A figure and axes of one value or a sequence of values; None: of `compute`."""
        return self._plot(val, ax)


class AveragePrecision(RankingMetric, function=core.average_precision):
    """Exact `imbalanced_core.metrics.average_precision`; options as `RankingMetric`."""


class ROCAUC(RankingMetric, function=core.roc_auc):
    """Exact `imbalanced_core.metrics.roc_auc`; options as `RankingMetric`."""


class TiedPairs(RankingMetric, function=core.tied_pairs):
    """Exact `imbalanced_core.metrics.tied_pairs`; options as `RankingMetric`."""


class PartialAUC(RankingMetric, function=core.partial_auc):
    """Exact `imbalanced_core.metrics.partial_auc`: beta, alpha=0; other options as `RankingMetric`."""


class CoverageAtBudget(RankingMetric, function=core.coverage_at_budget):
    """Exact `imbalanced_core.metrics.coverage_at_budget`: budget; other options as `RankingMetric`."""


class RecallAtQuantile(RankingMetric, function=core.recall_at_quantile):
    """Exact `imbalanced_core.metrics.recall_at_quantile`: quantile, interpolation; others as `RankingMetric`."""


class PrecisionAtK(RankingMetric, function=core.precision_at_k):
    """Exact `imbalanced_core.metrics.precision_at_k`: k; other options as `RankingMetric`."""

"""The ranking metrics of `imbalanced_core.metrics` as `nnx.Metric`, one-vs-rest."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from imbalanced_core import checks, ops
from imbalanced_core import metrics as core
from imbalanced_core.options import check_options, of_metric
from imbalanced_core.pool import class_block
from imbalanced_core.pool.labels import check_logits
from imbalanced_jax import distributed, validation


class RankingMetric(nnx.Metric):
    """Base class of the metrics below: an exact ranking metric over the newest `capacity` rows since `reset`.

    The state is a ring of fixed size, so `update` and `compute` work in `nnx.jit`: about capacity·(4·C + 8) bytes (with
    `multilabel` capacity·(8·C + 4)). `rows_seen` counts all rows; beyond the capacity, the oldest are overwritten.
    `compute` sorts the whole ring for every class, O(C·capacity log capacity). `nnx.jit(..., donate_argnums=0)` updates
    the ring in place. Not for use inside `shard_map`, where a device has only its own rows.

    Args:
        num_classes: C; 1 is binary.
        capacity: number of rows kept; at least that of an evaluation.
        average, multilabel, ignore_index: as in `imbalanced_core.metrics.of_classes`.
        dtype: of the stored logits.
        **options: of the metric, such as `beta` of `PartialAUC`.
    """

    function: ClassVar[Callable[..., Array]]

    def __init_subclass__(cls, *, function: Callable[..., Array] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is not None:
            cls.function = staticmethod(function)

    def __init__(
        self,
        num_classes: int,
        *,
        capacity: int,
        average: str = "macro",
        multilabel: bool = False,
        ignore_index: int = -100,
        dtype: Any = jnp.float32,
        **options: Any,
    ) -> None:
        known = core.options_of(self.function)
        for name in options.keys() - known:
            message = f"{type(self).__name__} got an unexpected keyword argument {name!r}"
            raise TypeError(f"{message}; {of_metric(type(self), known)}")
        checks.at_least("num_classes", num_classes, 1)
        checks.at_least("capacity", capacity, 1)
        check_options({"multilabel": multilabel, "ignore_index": ignore_index})
        checks.require(jnp.issubdtype(dtype, jnp.floating), "dtype", "a floating-point type", dtype)
        self.num_classes = num_classes
        self.capacity = capacity
        self.multilabel = multilabel
        self.ignore_index = ignore_index
        self.average = average
        shape = (capacity, num_classes) if multilabel else (capacity,)
        forms = jax.ShapeDtypeStruct((capacity, num_classes), dtype), jax.ShapeDtypeStruct(shape, jnp.int32)
        jax.eval_shape(self._metric(options), *forms)  # checks the options
        self.options = tuple(sorted(options.items()))  # hashed by value: equal metrics share one compilation
        self.logits = nnx.metrics.MetricState(jnp.zeros((capacity, num_classes), dtype))
        self.targets = nnx.metrics.MetricState(jnp.full(shape, -1, jnp.int32))  # −1 is ignored
        self.weights = nnx.metrics.MetricState(jnp.zeros(capacity, ops.widen(self.logits[...]).dtype))
        self.rows_seen = nnx.metrics.MetricState(jnp.zeros((), jnp.int32))

    def reset(self) -> None:
        """Discards all rows."""
        self.targets[...] = jnp.full_like(self.targets[...], -1)
        self.rows_seen[...] = jnp.zeros_like(self.rows_seen[...])

    def update(  # type: ignore[override]
        self, *, logits: Array, targets: Array, sample_weight: Array | None = None, **_: Any
    ) -> None:
        """Adds the rows of a batch: `logits` (any score works), `targets` as in `imbalanced_core.metrics.of_classes`.

        `sample_weight` is >= 0, [N]; None: 1. Further keywords, for other metrics of an `nnx.MultiMetric`, are ignored.
        A ValueError or TypeError on a wrong shape or dtype, or a readable value out of range; else `compute` returns
        NaN.
        """
        validation.check_arrays(logits=logits, targets=targets, sample_weight=sample_weight)
        check_logits(logits, self.num_classes)
        checks.floating("logits", logits)
        rows = logits.shape[0]
        weights = jnp.ones(rows) if sample_weight is None else sample_weight
        checks.shaped("sample_weight", weights, (rows,), "[rows]")
        labels: dict[str, Any] = {"ignore_index": self.ignore_index, "multilabel": self.multilabel}
        of_rows = class_block.row_labels(jnp.asarray(targets), shape=logits.shape, **labels)
        checks.batch(validation.readable(targets), validation.readable(weights), num_classes=self.num_classes, **labels)
        logits, of_rows, weights = distributed.replicate((logits, of_rows, weights))
        place = (self.rows_seen[...] + jnp.arange(rows, dtype=jnp.int32))[-self.capacity :] % self.capacity
        for state, new in ((self.logits, logits), (self.targets, of_rows), (self.weights, weights)):
            state[...] = state[...].at[place].set(jnp.asarray(new)[-self.capacity :].astype(state[...].dtype))
        self.rows_seen[...] += rows

    def compute(self) -> Array:
        """The value over the rows in the ring: 0-d, or [C] for average "none". NaN where the metric is undefined."""
        return self._metric(dict(self.options))(self.logits[...], self.targets[...], weights=self.weights[...])

    def _metric(self, options: dict[str, Any]) -> Callable[..., Array]:
        labels: dict[str, Any] = {"multilabel": self.multilabel, "ignore_index": -1}
        return partial(core.of_classes, partial(self.function, **options), average=self.average, **labels)


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

"""Smooth average precision and recall at a quantile as NNX modules."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from imbalanced_jax import ranking
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.nnx.pooled import PooledLoss


class SmoothAPLoss(PooledLoss):
    """One minus the smooth average precision of the batch and a queue: `imbalanced_jax.smooth_ap_loss` with state.

    Call it as `loss_fn(logits, targets)`, see `__call__`; `loss_fn.temperature[...] = 0.1` sets the temperature,
    `reset_queue()` forgets the queue.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        queue_size: how many rows of earlier batches are ranked along; 0 for none.
        temperature: τ > 0 of the logistic function, at first.
        reduction: "mean" or "sum" over the classes that count, or "none".
        ignore_index: the target of rows (with `multilabel`: of single labels) that take no part.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        max_pool_size: rank a random part of the rows, of no more than this many; needs `rngs`. None (recommended): all.
        multilabel: targets are 0/1 per class, [N, C], instead of class ids.
        temperature_scale: the unit of the temperature: "absolute", or "iqr" or "std" of the class's negatives.
        pos_numerator: the mean runs over all positives ("pool") or over those of the batch ("live").
        axis_name: mapped axis or axes whose devices' rows are ranked together.
        dtype: of the queue's logits.
        deterministic: whether the module starts in `eval()` mode.
        rngs: for `max_pool_size`: the stream "subsample" of an `nnx.Rngs` (else "default"), or a stream; it is forked.

    Raises:
        TypeError, ValueError: on a bad option.
    """

    def __init__(
        self,
        num_classes: int,
        queue_size: int = 1024,
        temperature: float | jax.Array = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        max_pool_size: int | None = None,
        *,
        multilabel: bool = False,
        temperature_scale: str = "absolute",
        pos_numerator: str = "pool",
        axis_name: AxisName = None,
        dtype: Any = jnp.float32,
        deterministic: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            queue_size=queue_size,
            temperature=temperature,
            reduction=reduction,
            ignore_index=ignore_index,
            update_queue_in_eval=update_queue_in_eval,
            max_pool_size=max_pool_size,
            multilabel=multilabel,
            axis_name=axis_name,
            dtype=dtype,
            deterministic=deterministic,
            rngs=rngs,
        )
        self.temperature_scale = temperature_scale
        self.pos_numerator = pos_numerator
        self._check_options()

    def _loss_function(self) -> Callable[..., tuple]:
        return partial(
            ranking.smooth_ap_loss, temperature_scale=self.temperature_scale, pos_numerator=self.pos_numerator
        )


class RecallAtQuantileLoss(PooledLoss):
    """One minus the smooth recall of the top `quantile`: `imbalanced_jax.recall_at_quantile_loss` with state.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        quantile: the flagged fraction, in [0, 1].
        queue_size: how many rows of earlier batches are looked at along with the batch; 0 for none.
        temperature: τ > 0, at first.
        reduction: "mean", "sum" or "none".
        ignore_index: the target of what takes no part.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        quantile_interpolation: "higher", "lower", "linear", "nearest" or "midpoint".
        max_pool_size: look at a random part of the rows; needs `rngs`.
        multilabel: targets are 0/1 per class, [N, C].
        temperature_scale: "absolute", "iqr" or "std".
        pos_numerator: "pool" or "live".
        axis_name: mapped axis or axes whose devices' rows are looked at together.
        dtype: of the queue's logits.
        deterministic: whether the module starts in `eval()` mode.
        rngs: for `max_pool_size`; see `SmoothAPLoss`.

    Raises:
        TypeError, ValueError: on a bad option.
    """

    def __init__(
        self,
        num_classes: int,
        quantile: float = 0.005,
        queue_size: int = 1024,
        temperature: float | jax.Array = 0.01,
        reduction: str = "mean",
        ignore_index: int = -100,
        update_queue_in_eval: bool = False,
        quantile_interpolation: str = "higher",
        max_pool_size: int | None = None,
        *,
        multilabel: bool = False,
        temperature_scale: str = "absolute",
        pos_numerator: str = "pool",
        axis_name: AxisName = None,
        dtype: Any = jnp.float32,
        deterministic: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            queue_size=queue_size,
            temperature=temperature,
            reduction=reduction,
            ignore_index=ignore_index,
            update_queue_in_eval=update_queue_in_eval,
            max_pool_size=max_pool_size,
            multilabel=multilabel,
            axis_name=axis_name,
            dtype=dtype,
            deterministic=deterministic,
            rngs=rngs,
        )
        self.quantile = quantile
        self.quantile_interpolation = quantile_interpolation
        self.temperature_scale = temperature_scale
        self.pos_numerator = pos_numerator
        self._check_options()

    def _loss_function(self) -> Callable[..., tuple]:
        return partial(
            ranking.recall_at_quantile_loss,
            quantile=self.quantile,
            quantile_interpolation=self.quantile_interpolation,
            temperature_scale=self.temperature_scale,
            pos_numerator=self.pos_numerator,
        )

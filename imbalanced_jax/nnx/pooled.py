"""What every ranking module is: options, a queue and a temperature in Variables, and one call of a pure function."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from imbalanced_core import checks
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult
from imbalanced_jax import validation
from imbalanced_jax.distributed import AxisName
from imbalanced_jax.pooled import init_queue


class LossState(nnx.Variable):
    """What a loss remembers and no optimizer trains: a queue, a temperature, the number of steps."""


class PooledLoss(nnx.Module):
    """A ranking loss over the batch and a queue of earlier rows; the base of the ranking modules.

    A subclass names its function and the options that the function takes; the rest is here.

    Attributes:
        temperature: the Variable of τ, 0-d; `loss_fn.temperature[...] = 0.1` sets it and never recompiles.
        queue_logits, queue_targets, queue_weights, queue_is_iid: the Variables of the queue; `queue` reads them.
        deterministic: whether the queue is frozen and the random stream stands still, unless `update_queue_in_eval`
            lets the queue move. `train()` and `eval()` of this module or of one around it, and `nnx.view`, set it.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        queue_size: int,
        temperature: float | jax.Array,
        reduction: str,
        ignore_index: int,
        update_queue_in_eval: bool,
        max_pool_size: int | None,
        multilabel: bool,
        axis_name: AxisName,
        dtype: Any,
        deterministic: bool,
        rngs: nnx.Rngs | nnx.RngStream | None,
    ) -> None:
        self.num_classes = num_classes
        self.queue_size = queue_size
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.update_queue_in_eval = update_queue_in_eval
        self.max_pool_size = max_pool_size
        self.multilabel = multilabel
        self.axis_name = axis_name
        self.deterministic = deterministic
        queue = self._empty(dtype)
        self.queue_logits = LossState(queue.logits)
        self.queue_targets = LossState(queue.targets)
        self.queue_weights = LossState(queue.weights)
        self.queue_is_iid = LossState(queue.is_iid)
        checks.positive("temperature", temperature)
        self.temperature = LossState(jnp.asarray(temperature, dtype=jnp.result_type(float)))
        self.rngs = _own_stream(rngs, max_pool_size)

    @abstractmethod
    def _loss_function(self) -> Callable[..., tuple[jax.Array, PooledResult]]:
        """The pure function with the options that are its own."""

    def _empty(self, dtype: Any) -> Queue:
        options: dict[str, Any] = {"multilabel": self.multilabel, "ignore_index": self.ignore_index}
        return init_queue(self.queue_size, self.num_classes, dtype=dtype, **options)

    def _check_options(self) -> None:
        """Lets the function check its options, on the shapes of a row, without computing anything."""
        shape = (1, self.num_classes) if self.multilabel else (1,)
        logits, targets = jnp.zeros((1, self.num_classes), jnp.float32), jnp.zeros(shape, jnp.int32)
        key = None if self.max_pool_size is None else jax.random.key(0)
        options: dict[str, Any] = {"key": key, "temperature": 1.0, "axis_name": None}
        jax.eval_shape(lambda logits: self.evaluate(logits, targets, self.queue, **options)[0], logits)

    @property
    def queue(self) -> Queue:
        """The rows of earlier batches, newest first; the targets of empty slots are `ignore_index`."""
        return Queue(self.queue_logits[...], self.queue_targets[...], self.queue_weights[...], self.queue_is_iid[...])

    def store(self, new: Queue) -> None:
        """Replaces the queue."""
        for name, array in zip(Queue._fields, new, strict=True):
            getattr(self, f"queue_{name}")[...] = array

    def reset_queue(self) -> None:
        """Forgets all rows of earlier batches."""
        self.store(self._empty(self.queue_logits[...].dtype))

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view` calls.

        Args:
          deterministic: if True, freezes the queue and the random stream.
        """  # `nnx.view_info` reads this docstring, and fails unless the indentation is two spaces
        if deterministic is not None:
            self.deterministic = deterministic

    @property
    def updates_queue(self) -> bool:
        """Whether a call puts its rows into the queue."""
        return not self.deterministic or self.update_queue_in_eval

    def draw_key(self) -> jax.Array | None:
        """A key for `max_pool_size`, a new one at every call in training; None if nothing is ever cut."""
        if self.rngs is None:
            return None
        if self.deterministic:
            return jax.random.fold_in(self.rngs.key[...], self.rngs.count[...])
        return self.rngs()

    def evaluate(self, logits: jax.Array, targets: jax.Array, queue: Queue, **options: Any) -> tuple:
        """(loss, aux) of the pure function with this module's options: reads and writes no state."""
        validation.check_arrays(logits=logits)
        rule = f"of shape [rows, num_classes] = [N, {self.num_classes}]"
        checks.require(logits.ndim == 2 and logits.shape[1] == self.num_classes, "logits", rule, tuple(logits.shape))
        common: dict[str, Any] = {
            "reduction": self.reduction,
            "ignore_index": self.ignore_index,
            "multilabel": self.multilabel,
            "max_pool_size": self.max_pool_size,
            "update_queue": self.updates_queue,
            "axis_name": self.axis_name,
        }
        return self._loss_function()(logits, targets, queue, **(common | options))

    def __call__(
        self,
        logits: jax.Array,
        targets: jax.Array,
        iid_mask: jax.Array | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: jax.Array | None = None,
    ) -> Any:
        """The loss of a batch, which then enters the queue, unless that is frozen.

        Args:
            logits: floating point [N, num_classes].
            targets: class ids [N] or [N, 1]; 0 or 1 (floats too) for one class; with `multilabel` 0/1 per class,
                [N, num_classes]. `ignore_index` marks rows, or single labels, that take no part.
            iid_mask: bool [N], the rows drawn as the population is; only partial AUC looks at it. None: all.
            return_per_class: whether to return the loss and the validity of each class as well.
            return_diagnostics: whether to return figures of each class as well.
            sample_weight: >= 0, [N]; how much a positive counts. Carries no gradient.

        Returns:
            loss, (loss, per_class, valid), (loss, stats) or (loss, per_class, valid, stats). The loss is 0-d, or
            [num_classes] for reduction "none"; 0 with zero gradient if no class is valid, NaN if a logit that takes
            part is NaN. per_class is the loss [num_classes], NaN where `valid` is False. stats is the
            `aux.diagnostics` of `imbalanced_jax.pauc_at_budget_loss`, whose figures are NaN where a loss has none.

        Raises:
            TypeError, ValueError: as the function.
        """
        rule = "an nnx.Variable; set it by temperature[...] = value"
        checks.require(isinstance(self.temperature, nnx.Variable), "temperature", rule, self.temperature)
        options: dict[str, Any] = {"iid_mask": iid_mask, "sample_weight": sample_weight, "key": self.draw_key()}
        loss, aux = self.evaluate(logits, targets, self.queue, temperature=self.temperature[...], **options)
        if self.updates_queue:
            self.store(aux.queue)
        return with_extras(loss, aux, return_per_class=return_per_class, return_diagnostics=return_diagnostics)


def with_extras(loss: jax.Array, aux: Any, *, return_per_class: bool, return_diagnostics: bool) -> Any:
    """The loss with what was asked for beside it."""
    extras = (aux.per_class, aux.valid) if return_per_class else ()
    extras = (*extras, aux.diagnostics) if return_diagnostics else extras
    return (loss, *extras) if extras else loss


def _own_stream(rngs: nnx.Rngs | nnx.RngStream | None, max_pool_size: int | None) -> nnx.RngStream | None:
    """A stream that nobody else draws from."""
    if max_pool_size is None:
        return None
    rule = "an nnx.Rngs or nnx.RngStream when max_pool_size is given"
    checks.require(isinstance(rngs, (nnx.Rngs, nnx.RngStream)), "rngs", rule, rngs)
    return (rngs["subsample"] if isinstance(rngs, nnx.Rngs) else rngs).fork()  # type: ignore[union-attr]

"""Base class of the ranking modules: options, queue and temperature in Variables, and one call of a pure function."""

import inspect
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from imbalanced_core import checks
from imbalanced_core.losses.gated import Gate
from imbalanced_core.options import check_options
from imbalanced_core.pool.labels import check_logits
from imbalanced_core.pool.queue import Queue, emptied
from imbalanced_jax import validation
from imbalanced_jax.nnx.module import LossModule, LossState
from imbalanced_jax.pooled import init_gate, init_queue


class PooledLoss(LossModule):
    """Base class of the ranking modules: a loss over the batch and a queue of earlier rows.

    Args:
        num_classes: C, the number of logits of a row; 1 is binary.
        queue_size: number of rows of earlier batches ranked with the batch; 0 for none.
        temperature: the initial τ > 0.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        dtype: of the queue's logits.
        deterministic: whether the module starts in `eval()` mode.
        rngs: for `max_pool_size`: the stream "subsample" of an `nnx.Rngs` (else "default"), or a stream; it is forked.
        gated: whether the loss is blended with a contrastive cross entropy, as `recommended` does.
        **options: further options of the function, including those of `imbalanced_jax.RankingOptions` except
            `class_parallel`. `sample_weight`, `iid_mask` and `update_queue` are passed to each call.

    Attributes:
        temperature: the Variable of τ, 0-d; `loss_fn.temperature[...] = 0.1` sets it and never recompiles.
        queue_logits, queue_targets, queue_weights, queue_is_iid: the Variables of the queue; `queue` reads them.
        deterministic: whether the queue (unless `update_queue_in_eval`) and the random stream are frozen; set by
            `train()` and `eval()` of this or an enclosing module, and by `nnx.view`.

    Raises:
        TypeError, ValueError: on an invalid option.
    """

    more: ClassVar[dict[str, Any]] = {
        "num_classes": inspect.Parameter.empty,
        "queue_size": 1024,
        "update_queue_in_eval": False,
        "dtype": jnp.float32,
        "deterministic": False,
        "rngs": None,
        "gated": False,
    }
    positional: ClassVar[tuple[str, ...]] = (
        *("num_classes", "queue_size", "temperature", "reduction", "ignore_index"),
        *("update_queue_in_eval", "max_pool_size"),
    )
    of_the_call = (
        *("logits", "targets", "queue", "gate", "sample_weight", "iid_mask"),
        *("key", "update_queue", "class_parallel"),
    )

    num_classes: int
    queue_size: int
    multilabel: bool
    max_pool_size: int | None
    update_queue_in_eval: bool
    deterministic: bool
    gated: bool

    def _start(self, arguments: dict[str, Any]) -> None:
        temperature, rngs = arguments.pop("temperature"), arguments.pop("rngs")
        checks.positive("temperature", validation.number(temperature))
        self.temperature = LossState(jnp.asarray(temperature, dtype=jnp.result_type(float)))
        self.rngs = _own_stream(rngs, arguments["max_pool_size"])
        dtype, sizes = arguments.pop("dtype"), (arguments["queue_size"], arguments["num_classes"])
        for name, array in init_queue(*sizes, multilabel=arguments["multilabel"], dtype=dtype)._asdict().items():
            setattr(self, f"queue_{name}", LossState(array))
        check_options(arguments)
        checks.flag("deterministic", arguments["deterministic"])
        if arguments["gated"]:
            for name, array in init_gate(arguments["num_classes"])._asdict().items():
                setattr(self, f"gate_{name}", LossState(array))
        super()._start(arguments)

    def _check_options(self) -> None:
        shape = (1, self.num_classes) if self.multilabel else (1,)
        logits, targets = jnp.zeros((1, self.num_classes), jnp.float32), jnp.zeros(shape, jnp.int32)
        key = None if self.max_pool_size is None else jax.random.key(0)
        options: dict[str, Any] = {"key": key, "temperature": 1.0, "axis_name": None}
        jax.eval_shape(lambda: self.evaluate(logits, targets, self.queue, **options)[0])

    @property
    def queue(self) -> Queue:
        """The rows of earlier batches, in the order of `imbalanced_jax.init_queue`."""
        return Queue(*(getattr(self, f"queue_{name}")[...] for name in Queue._fields))

    @property
    def gate(self) -> Gate | None:
        """The gate of a gated loss, else None: what the ranking reaches, per class."""
        return Gate(*(getattr(self, f"gate_{name}")[...] for name in Gate._fields)) if self.gated else None

    def store(self, new: Queue, gate: Any = ()) -> None:
        """Replaces the queue, and the gate of a gated loss."""
        for name, array in zip(Queue._fields, new, strict=True):
            getattr(self, f"queue_{name}")[...] = array
        for name, array in zip(Gate._fields, gate, strict=False):  # () without a gate
            getattr(self, f"gate_{name}")[...] = array

    def reset_queue(self) -> None:
        """Empties the queue."""
        self.store(emptied(self.queue))

    def reset(self) -> None:
        """Prepares for a new run: empties the queue and, for a gated loss, opens the gate."""
        self.reset_queue()
        self.store(self.queue, init_gate(self.num_classes) if self.gated else ())

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view` calls.

        Args:
          deterministic: if True, freezes the queue and the random stream; the step of a warm-up stands still.
        """  # `nnx.view_info` reads this docstring, and fails unless the indentation is two spaces
        if deterministic is not None:
            self.deterministic = deterministic

    @property
    def updates_queue(self) -> bool:
        """Whether rows enter the queue by default."""
        return not self.deterministic or self.update_queue_in_eval

    def draw_key(self) -> Array | None:
        """A key for `max_pool_size`, a new one at every call in training; None without `max_pool_size`."""
        if self.rngs is None:
            return None
        if self.deterministic:
            return jax.random.fold_in(self.rngs.key[...], self.rngs.count[...])
        return self.rngs()

    def evaluate(self, logits: Array, targets: Array, queue: Queue, **options: Any) -> tuple:
        """(loss, aux) of the pure function with this module's options: reads and writes no state."""
        validation.check_arrays(logits=logits)
        check_logits(logits, self.num_classes)
        options = {"update_queue": self.updates_queue, "gate": self.gate, **options}
        return type(self).loss(logits, targets, queue, **self.options() | options)

    def __call__(
        self,
        logits: Array,
        targets: Array,
        iid_mask: Array | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: Array | None = None,
        update_queue: bool | None = None,
    ) -> Any:
        """The loss of a batch, whose rows then enter the queue unless it is frozen.

        Args:
            logits: floating point [N, num_classes].
            targets: as for `imbalanced_jax.smooth_ap_loss`.
            iid_mask: see `imbalanced_jax.RankingOptions`.
            return_per_class: whether to return the loss and the validity of each class as well.
            return_diagnostics: whether to return diagnostics of each class as well.
            sample_weight: see `imbalanced_jax.RankingOptions`.
            update_queue: whether the rows enter the queue; None: unless the module is `deterministic`. JAX cannot tell
                whether a gradient is taken, so validation in training mode, or a second pass over the same batch, must
                pass False.

        Returns:
            loss, (loss, per_class, valid), (loss, stats) or (loss, per_class, valid, stats), as the function describes
            them. stats is the `aux.diagnostics` of `imbalanced_jax.pauc_at_budget_loss`, with None for those that a
            loss does not have.

        Raises:
            TypeError, ValueError: as the function.
        """
        rule = "an nnx.Variable; set it by temperature[...] = value"
        checks.require(isinstance(self.temperature, nnx.Variable), "temperature", rule, self.temperature)
        for name, given in (("return_per_class", return_per_class), ("return_diagnostics", return_diagnostics)):
            checks.flag(name, given)
        update_queue = self.updates_queue if update_queue is None else update_queue
        options = {"iid_mask": iid_mask, "sample_weight": sample_weight, "update_queue": update_queue}
        options |= {"temperature": self.temperature[...], "key": self.draw_key()}
        loss, aux = self.evaluate(logits, targets, self.queue, **options)
        if update_queue:
            self.store(aux.queue, aux.gate)
        return with_extras(loss, aux, return_per_class=return_per_class, return_diagnostics=return_diagnostics)


def with_extras(loss: Array, aux: Any, *, return_per_class: bool, return_diagnostics: bool) -> Any:
    """The loss, with the requested extras."""
    extras = (aux.per_class, aux.valid) if return_per_class else ()
    extras = (*extras, aux.diagnostics) if return_diagnostics else extras
    return (loss, *extras) if extras else loss


def _own_stream(rngs: nnx.Rngs | nnx.RngStream | None, max_pool_size: int | None) -> nnx.RngStream | None:
    """A stream that nothing else draws from."""
    if max_pool_size is None:
        return None
    rule = "an nnx.Rngs or nnx.RngStream when max_pool_size is given"
    checks.require(isinstance(rngs, (nnx.Rngs, nnx.RngStream)), "rngs", rule, rngs)
    return (rngs["subsample"] if isinstance(rngs, nnx.Rngs) else rngs).fork()  # type: ignore[union-attr]

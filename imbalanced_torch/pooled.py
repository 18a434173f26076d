"""Base class of the ranking modules: configuration, a queue in buffers, gathered rows, and one call into the core."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from imbalanced_core import checks, ops
from imbalanced_core.losses.gated import with_gate
from imbalanced_core.losses.operating_point import too_few
from imbalanced_core.ops.on_torch.compiler import eagerly, without_autocast
from imbalanced_core.options import check_options, split
from imbalanced_core.pool.items import make_items
from imbalanced_core.pool.labels import check_logits
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_core.pool.subsampling import strata_count
from imbalanced_torch import distributed, validation
from imbalanced_torch._guards import Watch, refuse_recomputation
from imbalanced_torch._state import RankingState, uniform_noise
from imbalanced_torch.class_parallel import class_parallel_loss
from imbalanced_torch.options import CommonOptions, ranking_module
from imbalanced_torch.validation import readable


class PooledLoss(RankingState):
    """Base class of the ranking modules: a loss over the batch and a queue of earlier rows.

    A subclass sets `objective` to a core function and passes its options to the constructor, which keeps them as
    attributes. The queue and the temperature are buffers: they move with the module, are in its `state_dict()`, and
    changing them never recompiles. Casting the module keeps them at float32 or wider.

    Attributes:
        objective: the core function of `imbalanced_core.pool.items.Items`.
        iid_aware: whether it uses `Items.is_iid`.
    """

    iid_aware: ClassVar[bool] = False
    update_queue_in_eval: bool
    gather_distributed: bool | None
    max_pool_size: int | None
    grad_reduction: str
    generator: torch.Generator | None

    @ranking_module()
    def __init__(
        self,
        num_classes: int,
        own: dict[str, Any],
        queue_size: int,
        temperature: float,
        **options: Unpack[CommonOptions],
    ) -> None:
        super().__init__()
        of_objective, given = split(options)
        check_options(given)
        distributed.check_group(given["process_group"])
        self.num_classes = num_classes
        self.queue_size = queue_size
        persistent = given.pop("persistent_queue")
        for name, value in given.items():
            setattr(self, name, value)
        if not isinstance(self.generator, torch.Generator | None):
            raise TypeError(f"generator must be a torch.Generator or None, got {self.generator!r}")
        self._has_warned = False
        preset = f"use {type(self).__name__}.recommended(...), or " if hasattr(self, "recommended") else ""
        self._watch = Watch("" if self.gated else f": {preset}mix it with a weighted cross entropy")
        self._start_state(temperature, persistent=persistent)
        if self.class_parallel:
            size, rule = self.max_pool_size, "None with class_parallel=True"
            checks.require(size is None, "max_pool_size", rule, size)
            checks.require(not self.gated, "gated", "False with class_parallel=True", self.gated)
        if self.max_pool_size is not None:
            checks.at_least("max_pool_size", self.max_pool_size, strata_count(num_classes, multilabel=self.multilabel))
        own = own | of_objective
        self._own = tuple(own)
        for name, value in own.items():
            setattr(self, name, value)
        row = torch.zeros(1, 1)  # a dry run, in which the objective checks its options
        self._objective()(make_items(row, row > 0, live=row == 0))

    def _objective(self) -> Callable[..., tuple]:
        """The objective of a step, with its options, temperature and gate bound."""
        ranking = partial(type(self).objective, **{name: getattr(self, name) for name in self._own})
        return with_gate(ranking, self.gate if self.gated else None, temperature=self._temperature[0])

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None = None,
        return_per_class: bool = False,
        return_diagnostics: bool = False,
        *,
        sample_weight: Tensor | None = None,
        update_queue: bool | None = None,
    ) -> Any:
        """The loss of a batch, whose rows then enter the queue in training mode with gradients enabled.

        Args:
            logits: floating point [N, num_classes].
            targets: class ids [N] or [N, 1], of any integer or bool dtype; 0 or 1 (floats too) for one class. With
                `multilabel` 0/1 per class, [N, num_classes], of any dtype. `ignore_index` marks rows, or single labels,
                that are ignored.
            iid_mask: bool [N], the rows sampled like the population; used only by partial AUC, whose thresholds and
                scale they alone set. None: all.
            return_per_class: whether to return the loss of each class as well.
            return_diagnostics: whether to return diagnostics of each class as well.
            sample_weight: >= 0, [N]; weight of each positive. Carries no gradient.
            update_queue: whether the batch enters the queue. None: in training mode with gradients enabled, so that
                validation under `torch.no_grad()` does not change it, and always with `update_queue_in_eval`.

        Returns:
            loss, (loss, per_class, valid), (loss, stats) or (loss, per_class, valid, stats). The loss is 0-d, or
            [num_classes] for reduction "none"; float32 or float64; 0 with zero gradient if no class is valid; NaN if a
            logit that is not ignored is NaN. per_class is the loss of each class, NaN where `valid` is False. stats
            maps names to tensors [num_classes] without gradient: tau_eff, the temperature in units of the logits;
            spread, the standard deviation of the scores of batch and queue; grad_pos_count, the positives of this
            process's batch; for recall and precision at an operating point t_beta, the threshold; for partial AUC also
            t_alpha and t_beta, the scores at the edges of the band; band_neg_count, the iid negatives in the band;
            pauc_var, the variance of the contributions of single positives; for a gated loss ranking_weight, the weight
            of the ranking loss, and, except for smooth AP, reached, what the gate has measured.

        Raises:
            TypeError, ValueError: on invalid dtypes or shapes, or (eager mode on the CPU) if a target is not a valid
                class or a weight is negative or not finite; elsewhere such a value makes the loss NaN.
        """
        rows = {"logits": logits, "targets": targets, "sample_weight": sample_weight, "iid_mask": iid_mask}
        step = partial(eagerly, self._step) if self._is_better_eager(logits) else self._step
        loss, result = step(rows, update_queue, {"per_class": return_per_class, "diagnostics": return_diagnostics})
        extras: tuple = (result.per_class, result.valid) if return_per_class else ()
        extras += (ops.present(result.diagnostics),) if return_diagnostics else ()
        return (loss, *extras) if extras else loss

    def _step(
        self, rows: dict[str, Any], update_queue: bool | None, wanted: dict[str, Any]
    ) -> tuple[Tensor, PooledResult]:
        update_queue = self._learns or self.update_queue_in_eval if update_queue is None else update_queue
        group = self.process_group
        gather = distributed.should_gather(self.gather_distributed, training=self._learns, process_group=group)
        check = partial(self._check_arguments, rows, update_queue)
        if gather:
            device = self.queue_logits.device if self._has_state else getattr(rows["logits"], "device", "cpu")
            distributed.check_everywhere(check, device=device, process_group=group)
        else:
            check()
        names = ("reduction", "ignore_index", "multilabel", "pos_numerator", "iid_aware")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        options |= {"live_aware": self.gated, "update_queue": update_queue}
        if self.class_parallel:
            loss, result = self._step_by_class(rows, gather, options)
        else:
            loss, result = self._step_of_all(rows, gather, options | wanted)
        if self._learns:
            self._watch(rows["logits"], rows["targets"], self.ignore_index, result.valid)
        return loss, result

    def _step_of_all(self, rows: dict[str, Any], gather: bool, options: dict[str, Any]) -> tuple[Tensor, PooledResult]:
        """A step with all classes on every rank."""
        if gather:
            tensors, options["local"] = distributed.gather_rows(
                tuple(rows.values()),
                process_group=self.process_group,
                grad_reduction=self.grad_reduction,
                flags=self._facts(options["update_queue"]),
                names=tuple(rows),
            )
            rows = dict(zip(rows, tensors, strict=True))
        logits = rows["logits"]
        if "k" in self._own and (message := too_few(self.k, logits.shape[0] + self.queue_size)):
            self._warn_once(message, stacklevel=7)
        if self.max_pool_size is None:
            options["check"] = partial(self._check_values, rows)  # the gathered ones: every rank raises, and none hangs
        else:
            self._check_values(rows)  # before anything is drawn
        options |= {"max_pool_size": self.max_pool_size, "noise": self._noise(logits)}
        with without_autocast(logits.device.type):
            loss, result = pooled_loss(self._objective(), queue=self.queue, **rows, **options)
        if options["update_queue"]:
            self._store(result.queue, result.gate or None)
        return loss, result

    def _step_by_class(
        self, rows: dict[str, Any], gather: bool, options: dict[str, Any]
    ) -> tuple[Tensor, PooledResult]:
        """A step with the classes divided among the ranks."""
        block = self._own_block(gather)
        holds = self._holds(block)
        # a rank that works alone does not change the queue of its block
        options["update_queue"] = update_queue = options["update_queue"] and (gather or holds)
        with without_autocast(rows["logits"].device.type):
            loss, result = class_parallel_loss(
                self._objective(),
                rows,
                self._queue_of(block, start_anew=update_queue),
                gather=gather,
                process_group=self.process_group,
                grad_reduction=self.grad_reduction,
                flags=self._facts(update_queue)
                | {"queue_is_of_own_classes (if 0, call reset_queue() on every rank)": holds},
                check=partial(self._check_values, rows, with_block=gather),
                **options,
            )
        if update_queue:
            self._store(result.queue)
            self._hold(block)
        return loss, result

    @property
    def _has_state(self) -> bool:
        return self.queue_size > 0 or self.gated

    @property
    def _learns(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def _check_arguments(self, rows: dict[str, Any], update_queue: bool) -> None:
        logits = rows["logits"]
        validation.check_tensors(**rows)
        validation.refuse_sharded(**rows)
        check_logits(logits, self.num_classes)
        device = self.queue_logits.device
        if logits.device != device and self._has_state:
            rule = f"on the device of the loss, {device} (to move the loss: loss_fn.to(logits.device))"
            raise ValueError(f"logits must be {rule}, got {logits.device}")
        checks.flag("update_queue", update_queue)
        if update_queue and self._has_state:
            refuse_recomputation()

    def _facts(self, update_queue: bool) -> dict[str, int | str]:
        """What must be equal on all ranks that gather."""
        names = ["gated", "pos_numerator", "reduction", "ignore_index", "multilabel", *self._own]
        names += ["temperature"] if validation.can_read(self._temperature) else []
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return {
            "queue_size": self.queue_size,
            "max_pool_size": self.max_pool_size or 0,
            "generator.initial_seed()": 0 if self.generator is None else self.generator.initial_seed() % 2**63,
            "update_queue": update_queue,
            "loss": f"{type(self).__name__}({options})",
        }

    def _check_values(self, rows: dict[str, Any], *, with_block: bool = False) -> None:
        if with_block:
            self._check_block()
        options = {name: getattr(self, name) for name in ("num_classes", "ignore_index", "multilabel")}
        checks.batch(readable(rows["targets"]), readable(rows["sample_weight"]), **options)

    def _noise(self, logits: Tensor) -> Tensor | None:
        """Noise for subsampling, [rows of the pool]; None without subsampling."""
        rows = logits.shape[0] + self.queue_size
        if self.max_pool_size is None or rows <= self.max_pool_size:
            return None
        message = f"a pool of {rows} rows is cut to max_pool_size={self.max_pool_size}: the loss becomes random"
        self._warn_once(f"{message}. Time and memory grow as n log n and n: try max_pool_size=None.", stacklevel=8)
        if not self._learns:  # nothing advances: in validation the ranks may make different numbers of calls
            return uniform_noise(self._draws, rows)
        refuse_recomputation()
        if self.generator is not None:
            return torch.rand(rows, generator=self.generator, device=self.generator.device).to(logits.device)
        noise = uniform_noise(self._draws, rows)
        self._draws.add_(1)
        return noise

    def _warn_once(self, message: str, *, stacklevel: int) -> None:
        if not self._has_warned and not torch.compiler.is_compiling():
            self._has_warned = True
            warnings.warn(message, stacklevel=stacklevel)

    def extra_repr(self) -> str:
        """The configuration, for `repr`."""
        names = ["num_classes", *self._own, "gated", "pos_numerator", "queue_size", "reduction", "ignore_index"]
        names += [] if self._temperature.is_meta else ["temperature"]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

"""What every ranking module is: configuration, a queue in buffers, gathered rows, and one call into the core."""

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.pool.labels import taking_part
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_core.pool.subsampling import strata_count
from imbalanced_core.reductions import CLASS_REDUCTIONS
from imbalanced_torch import distributed, validation
from imbalanced_torch._noise import uniform_noise
from imbalanced_torch._state import RankingState
from imbalanced_torch.class_parallel import class_parallel_loss


class PooledLoss(RankingState, ABC):
    """A ranking loss over the batch and a queue of earlier rows; the base of the ranking modules.

    A subclass says with `_objective` what is computed; `imbalanced_core.pool.step.pooled_loss` does the rest. The queue
    and the temperature are buffers: they move with the module, are in its `state_dict()`, and changing them never
    recompiles. No cast of the module takes them below float32.

    Attributes:
        iid_aware: whether the objective takes `is_iid`.
    """

    iid_aware = False

    def __init__(
        self,
        num_classes: int,
        *,
        queue_size: int,
        temperature: float,
        reduction: str,
        ignore_index: int,
        update_queue_in_eval: bool,
        gather_distributed: bool | None,
        max_pool_size: int | None,
        multilabel: bool,
        process_group: Any,
        grad_reduction: str,
        generator: torch.Generator | None,
        class_parallel: bool = False,
    ) -> None:
        super().__init__()
        checks.one_of("reduction", reduction, CLASS_REDUCTIONS)
        checks.one_of("gather_distributed", gather_distributed, (None, True, False))
        checks.one_of("grad_reduction", grad_reduction, distributed.GRAD_REDUCTIONS)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator or None, got {generator!r}")
        self.num_classes = num_classes
        self.queue_size = queue_size
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.update_queue_in_eval = update_queue_in_eval
        self.gather_distributed = gather_distributed
        self.max_pool_size = max_pool_size
        self.multilabel = multilabel
        self.process_group = process_group
        self.grad_reduction = grad_reduction
        self.generator = generator
        self.class_parallel = class_parallel
        self._has_warned = False
        self._start_state(temperature, multilabel=multilabel)
        if class_parallel:
            checks.require(max_pool_size is None, "max_pool_size", "None with class_parallel=True", max_pool_size)
        if max_pool_size is not None:
            checks.at_least("max_pool_size", max_pool_size, strata_count(num_classes, multilabel=multilabel))

    @abstractmethod
    def _objective(self, temperature: Tensor | float) -> Callable[..., tuple]:
        """The core objective with the module's options."""

    def _check_options(self) -> None:
        """Lets the objective check its options, on a row without items."""
        row = torch.zeros(1, 0, device="cpu")
        self._objective(1.0)(row, row > 0)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None = None,
        return_per_class: bool = False,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """The loss of a batch, which then enters the queue: in training mode, or with `update_queue_in_eval`.

        Args:
            logits: floating point [N, num_classes].
            targets: class ids [N] or [N, 1], of any integer or bool dtype; 0 or 1 (floats too) for one class. With
                `multilabel` 0/1 per class, [N, num_classes], of any dtype. `ignore_index` marks rows, or single labels,
                that take no part.
            iid_mask: bool [N], the rows drawn as the population is; only partial AUC looks at it. None: all.
            return_per_class: whether to return the loss of each class as well.
            sample_weight: >= 0, [N]; how much a positive counts. Carries no gradient.

        Returns:
            The loss, 0-d, or [num_classes] for reduction "none"; float32 or float64. 0 with zero gradient if no class
            is valid; NaN if a logit that takes part is NaN. With `return_per_class`, (loss, per_class, valid): the loss
            of each class, NaN where invalid, and which classes are valid.

        Raises:
            TypeError, ValueError: if dtypes or shapes do not fit, or (eager mode on the CPU) a target is none of its
                classes or a weight is negative or not finite; elsewhere such a value makes the loss NaN.
        """
        loss, result = self._step(logits, targets, iid_mask, sample_weight)
        return (loss, result.per_class, result.valid) if return_per_class else loss

    def _step(
        self, logits: Tensor, targets: Tensor, iid_mask: Tensor | None, sample_weight: Tensor | None
    ) -> tuple[Tensor, PooledResult]:
        validation.check_tensors(logits=logits, targets=targets)
        validation.check_optional_tensors(iid_mask=iid_mask, sample_weight=sample_weight)
        rule = f"of shape [rows, num_classes] = [N, {self.num_classes}]"
        checks.require(logits.ndim == 2 and logits.shape[1] == self.num_classes, "logits", rule, tuple(logits.shape))
        update_queue = self.training or self.update_queue_in_eval
        if update_queue and self.queue_size > 0:
            _refuse_recomputation()
        local = None
        gather = distributed.should_gather(
            self.gather_distributed, training=self.training, process_group=self.process_group
        )
        if self.class_parallel:
            return self._step_by_class(logits, targets, iid_mask, sample_weight, gather, update_queue)
        if gather:
            (logits, targets, sample_weight, iid_mask), local = distributed.gather_rows(
                (logits, targets, sample_weight, iid_mask),
                process_group=self.process_group,
                grad_reduction=self.grad_reduction,
                flags={
                    "queue_size": self.queue_size,
                    "max_pool_size": self.max_pool_size or 0,
                    "generator.initial_seed()": 0 if self.generator is None else self.generator.initial_seed() % 2**63,
                    "update_queue": update_queue,
                },
                names=("logits", "targets", "sample_weight", "iid_mask"),
            )
        self._check_values(targets, sample_weight)  # of the gathered rows, so that every rank raises, and none waits
        with _without_autocast(logits.device.type):
            loss, result = pooled_loss(
                # a copy: assigning a temperature between forward and backward must not reach a saved tensor
                self._objective(self._temperature[0].clone()),
                logits,
                targets,
                self.queue,
                reduction=self.reduction,
                ignore_index=self.ignore_index,
                multilabel=self.multilabel,
                sample_weight=sample_weight,
                iid_mask=iid_mask,
                local=local,
                max_pool_size=self.max_pool_size,
                noise=self._noise(logits),
                update_queue=update_queue,
                iid_aware=self.iid_aware,
            )
        if update_queue:
            self._store(result.queue)
        return loss, result

    def _step_by_class(
        self,
        logits: Tensor,
        targets: Tensor,
        iid_mask: Tensor | None,
        sample_weight: Tensor | None,
        gather: bool,
        update_queue: bool,
    ) -> tuple[Tensor, PooledResult]:
        block = self._own_block(gather)
        holds = self._holds(block)
        update_queue = update_queue and (gather or holds)  # a rank on its own leaves the queue of its block alone
        with _without_autocast(logits.device.type):
            loss, result = class_parallel_loss(
                self._objective(self._temperature[0].clone()),
                logits,
                targets,
                self._queue_of(block, start_anew=update_queue),
                reduction=self.reduction,
                ignore_index=self.ignore_index,
                multilabel=self.multilabel,
                sample_weight=sample_weight,
                iid_mask=iid_mask,
                update_queue=update_queue,
                iid_aware=self.iid_aware,
                gather=gather,
                process_group=self.process_group,
                grad_reduction=self.grad_reduction,
                flags={
                    "queue_size": self.queue_size,
                    "update_queue": update_queue,
                    "queue_is_of_own_classes (if 0, call reset_queue() on every rank)": holds,
                },
                check=partial(self._check_values, targets, sample_weight, with_block=gather),
            )
        if update_queue:
            self._store(result.queue)
            self._hold(block)
        return loss, result

    def _check_values(self, targets: Tensor, sample_weight: Tensor | None, *, with_block: bool = False) -> None:
        if with_block:
            self._check_block()
        if self.multilabel or self.num_classes == 1:
            validation.check_binary_targets(targets, ignore_index=self.ignore_index)
        else:
            validation.check_class_ids(targets, num_classes=self.num_classes, ignore_index=self.ignore_index)
        if sample_weight is not None:
            takes_part = taking_part(targets, ignore_index=self.ignore_index)
            takes_part = takes_part.any(dim=1) if takes_part.ndim == 2 else takes_part
            validation.check_weights(sample_weight, where=takes_part)

    def _noise(self, logits: Tensor) -> Tensor | None:
        """Noise for subsampling, [rows of the pool]; None if nothing is cut."""
        rows = logits.shape[0] + self.queue_size
        if self.max_pool_size is None or rows <= self.max_pool_size:
            return None
        if not self._has_warned and not torch.compiler.is_compiling():
            self._has_warned = True
            message = f"a pool of {rows} rows is cut to max_pool_size={self.max_pool_size}: the loss becomes random"
            warnings.warn(f"{message}. Time and memory grow as n log n and n: try max_pool_size=None.", stacklevel=6)
        if self.generator is not None:
            return torch.rand(rows, generator=self.generator, device=self.generator.device).to(logits.device)
        noise = uniform_noise(self._draws, rows)
        if self.training:  # in validation the ranks may make different numbers of calls
            self._draws.add_(1)
        return noise

    def extra_repr(self) -> str:
        """The configuration, for `repr`."""
        names = ["num_classes", *self._options(), "queue_size", "reduction", "ignore_index"]
        names += [] if self._temperature.is_meta else ["temperature"]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _options(self) -> tuple[str, ...]:
        """The names of the attributes that `repr` shows beside the common ones."""
        return ()


def _refuse_recomputation() -> None:
    """RuntimeError inside of backward, where `torch.utils.checkpoint` calls its function for a second time.

    The queue has moved on since the first time: the loss, and with it the gradient, would be another one.
    """
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a ranking loss with a queue must not be computed again during backward; keep it out of "
            "torch.utils.checkpoint (its memory is linear in the rows), or give it queue_size=0"
        )


def _without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """Autocast would run the core's matrix products in half precision."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()

"""The ranking losses as functions, and their shared code."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, Unpack

import array_api_compat.torch as xp
import torch
from torch import Tensor

from imbalanced_core import checks, ops
from imbalanced_core import options as shared
from imbalanced_core.losses import ranking
from imbalanced_core.losses.gated import Gate, check_gate, opened, with_gate
from imbalanced_core.losses.operating_point import precision_above, recall_above, too_few
from imbalanced_core.losses.partial_auc import band_auc
from imbalanced_core.ops.on_torch.compiler import without_autocast
from imbalanced_core.pool import queue as queues
from imbalanced_core.pool.labels import check_logits
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import PooledResult, pooled_loss
from imbalanced_torch import validation
from imbalanced_torch.validation import readable

Result: TypeAlias = tuple[Tensor, PooledResult]
Number: TypeAlias = float | Tensor


class RankingOptions(shared.RankingOptions, total=False):
    """Keywords of all ranking functions: those of `imbalanced_core.options.RankingOptions` and one specific to torch.

    Attributes:
        generator: random generator for `max_pool_size`. None: the global one.
    """

    generator: torch.Generator | None


def ranking_function(**defaults: Any) -> Callable[[shared.Function], shared.Function]:
    """Decorator that fills in omitted keywords of `RankingOptions`; `defaults` override the shared defaults."""
    return shared.with_options(RankingOptions, {**shared.RANKING_DEFAULTS, "generator": None, **defaults})


def init_queue(
    size: int,
    num_classes: int,
    *,
    multilabel: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Queue:
    """An empty queue of `size` slots for the ranking functions, which return the next queue in `aux.queue`.

    Args:
        size: number of rows of earlier batches to keep; 0 for none.
        num_classes: C, the number of logits of a row; 1 is binary.
        multilabel: whether targets are 0/1 per class instead of class ids.
        dtype: of the logits.
        device: of all tensors.

    Returns:
        Queue(logits [size, C], targets int32 [size] or [size, C], weights [size], is_iid bool [size]). The last row is
        the newest; the targets of empty slots are −1.
    """
    return queues.empty(size, num_classes, xp=xp, dtype=dtype, multilabel=multilabel, device=device)


def init_gate(num_classes: int, *, device: torch.device | str | None = None) -> Gate:
    """The initial gate of a gated loss, for the keyword `gate`: Gate(reached [num_classes])."""
    return opened(num_classes, xp=xp, device=device)


@ranking_function(temperature=0.01)
def smooth_ap_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, **options: Unpack[RankingOptions]
) -> Result:
    """One minus the smooth average precision of the batch and a queue: the loss of `imbalanced_torch.SmoothAPLoss`.

    Args:
        logits: floating point [N, C]; C = 1 is binary.
        targets: class ids [N] or [N, 1], 0 or 1 for one class, or with `multilabel` 0/1 per class, [N, C].
        queue: rows of earlier batches, from `init_queue` or the previous step's `aux.queue`; they carry no gradient.
            None: only the batch.
        **options: see `RankingOptions`.

    Returns:
        (loss, aux), for `torch.func.grad(..., has_aux=True)`. The loss is 0-d, or [C] for reduction "none", within
        [0, 1] per class; 0 with zero gradient if no class counts. aux = (queue, per_class, valid, diagnostics, gate):
        the next queue; the loss [C] of each class, NaN where invalid; which classes are valid, bool [C]; a dict of
        diagnostics [C], without gradient, with only those that this loss computes; and the next gate, of a gated loss.

    Raises:
        TypeError, ValueError: on invalid dtypes, shapes or options, or if a readable target or weight is out of range;
            an invalid value that cannot be read, as under `vmap`, makes the loss NaN.
    """
    return ranking_loss(ranking.average_precision, logits, targets, queue, options)


@ranking_function(temperature=0.01)
def recall_at_quantile_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    quantile: float = 0.005,
    quantile_interpolation: str = "higher",
    **options: Unpack[RankingOptions],
) -> Result:
    """One minus the smooth recall of the top `quantile`: the loss of `imbalanced_torch.RecallAtQuantileLoss`.

    Arguments and results as for `smooth_ap_loss`, other options as for the class.
    """
    own: dict[str, Any] = {"quantile": quantile, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(ranking.recall, logits, targets, queue, options, **own)


@ranking_function()
def auc_loss(logits: Tensor, targets: Tensor, queue: Queue | None = None, **options: Unpack[RankingOptions]) -> Result:
    """One minus the smooth ROC AUC: the loss of `imbalanced_torch.AUCLoss`; arguments as for `smooth_ap_loss`."""
    return ranking_loss(ranking.pairs_in_order, logits, targets, queue, options)


@ranking_function()
def recall_at_k_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.RecallAtKLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(recall_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_k_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, k: int, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.PrecisionAtKLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(precision_above, logits, targets, queue, options, k=k)


@ranking_function()
def precision_at_recall_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, recall: float, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.PrecisionAtRecallLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(precision_above, logits, targets, queue, options, recall=recall)


@ranking_function()
def recall_at_precision_loss(
    logits: Tensor, targets: Tensor, queue: Queue | None = None, *, precision: float, **options: Unpack[RankingOptions]
) -> Result:
    """The loss of `imbalanced_torch.RecallAtPrecisionLoss`; arguments and results as for `smooth_ap_loss`."""
    return ranking_loss(recall_above, logits, targets, queue, options, precision=precision)


@ranking_function(temperature_scale=None)
def pauc_at_budget_loss(
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None = None,
    *,
    alpha: float = 0.0,
    beta: float = 0.005,
    surrogate: str = "pairwise",
    n_knots: int = 2,
    tau_scale: str = "iqr",
    budget_basis: str = "fpr",
    quantile_interpolation: str = "higher",
    min_tpr: float = 0.0,
    **options: Unpack[RankingOptions],
) -> Result:
    """The loss of `imbalanced_torch.PAUCAtBudgetLoss`, with surrogate="pairwise"; the rest as for `smooth_ap_loss`."""
    own: dict[str, Any] = {"alpha": alpha, "beta": beta, "surrogate": surrogate, "n_knots": n_knots, "min_tpr": min_tpr}
    own |= {"tau_scale": tau_scale, "budget_basis": budget_basis, "quantile_interpolation": quantile_interpolation}
    return ranking_loss(band_auc, logits, targets, queue, options, iid_aware=True, **own)


def ranking_loss(
    objective: Callable[..., tuple],
    logits: Tensor,
    targets: Tensor,
    queue: Queue | None,
    options: RankingOptions,
    *,
    iid_aware: bool = False,
    **own: Any,
) -> Result:
    """One step of a ranking function: `options` are complete, `own` are further options of the objective."""
    of_objective, rest = shared.split(options)
    generator, gate, temperature = (rest.pop(name) for name in ("generator", "gate", "temperature"))
    checks.positive("temperature", validation.number(temperature))
    rows = {"logits": logits, "targets": targets} | {name: rest.pop(name) for name in ("sample_weight", "iid_mask")}
    validation.check_tensors(**rows)
    shared.check_options(rest)
    check_logits(logits)
    labels = {name: rest[name] for name in ("ignore_index", "multilabel")}
    checks.batch(readable(targets), readable(rows["sample_weight"]), num_classes=logits.shape[1], **labels)
    if queue is None:
        queue = init_queue(0, logits.shape[1], multilabel=rest["multilabel"], device=logits.device)
    if not isinstance(queue, Queue):
        raise TypeError(f"queue must be a Queue, from init_queue or aux.queue, or None, got {type(queue).__name__}")
    pool, size, noise = logits.shape[0] + queue.logits.shape[0], rest["max_pool_size"], None
    if size is not None:
        checks.at_least("max_pool_size", size, 1)
        if pool > size:
            noise = torch.rand(pool, generator=generator, device=logits.device)
    if (message := too_few(own.get("k"), pool)) and not torch.compiler.is_compiling():
        warnings.warn(message, stacklevel=4)
    check_gate(gate, logits.shape[1])
    objective = with_gate(partial(objective, **of_objective, **own), gate, temperature=temperature)
    rest |= {"noise": noise, "iid_aware": iid_aware, "live_aware": gate is not None}
    with without_autocast(logits.device.type):
        loss, aux = pooled_loss(objective, queue=queue, **rows, **rest)
    gate = aux.gate if gate is None or rest["update_queue"] else gate
    # `torch.func` rejects None in an aux
    return loss, ops.replaced(aux, gate=gate, diagnostics=ops.present(aux.diagnostics))

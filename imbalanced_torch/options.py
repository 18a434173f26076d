"""Keywords shared by the ranking modules: their meaning, types and defaults."""

from collections.abc import Callable
from typing import Any, TypedDict

import torch

from imbalanced_core.options import RANKING_DEFAULTS, Function, with_options


class RankingOptions(TypedDict, total=False):
    """Keywords that all ranking modules share.

    Attributes:
        temperature_scale: unit of the temperature: "absolute" is 1; "iqr" or "std" of the class's negatives make the
            sharpness independent of the scale of the logits. For partial AUC it replaces `tau_scale`.
        margin: >= 0, in units of τ: a positive must exceed a negative, or a threshold, by this margin.
        multilabel: whether targets are 0/1 per class, [N, C], instead of class ids.
        gated: whether to blend in a contrastive cross entropy of the batch, as `recommended` does: for smooth AP with
            a constant weight, otherwise where the ranking fails; see `imbalanced_core.losses.gated`.
        persistent_queue: whether `state_dict()` holds the queue. Loading a state without a queue starts with an empty
            one in either case.
        process_group: the processes to gather from. None: all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".
        generator: random generator for `max_pool_size`, seeded equally on every rank. `torch.compile` cannot trace it,
            and `state_dict()` does not hold it: to resume with the same draws, save `generator.get_state()` and restore
            it with `set_state`. None: a hash of the step number, the same in every run, which resumes automatically.
        class_parallel: for many classes: each rank computes C/W of them from the rows of all ranks, which takes W times
            less memory, work and forward traffic than gathering all logits; same value and gradient. The queue of a
            rank holds its own classes only, so save and load `state_dict()` on every rank, or `reset_queue()` after
            loading; do not let DDP broadcast these buffers (`forward_sync_buffers=False`, before PyTorch 2.13
            `broadcast_buffers=False`; or keep the loss outside of the wrapped model). A rank that does not gather, as
            in validation, ranks its batch without the queue.
    """

    temperature_scale: str | None
    margin: float
    multilabel: bool
    gated: bool
    persistent_queue: bool
    process_group: Any
    grad_reduction: str
    generator: torch.Generator | None
    class_parallel: bool


class CommonOptions(RankingOptions, total=False):
    """`RankingOptions`, plus options that some losses list in their signatures.

    Attributes:
        reduction: "mean" or "sum" over the classes that count, or "none": one loss per class, NaN where it does not.
        ignore_index: target value of ignored rows (with `multilabel`: of ignored labels).
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        gather_distributed: whether the rows of all processes are ranked together: None in training mode when there are
            several, True always, False never.
        max_pool_size: rank a random subset of at most this many rows, rare classes first. Expected counts remain those
            of all rows. None (recommended): all.
        pos_numerator: whether the mean runs over all positives ("pool") or those of the batch ("live"). With "live" no
            gradient of similar size lowers the negatives: with a queue, the ranking degrades in long runs.
    """

    reduction: str
    ignore_index: int
    update_queue_in_eval: bool
    gather_distributed: bool | None
    max_pool_size: int | None
    pos_numerator: str


_SHARED = {name: value for name, value in RANKING_DEFAULTS.items() if name in CommonOptions.__annotations__}
DEFAULTS: dict[str, Any] = _SHARED | {
    "update_queue_in_eval": False,
    "gather_distributed": None,
    "gated": False,
    "persistent_queue": True,
    "process_group": None,
    "grad_reduction": "mean",
    "generator": None,
    "class_parallel": False,
}


def ranking_module(kinds: type = CommonOptions, **defaults: Any) -> Callable[[Function], Function]:
    """Decorator that fills in the keywords of `kinds` that a constructor call omits; `defaults` override `DEFAULTS`."""
    given = {name: value for name, value in {**DEFAULTS, **defaults}.items() if name in kinds.__annotations__}
    return with_options(kinds, given)

"""The keywords that the ranking modules share: their meaning, types and defaults, once."""

from collections.abc import Callable
from typing import Any, TypedDict

import torch

from imbalanced_core.options import Function, with_options


class RankingOptions(TypedDict, total=False):
    """Keywords that all ranking modules share.

    Attributes:
        temperature_scale: the unit of the temperature: "absolute" is 1; "iqr" or "std" of the class's negatives make
            the sharpness independent of the scale of the logits. For partial AUC it replaces `tau_scale`.
        margin: >= 0, in units of τ: a positive ranks above a negative, or a threshold, only by that margin.
        multilabel: targets are 0/1 per class, [N, C], instead of class ids.
        gated: whether the loss is blended with a weighted cross entropy of the batch, which comes in
            where the ranking does not succeed, as `recommended` sets it; see `imbalanced_core.losses.gated`.
        positive_rate: of a gated loss, the share of positives to expect in a batch, in (0, 1). None: as seen.
        persistent_queue: whether `state_dict()` holds the queue. Loading a state without a queue starts with an empty
            one in either case.
        process_group: the processes to gather from. None: all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2) or "sum".
        generator: source of the randomness of `max_pool_size`, seeded alike on every rank; `torch.compile` cannot trace
            one, and `state_dict()` does not hold it: save `generator.get_state()` beside it, and restore it with
            `set_state`, to resume with the same draws. None: a hash of the number of the step, the same in every run,
            which resumes by itself.
        class_parallel: for many classes: each rank computes C/W of them from the rows of all ranks, which takes W times
            less memory, work and forward traffic than gathering all logits; same value and gradient. The queue of a
            rank holds its own classes only, so save and load `state_dict()` on every rank, or `reset_queue()` after
            loading; do not let DDP broadcast these buffers (`broadcast_buffers=False`, or keep the loss outside of the
            wrapped model). A rank that does not gather, as in validation, ranks its batch without the queue.
    """

    temperature_scale: str | None
    margin: float
    multilabel: bool
    gated: bool
    positive_rate: float | None
    persistent_queue: bool
    process_group: Any
    grad_reduction: str
    generator: torch.Generator | None
    class_parallel: bool


class CommonOptions(RankingOptions, total=False):
    """`RankingOptions`, and those that the losses of the first version spell out.

    Attributes:
        reduction: "mean" or "sum" over the classes that count, or "none": one loss per class, NaN where it does not.
        ignore_index: the target of rows (with `multilabel`: of single labels) that are ignored.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well.
        gather_distributed: whether the rows of all processes are ranked together: None in training mode when there are
            several, True always, False never.
        max_pool_size: rank a random part of the rows, of no more than this many, rare classes first. The expected
            counts stay those of all rows. None (recommended): all.
        pos_numerator: the mean runs over all positives ("pool") or over those of the batch ("live"). With "live"
            nothing of like size holds the negatives down: beside a queue the ranking suffers in long runs.
    """

    reduction: str
    ignore_index: int
    update_queue_in_eval: bool
    gather_distributed: bool | None
    max_pool_size: int | None
    pos_numerator: str


DEFAULTS: CommonOptions = {
    "temperature_scale": "absolute",
    "margin": 0.0,
    "reduction": "mean",
    "ignore_index": -100,
    "update_queue_in_eval": False,
    "gather_distributed": None,
    "max_pool_size": None,
    "pos_numerator": "pool",
    "multilabel": False,
    "gated": False,
    "positive_rate": None,
    "persistent_queue": True,
    "process_group": None,
    "grad_reduction": "mean",
    "generator": None,
    "class_parallel": False,
}


def ranking_module(kinds: type = CommonOptions, **defaults: Any) -> Callable[[Function], Function]:
    """Fills in the keywords of `kinds` that a call of a constructor leaves out; `defaults` go before `DEFAULTS`."""
    given = {name: value for name, value in {**DEFAULTS, **defaults}.items() if name in kinds.__annotations__}
    return lambda constructor: with_options(constructor, kinds, given)

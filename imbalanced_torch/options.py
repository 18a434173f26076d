"""The keywords that the ranking modules share."""

from typing import Any, TypedDict

import torch


class RankingOptions(TypedDict, total=False):
    """Keywords that all ranking modules share.

    Attributes:
        multilabel: targets are 0/1 per class, [N, C], instead of class ids. Default: False.
        gated: whether the loss is blended with a weighted cross entropy of the batch, from which the ranking takes over
            as it succeeds, as `recommended` sets it; see `imbalanced_core.losses.gated`. Default: False.
        positive_rate: of a gated loss, the share of positives in the population, in (0, 1). Default: None, as seen.
        persistent_queue: whether `state_dict()` holds the queue. Default: True. Loading a state without a queue starts
            with an empty one in either case.
        process_group: the processes to gather from. Default: None, all.
        grad_reduction: what the training framework does with gradients, "mean" (DDP, FSDP2; the default) or "sum".
        generator: source of the randomness of `max_pool_size`, seeded alike on every rank; `torch.compile` cannot trace
            one, and `state_dict()` does not hold it: save `generator.get_state()` beside it, and restore it with
            `set_state`, to resume with the same draws. Default: None, a hash of the number of the step, the same in
            every run, which resumes by itself.
        class_parallel: for many classes: each rank computes C/W of them from the rows of all ranks, which takes W times
            less memory, work and forward traffic than gathering all logits; same value and gradient. The queue of a
            rank holds its own classes only, so save and load `state_dict()` on every rank, or `reset_queue()` after
            loading; do not let DDP broadcast these buffers (`broadcast_buffers=False`, or keep the loss outside of the
            wrapped model). A rank that does not gather, as in validation, ranks its batch without the queue.
            Default: False.
    """

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
        reduction: "mean" (default) or "sum" over the classes that count, or "none": one loss per class, NaN where it
            does not.
        ignore_index: the target of rows (with `multilabel`: of single labels) that are ignored. Default: -100.
        update_queue_in_eval: whether rows enter the queue in `eval()` mode as well. Default: False.
        gather_distributed: None (default) gathers the rows of all processes in training mode, True always, False never.
        max_pool_size: rank a random part of the rows, of no more than this many. Default: None, all.
        pos_numerator: the mean runs over all positives ("pool", the default) or over those of the batch ("live").
    """

    reduction: str
    ignore_index: int
    update_queue_in_eval: bool
    gather_distributed: bool | None
    max_pool_size: int | None
    pos_numerator: str

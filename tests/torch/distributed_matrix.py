"""Every loss × reduction × split of the rows × queue: W processes against one process."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from distributed_worker import Batch, Ranks, check_against_one_process, splits
from losses import POINTWISE, RANKING, STEPS, Loss
from torch import Tensor

from imbalanced_torch import SmoothAPLoss, SoftmaxFocalLoss

Step = Callable[[Tensor, Batch], Tensor]
Case = Callable[[Ranks], None]


def cases(size: int) -> Iterator[tuple[str, Case]]:
    """Every loss on two ranks; the code they share (gathering and the steps after it) with the first loss only.

    More ranks only affect the shared code, so they run one pointwise loss of each kind and the first ranking loss.
    """
    pointwise = POINTWISE if size == 2 else {case.kind: case for case in POINTWISE}.values()
    for case in pointwise:
        for reduction in case.reductions:
            yield f"{case.name} {reduction}", _pointwise(case, reduction)
    for case in RANKING if size == 2 else RANKING[:1]:
        yield case.name, _ranking(case)
    for case in STEPS if size == 2 else STEPS[:1]:
        yield f"{case.name}, class-parallel", _ranking(case, classes=7, class_parallel=True)
        yield f"{case.name}, gated", _ranking(case, gated=True)
    first = RANKING[0]
    for reduction in ("sum", "none"):
        for class_parallel in (False, True):
            name = f"{reduction}{', class-parallel' * class_parallel}"
            yield name, _ranking(first, reduction=reduction, class_parallel=class_parallel)
    for classes in (1, 3):
        yield f"class-parallel, {classes} classes", _ranking(first, classes=classes, class_parallel=True)
    yield "no queue", _ranking(first, queue_size=0)
    yield "binary", _ranking(first, classes=1)
    yield "multilabel", _ranking(first, multilabel=True)
    yield "multilabel, class-parallel", _ranking(first, multilabel=True, class_parallel=True)
    yield "max_pool_size", _ranking(first, max_pool_size=12)
    yield "half of a local BCE, half ranking", _blend
    yield "grad_reduction sum", _sum_of_gradients


def _pointwise(loss: Loss, reduction: str) -> Case:
    def make_step(weighted: bool, group: object) -> Step:
        loss_fn = loss.in_torch(reduction=reduction, process_group=group, gather_distributed=None if group else False)
        return lambda logits, batch: loss_fn(
            logits, batch.targets, sample_weight=batch.sample_weight if weighted else None
        )

    def case(ranks: Ranks) -> None:
        for rows in splits(ranks.size):
            for weighted in (False, True):
                check_against_one_process(
                    ranks,
                    lambda is_distributed, weighted=weighted: make_step(
                        weighted, ranks.group if is_distributed else None
                    ),
                    rows,
                    3,
                    multilabel=loss.has_label_of_each,
                    what=f"{loss.name} weighted={weighted}",
                )

    return case


def _ranking(
    loss: Loss,
    *,
    reduction: str = "mean",
    queue_size: int = 20,
    classes: int = 3,
    multilabel: bool = False,
    class_parallel: bool = False,
    max_pool_size: int | None = None,
    gated: bool = False,
) -> Case:
    def make_step(group: object) -> Step:
        loss_fn = loss.in_torch(
            classes,
            reduction=reduction,
            queue_size=queue_size,
            multilabel=multilabel,
            gated=gated,
            process_group=group,
            gather_distributed=None if group else False,
            max_pool_size=max_pool_size,
            class_parallel=class_parallel and group is not None,
        ).double()
        loss_fn._has_warned = True  # about max_pool_size
        return lambda logits, batch: loss_fn(logits, batch.targets, batch.iid_mask, sample_weight=batch.sample_weight)

    def case(ranks: Ranks) -> None:
        for rows in splits(ranks.size):
            check_against_one_process(
                ranks,
                lambda is_distributed: make_step(ranks.group if is_distributed else None),
                rows,
                classes,
                steps=5 if queue_size else 1,
                multilabel=multilabel,
                what=loss.name,
            )

    return case


def _blend(ranks: Ranks) -> None:
    """A loss of local rows needs plain averaging, a gathered one its own scale; their sum must get both right."""

    def bce(logits: Tensor, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, (batch.targets == 1).double()[:, None])

    for rows in splits(ranks.size):
        if 0 in rows:
            continue  # the mean of no rows is NaN

        def make_step(is_distributed: bool, rows: tuple[int, ...] = rows) -> Step:
            loss_fn = SmoothAPLoss(1, queue_size=20, temperature=0.3, process_group=ranks.group).double()
            if is_distributed:
                step: Step = lambda logits, batch: 0.5 * bce(logits, batch) + 0.5 * loss_fn(logits, batch.targets)  # noqa: E731
                return lambda logits, batch: _averaged(step(logits, batch), ranks)
            loss_fn.gather_distributed = False

            def reference(logits: Tensor, batch: Batch) -> Tensor:
                parts = zip(logits.split(rows), (batch.part(rows, r) for r in range(ranks.size)), strict=True)
                local = sum(bce(part, part_batch) for part, part_batch in parts) / ranks.size
                return 0.5 * local + 0.5 * loss_fn(logits, batch.targets)

            return reference

        check_against_one_process(ranks, make_step, rows, 1, steps=5, what="blend")


def _averaged(loss: Tensor, ranks: Ranks) -> Tensor:
    """The mean over the ranks, as would be logged for a loss that differs by rank, with this rank's gradient."""
    mean = loss.detach().clone()
    torch.distributed.all_reduce(mean, group=ranks.group)
    return loss + (mean / ranks.size - loss.detach())


def _sum_of_gradients(ranks: Ranks) -> None:
    for make in (
        lambda **kw: SmoothAPLoss(3, temperature=0.3, **kw).double(),
        lambda **kw: SmoothAPLoss(3, temperature=0.3, class_parallel=True, **kw).double(),
        lambda **kw: SoftmaxFocalLoss(**kw),
    ):

        def make_step(is_distributed: bool, make: Callable = make) -> Step:
            gather = None if is_distributed else False
            loss_fn = make(process_group=ranks.group, grad_reduction="sum", gather_distributed=gather)
            return lambda logits, batch: loss_fn(logits, batch.targets)

        for rows in splits(ranks.size):
            check_against_one_process(ranks, make_step, rows, 3, reduction="sum", what="grad_reduction='sum'")

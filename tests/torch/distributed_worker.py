"""One of the processes that `test_distributed_torch.py` starts once for all of its tests.

Run as `python distributed_worker.py RANK WORLD_SIZE FOLDER`: runs every case and writes `FOLDER/RANK.json`, which maps
the name of each case to the traceback of its failure, or null.
"""

import datetime
import json
import os
import pathlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

TOLERANCE = 1e-12
SPLITS = {  # rows of each rank, by the number of ranks
    "equal": {2: (4, 4), 3: (4, 4, 4), 4: (4, 4, 4, 4)},
    "unequal": {2: (3, 7), 3: (5, 1, 4), 4: (2, 6, 1, 5)},
    "one empty": {2: (0, 9), 3: (4, 0, 6), 4: (5, 3, 0, 4)},
}


class Ranks(NamedTuple):
    """The first `size` ranks, as seen by one of them."""

    rank: int
    size: int
    group: dist.ProcessGroup


class Batch(NamedTuple):
    """Input rows of a linear model, with the targets, weights and mask that the losses take."""

    features: Tensor  # [N, 5]
    targets: Tensor
    sample_weight: Tensor  # [N]
    iid_mask: Tensor  # bool [N]

    def part(self, rows: tuple[int, ...], rank: int) -> "Batch":
        start = sum(rows[:rank])
        return Batch(*(array[start : start + rows[rank]] for array in self))


def make_batch(n: int, classes: int, seed: int, *, multilabel: bool = False, ignore: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (n, classes) if multilabel else (n,)
    targets = torch.randint(0, 2 if multilabel else max(classes, 2), shape, generator=generator)
    if ignore:
        targets[torch.rand(shape, generator=generator) < 0.1] = -100
    features = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, generator=generator, dtype=torch.float64)
    return Batch(features, targets, weights, torch.rand(n, generator=generator) < 0.8)


def make_parameters(classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(99)
    return torch.randn(5, classes, generator=generator, dtype=torch.float64).requires_grad_()


def value_and_grad(step: Callable[[Tensor, Batch], Tensor], batch: Batch, classes: int) -> tuple[Tensor, Tensor]:
    """The loss of one process, and its gradient with respect to the parameters of a linear model."""
    parameters = make_parameters(classes)
    loss = step(batch.features @ parameters, batch)
    loss.nansum().backward()
    return loss.detach(), parameters.grad


def check_against_one_process(
    ranks: Ranks,
    make_step: Callable[[bool], Callable[[Tensor, Batch], Tensor]],
    rows: tuple[int, ...],
    classes: int,
    *,
    steps: int = 1,
    multilabel: bool = False,
    reduction: str = "mean",
    what: str = "",
) -> None:
    """The value on every rank and the gradient after the usual reduction equal those of one process with all rows.

    `make_step(is_distributed)` returns a step with a new loss: `step(logits, batch) -> loss`.
    """
    step, reference = make_step(True), make_step(False)
    largest = torch.zeros(())
    for number in range(steps):
        batch = make_batch(sum(rows), classes, seed=number, multilabel=multilabel)
        loss, grad = value_and_grad(step, batch.part(rows, ranks.rank), classes)
        dist.all_reduce(grad, group=ranks.group)
        if reduction == "mean":
            grad /= ranks.size
        expected_loss, expected_grad = value_and_grad(reference, batch, classes)
        where = f"{what}, rows {rows}, step {number}"
        torch.testing.assert_close(
            loss,
            expected_loss,
            rtol=TOLERANCE,
            atol=TOLERANCE,
            equal_nan=True,
            msg=lambda m, w=where: f"{w}: value {m}",
        )
        torch.testing.assert_close(
            grad, expected_grad, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda m, w=where: f"{w}: gradient {m}"
        )
        largest = max(largest, expected_grad.abs().max())
    assert largest > 1e-6, f"{what}, rows {rows}: all gradients are 0, so nothing was tested"


def splits(size: int) -> Iterator[tuple[int, ...]]:
    for rows in SPLITS.values():
        yield rows[size]


def agree_on_error(ranks: Ranks, call: Callable[[], object]) -> str:
    """The message of the ValueError that `call` raises on every rank."""
    try:
        call()
    except ValueError as error:
        message = str(error)
    else:
        message = "no error"
    messages: list[str] = [""] * ranks.size
    dist.all_gather_object(messages, message, group=ranks.group)
    assert "no error" not in messages, messages
    return message


def main(rank: int, world_size: int, folder: pathlib.Path) -> None:
    import distributed_cases
    import distributed_matrix

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message=".*should not be instantiated.*", category=DeprecationWarning)
    torch.set_num_threads(1)
    before = distributed_cases.before_initialisation()
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=world_size,
        timeout=datetime.timedelta(seconds=40),
    )
    groups = {size: dist.new_group(list(range(size))) for size in (1, 2, 3, 4)}
    results: dict[str, str | None] = {}

    def run(name: str, case: Callable[[], object]) -> None:
        try:
            case()
            results[name] = None
        except Exception:
            results[name] = traceback.format_exc()
        # rewritten after every case, so that a hang does not lose the other results
        (folder / f"{rank}.json").write_text(json.dumps(results))

    for size in (2, 3, 4):
        if rank < size:
            ranks = Ranks(rank, size, groups[size])
            for name, case in distributed_matrix.cases(size):
                run(f"{name}, {size} ranks", lambda case=case, ranks=ranks: case(ranks))
    everyone = Ranks(rank, world_size, dist.group.WORLD)
    for name, case in distributed_cases.cases(before, groups).items():
        run(name, lambda case=case: case(everyone))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.modules["distributed_worker"] = sys.modules["__main__"]
    main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))

"""Smooth-AP over several processes with DistributedDataParallel: the model that one process would have trained.

    torchrun --nproc_per_node=4 examples/train_ddp.py
    torchrun --nproc_per_node=4 examples/train_ddp.py --steps 200 --classes 100 --class-parallel

Every process draws its own share of each batch, of a different size; the losses need no change for that. The last lines
show how far the parameters are from those of one process with all rows, and what each form of the loss sends.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from imbalanced_torch import LossWarmupWrapper, SmoothAPLoss, SoftmaxFocalLoss
from imbalanced_torch.distributed import check_queues_equal

FEATURES = 16


def make_batch(step: int, rows: int, classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features and class ids, the last class the most frequent; the same on every process."""
    generator = torch.Generator().manual_seed(step)
    ids = (torch.rand(rows, generator=generator) ** 0.3 * classes).long()
    centers = torch.randn(classes, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = centers[ids] + torch.randn(rows, FEATURES, generator=generator, dtype=torch.float64)
    return features.to(device), ids.to(device)


def share_of(rank: int, processes: int, rows: int) -> slice:
    """The rows of one process: the first gets fewer than the last, and none if there are few."""
    edges = [rows * k * (k + 1) // (processes * (processes + 1)) for k in range(processes + 1)]
    return slice(edges[rank], edges[rank + 1])


def make_loss(arguments: argparse.Namespace, device: torch.device, **options: object) -> LossWarmupWrapper:
    ranking = SmoothAPLoss(arguments.classes, queue_size=arguments.queue, **options)
    loss = LossWarmupWrapper(
        SoftmaxFocalLoss(gather_distributed=options.get("gather_distributed")),
        ranking,
        warmup_steps=arguments.steps // 4,
        blend_steps=arguments.steps // 4,
        temp_start=0.5,
        temp_end=0.1,
        temp_decay_steps=arguments.steps,
    )
    return loss.double().to(device)


def train(
    model: nn.Module, loss_fn: LossWarmupWrapper, batches: Callable[[int], tuple[Tensor, Tensor]], steps: int
) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(steps):
        loss_fn.on_train_batch_start(step)
        features, ids = batches(step)
        loss = loss_fn(model(features), ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@contextmanager
def count_received() -> Iterator[dict[str, int]]:
    """Counts the bytes that this process receives in the collectives of the `with` block."""
    received = {"bytes": 0}
    names = [
        name for name in ("all_gather_single", "all_gather_into_tensor", "all_to_all_single") if hasattr(dist, name)
    ]
    originals = {name: getattr(dist, name) for name in names}

    def counting(original: Callable) -> Callable:
        def call(output: Tensor, *rest: object, **options: object) -> object:
            others = dist.get_world_size() - 1
            received["bytes"] += output.numel() * output.element_size() * others // (others + 1)
            return original(output, *rest, **options)

        return call

    for name, original in originals.items():
        setattr(dist, name, counting(original))
    try:
        yield received
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)


def print_traffic(device: torch.device, rows: int = 256) -> None:
    """Prints the bytes that one process receives in a step of `rows` float32 rows per process, forward and backward."""
    if dist.get_rank() == 0:
        print(f"\nkilobytes received per process and step, {rows} rows per process, {dist.get_world_size()} processes")
        print(f"{'classes':>8} {'gathered':>10} {'class-parallel: forward':>24} {'backward':>10} {'logits held':>20}")
    for classes in (1, 10, 1000):
        counts = []
        for class_parallel in (False, True):
            loss_fn = SmoothAPLoss(classes, queue_size=0, class_parallel=class_parallel).to(device)
            logits = torch.randn(rows, classes, device=device, requires_grad=True)
            with count_received() as received:
                loss = loss_fn(logits, torch.arange(rows, device=device) % max(classes, 2))
                forward = received["bytes"]
                loss.backward()
            counts.append((forward, received["bytes"] - forward))
        if dist.get_rank() == 0:
            (gathered, _), (forward, backward) = counts
            processes = dist.get_world_size()
            held = f"{processes * rows}x{classes} | x{-(-classes // processes)}"
            print(f"{classes:8} {gathered / 1e3:10.1f} {forward / 1e3:24.1f} {backward / 1e3:10.1f} {held:>20}")


def compare(arguments: argparse.Namespace, device: torch.device) -> float:
    """Trains on all processes and on one; returns the largest difference of a parameter."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    share = share_of(rank, processes, arguments.rows)

    def whole_batch(step: int) -> tuple[Tensor, Tensor]:
        return make_batch(step, arguments.rows, arguments.classes, device)

    def own_batch(step: int) -> tuple[Tensor, Tensor]:
        features, ids = whole_batch(step)
        return features[share], ids[share]

    def make_model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(FEATURES, arguments.classes, dtype=torch.float64).to(device)

    # The usual loop; the losses detect the other processes automatically.
    model = DistributedDataParallel(make_model())
    loss_fn = make_loss(arguments, device, class_parallel=arguments.class_parallel)
    loss = train(model, loss_fn, own_batch, arguments.steps)
    check_queues_equal(loss_fn)

    alone = make_model()
    expected = train(alone, make_loss(arguments, device, gather_distributed=False), whole_batch, arguments.steps)
    pairs = zip(model.module.parameters(), alone.parameters(), strict=True)
    distance = max(float((a - b).detach().abs().max()) for a, b in pairs)
    if rank == 0:
        sizes = [len(range(*share_of(r, processes, arguments.rows).indices(arguments.rows))) for r in range(processes)]
        print(f"{processes} processes ({dist.get_backend()}) with {sizes} rows, {arguments.steps} steps")
        print(f"loss {loss:.12f}, of one process {expected:.12f}")
        print(f"largest difference of a parameter: {distance:.1e}")
    return distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rows", type=int, default=96, help="rows of the global batch")
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--queue", type=int, default=256)
    parser.add_argument("--class-parallel", action="store_true", help="divide the classes among the processes")
    arguments = parser.parse_args()

    on_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    distance = compare(arguments, device)
    if dist.get_world_size() > 1:
        print_traffic(device)
    dist.barrier()
    dist.destroy_process_group()
    if distance > 1e-9:
        raise SystemExit("the processes did not train the model of one")


if __name__ == "__main__":
    main()

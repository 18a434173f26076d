"""Distributed cases other than the matrix of losses."""

import copy
import datetime
import warnings
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from distributed_worker import Batch, Ranks, agree_on_error, make_batch, value_and_grad
from reference import QUEUE_IGNORED
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from imbalanced_core.losses.gated import Gate
from imbalanced_torch import _collectives, distributed
from imbalanced_torch.hard_examples import HardNegativeLoss
from imbalanced_torch.pointwise import SigmoidFocalLoss, SoftmaxFocalLoss, SymmetricCrossEntropyLoss
from imbalanced_torch.ranking import RecallAtQuantileLoss, SmoothAPLoss

ROWS = (3, 0, 5, 2)
Case = Callable[[Ranks], None]


def ranking_loss(**options: object) -> RecallAtQuantileLoss:
    return RecallAtQuantileLoss(3, quantile=0.3, temperature=0.5, queue_size=12, **options).double()


def before_initialisation() -> SimpleNamespace:
    """Losses used, and compiled, before the process group exists."""
    x = torch.ones(2, 3, dtype=torch.float64)
    eager, compiled = SigmoidFocalLoss(), SigmoidFocalLoss()
    compiled = torch.compile(compiled, fullgraph=True, backend="eager")
    ranking = ranking_loss()
    values = [loss_fn(x, torch.ones_like(x)) for loss_fn in (eager, compiled)]
    assert values[0] == values[1]
    assert ranking(x, torch.tensor([0, 1])) >= 0
    by_class = ranking_loss(class_parallel=True)
    assert by_class(x, torch.tensor([0, 1])) == ranking_loss()(x, torch.tensor([0, 1]))
    for call in (
        lambda: distributed.all_gather_with_grad(x),
        lambda: distributed.all_gather_no_grad(x),
        lambda: ranking_loss(gather_distributed=True)(x, torch.tensor([0, 1])),
        lambda: SigmoidFocalLoss(gather_distributed=True)(x, x),
        lambda: distributed.check_queues_equal(ranking),
    ):
        with pytest.raises(RuntimeError, match="must be initialized"):
            call()
    return SimpleNamespace(eager=eager, compiled=compiled, ranking=ranking, by_class=by_class)


def cases(before: SimpleNamespace, groups: dict[int, dist.ProcessGroup]) -> dict[str, Case]:
    return {
        "a later init_process_group is noticed": lambda ranks: later_initialisation(ranks, before),
        "all_gather_with_grad": lambda ranks: public_gathers(ranks, groups),
        "disagreements": disagreements,
        "bad values on one rank": bad_values,
        "bad calls of pointwise losses on one rank": bad_pointwise_calls,
        "failures of many ranks": failures_of_many_ranks,
        "means per rank of equal rows": equal_rows,
        "a loss that a rank skips": skipped,
        "tensors that are sharded already": sharded_tensors,
        "a rank that fails before it mines negatives": failure_before_mining,
        "validation on rank 0 alone": validation_alone,
        "gathering in eval when asked": gather_in_eval,
        "queues are equal": queues_equal,
        "class-parallel state": class_parallel_state,
        "class-parallel alone": class_parallel_alone,
        "class-parallel bad rows": class_parallel_bad_rows,
        "class-parallel diagnostics": class_parallel_diagnostics,
        "NaN logits on one rank": nan_on_one_rank,
        "DDP": ddp,
        "DDP, gradient accumulation": lambda ranks: ddp(ranks, accumulate=True),
        "FSDP2": fsdp2,
        "torch.compile": compiled,
        "bytes": bytes_moved,
    }


def rows_of(batch: Batch, ranks: Ranks) -> Batch:
    return batch.part(ROWS, ranks.rank)


def later_initialisation(ranks: Ranks, before: SimpleNamespace) -> None:
    x = torch.full((2, 3), float(ranks.rank), dtype=torch.float64)
    y = torch.ones_like(x)
    expected = SigmoidFocalLoss(gather_distributed=False)(torch.arange(4.0, dtype=torch.float64), torch.ones(4))
    for loss_fn in (before.eager, before.compiled):
        torch.testing.assert_close(loss_fn(x, y), expected.to(torch.float64))
    before.ranking(x, torch.tensor([0, 1]))
    assert (before.ranking.queue_targets >= 0).sum() == 10  # 2 before, 8 now
    before.by_class(x, torch.tensor([0, 1]))
    assert before.by_class.queue_logits.shape == (12, 1)
    distributed.check_queues_equal(before.ranking)


def public_gathers(ranks: Ranks, groups: dict[int, dist.ProcessGroup]) -> None:
    full = torch.arange(20.0).reshape(10, 2)
    start = sum(ROWS[: ranks.rank])
    own = full[start : start + ROWS[ranks.rank]].clone().requires_grad_()
    gathered = distributed.all_gather_with_grad(own)
    assert torch.equal(gathered, full)
    assert gathered.requires_grad
    (gathered * full).sum().backward()
    assert torch.equal(own.grad, own.detach())  # the rank's own slice, unscaled
    constant = distributed.all_gather_no_grad(own)
    assert torch.equal(constant, full)
    assert not constant.requires_grad
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float64):
        array = torch.ones(ranks.rank, dtype=dtype)
        assert torch.equal(distributed.all_gather_no_grad(array), torch.ones(6, dtype=dtype))
    nobody = distributed.all_gather_no_grad(torch.ones(0, 3))
    assert nobody.shape == (0, 3)
    strided = torch.arange(6.0).reshape(2, 3).T[: ranks.rank]
    assert distributed.all_gather_no_grad(strided).shape == (6, 2)
    if ranks.rank == 0:
        assert distributed.all_gather_with_grad(own, process_group=groups[1]) is own
        alone = distributed.all_gather_no_grad(own, process_group=groups[1])
        assert torch.equal(alone, own)
        assert not alone.requires_grad


def disagreements(ranks: Ranks) -> None:
    is_odd_one = ranks.rank == 2
    batch = rows_of(make_batch(10, 3, 0), ranks)
    logits = batch.features[:, :3]

    def call(
        loss_fn: nn.Module, logits: Tensor = logits, targets: Tensor = batch.targets, **options: Tensor
    ) -> Callable:
        return lambda: loss_fn(logits, targets, **options)

    for class_parallel in (False, True):
        loss_fn = ranking_loss(class_parallel=class_parallel)
        weights = {"sample_weight": batch.sample_weight} if is_odd_one else {}
        message = agree_on_error(ranks, call(loss_fn, **weights))
        assert message == (
            "sample_weight.dtype must be the same on every rank, got None on ranks 0, 1, 3; torch.float64 on rank 2"
        )
        mask = {"iid_mask": batch.iid_mask} if is_odd_one else {}
        assert "iid_mask.dtype must be the same" in agree_on_error(ranks, call(loss_fn, **mask))
        narrow = logits.float() if is_odd_one else logits
        assert "logits.dtype must be the same on every rank" in agree_on_error(ranks, call(loss_fn, narrow))
        other = loss_fn
        if is_odd_one:
            other = RecallAtQuantileLoss(2, queue_size=12, class_parallel=class_parallel).double()
        message = agree_on_error(ranks, call(other, logits[:, : other.num_classes], batch.targets.clamp(max=1)))
        assert message == "logits.shape[1] must be the same on every rank, got 3 on ranks 0, 1, 3; 2 on rank 2"
        other = copy.deepcopy(loss_fn)
        other.queue_size = 12 + is_odd_one
        assert "queue_size must be the same" in agree_on_error(ranks, call(other))
        assert (loss_fn.queue_targets == QUEUE_IGNORED).all()  # the failed calls left the state unchanged
    for name, value in (("temperature", 0.7), ("reduction", "sum")):
        other = ranking_loss()
        if is_odd_one:
            setattr(other, name, value)
        message = agree_on_error(ranks, call(other))
        assert message.startswith("loss must be the same on every rank, got RecallAtQuantileLoss(gated=False")
        assert f"{name}={value!r}" in message
    seeded = ranking_loss(max_pool_size=5, generator=torch.Generator().manual_seed(ranks.rank))
    assert "initial_seed" in agree_on_error(ranks, call(seeded))
    by_class = ranking_loss(class_parallel=True)
    message = agree_on_error(ranks, call(by_class, logits.clone().requires_grad_(is_odd_one)))
    assert "requires_grad must be the same on every rank" in message


def bad_values(ranks: Ranks) -> None:
    batch = rows_of(make_batch(10, 3, 0), ranks)
    logits, targets = batch.features[:, :3], batch.targets.clone()
    if ranks.rank == 2:
        targets[0] = 7
    assert "got 7" in agree_on_error(ranks, lambda: ranking_loss()(logits, targets))
    message = agree_on_error(ranks, lambda: ranking_loss(class_parallel=True)(logits, targets))
    assert ("got 7" if ranks.rank == 2 else "got an error on rank 2") in message
    short = targets[1:] if ranks.rank == 2 else targets
    message = agree_on_error(ranks, lambda: ranking_loss()(logits, short))
    assert ("targets must be of 5 rows" if ranks.rank == 2 else "got an error on rank 2") in message
    for class_parallel in (False, True):
        squeezed = logits[0] if ranks.rank == 2 else logits  # as by a model that squeezes a batch of one row
        message = agree_on_error(ranks, lambda x=squeezed, c=class_parallel: ranking_loss(class_parallel=c)(x, targets))
        assert ("got (3,)" if ranks.rank == 2 else "got an error on rank 2") in message


def bad_pointwise_calls(ranks: Ranks) -> None:
    """No error on one rank makes another wait, at the cost of one more number in the all-reduce."""
    batch = rows_of(make_batch(10, 3, 0, ignore=False), ranks)
    x, y, w = batch.features[:, :3], batch.targets, batch.sample_weight
    for loss_fn in (SoftmaxFocalLoss(), SymmetricCrossEntropyLoss(reduction="sum"), SigmoidFocalLoss()):
        good = (x, (x > 0).double(), w) if isinstance(loss_fn, SigmoidFocalLoss) else (x, y, w)

        def call(x: Tensor, y: Tensor, w: Tensor, loss_fn: nn.Module = loss_fn) -> Tensor:
            try:
                return loss_fn(x, y, sample_weight=w)
            except TypeError as error:
                raise ValueError(f"TypeError: {error}") from error

        x_, y_, w_ = good
        bad_calls = {
            "got 7": (x_, y_ * 0 + 7, w_),
            "targets must be of": (x_, y_[1:], w_),
            "sample_weight must be of shape": (x_, y_, w_[1:]),
            "sample_weight must be finite and >= 0, got -1": (x_, y_, 0 * w_ - 1),
            "TypeError: inputs must be a floating-point array": (x_.long(), y_, w_),
            "TypeError: targets must be a torch.Tensor, got None": (x_, None, w_),
        }
        for culprits in ((2,), (0, 2)):  # ranks that hold rows
            others = (
                f"inputs must be valid on every rank, got an error on {_collectives.say_list(culprits)}; it says which"
            )
            for message, bad in bad_calls.items():
                arguments = bad if ranks.rank in culprits else good
                got = agree_on_error(ranks, lambda arguments=arguments: call(*arguments))
                assert message in got if ranks.rank in culprits else got == others, got
        values = distributed.all_gather_no_grad(call(*good)[None])
        assert values.isfinite().all()
        assert (values == values[0]).all()
        with distributed_traffic() as traffic:
            call(*good)
        assert traffic.received == (2 + ranks.size) * 8 * (ranks.size - 1) // ranks.size
        loss_fn.eval()  # nothing is exchanged, so the other ranks do not notice
        if ranks.rank == 2:
            with pytest.raises(ValueError, match="got 7"):
                loss_fn(x_, y_ * 0 + 7)


def equal_rows(ranks: Ranks) -> None:
    """The average of local means, which DDP computes; the loss itself uses no collective."""
    batch = make_batch(4 * ranks.size, 3, 0, ignore=False)
    own = batch.part((4,) * ranks.size, ranks.rank)
    loss_fn = SoftmaxFocalLoss(gather_distributed=False)
    with distributed_traffic() as traffic:
        _, grad = value_and_grad(lambda logits, b: loss_fn(logits, b.targets), own, 3)
    assert traffic.received == 0
    dist.all_reduce(grad)
    _, expected = value_and_grad(lambda logits, b: loss_fn(logits, b.targets), batch, 3)
    torch.testing.assert_close(grad / ranks.size, expected, rtol=1e-12, atol=1e-12)


def skipped(ranks: Ranks) -> None:
    """The ranks that wait for it get an explanation when the group times out."""
    for kind in (SoftmaxFocalLoss, ranking_loss):
        group = dist.new_group(list(range(ranks.size)), timeout=datetime.timedelta(seconds=2))
        if ranks.rank != 2:
            with pytest.raises(RuntimeError, match="must be called by every rank in every step"):
                kind(process_group=group)(torch.zeros(2, 3), torch.tensor([0, 1]))
        dist.barrier()


def sharded_tensors(ranks: Ranks) -> None:
    mesh = init_device_mesh("cpu", (ranks.size,))
    x, y = torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64)
    sharded = distribute_tensor(x, mesh, [Shard(0)])
    for kind in (ranking_loss, SoftmaxFocalLoss):
        with pytest.raises(TypeError, match=r"must be an ordinary tensor, got a DTensor; call \w+\.full_tensor\(\)"):
            kind()(sharded, y)
        with pytest.raises(TypeError, match=r"process_group must be a .*: mesh\.get_group\(\)\), got DeviceMesh"):
            kind(process_group=mesh)
        assert kind(process_group=mesh.get_group())(sharded.full_tensor(), y) == kind()(x, y)


def failure_before_mining(ranks: Ranks) -> None:
    """Before or after mining, no rank waits forever, and the next step works."""
    loss_fn, x = HardNegativeLoss(process_group=ranks.group), torch.zeros(4, 3)
    is_bad = ranks.rank == 1
    agree_on_error(ranks, lambda: loss_fn(x, x + 5 * is_bad))
    agree_on_error(ranks, lambda: loss_fn(x, x, sample_weight=torch.full((4,), -1.0 if is_bad else 1.0)))
    assert loss_fn(x, x) > 0


def failures_of_many_ranks(ranks: Ranks) -> None:
    """The error names each rank that failed."""

    def fail() -> tuple[Tensor, None]:
        raise ValueError(f"rank {ranks.rank}")

    total = torch.ones(())
    options = {"device": total.device, "process_group": None, "grad_reduction": "mean", "is_weighted": False}
    assert distributed.global_ratio(lambda: (total, None), **options) == ranks.size
    bad = ranks.rank in (1, 2, 3)
    message = agree_on_error(ranks, lambda: distributed.global_ratio(fail if bad else lambda: (total, None), **options))
    assert message == (f"rank {ranks.rank}" if bad else message)
    assert bad or "got an error on ranks 1, 2, 3; " in message
    bad = ranks.rank == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed.validation, "can_read", lambda _: False)  # as on an accelerator: no read, no error
        if bad:
            with pytest.raises(ValueError, match="rank 3"):
                distributed.global_ratio(fail, **options)
        else:
            assert distributed.global_ratio(lambda: (total, None), **options).isnan()


def validation_alone(ranks: Ranks) -> None:
    if ranks.rank == 0:
        batch = make_batch(6, 3, 0)
        logits = batch.features[:, :3]
        for loss_fn in (ranking_loss(), ranking_loss(class_parallel=True), SoftmaxFocalLoss()):
            value = loss_fn.eval()(logits, batch.targets)
            loss_fn.gather_distributed = False
            assert value == loss_fn(logits, batch.targets)
            loss_fn.gather_distributed = None
            with torch.no_grad():  # a loss that was not switched to eval()
                assert value == loss_fn.train()(logits, batch.targets)
            assert not hasattr(loss_fn, "queue") or (loss_fn.queue_targets == QUEUE_IGNORED).all()
    dist.barrier()


def gather_in_eval(ranks: Ranks) -> None:
    batch = make_batch(10, 3, 0)
    own = rows_of(batch, ranks)
    for loss_fn in (
        ranking_loss(gather_distributed=True),
        ranking_loss(gather_distributed=True, class_parallel=True),
        SoftmaxFocalLoss(gather_distributed=True),
    ):
        alone = copy.deepcopy(loss_fn)
        alone.gather_distributed, alone.class_parallel = False, False
        value = loss_fn.eval()(own.features[:, :3], own.targets)
        if isinstance(loss_fn, RecallAtQuantileLoss):
            alone = ranking_loss(gather_distributed=False)
            assert (loss_fn.queue_targets == QUEUE_IGNORED).all()
        torch.testing.assert_close(value, alone.eval()(batch.features[:, :3], batch.targets))


def queues_equal(ranks: Ranks) -> None:
    for generator in (torch.Generator().manual_seed(0), None):
        model = nn.ModuleDict({"loss": ranking_loss(max_pool_size=9, generator=generator)})
        model.loss._has_warned = True
        values = []
        for number in range(3):
            own = rows_of(make_batch(10, 3, number), ranks)
            values.append(model.loss(own.features[:, :3], own.targets))
            if ranks.rank == 0:  # validation on one rank draws from nothing that the ranks share
                with torch.no_grad():
                    model.loss(own.features[:, :3], own.targets)
        everyones = distributed.all_gather_no_grad(torch.stack(values)[None])
        assert (everyones == everyones[0]).all()  # the same rows were drawn everywhere
        distributed.check_queues_equal(model)
    if ranks.rank == 1:
        model.loss.gather_distributed = False
        model.loss(torch.ones(1, 3, dtype=torch.float64), torch.tensor([0]))
    message = agree_on_error(ranks, lambda: distributed.check_queues_equal(model))
    assert message == "loss.queue_logits must be equal on every rank, got another value on rank 1"
    model.loss.reset_queue()
    assert "loss._draws" in agree_on_error(ranks, lambda: distributed.check_queues_equal(model))
    model.loss.reset_parameters()
    model.loss.temperature = 0.1 * (1 + ranks.rank)
    assert "loss._temperature" in agree_on_error(ranks, lambda: distributed.check_queues_equal(model))
    gated = ranking_loss(gated=True)
    gated.gate = Gate(torch.full((3,), 0.5 + 0.1 * ranks.rank))
    assert "gate_reached" in agree_on_error(ranks, lambda: distributed.check_queues_equal(gated))
    message = agree_on_error(ranks, lambda: distributed.check_queues_equal(nn.Linear(1, 1)))
    assert message == "module must be a module that holds a ranking loss, got 'Linear'"


def class_parallel_state(ranks: Ranks) -> None:
    def train(loss_fn: nn.Module, number: int) -> Tensor:
        own = rows_of(make_batch(10, 3, number), ranks)
        return loss_fn(own.features[:, :3], own.targets)

    loss_fn, gathering = ranking_loss(class_parallel=True), ranking_loss()
    for number in range(2):
        torch.testing.assert_close(train(loss_fn, number), train(gathering, number))
    distributed.check_queues_equal(loss_fn)
    own_state = copy.deepcopy(loss_fn.state_dict())
    states: list[dict] = [{} for _ in range(ranks.size)]
    dist.all_gather_object(states, own_state)
    resumed = ranking_loss(class_parallel=True)
    resumed.load_state_dict(own_state)
    expected = train(gathering, 2)
    torch.testing.assert_close(train(resumed, 2), expected)
    resumed = ranking_loss(class_parallel=True)
    resumed.load_state_dict(states[0])
    message = agree_on_error(ranks, lambda: train(resumed, 2))
    assert message == (
        "queue_is_of_own_classes (if 0, call reset_queue() on every rank) must be the same on every rank, "
        "got 1 on rank 0; 0 on ranks 1, 2, 3"
    )
    resumed.reset_queue()
    torch.testing.assert_close(train(resumed, 2), train(ranking_loss(), 2))


def class_parallel_alone(ranks: Ranks) -> None:
    """Validation between training steps does not change the queue of the block."""
    loss_fn, gathering = ranking_loss(class_parallel=True), ranking_loss()
    for number in range(3):
        own = rows_of(make_batch(10, 3, number), ranks)
        logits = own.features[:, :3]
        torch.testing.assert_close(loss_fn(logits, own.targets), gathering(logits, own.targets))
        loss_fn.eval()
        loss_fn.update_queue_in_eval = number == 1
        expected = RecallAtQuantileLoss(3, quantile=0.3, temperature=0.5, queue_size=0, gather_distributed=False)
        torch.testing.assert_close(loss_fn(logits, own.targets), expected.double()(logits, own.targets))
        loss_fn.train()


def class_parallel_bad_rows(ranks: Ranks) -> None:
    """A row with a NaN in one class is kept out of the queues of all classes, as with gathered rows."""
    loss_fn, gathering = ranking_loss(class_parallel=True), ranking_loss()
    for number in range(3):
        own = rows_of(make_batch(10, 3, number), ranks)
        logits = own.features[:, :3].clone()
        if number == 0 and ranks.rank == 2:
            logits[1, 2] = torch.nan
        for loss in (loss_fn(logits, own.targets), gathering(logits, own.targets)):
            assert loss.isnan() == (number == 0)
    kept = (gathering.queue_targets >= 0).sum()
    assert kept == (loss_fn.queue_targets[:, 0] >= 0).sum() or ranks.rank == 3  # rank 3 owns no class
    torch.testing.assert_close(loss_fn(logits, own.targets), gathering(logits, own.targets))


def class_parallel_diagnostics(ranks: Ranks) -> None:
    loss_fn, gathering = ranking_loss(class_parallel=True), ranking_loss()
    own = rows_of(make_batch(10, 3, 0), ranks)
    options = {"return_per_class": True, "return_diagnostics": True}
    results = [fn(own.features[:, :3], own.targets, **options) for fn in (loss_fn, gathering)]
    torch.testing.assert_close(results[0], results[1], equal_nan=True)
    assert results[0][-1]["grad_pos_count"].sum() == (own.targets >= 0).sum()


def nan_on_one_rank(ranks: Ranks) -> None:
    own = rows_of(make_batch(10, 3, 0, ignore=False), ranks)
    logits = own.features[:, :3].clone()
    if ranks.rank == 2:
        logits[0] = torch.nan
    for loss_fn in (ranking_loss(), ranking_loss(class_parallel=True), SoftmaxFocalLoss()):
        assert loss_fn(logits, own.targets).isnan()


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def _train(model: nn.Module, loss_fn: nn.Module, batch: Callable[[int], Batch], *, accumulate: bool) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for number in range(4):
        is_last = not accumulate or number % 2 == 1
        model.require_backward_grad_sync = is_last  # what DDP.no_sync() sets
        data = batch(number)
        loss = loss_fn(model(data.features), data.targets)
        (loss / 2 if accumulate else loss).backward()
        if is_last:
            optimizer.step()
            optimizer.zero_grad()
    return model


def _check_training(ranks: Ranks, wrap: Callable[[nn.Module], nn.Module], *, accumulate: bool = False) -> None:
    for make in (
        lambda **kw: ranking_loss(**kw),
        lambda **kw: ranking_loss(class_parallel=True, **kw),
        lambda **kw: SoftmaxFocalLoss(**kw),
    ):
        trained = _train(
            wrap(_model()), make(), lambda number: rows_of(make_batch(10, 3, number), ranks), accumulate=accumulate
        )
        expected = _train(
            _model(), make(gather_distributed=False), lambda number: make_batch(10, 3, number), accumulate=accumulate
        )
        for value, parameter in zip(trained.parameters(), expected.parameters(), strict=True):
            full = value.full_tensor() if hasattr(value, "full_tensor") else value
            torch.testing.assert_close(full, parameter, rtol=1e-12, atol=1e-12)


def ddp(ranks: Ranks, accumulate: bool = False) -> None:
    _check_training(ranks, DistributedDataParallel, accumulate=accumulate)


def fsdp2(ranks: Ranks) -> None:
    from torch.distributed.fsdp import fully_shard

    def wrap(model: nn.Module) -> nn.Module:
        for layer in model:
            if isinstance(layer, nn.Linear):
                fully_shard(layer)
        return fully_shard(model)

    _check_training(ranks, wrap)


def compiled(ranks: Ranks) -> None:
    """Pointwise losses are one graph, including the collective; ranking losses break where rows are exchanged.

    Compiling is slow, so each half of the ranks tests one part, as a group of two processes.
    """
    halves = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    half = Ranks(ranks.rank % 2, 2, halves[ranks.rank // 2])
    own = make_batch(10, 3, 0).part((7, 3), half.rank)
    # the tracer reads the `grad` of its inputs, which are not leaves here
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")

    def losses(make: Callable[..., nn.Module], **options: object) -> list[tuple[Tensor, Tensor]]:
        eager = make(process_group=half.group)
        fast = torch.compile(make(process_group=half.group), **options)
        steps = [lambda logits, batch, fn=fn: fn(logits, batch.targets) for fn in (eager, fast)]
        return [value_and_grad(step, own, 3) for step in steps]

    by_class = ranks.rank >= 2
    for backend in () if by_class else ("eager", "aot_eager"):
        expected, got = losses(SoftmaxFocalLoss, fullgraph=True, backend=backend)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.compiler.reset()
    expected, got = losses(partial(ranking_loss, class_parallel=by_class), backend="eager")
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.compiler.reset()
    if by_class:
        loss_fn = torch.compile(ranking_loss(process_group=half.group), fullgraph=True, backend="eager")
        with pytest.raises(torch._dynamo.exc.Unsupported, match="the number of rows on other ranks is data"):
            loss_fn(own.features[:, :3], own.targets)


def bytes_moved(ranks: Ranks) -> None:
    """With many classes, each rank receives fewer bytes if the classes are divided; counts what collectives receive."""
    received = {}
    for classes in (1, 200):
        for class_parallel in (False, True):
            loss_fn = SmoothAPLoss(classes, queue_size=0, class_parallel=class_parallel)
            logits = torch.randn(8, classes, requires_grad=True)
            with distributed_traffic() as traffic:
                loss_fn(logits, torch.arange(8) % 2).backward()
            received[classes, class_parallel] = traffic.received
    payload = 3 * 8 * 200 * 4
    assert payload < received[200, False] < 1.2 * payload
    assert received[200, True] < 0.8 * received[200, False]
    assert 0.4 * payload < received[200, True]  # half of it, forward and backward: the count includes the all-to-all


class distributed_traffic:  # noqa: N801
    """Counts the bytes that this rank receives from others in the collectives of a `with` block."""

    def __enter__(self) -> "distributed_traffic":
        self.received = 0
        self._originals = {name: getattr(dist, name) for name in ("all_to_all_single", "all_reduce")}
        gather_name = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
        self._originals[gather_name] = getattr(dist, gather_name)
        for name, original in self._originals.items():
            setattr(dist, name, self._counting(original))
        return self

    def _counting(self, original: Callable) -> Callable:
        def call(output: Tensor, *args: object, **options: object) -> object:
            size = output.numel() * output.element_size()
            self.received += size * (dist.get_world_size() - 1) // dist.get_world_size()
            return original(output, *args, **options)

        return call

    def __exit__(self, *_: object) -> None:
        for name, original in self._originals.items():
            setattr(dist, name, original)

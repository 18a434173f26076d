"""The balanced batch sampler: shares, processes, epochs, resuming, and the loaders that use it."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from imbalanced_torch.samplers import BalancedBatchSampler

LABELS = np.arange(103) % 20  # five or six rows in each of 20 classes
ADDED = {3: 2, 7: 4}


def sampler(batch_size=16, **options):
    return BalancedBatchSampler(LABELS, batch_size, ADDED, **options)


def chi_square(observed, expected):
    return ((observed - expected) ** 2 / expected).sum()


def test_a_batch_is_uniform_rows_then_positives():
    balanced = sampler()
    batches = list(balanced)
    assert len(batches) == len(balanced) == 11  # 10 uniform rows each
    assert balanced.iid_mask.tolist() == [True] * 10 + [False] * 6
    for batch in batches:
        assert len(batch) == 16
        assert (LABELS[batch[10:]] == [3, 3, 7, 7, 7, 7]).all()
    uniform = [row for batch in batches for row in batch[:10]]
    assert sorted(uniform[:103]) == list(range(103))  # every row once, then rows repeat
    assert set(uniform[103:]) <= set(range(103))
    assert len(list(sampler(drop_last=True))) == 10


def test_shares_are_right():
    balanced = sampler()
    counts, first = np.zeros(103), np.zeros(103)
    for _ in range(400):
        batches = list(balanced)
        for batch in batches:
            np.add.at(counts, batch[10:], 1)
        np.add.at(first, batches[0][:10], 1)
    seven = LABELS == 7
    assert counts[~seven & (LABELS != 3)].sum() == 0
    # draws without replacement scatter less than a multinomial, so the usual bound at 1e-6 is safe
    assert chi_square(counts[seven], 400 * 11 * 4 / seven.sum()) < 40
    assert chi_square(first, 400 * 10 / 103) < 102 + 5 * np.sqrt(2 * 102)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_processes_together_draw_as_one(world_size, drop_last):
    ranks = [list(sampler(drop_last=drop_last, rank=r, world_size=world_size)) for r in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    together = [batch for step in zip(*ranks, strict=True) for batch in step]
    alone = list(sampler(drop_last=drop_last))
    shared = min(len(alone), len(together))
    assert shared >= 9
    assert together[:shared] == alone[:shared]
    # the same rows per step as one process with the batches of all processes combined
    large = BalancedBatchSampler(
        LABELS, 16 * world_size, {c: n * world_size for c, n in ADDED.items()}, drop_last=drop_last
    )
    assert len(large) == len(ranks[0])
    for step, batch in zip(zip(*ranks, strict=True), large, strict=True):
        assert sorted(np.concatenate(step)) == sorted(batch)


def test_passes_differ_and_repeat():
    one, other = sampler(), sampler()
    passes = [list(one) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    other.set_epoch(2)
    assert list(other) == passes[2]
    other.set_epoch(0)
    assert list(other) == passes[0]
    assert list(sampler(seed=1)) != passes[0]
    next(iter(other))  # a pass that is stopped early counts as a pass
    assert list(other) == passes[2]


@pytest.mark.parametrize("at", [0, 4, 11])
def test_resumes_to_the_bit(at):
    whole, first = sampler(seed=5), sampler(seed=5)
    whole.set_epoch(3)
    first.set_epoch(3)
    expected, after = list(whole), list(whole)
    iterator = iter(first)
    begun = [next(iterator) for _ in range(at)]
    second = sampler()
    second.load_state_dict(first.state_dict() if at else first.state_dict(batches=0))
    second.set_epoch(3)  # as trainers do at the start of a resumed epoch
    assert begun + list(second) == expected
    assert list(second) == after


@pytest.mark.parametrize("sets_epoch", [False, True])
def test_the_state_after_an_epoch_is_the_start_of_the_next(sets_epoch):
    labels = np.arange(100) % 10 == 0
    first, resumed = (BalancedBatchSampler(labels, 20, {1: 4}) for _ in range(2))
    list(first)
    resumed.load_state_dict(first.state_dict())
    for epoch in (1, 2):
        if sets_epoch:
            resumed.set_epoch(epoch)
        assert list(resumed) == list(first)


STATE = sampler().state_dict()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"state must be a BalancedBatchSampler's, with 'seed', 'epoch', 'batches_of_all', got \{\}"),
        ({"seed": 0, "epoch": 0}, "state must be a BalancedBatchSampler's"),
        (None, "state must be a BalancedBatchSampler's"),
        (STATE | {"epoch": -1}, r"state\['epoch'\] must be an integer >= 0, got -1"),
        (STATE | {"batch_size": 32}, r"batch_size must be that of the state, 32 \(.*set_epoch\), got 16"),
        (STATE | {"added": {"3": 2}}, r"added must be that of the state, \{3: 2\} .*, got \{3: 2, 7: 4\}"),
        (STATE | {"rows": 4}, r"the number of rows in labels must be that of the state, 4 .*, got 103"),
    ],
)
def test_a_bad_state_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        sampler().load_state_dict(state)


def test_a_state_by_way_of_json_and_one_of_an_earlier_version_are_loaded():
    first, second, third = sampler(), sampler(), sampler()
    next(iter(first))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    third.load_state_dict({"seed": 0, "epoch": 0, "batches_of_all": 1})
    assert list(second) == list(third) == list(sampler())[1:]


def test_more_batches_than_the_epoch_has_are_refused():
    balanced = sampler(rank=0, world_size=2)
    assert len(balanced) == 6
    state = balanced.state_dict(batches=4)
    with pytest.raises(ValueError, match="batches must be at most those of this epoch, 6, got 7"):
        balanced.state_dict(batches=7)
    balanced.load_state_dict(state)
    assert len(balanced) == 6  # of a whole epoch
    assert balanced.state_dict(batches=2)["batches_of_all"] == 12
    with pytest.raises(ValueError, match="this epoch, 2, got 3"):
        balanced.state_dict(batches=3)


def test_state_of_a_loader():
    balanced = sampler()
    loader = DataLoader(TensorDataset(torch.arange(103)), batch_sampler=balanced)
    seen = [batch for _, (batch,) in zip(range(4), loader, strict=False)]
    assert seen[3].tolist() == list(sampler())[3]
    of_options = {"batch_size": 16, "added": ADDED, "rows": 103}
    assert balanced.state_dict() == {"seed": 0, "epoch": 0, "batches_of_all": 4, **of_options}
    assert balanced.state_dict(batches=2)["batches_of_all"] == 2


@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_continues_on_another_number_of_processes(drop_last):
    """With the batches that no process has used, equally many each."""
    whole = list(sampler(drop_last=drop_last))
    two = [sampler(rank=rank, world_size=2, drop_last=drop_last) for rank in range(2)]
    begun = [batch for _, *step in zip(range(2), *two, strict=False) for batch in step]
    assert begun == whole[:4]
    three = [sampler(rank=rank, world_size=3, drop_last=drop_last) for rank in range(3)]
    for part in three:
        part.load_state_dict(two[0].state_dict(batches=2))
    rest = [batch for step in zip(*three, strict=True) for batch in step]
    shared = min(len(whole), 4 + len(rest))
    assert shared >= len(whole) - 2
    assert (begun + rest)[:shared] == whole[:shared]
    assert three[2].state_dict(batches=1)["batches_of_all"] == 7


def test_several_labels_and_tensors():
    labels = torch.zeros(50, 2, dtype=torch.int64)
    labels[[4, 9], 1] = 1
    batches = list(BalancedBatchSampler(labels, 12, {1: 2}))
    assert all(sorted(batch[-2:]) == [4, 9] for batch in batches)
    assert list(BalancedBatchSampler(LABELS[:, None], 16, ADDED)) == list(sampler())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 6}, "batch_size must be greater than all added, 6"),
        ({"added": {99: 1}}, "added must be classes that occur in labels, got 99"),
        ({"added": {3: 0}}, r"added\[3\] must be an integer >= 1"),
        ({"rank": 2, "world_size": 2}, r"rank must be an integer in \[0, 2\)"),
        ({"rank": 0.5, "world_size": 2}, r"rank must be an integer in \[0, 2\)"),
        ({"rank": 0, "world_size": 1.5}, "world_size must be an integer >= 1"),
        ({"rank": 2}, "rank must be given together"),
        ({"labels": np.zeros((0,))}, "labels must be of shape"),
        ({"seed": -1}, "seed must be"),
        ({"batch_size": 16.0}, r"batch_size must be an integer >= 1, got 16\.0"),
        ({"added": 3}, "added must be a mapping of classes to how many rows, got 3"),
        ({"added": {-2: 1}}, r"the classes of added must be integers in \[0, 2147483648\), got -2"),
        ({"labels": np.eye(3), "added": {-1: 1}}, r"the classes of added must be integers in \[0, 3\), got -1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BalancedBatchSampler(**({"labels": LABELS, "batch_size": 16, "added": ADDED} | options))


def test_accelerate_deals_out_the_same_batches():
    data_loader = pytest.importorskip("accelerate.data_loader")
    shards = [
        list(data_loader.BatchSamplerShard(sampler(rank=0, world_size=1, drop_last=True), 2, rank)) for rank in range(2)
    ]
    assert shards == [list(sampler(rank=r, world_size=2, drop_last=True)) for r in range(2)]


def test_lightning_sets_the_epoch():
    data = pytest.importorskip("lightning.fabric.utilities.data")
    balanced = sampler()
    data._set_sampler_epoch(DataLoader(TensorDataset(torch.arange(103)), batch_sampler=balanced), 4)
    assert balanced.epoch == 4


WORKER = """
    import itertools, torch
    import torch.distributed as dist
    from imbalanced_torch.samplers import BalancedBatchSampler
    labels, added = [0] * 40 + [1] * 3, {1: 2}
    balanced = BalancedBatchSampler(labels, 8, added)  # before the group is there
    dist.init_process_group("gloo")
    world, passes = dist.get_world_size(), 200

    def of_all(batches):
        rows = [torch.zeros(len(batches), 8, dtype=torch.int64) for _ in range(world)]
        dist.all_gather(rows, torch.tensor(batches))
        return torch.stack(rows, dim=1).flatten(0, 1)

    alone = torch.tensor(list(BalancedBatchSampler(labels, 8, added, rank=0, world_size=1)))
    together = of_all(list(balanced))
    shared = min(len(alone), len(together))
    assert shared >= 8 and torch.equal(together[:shared], alone[:shared]), together

    half, begun = BalancedBatchSampler(labels, 8, added), iter(balanced)
    next(begun)
    half.load_state_dict(balanced.state_dict())
    assert list(half) == list(begun)

    counts = sum(torch.bincount(of_all(list(balanced))[:, 6:].flatten(), minlength=43) for _ in range(passes))
    expected = passes * len(together) * 2 / 3
    assert counts[:40].sum() == 0 and ((counts[40:] - expected) ** 2 / expected).sum() < 28, counts
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("world_size", [2, 3])
def test_under_torchrun(world_size, tmp_path):
    """Each process finds its rank; together they draw as one, resume, and draw all positives equally often."""
    (tmp_path / "worker.py").write_text(textwrap.dedent(WORKER))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world_size}"]
    finished = subprocess.run([*command, "worker.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert finished.returncode == 0, finished.stderr

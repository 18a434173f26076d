"""Batch sampler that adds positives of rare classes to uniform rows and marks the uniform ones."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from imbalanced_core import checks


class BalancedBatchSampler(Sampler[list[int]]):
    """Batches of uniform rows followed by added positives of rare classes::

        sampler = BalancedBatchSampler(labels, batch_size=64, added={1: 8})
        for x, y in DataLoader(dataset, batch_sampler=sampler):
            loss = loss_fn(model(x), y, iid_mask=sampler.iid_mask)

    The first `batch_size − Σ added` rows of a batch come from a random permutation of all rows, as in an ordinary
    epoch; added[c] rows follow from a random permutation of the positives of each class c, redrawn whenever it is
    exhausted. `iid_mask` marks the first part, so that thresholds remain those of the population. All batches have the
    same size: the last one is filled up from a further permutation, or dropped with `drop_last`.

    Process r of W takes batches r, r + W, ... of an epoch: all processes get equally many, and together those of a
    single process. Each iteration after the first starts the next epoch, whether or not `set_epoch` is called.

    Args:
        labels: class ids [N] or [N, 1], or labels 0/1 per class [N, C], in the order of the data set.
        batch_size: rows per batch and process, including the added ones.
        added: maps a class to the number of its positives added to each batch.
        drop_last: whether to drop the rows that do not fill a batch for every process.
        seed: seed of the permutations; must be equal in all processes.
        rank, world_size: of this process, and the number of processes. None: those of `torch.distributed` if
            initialised, else 0 and 1. With Accelerate's `prepare`, which distributes the batches itself, pass 0 and 1.

    Attributes:
        iid_mask: bool [batch_size], True for the uniform rows.
        epoch: number of the current or next epoch.

    Raises:
        ValueError: if a class has no positive, no room is left for uniform rows, or an option is out of range.
    """

    def __init__(
        self,
        labels: Any,
        batch_size: int,
        added: Mapping[int, int],
        *,
        drop_last: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        labels, self._uniform = checks.balanced_batch(np.asarray(labels), added, "batch_size", batch_size)
        checks.require((rank is None) == (world_size is None), "rank", "given together with world_size", rank)
        checks.at_least("seed", seed, 0)
        self.batch_size, self.drop_last, self.seed = batch_size, drop_last, seed
        self._rows = len(labels)
        counts = {int(c): int(count) for c, count in added.items()}
        self._configuration = {"batch_size": int(batch_size), "added": counts, "rows": self._rows}
        self._added = {
            c: (count, np.flatnonzero(labels == c if labels.ndim == 1 else labels[:, c] == 1))
            for c, count in added.items()
        }
        for name, (_, positives) in self._added.items():
            checks.require(len(positives) > 0, "the classes of added", "classes that occur in labels", name)
        self._group = None if rank is None or world_size is None else (rank, world_size)
        if self._group is not None:
            checks.at_least("world_size", world_size, 1)
            checks.require(rank in range(self._group[1]), "rank", f"an integer in [0, {world_size})", rank)
        self.iid_mask = torch.arange(batch_size) < self._uniform
        self.set_epoch(0)

    @property
    def sampler(self) -> "BalancedBatchSampler":
        """This sampler, since Lightning and Accelerate look here for `set_epoch`."""
        return self

    def _rank_and_size(self) -> tuple[int, int]:
        # looked up lazily: the sampler may be created before `init_process_group`
        if self._group is None and torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return self._group or (0, 1)

    def __len__(self) -> int:
        """The number of batches per epoch, equal in every process; fewer follow once a state of mid-epoch is loaded."""
        rows = self._uniform * self._rank_and_size()[1]
        return self._rows // rows if self.drop_last else -(-self._rows // rows)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration, which begins at its start or where `load_state_dict` has put it."""
        checks.at_least("epoch", epoch, 0)
        if getattr(self, "epoch", None) != epoch or self._started:
            self.load_state_dict({"seed": self.seed, "epoch": epoch, "batches_of_all": 0})
        self._is_set = True

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """The state from which this epoch continues exactly, on any number of processes.

        `batches` is how many of this process's batches were used since the epoch began or was continued, at most those
        that it then had. None: those drawn, which is correct for a `DataLoader` without workers; workers prefetch.
        """
        of_all = self._drawn
        if batches is not None:
            checks.at_least("batches", batches, 0)
            size = self._rank_and_size()[1]
            left = self._left(self._first, size)
            checks.require(batches <= left, "batches", f"at most those of this epoch, {left}", batches)
            of_all = self._first + batches * size
        return {"seed": self.seed, "epoch": self.epoch, "batches_of_all": of_all, **self._configuration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next iteration continue the epoch of `state_dict`, or, if that has ended, start the next one.

        A ValueError if it is the state of other rows, or of a sampler with another `batch_size` or `added`.
        """
        names = ("seed", "epoch", "batches_of_all")
        is_state = isinstance(state, Mapping) and all(name in state for name in names)
        checks.require(is_state, "state", "a BalancedBatchSampler's, with " + ", ".join(map(repr, names)), state)
        for name in names:
            checks.at_least(f"state[{name!r}]", state[name], 0)
        for name, own in self._configuration.items():
            kept = state.get(name, own)  # states of earlier versions lack it
            if name == "added":
                kept = {int(c): count for c, count in kept.items()}  # JSON has only names as keys
            what = "the number of rows in labels" if name == "rows" else name
            checks.require(own == kept, what, f"that of the state, {kept} (to start an epoch, use set_epoch)", own)
        self.seed, self.epoch, self._first = state["seed"], state["epoch"], state["batches_of_all"]
        self._drawn, self._started, self._is_set = self._first, False, False

    def __iter__(self) -> Iterator[list[int]]:
        rank, size = self._rank_and_size()
        # a state from after the last batch starts the next epoch, unless a trainer has set its epoch once more
        if self._started or (self._drawn >= len(self) * size and not self._is_set):
            self.set_epoch(self.epoch + 1)
        self._started = True
        total = self._drawn + self._left(self._drawn, size) * size
        parts = [self._numbered(np.arange(self._rows), self._uniform, total, stream=0)]
        for c, (count, positives) in self._added.items():
            parts.append(self._numbered(positives, count, total, stream=1 + int(c)))
        for batch in np.concatenate(parts, axis=1)[self._drawn + rank :: size]:
            self._drawn += size
            yield batch.tolist()

    def _left(self, used: int, size: int) -> int:
        """How many batches of the epoch each of `size` processes has left, once all have used this many together."""
        return -(-max(len(self) * size - used, 0) // size)

    def _numbered(self, rows: np.ndarray, count: int, batches: int, *, stream: int) -> np.ndarray:
        """Entries of `rows` for each batch of the epoch, [batches, count], from successive permutations."""
        generator = np.random.default_rng([self.seed, self.epoch, stream])
        orders = [generator.permutation(rows) for _ in range(-(-batches * count // len(rows)))]
        return np.concatenate(orders or [rows])[: batches * count].reshape(batches, count)

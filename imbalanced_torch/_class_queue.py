"""The queue of a class-parallel module, of which each rank holds only the columns of its own classes."""

import array_api_compat.torch as xp
import torch
import torch.distributed as dist
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.pool import class_block, queue
from imbalanced_core.pool.queue import Queue
from imbalanced_torch import distributed

Block = tuple[int, int]  # first class, number of classes
_NO_BLOCK = (-1, -1)


class ClassQueue(distributed.GroupMember):
    """Base class for keeping a queue of one block of classes, which depends on rank and world size.

    `queue_block` in the `state_dict()` identifies the block in the buffers, so that a queue saved by one rank is not
    mistaken for that of another.
    """

    num_classes: int
    ignore_index: int
    queue_logits: Tensor
    queue_targets: Tensor
    queue_block: Tensor

    def _start_block_queue(self) -> None:
        self._held_block: Block | None = None  # None: the queue is empty, so it fits any block
        self.register_buffer("queue_block", torch.tensor(_NO_BLOCK))

    def _own_block(self, gather: bool) -> Block:
        """The block of classes that this rank computes: all classes unless it gathers."""
        if not gather:
            return (0, self.num_classes)
        width = class_block.block_width(self.num_classes, dist.get_world_size(self.process_group))
        return (dist.get_rank(self.process_group) * width, width)

    def _holds(self, block: Block) -> bool:
        return self._held_block in (None, block)

    def _queue_of(self, block: Block, *, start_anew: bool) -> Queue:
        """The queue of a block of classes; if another is held, an empty queue, which replaces it with `start_anew`."""
        held = Queue(*(self._buffers[f"queue_{name}"] for name in Queue._fields))
        if self._holds(block) and held.logits.shape[1] == block[1]:
            return held
        size = held.logits.shape[0] if start_anew else 0
        device, dtype = held.logits.device, held.logits.dtype
        new = queue.empty(size, block[1], xp=xp, dtype=dtype, multilabel=True, device=device)
        if start_anew:
            self._hold(None)
            self._buffers.update({f"queue_{name}": array for name, array in new._asdict().items()})
        return new

    def _check_block(self) -> None:
        """Raises a ValueError if another rank's queue is in the buffers, which DDP broadcasts before every forward."""
        found = tuple(self.queue_block.tolist())
        rule = "what this rank wrote: wrap the model with broadcast_buffers=False or keep the loss outside of it"
        checks.require(found == (self._held_block or _NO_BLOCK), "queue_block", rule, found)

    def _hold(self, block: Block | None) -> None:
        """Records which block the queue holds; None for an empty queue."""
        if block != self._held_block:
            self._held_block = block
            self.queue_block.copy_(torch.tensor(block or _NO_BLOCK))

    def _adopt_block(self, saved_logits: Tensor, saved_block: Tensor) -> None:
        """Resizes the buffers for a saved queue with any number of classes."""
        first, width = saved_block.tolist()
        self._held_block = None if first < 0 else (first, width)
        for name in ("queue_logits", "queue_targets"):
            old = getattr(self, name)
            self._buffers[name] = old.new_zeros(len(old), saved_logits.shape[1])

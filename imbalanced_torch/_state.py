"""State of the ranking modules: queue and temperature as buffers that survive moves, casts and checkpoints."""

from collections.abc import Callable
from typing import Any, ClassVar

import array_api_compat.torch as xp
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from imbalanced_core import checks
from imbalanced_core.losses.gated import Gate, check_gate, opened
from imbalanced_core.ops.on_torch.compiler import may_leave_compiler
from imbalanced_core.pairwise.counts import PAIRS_COMPILED_CPU
from imbalanced_core.pool import class_block, queue
from imbalanced_core.pool.queue import Queue
from imbalanced_core.pool.step import check_queue
from imbalanced_torch import distributed, validation
from imbalanced_torch._guards import Watch

Block = tuple[int, int]  # first class, number of classes
_NO_BLOCK = (-1, -1)
_QUEUE_BUFFERS = tuple(f"queue_{name}" for name in Queue._fields)
_GATE_BUFFERS = tuple(f"gate_{name}" for name in Gate._fields)
_MASK = 2**32 - 1
# Wellons' "lowbias32" integer hash. The second factor is 0x846CA68B − 2³²: congruent, and products fit int64.
_FACTORS = (0x7FEB352D, 0x846CA68B - 2**32)


class RankingState(distributed.GroupMember):
    """Base class that keeps the queue, temperature and number of random draws of a ranking module in buffers.

    With `class_parallel` the queue holds one block of classes, which depends on rank and world size. `queue_block` in
    the `state_dict()` identifies it, so that a queue saved by one rank is not mistaken for that of another.
    """

    num_classes: int
    ignore_index: int
    class_parallel: bool
    objective: ClassVar[Callable[..., tuple]]
    compares_pairs = False  # whether the loss compares pairs of rows
    gated: bool
    multilabel: bool
    queue_size: int
    queue_block: Tensor
    _temperature: Tensor
    _watch: Watch
    _draws: Tensor

    def _start_state(self, temperature: float, *, persistent: bool) -> None:
        checks.positive("temperature", validation.number(temperature))
        if self.class_parallel:
            self._held_block: Block | None = None  # None: the queue is empty, so it fits any block
            self.register_buffer("queue_block", torch.tensor(_NO_BLOCK), persistent=persistent)
        by_class = self.multilabel or self.class_parallel
        empty = queue.empty(self.queue_size, self.num_classes, xp=xp, multilabel=by_class)
        for name, buffer in zip(_QUEUE_BUFFERS, empty, strict=True):
            self.register_buffer(name, buffer, persistent=persistent)
        self._initial_temperature = float(temperature)
        # float64, so that it reads back as set; a tensor, because the compiler specializes on a Python number; 1-d,
        # because the compiler first lifts the value of a 0-d tensor to a graph input and then restarts without it
        self.register_buffer("_temperature", torch.tensor([self._initial_temperature], dtype=torch.float64))
        self.register_buffer("_draws", torch.zeros((), dtype=torch.int64))
        if self.gated:
            for name, buffer in zip(_GATE_BUFFERS, opened(self.num_classes, xp=xp), strict=True):
                self.register_buffer(name, buffer)

    @property
    def temperature(self) -> float:
        """The temperature τ of the next step; assign a number or a 0-d tensor. Reading it is a host sync."""
        return self._initial_temperature if self._temperature.is_meta else float(self._temperature)

    @temperature.setter
    def temperature(self, value: float | Tensor) -> None:
        checks.positive("temperature", validation.number(value))
        with torch.no_grad():
            self._temperature.copy_(value) if isinstance(value, Tensor) else self._temperature.fill_(value)

    @property
    def queue(self) -> Queue:
        """The buffers of the queue, newest row last; the targets of empty slots and ignored rows are −1.

        Assign the queue of another run, torch or JAX, to continue from it: a `Queue` of tensors, numpy or JAX arrays
        with the same classes; if it is longer than `queue_size`, the newest rows are kept. JAX continues from
        `imbalanced_jax.Queue(*(jnp.array(part.numpy(force=True)) for part in loss_fn.queue))`.
        """
        return Queue(*(self._buffers[name] for name in _QUEUE_BUFFERS))

    @queue.setter
    def queue(self, new: Queue) -> None:
        if not isinstance(new, Queue):
            rule = "a Queue, such as loss_fn.queue or aux.queue of JAX"
            raise TypeError(f"queue must be {rule}, got {type(new).__name__}")
        rule = "False to assign a queue; use load_state_dict()"
        checks.require(not self.class_parallel, "class_parallel", rule, True)
        parts = Queue(*map(_as_tensor, new))
        check_queue(parts, num_classes=self.num_classes, multilabel=self.multilabel)
        self.load_state_dict(dict(zip(_QUEUE_BUFFERS, parts, strict=True)), strict=False)

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
        held = self.queue
        if self._holds(block) and held.logits.shape[1] == block[1]:
            return held
        size = self.queue_size if start_anew else 0
        device, dtype = held.logits.device, held.logits.dtype
        new = queue.empty(size, block[1], xp=xp, dtype=dtype, multilabel=True, device=device)
        if start_anew:
            self._hold(None)
            self._buffers.update(zip(_QUEUE_BUFFERS, new, strict=True))
        return new

    def _check_block(self) -> None:
        """Raises a ValueError if another rank's queue is in the buffers, which DDP broadcasts before every forward."""
        found = tuple(self.queue_block.tolist())
        option = "forward_sync_buffers=False (before PyTorch 2.13, broadcast_buffers=False)"
        rule = f"what this rank wrote: wrap the model with {option} or keep the loss outside of it"
        checks.require(found == (self._held_block or _NO_BLOCK), "queue_block", rule, found)

    def _hold(self, block: Block | None) -> None:
        """Records which block the queue holds; None for an empty queue."""
        if block != self._held_block:
            self._held_block = block
            self.queue_block.copy_(torch.tensor(block or _NO_BLOCK))

    @property
    def gate(self) -> Gate:
        """The gate of a gated loss: what the ranking reaches, per class.

        Assign the gate of another run, torch or JAX, together with its queue, to continue from it.
        """
        return Gate(*(self._buffers[name] for name in _GATE_BUFFERS))

    @gate.setter
    def gate(self, new: Gate) -> None:
        checks.require(self.gated, "gated", "True to assign a gate", self.gated)
        check_gate(new, self.num_classes)
        self._store(self.queue, Gate(*map(_as_tensor, new)))

    def reset_queue(self) -> None:
        """Empties the queue."""
        if self.class_parallel:
            self._held_block = None
            self.queue_block.fill_(-1)  # unconditionally: memory from `to_empty` is uninitialised
        self._store(queue.emptied(self.queue))

    def _is_better_eager(self, logits: Tensor) -> bool:
        """Whether a step is faster without `torch.compile`: on the CPU, if it compares many pairs."""
        if not (self.compares_pairs and may_leave_compiler(logits)):
            return False
        return self.num_classes * (len(logits) + self.queue_size) ** 2 > PAIRS_COMPILED_CPU

    def reset(self) -> None:
        """Prepares for a new run: empties the queue and, for a gated loss, opens the gate."""
        self.reset_queue()
        self._watch.reset()
        if self.gated:
            self._store(self.queue, opened(self.num_classes, xp=xp))

    def reset_parameters(self) -> None:
        """Sets the initial state, for a module created on the meta device and moved by `to_empty`."""
        self.temperature = self._initial_temperature
        self._draws.zero_()
        self.reset()

    @torch.no_grad()
    def _store(self, new: Queue, gate: Gate | None = None) -> None:
        if self.queue_size > 0:
            for buffer, array in zip(self.queue, new, strict=True):
                buffer.copy_(array)
        if gate is not None:
            for buffer, array in zip(self.gate, gate, strict=True):
                buffer.copy_(array)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickles; the arguments of `torch.multiprocessing.spawn` share memory, where each rank would write."""
        super().__setstate__(state)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.is_cpu and buffer.is_shared():
                self._buffers[name] = buffer.clone()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RankingState":
        """Moves and casts, but keeps the temperature float64 (on MPS float32) and the queue at least float32."""
        names = ("queue_logits", "queue_weights", "_temperature", *(_GATE_BUFFERS if self.gated else ()))
        before = {name: self._buffers[name] for name in names}
        self._buffers["_temperature"] = self._temperature.float()  # some devices have no float64
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if new is None or old is None:
                continue
            source = new if old.is_meta else old  # `to_empty` gives memory to what is on the meta device
            if name == "_temperature" and new.device.type != "mps":
                self._buffers[name] = source.to(new.device, torch.float64)
            elif torch.finfo(new.dtype).bits < 32:
                self._buffers[name] = source.to(new.device, torch.promote_types(torch.float32, new.dtype))
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Adds the objective to the metadata: the gate and temperature of another one mean something else."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {})
        metadata.setdefault(prefix[:-1], {})["objective"] = type(self).objective.__name__

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Loads a queue of another size, keeping the newest rows; a missing queue or gate starts anew."""
        own = type(self).objective.__name__
        if (objective := local_metadata.get("objective", own)) != own:
            rule = f"of a loss of the objective {own}; to continue with the rows of another, assign loss_fn.queue"
            args[-1].append(f"the state must be {rule}, got {objective}")
        state_dict = dict(state_dict)
        for name, buffer in self._buffers.items():  # `assign=True` would keep half precision
            saved = state_dict.get(prefix + name)
            if buffer is not None and isinstance(saved, Tensor) and saved.is_floating_point():
                state_dict[prefix + name] = saved.to(torch.promote_types(saved.dtype, buffer.dtype))
        if self.class_parallel and prefix + "queue_block" in state_dict:
            width = state_dict[prefix + "queue_logits"].shape[1]
            for part in _QUEUE_BUFFERS[:2]:  # logits and targets, of any number of classes
                self._buffers[part] = getattr(self, part).new_zeros(self.queue_size, width)
            block = tuple(state_dict[prefix + "queue_block"].tolist())
            self._held_block = None if block == _NO_BLOCK else block
        if prefix + "_temperature" in state_dict:
            if prefix + "queue_logits" not in state_dict:
                self.reset_queue()
            if self.gated and prefix + _GATE_BUFFERS[0] not in state_dict:
                self._store(self.queue, opened(self.num_classes, xp=xp))
                state_dict |= {prefix + name: self._buffers[name] for name in _GATE_BUFFERS}
        for name, buffer in zip(_QUEUE_BUFFERS, self.queue, strict=True):
            saved = state_dict.pop(prefix + name, buffer)
            if saved.ndim == buffer.ndim and saved.shape[1:] == buffer.shape[1:]:
                if name == "queue_targets":  # the saved queue may mark empty slots and ignored rows differently
                    saved = saved.masked_fill((saved == self.ignore_index) | (saved < 0), -1)
                missing = max(0, self.queue_size - len(saved))
                padding = saved.new_full((missing, *saved.shape[1:]), -1 if name == "queue_targets" else 0)
                saved = torch.cat([padding, saved[len(saved) - min(len(saved), self.queue_size) :]])
            if name in self._non_persistent_buffers_set:
                buffer.copy_(saved)
            else:
                state_dict[prefix + name] = saved
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)


def _as_tensor(array: Any) -> Tensor:
    return array if isinstance(array, Tensor) else torch.tensor(np.asarray(array))


def uniform_noise(draw: Tensor, n: int) -> Tensor:
    """Float32 noise [n] in [0, 1): a hash of `draw` (int64, 0-d) and the position.

    Uses no generator, so it is equal on every rank and works in compiled code and CUDA graphs.
    """
    positions = torch.arange(n, device=draw.device)
    hashed = _hash(_hash(draw) ^ positions)
    return (hashed >> 8).to(torch.float32) * 2.0**-24


def _hash(x: Tensor) -> Tensor:
    """A pseudorandom bijection of the integers below 2³²."""
    x = ((x ^ (x >> 16)) * _FACTORS[0]) & _MASK
    x = ((x ^ (x >> 15)) * _FACTORS[1]) & _MASK
    return x ^ (x >> 16)

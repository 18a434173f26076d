"""Noise without a random generator: the same on every rank, and nothing that a compiler or a CUDA graph trips over."""

import torch
from torch import Tensor

_MASK = 2**32 - 1
# Wellons' "lowbias32" integer hash. The second factor is 0x846CA68B − 2³²: congruent, and products fit int64.
_FACTORS = (0x7FEB352D, 0x846CA68B - 2**32)


def uniform_noise(draw: Tensor, n: int) -> Tensor:
    """Float32 numbers [n] in [0, 1), a hash of the number `draw` (int64, 0-d) and of the position."""
    positions = torch.arange(n, device=draw.device)
    hashed = _hash(_hash(draw) ^ positions)
    return (hashed >> 8).to(torch.float32) * 2.0**-24


def _hash(x: Tensor) -> Tensor:
    """A bijection of the integers below 2³² that looks random."""
    x = ((x ^ (x >> 16)) * _FACTORS[0]) & _MASK
    x = ((x ^ (x >> 15)) * _FACTORS[1]) & _MASK
    return x ^ (x >> 16)

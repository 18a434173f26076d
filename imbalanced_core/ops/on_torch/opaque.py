"""The soft counts of long rows on the CPU, as operators that `torch.compile` calls but does not look into.

A compiled program has to hold for any data, so it computes all counts; eager mode looks at the numbers and leaves out
what nobody asks for, which is faster where rows are long, and takes no minutes to compile. Short rows are compiled
whole: there the calls of eager mode would take most of the time.
"""

from typing import Any

import torch

from imbalanced_core.ops.on_torch.order import greatest_count, put_along, rearrange
from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise import counts as pairwise
from imbalanced_core.pairwise.kernels import LOGISTIC

_LEAST_NUMBERS = 2**16  # of scores; fewer are compiled


def prefers_opaque(scores: torch.Tensor) -> bool:
    return torch.compiler.is_compiling() and scores.device.type == "cpu" and scores.numel() >= _LEAST_NUMBERS


def opaque_soft_counts(
    scores: torch.Tensor, weights: torch.Tensor, temperature: torch.Tensor, at: torch.Tensor
) -> torch.Tensor:
    return _counts(scores, weights, temperature, at)[0]


@torch.library.custom_op("imbalanced::soft_counts", mutates_args=(), device_types="cpu")
def _counts(
    scores: torch.Tensor, weights: torch.Tensor, temperature: torch.Tensor, at: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The counts [..., k, n], and for the gradient the order of the scores and what arrived at the blocks.

    All shapes are known beforehand: what is not asked for is 0 or a count, the order is filled up with 0, what arrived
    with anything.
    """
    order, kept = torch.zeros_like(scores, dtype=torch.int64), scores.new_empty(_kept_size(scores, weights))
    with torch.no_grad():
        if (few := pairwise.very_few_places(at)) is not None:
            counts = few.counts_pair_by_pair(scores, weights, temperature, few)
            return _spread(counts, few, weights), order, kept
        in_order, of_items = pairwise.sorted_participants(scores, weights, at)
        weights_in_order = pairwise.of_each_sum(weights, of_items)
        if (few := pairwise.few_places(at, of_items)) is None:
            counts, arrived = pairwise.counts_of_all(in_order, weights_in_order, temperature)
        else:
            counts, arrived = few.counts_at(in_order, weights_in_order, temperature, few)
        order[..., : of_items.shape[-1]] = of_items
        kept[: arrived.numel()] = arrived.reshape(-1)
        return _spread(counts, of_items if few is None else rearrange(of_items, few), weights), order, kept


@torch.library.custom_op("imbalanced::soft_counts_slopes", mutates_args=(), device_types="cpu")
def _slopes(
    cotangent: torch.Tensor,
    order: torch.Tensor,
    kept: torch.Tensor,
    scores: torch.Tensor,
    weights: torch.Tensor,
    temperature: torch.Tensor,
    at: torch.Tensor,
) -> torch.Tensor:
    """The gradient by the scores, [..., n]."""
    with torch.no_grad():
        if (few := pairwise.very_few_places(at)) is not None:
            cotangent = pairwise.of_each_sum(cotangent, few)
            return few.slopes_pair_by_pair(cotangent, scores, weights, temperature, few)
        taking_part = pairwise.participants(weights, at)
        order = order[..., : max(1, greatest_count(taking_part) or 0)]
        in_order, n = pairwise.in_order(scores, taking_part, order), order.shape[-1]
        cotangent, weights = (pairwise.of_each_sum(x, order) for x in (cotangent, weights))
        if (few := pairwise.few_places(at, order)) is None:
            arrived = _arrived(kept, weights, _blocks.block_size(n))
            slopes = pairwise.slopes_of_all(cotangent, arrived, in_order, weights, temperature)
        else:
            arrived = _arrived(kept, weights, few.block_size(n, few.shape[-1]))
            cotangent = pairwise.of_each_sum(cotangent, few)
            slopes = few.slopes_at(cotangent, arrived, in_order, weights, temperature, few)
        return put_along(torch.zeros_like(scores), order, slopes)


@_counts.register_fake
def _(scores: torch.Tensor, weights: torch.Tensor, *_: torch.Tensor) -> tuple:
    order = torch.zeros_like(scores, dtype=torch.int64)
    return torch.zeros_like(weights), order, scores.new_empty(_kept_size(scores, weights))


@_slopes.register_fake
def _(cotangent: torch.Tensor, order: torch.Tensor, kept: torch.Tensor, scores: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.zeros_like(scores)


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*output[1:], *inputs)


def _gradient(ctx: Any, cotangent: torch.Tensor, *_: Any) -> tuple:
    _, _, scores, _, temperature, _ = ctx.saved_tensors
    slopes = _slopes(cotangent, *ctx.saved_tensors)
    needs_temperature = ctx.needs_input_grad[2]
    of_temperature = pairwise.slope_by_temperature(slopes, scores, temperature) if needs_temperature else None
    return slopes, None, of_temperature, None


_counts.register_autograd(_gradient, setup_context=_save)


def _spread(counts: torch.Tensor, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Counts [..., k, m] put in their places [..., m], in the shape of the weights [..., k, n]."""
    places = places.unsqueeze(-2).expand(counts.shape)
    return put_along(torch.zeros_like(weights), places, counts)


def _kept_size(scores: torch.Tensor, weights: torch.Tensor) -> int:
    """Room for what arrives, however the rows are cut."""
    n, kernel = scores.shape[-1], LOGISTIC[torch.finfo(scores.dtype).bits]
    return weights.numel() // n * 2 * kernel.size * _blocks.most_blocks(n)


def _arrived(kept: torch.Tensor, weights: torch.Tensor, block: int) -> torch.Tensor:
    *rows, k, n = weights.shape
    shape = torch.Size(rows).numel(), k, 2, LOGISTIC[torch.finfo(kept.dtype).bits].size, _blocks.blocks_of(n, block)
    return kept[: torch.Size(shape).numel()].reshape(shape)

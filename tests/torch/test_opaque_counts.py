"""The operators that `torch.compile` calls for the soft counts of long rows, against eager mode."""

import numpy as np
import pytest
import torch

from imbalanced_core.losses.ranking import smooth_ap
from imbalanced_core.ops.on_torch import opaque as opaque
from imbalanced_core.pairwise import blocks as _blocks
from imbalanced_core.pairwise import few as _few
from imbalanced_core.pairwise.counts import soft_counts_at


@pytest.fixture
def always_opaque(monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr(opaque, "_LEAST_NUMBERS", 1)
    yield
    torch.compiler.reset()  # what was compiled must not meet other tests


def drawn(positives, rows=2, n=3000, dtype=torch.float64):
    rng = np.random.default_rng(positives)
    scores = torch.tensor(rng.standard_normal((rows, n)), dtype=dtype, requires_grad=True)
    mask = torch.tensor(np.argsort(rng.random((rows, n)), axis=-1) < positives)
    where = torch.tensor(rng.random((rows, n)) < np.linspace(1, 0.3, rows)[:, None])
    return scores, mask, where, torch.full((), 0.05, dtype=dtype, requires_grad=True)


def loss_of(scores, positives, where, temperature):
    return smooth_ap(scores, positives, where=where, temperature=temperature)[0].sum()


def value_and_gradients(function, scores, positives, where, temperature):
    value = function(scores, positives, where, temperature)
    return [value.detach(), *torch.autograd.grad(value, (scores, temperature))]


@pytest.mark.parametrize("positives", [0, 4, 120, 900])
def test_compiled_equals_eager(always_opaque, positives):
    inputs = drawn(positives)
    compiled = torch.compile(loss_of, fullgraph=True, backend="aot_eager")
    for found, expected in zip(
        value_and_gradients(compiled, *inputs), value_and_gradients(loss_of, *inputs), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_the_operators_are_in_the_graph_of_long_rows_alone():
    calls = []

    def backend(graph, inputs):
        calls.extend(node for node in graph.graph.nodes if "imbalanced" in str(node.target))
        return graph.forward

    for rows, in_graph in ((1, False), (opaque._LEAST_NUMBERS // 3000 + 1, True)):
        torch.compiler.reset()
        calls.clear()
        scores, positives, where, _ = drawn(30, rows)
        torch.compile(loss_of, fullgraph=True, backend=backend)(scores, positives, where, 0.05)
        assert bool(calls) is in_graph


@pytest.mark.parametrize("positives", [4, 120, 900])
def test_operators_keep_the_rules_of_torch(positives):
    """Fake results, autograd and tracing agree with what the operators do."""
    scores, mask, where, temperature = drawn(positives)
    weights = torch.stack([~mask & where, mask & where], dim=-2).to(scores.dtype)
    inputs = scores, weights, temperature.detach().expand(2), mask & where
    torch.library.opcheck(
        opaque._counts, inputs, test_utils=("test_schema", "test_faketensor", "test_autograd_registration")
    )
    counts, order, kept = opaque._counts(*inputs)
    torch.library.opcheck(
        opaque._slopes,
        (torch.ones_like(counts), order, kept, *(x.detach() for x in inputs)),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_there_is_room_for_all_blocks():
    for n in (*range(1, 3000), *(2**k + d for k in range(12, 24) for d in (-1, 0, 1))):
        sizes = {_blocks.block_size(n), _few.block_size(n, 0), _few.block_size(n, n)}
        assert _blocks.most_blocks(n) >= max(_blocks.blocks_of(n, size) for size in sizes)


def test_inside_of_transforms(always_opaque):
    """Compiled `torch.func` transforms, against the loss row by row."""
    scores, positives, where, _ = drawn(30, rows=3)

    def of_row(s, p, w):
        return smooth_ap(s, p, where=w, temperature=0.05)[0]

    compiled = torch.compile(torch.func.vmap(of_row), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, positives, where), of_row(scores, positives, where))


def test_float32_counts_in_order_of_the_scores():
    scores, mask, where, _ = drawn(120, dtype=torch.float32)
    weights = (mask & where).to(scores.dtype)[:, None, :]
    counts = opaque.opaque_soft_counts(scores.detach(), weights, torch.full((2,), 0.05), mask & where)
    expected = soft_counts_at(scores.detach(), weights, 0.05, mask & where)
    torch.testing.assert_close(counts.gather(-1, expected.places[:, None, :]), expected.above)

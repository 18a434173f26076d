"""The soft counts under `torch.compile` against eager mode: one matrix, and longer rows, which are not traced."""

import functools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from imbalanced_core.losses.ranking import smooth_ap
from imbalanced_core.pairwise import counts
from imbalanced_torch import AUCLoss, PAUCAtBudgetLoss, SmoothAPLoss


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()  # compiled code must not affect other tests


@pytest.fixture
def long_rows(monkeypatch):
    """Every row is long."""
    for limit in ("_PAIRS_CPU", "_PAIRS_TRACED_CPU"):
        monkeypatch.setattr(counts, limit, 0)


def test_the_first_call_of_a_process_may_be_compiled():
    program = """if True:
        import torch
        from imbalanced_core.losses.ranking import smooth_ap
        loss_fn = torch.compile(lambda s, p: smooth_ap(s, p)[0], fullgraph=True, backend="eager")
        print(loss_fn(torch.tensor([0.9, 0.3, 0.5, 0.1]), torch.tensor([True, True, False, False])).item())
    """
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(result.stdout) == pytest.approx(1 / 6, abs=1e-4), result.stderr


def drawn(positives, rows=2, n=700, dtype=torch.float64, share=1.0):
    rng = np.random.default_rng(positives)
    scores = torch.tensor(rng.standard_normal((rows, n)), dtype=dtype, requires_grad=True)
    mask = torch.tensor(np.argsort(rng.random((rows, n)), axis=-1) < positives)
    where = torch.tensor(rng.random((rows, n)) < share * np.linspace(1, 0.3, rows)[:, None])
    return scores, mask, where, torch.full((), 0.05, dtype=dtype, requires_grad=True)


def loss_of(scores, positives, where, temperature):
    return smooth_ap(scores, positives, where=where, temperature=temperature)[0].sum()


def value_and_gradients(function, scores, positives, where, temperature):
    value = function(scores, positives, where, temperature)
    return [value.detach(), *torch.autograd.grad(value, (scores, temperature))]


def assert_equal(function, inputs, expected):
    for found, right in zip(value_and_gradients(function, *inputs), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("positives", [0, 100])
def test_short_rows_are_one_graph(positives):
    inputs = drawn(positives, n=200)
    assert counts.is_small(inputs[0])
    expected = value_and_gradients(loss_of, *inputs)
    assert_equal(torch.compile(loss_of, fullgraph=True, backend="aot_eager"), inputs, expected)


@pytest.mark.parametrize("pairs_eager", [400_000, 0])  # few pairs, and blocks
@pytest.mark.parametrize(("positives", "share"), [(0, 1.0), (30, 1.0), (300, 1.0), (0, 0.3), (300, 0.3)])
def test_long_rows_are_one_operator_of_one_graph(long_rows, monkeypatch, positives, share, pairs_eager):
    """The items of weight 0, where `share` is below a half, are dropped in compiled code only."""
    for limit in ("_PAIRS_EAGER_CPU", "_PAIRS_PER_ITEM"):
        monkeypatch.setattr(counts, limit, min(pairs_eager, getattr(counts, limit)))
    inputs, graphs = drawn(positives, share=share), []
    monkeypatch.setattr(counts, "_PAIRS_TO_KEEP", math.inf)
    expected = value_and_gradients(loss_of, *inputs)
    monkeypatch.setattr(counts, "_PAIRS_TO_KEEP", 0)

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    assert_equal(torch.compile(loss_of, backend=backend), inputs, expected)
    assert_equal(torch.compile(loss_of, fullgraph=True, backend="aot_eager"), inputs, expected)
    assert len(graphs) == 1
    assert not any("exp" in str(node.target).split(".")[-1].split("_") for node in graphs[0].graph.nodes)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_modules_that_compare_many_pairs_are_left_to_eager_mode():
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    rng = np.random.default_rng(0)
    for queue_size, compiles in ((2100, False), (300, True), (100, True)):  # 4 494 400, 102 400 and 14 400 pairs
        for make in (SmoothAPLoss, AUCLoss, functools.partial(PAUCAtBudgetLoss, surrogate="pairwise", beta=0.5)):
            torch.compiler.reset()
            graphs.clear()
            plain, module = (make(1, queue_size=queue_size) for _ in range(2))
            fast = torch.compile(module, backend=backend)
            for _ in range(2):
                logits = torch.tensor(rng.standard_normal((20, 1)), requires_grad=True)
                targets = torch.tensor(rng.integers(0, 2, 20))
                values = [loss(logits, targets) for loss in (plain, fast)]
                torch.testing.assert_close(values[1], values[0], rtol=1e-11, atol=1e-12)
                expected, found = (torch.autograd.grad(value, logits)[0] for value in values)
                torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
            torch.testing.assert_close(module.queue.logits, plain.queue.logits, rtol=0, atol=0)
            assert bool(graphs) == compiles


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("fullgraph", [True, False])
def test_long_rows_inside_of_transforms(long_rows, fullgraph):
    """Compiled `torch.func` transforms against the loss row by row."""
    scores, positives, where, _ = drawn(30, rows=3, n=60)

    def of_row(s, p, w):
        return smooth_ap(s, p, where=w, temperature=0.05)[0]

    compiled = torch.compile(torch.func.vmap(of_row), fullgraph=fullgraph, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, positives, where), of_row(scores, positives, where))

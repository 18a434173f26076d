"""PyTorch on an accelerator agrees with the CPU: every loss and option, and the queue step by step."""

import numpy as np
import pytest
import torch
from losses import RANKING, each
from on_device import DEVICE, VARIANTS, assert_close, batch_of, expected, module_of, skip_without, value_and_gradient

from imbalanced_core.pairwise import counts
from imbalanced_torch import PAUCAtBudgetLoss, SmoothAPLoss

skip_without(torch.cuda.is_available())
COMPILER = "inductor" if DEVICE != "cpu" else "aot_eager"
every_variant = each(VARIANTS)


def on_device(arrays):
    return tuple(torch.from_numpy(np.array(x)).to(DEVICE) for x in arrays)


@every_variant
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value_and_gradient(case, dtype):
    logits, targets = batch_of(case, dtype=dtype)
    right = expected(module_of(case), logits, targets)
    found = value_and_gradient(module_of(case).to(DEVICE), *on_device((logits, targets)))
    assert_close(found, right, dtype)


@every_variant
def test_autocast(case):
    logits, targets = on_device(batch_of(case))
    with torch.autocast(DEVICE, torch.bfloat16):
        logits = logits @ torch.eye(logits.shape[1], device=DEVICE)
        assert logits.dtype == torch.bfloat16
        found = value_and_gradient(module_of(case).to(DEVICE), logits, targets)
    assert_close(found, expected(module_of(case), logits, targets), "float32", of_gradient="bfloat16")


@each(RANKING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_rows(case, dtype, monkeypatch):
    """Computed in blocks, as for rows above the limit of pairs."""
    for limit in ("_PAIRS_ACCELERATOR", "_PAIRS_EAGER_CPU"):
        monkeypatch.setattr(counts, limit, 0)
    logits, targets = batch_of(case, rows=1000, dtype=dtype)
    found = value_and_gradient(module_of(case).to(DEVICE), *on_device((logits, targets)))
    monkeypatch.undo()
    assert_close(found, expected(module_of(case), logits, targets), dtype)


@pytest.fixture
def tf32():
    """Many training scripts allow this for their models."""
    torch.set_float32_matmul_precision("high")
    yield
    assert torch.get_float32_matmul_precision() == "high"  # the losses do not change it
    torch.set_float32_matmul_precision("highest")


def test_tf32_rounds_a_product(tf32):
    if DEVICE == "cpu":
        pytest.skip("TF32 is of GPUs")
    x = torch.rand(512, 512, device=DEVICE)
    exact = (x.double() @ x.double()).float()
    assert not torch.allclose(x @ x, exact, rtol=2e-5)


@each(RANKING)
@pytest.mark.parametrize("limit", [0, 2**62], ids=["blocks", "matrix"])
def test_tf32_does_not_reach_the_losses(case, limit, monkeypatch, tf32):
    logits, targets = batch_of(case, rows=1000)
    right = expected(module_of(case), logits, targets)
    for name in ("_PAIRS_ACCELERATOR", "_PAIRS_EAGER_CPU"):
        monkeypatch.setattr(counts, name, limit)
    found = value_and_gradient(module_of(case).to(DEVICE), *on_device((logits, targets)))
    assert_close(found, right, "float32")


OF_ONE_CLASS = {case.name: lambda case=case: module_of(case, num_classes=1) for case in RANKING} | {
    "smooth AP recommended": lambda: SmoothAPLoss.recommended(1, queue_size=0),
    "pAUC recommended": lambda: PAUCAtBudgetLoss.recommended(1, 0.1, queue_size=0),
}


@pytest.mark.parametrize("name", OF_ONE_CLASS)
def test_a_compiled_loss_of_one_class(name):
    """Its kernels differ from those for several classes; Triton 3.6 could not compile some of them."""
    logits, targets = batch_of(next((case for case in RANKING if case.name == name), RANKING[0]), 0, 200, num_classes=1)
    compiled = torch.compile(OF_ONE_CLASS[name]().to(DEVICE), fullgraph=True, backend=COMPILER)
    found = value_and_gradient(compiled, *on_device((logits, targets)))
    assert_close(found, expected(OF_ONE_CLASS[name](), logits, targets), "float32")


def test_tf32_does_not_reach_a_compiled_loss(tf32):
    case = RANKING[0]
    logits, targets = batch_of(case, rows=200)
    compiled = torch.compile(module_of(case).to(DEVICE), fullgraph=True, backend=COMPILER)
    found = value_and_gradient(compiled, *on_device((logits, targets)))
    assert_close(found, expected(module_of(case), logits, targets), "float32")


MODULES = {case.name: lambda case=case: module_of(case, queue_size=150) for case in RANKING} | {
    "smooth AP recommended": lambda: SmoothAPLoss.recommended(3, queue_size=150),
    "pAUC recommended": lambda: PAUCAtBudgetLoss.recommended(3, 0.1, queue_size=150),
    "subsampled": lambda: SmoothAPLoss(3, temperature=0.2, queue_size=150, max_pool_size=100),
}


@pytest.mark.parametrize("name", MODULES)
def test_twenty_steps_with_a_queue(name):
    module, twin = MODULES[name]().to(DEVICE), MODULES[name]()
    for step in range(20):
        logits, targets = batch_of(RANKING[0], seed=step, rows=32)
        if step == 7:
            logits[3, 1] = np.inf  # the row is not stored in the queue
        found = value_and_gradient(module, *on_device((logits, targets)))
        right = value_and_gradient(twin, torch.from_numpy(logits), torch.from_numpy(targets))
        assert_close(found, tuple(x.double().numpy() for x in right), "float32")
        for mine, other in zip(module.queue, twin.queue, strict=True):
            assert torch.equal(mine.cpu(), other)
    assert (module.queue.targets >= 0).any()
    if module.gated:
        for mine, other in zip(module.gate, twin.gate, strict=True):
            torch.testing.assert_close(mine.cpu(), other, rtol=1e-4, atol=1e-5)

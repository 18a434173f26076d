"""Whole training steps in PyTorch on an accelerator: without host sync, in a CUDA graph, compiled, and their memory."""

import contextlib
import copy

import pytest
import torch
from losses import LOSSES, RANKING, each
from on_device import BYTES_PER_SCORE, CLASSES, DEVICE, batch_of, module_of, skip_without
from torch import nn

from imbalanced_torch import PAUCAtBudgetLoss, SmoothAPLoss

skip_without(torch.cuda.is_available())
MODULES = {case.name: (case, lambda case=case: module_of(case, queue_size=128)) for case in LOSSES} | {
    "smooth AP recommended": (RANKING[0], lambda: SmoothAPLoss.recommended(CLASSES, queue_size=128)),
    "pAUC recommended": (RANKING[0], lambda: PAUCAtBudgetLoss.recommended(CLASSES, 0.1, queue_size=128)),
    "subsampled": (RANKING[0], lambda: SmoothAPLoss(CLASSES, queue_size=128, max_pool_size=100)),
}
every_module = pytest.mark.parametrize("name", MODULES)


class Training:
    """A linear model with its loss and optimizer; a step reads the batch from tensors at fixed addresses."""

    def __init__(self, name, autocast=False):
        case, make = MODULES[name]
        arrays = [batch_of(case, seed) for seed in range(8)]
        self.batches = [tuple(torch.from_numpy(x).to(DEVICE) for x in pair) for pair in arrays]
        self.inputs, self.targets = (x.clone() for x in self.batches[0])
        torch.manual_seed(0)
        self.model, self.loss_fn = nn.Linear(CLASSES, CLASSES).to(DEVICE), make().to(DEVICE)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01, capturable=DEVICE != "cpu")
        self.autocast = autocast

    def load(self, k):
        inputs, targets = self.batches[k % len(self.batches)]
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)

    def loss(self):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.autocast):
            return self.loss_fn(self.model(self.inputs), self.targets)

    def step(self):
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


@contextlib.contextmanager
def no_sync():
    """Raises an error on any wait for the device."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if DEVICE != "cpu":
            torch.cuda.set_sync_debug_mode("default")


def captured(training, warm_up=3):
    """A function that replays the step, and an equal `Training` that is not captured, both after `warm_up` steps."""
    stream = torch.cuda.Stream() if DEVICE != "cpu" else None
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for k in range(warm_up):
            training.load(k)
            training.step()
    training.optimizer.zero_grad()
    if stream is None:
        return training.step, copy.deepcopy(training)
    torch.cuda.current_stream().wait_stream(stream)
    twin = copy.deepcopy(training)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = training.step()

    def replay():
        graph.replay()
        return loss

    return replay, twin


def assert_same(training, twin):
    """Compares parameters, queue, gate and random draws."""
    for module, other in ((training.model, twin.model), (training.loss_fn, twin.loss_fn)):
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_debug_mode_sees_a_sync():
    if DEVICE == "cpu":
        pytest.skip("a CPU has nothing to wait for")
    with pytest.raises(RuntimeError, match="synchronizing"), no_sync():
        torch.ones(1, device=DEVICE).item()


@every_module
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_a_step_does_not_wait(name, autocast):
    training = Training(name, autocast)
    for _ in range(2):  # the first calls fill caches of constants
        training.step()
    with no_sync():
        for k in range(3):
            training.load(k)
            loss = training.step()
    assert loss.isfinite()


@every_module
def test_a_captured_step_is_the_eager_step(name):
    training = Training(name)
    replay, twin = captured(training)
    losses = set()
    for k in range(3, 10):
        training.load(k)
        twin.load(k)
        loss = replay()
        torch.testing.assert_close(loss, twin.step(), rtol=1e-3, atol=1e-5)
        losses.add(float(loss))
    assert len(losses) > 1
    assert_same(training, twin)


@pytest.mark.parametrize("name", [name for name, (case, _) in MODULES.items() if case.ranks])
def test_a_graphed_loss_is_the_eager_loss(name):
    """Only the loss, forward and backward, is a CUDA graph; the training loop is not captured."""
    training, twin = Training(name), Training(name)
    if DEVICE != "cpu":
        example = training.model(training.inputs).detach().requires_grad_()
        torch.cuda.make_graphed_callables(training.loss_fn, (example, training.targets))
        training.loss_fn.reset_parameters()  # the warm-up called the loss
    for k in range(6):
        for one in (training, twin):
            one.load(k)
        assert torch.equal(training.step(), twin.step())
    assert_same(training, twin)


def test_a_captured_step_reads_the_temperature_of_now():
    training = Training("smooth AP")
    replay, twin = captured(training)
    before = float(replay())
    twin.step()
    training.loss_fn.temperature = twin.loss_fn.temperature = 2.0
    after = float(replay())
    assert after == pytest.approx(float(twin.step()), rel=1e-3)
    assert abs(after - before) > 1e-3


@pytest.mark.parametrize("name", ["smooth AP recommended"])
def test_a_step_compiled_to_a_graph(name):
    from torch._dynamo.utils import counters

    counters.clear()
    training, twin = Training(name), Training(name)
    options = {"mode": "reduce-overhead"} if DEVICE != "cpu" else {"backend": "aot_eager"}
    training.loss = torch.compile(training.loss, fullgraph=True, **options)
    for k in range(5):
        for one in (training, twin):
            one.load(k)
        torch.compiler.cudagraph_mark_step_begin()
        torch.testing.assert_close(training.step().clone(), twin.step(), rtol=1e-3, atol=1e-5)
    assert_same(training, twin)
    assert not counters["inductor"]["cudagraph_skips"]


@each(RANKING)
def test_memory_of_a_long_row(case):
    n = 2**20 if DEVICE != "cpu" else 2**12
    module = case.in_torch(1, queue_size=0).to(DEVICE)
    scores = torch.randn(n, 1, device=DEVICE, requires_grad=True)
    targets = (torch.rand(n, device=DEVICE) < 0.05).long()

    def step():
        (gradient,) = torch.autograd.grad(module(scores, targets), scores)
        return gradient

    assert step().isfinite().all()
    if DEVICE == "cpu":
        return
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    assert torch.cuda.max_memory_allocated() - before <= BYTES_PER_SCORE * n

"""The stateless functions: they equal the modules in value and gradient, and work under `torch.func` transforms."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from losses import every_pointwise_variant, every_ranking, every_ranking_variant

from imbalanced_torch import SigmoidFocalLoss
from imbalanced_torch import functional as F

ROWS, CLASSES, QUEUE = 12, 3, 20


def function_of(case):
    return getattr(F, case.jax)


def targets_of(case, targets):
    if case.kind == "lists":
        return targets[:, None] + torch.arange(CLASSES)
    return torch.nn.functional.one_hot(targets, CLASSES) if case.kind == "labels" else targets


def batch(seed, rows=ROWS):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, CLASSES, (rows,), generator=generator)


@every_ranking_variant
def test_ranking_functions_are_the_modules(case):
    function, options = function_of(case), case.options
    loss_fn = case.torch_class(CLASSES, queue_size=QUEUE, ignore_index=2, **options).double()
    queue = F.init_queue(QUEUE, CLASSES, dtype=torch.float64)
    for step in range(4):
        logits, targets = batch(step)
        extras = {"sample_weight": torch.linspace(0, 2, ROWS), "iid_mask": torch.arange(ROWS) % 4 > 0}
        given = [logits.clone().requires_grad_() for _ in range(2)]
        loss, aux = function(given[0], targets, queue, ignore_index=2, **extras, **options)
        expected, per_class, valid = loss_fn(given[1], targets, return_per_class=True, **extras)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close((aux.per_class, aux.valid), (per_class, valid), equal_nan=True)
        loss.backward()
        expected.backward()
        assert given[0].grad.abs().sum() > 0
        torch.testing.assert_close(given[0].grad, given[1].grad)
        queue = aux.queue
        torch.testing.assert_close(tuple(queue), tuple(loss_fn.queue))


@every_pointwise_variant
def test_pointwise_functions_are_the_modules(case):
    function, options = function_of(case), case.options
    logits, targets = batch(0)
    targets = targets_of(case, targets)
    weights = torch.linspace(0, 1, ROWS, dtype=torch.float64)
    given = [logits.clone().requires_grad_() for _ in range(2)]
    loss = function(given[0], targets, sample_weight=weights, **options)
    expected = case.torch_class(**options)(given[1], targets, sample_weight=weights)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)


@every_pointwise_variant
def test_what_does_not_count_may_be_told_by_mask_and_by_index(case):
    function, options = function_of(case), case.options
    logits, targets = batch(0)
    targets = targets_of(case, targets)
    counted = torch.ones(ROWS, dtype=torch.bool)
    counted[[2, 7]] = False
    entries = counted[:, None].expand(targets.shape) if targets.ndim == 2 else counted
    expected = function(logits[counted], targets[counted], **options)
    marked = torch.where(entries, targets, -9)
    broken = torch.where(counted[:, None], logits, torch.nan)
    if "where" in inspect.signature(function).parameters:
        torch.testing.assert_close(function(broken, marked, where=entries, **options), expected)
    if "ignore_index" in inspect.signature(function).parameters:
        torch.testing.assert_close(function(broken, marked, ignore_index=-9, **options), expected)
    with pytest.raises(ValueError, match=case.wording(r"targets must be .*, got -9")):
        function(logits, marked, **options)


def test_alpha_of_each_label_may_be_a_sequence():
    logits, weights = batch(0)[0], [0.2, 0.5, 0.9]
    expected = SigmoidFocalLoss(weights)(logits, logits > 0)
    for alpha in (weights, tuple(weights), np.array(weights), torch.tensor(weights)):
        torch.testing.assert_close(SigmoidFocalLoss(alpha)(logits, logits > 0), expected)
        torch.testing.assert_close(F.sigmoid_focal_loss(logits, logits > 0, alpha=alpha), expected)


def test_class_axis():
    logits = torch.randn(2, CLASSES, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.ones(2, 4, dtype=torch.int64)
    for function in (F.softmax_focal_loss, F.symmetric_cross_entropy_loss):
        expected = function(logits.movedim(1, -1), targets)
        torch.testing.assert_close(function(logits, targets, axis=1), expected)


@every_ranking
def test_func_grad(case):
    function, options = function_of(case), case.options
    queue = F.init_queue(QUEUE, CLASSES, dtype=torch.float64)
    for step in range(2):
        logits, targets = batch(step)
        gradient, aux = torch.func.grad(function, has_aux=True)(logits, targets, queue, **options)
        leaf = logits.clone().requires_grad_()
        function(leaf, targets, queue, **options)[0].backward()
        torch.testing.assert_close(gradient, leaf.grad)
        queue = aux.queue
    assert (queue.targets >= 0).sum() == QUEUE


@every_ranking
def test_an_ensemble_of_models_is_a_loop_over_models(case):
    """Each model has its own parameters and queue: `torch.func.functional_call` and `vmap`, as for any other loss."""
    function, options = function_of(case), case.options
    models = [torch.nn.Linear(5, CLASSES, dtype=torch.float64) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    x = torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = batch(0)[1]

    def loss_fn(parameters, queue):
        return function(torch.func.functional_call(models[0], parameters, (x,)), targets, queue, **options)

    start = F.init_queue(QUEUE, CLASSES, dtype=torch.float64)
    queues, loop = type(start)(*(torch.stack([part] * 3) for part in start)), [start] * 3
    for _ in range(2):
        gradients, aux = torch.func.vmap(torch.func.grad(loss_fn, has_aux=True))(parameters, queues)
        queues = aux.queue
        for i in range(3):
            one = {key: value[i].detach() for key, value in parameters.items()}
            expected, one_aux = torch.func.grad(loss_fn, has_aux=True)(one, loop[i])
            loop[i] = one_aux.queue
            torch.testing.assert_close({key: value[i] for key, value in gradients.items()}, expected)
            torch.testing.assert_close([part[i] for part in queues], list(one_aux.queue))


@every_pointwise_variant
def test_gradients_by_sample(case):
    function, options = function_of(case), case.options
    logits, targets = batch(0)
    targets = targets_of(case, targets)
    options = dict(options, reduction="sum")
    if case.kind == "labels" and "axis" in inspect.signature(function).parameters:
        options["axis"] = -1  # otherwise rows would be ranked against each other
    each = torch.func.vmap(torch.func.grad(lambda x, y: function(x[None], y[None], **options)))(logits, targets)
    whole = torch.func.grad(lambda x: function(x, targets, **options))(logits)
    torch.testing.assert_close(each, whole)


def test_a_part_of_the_pool_is_drawn_with_the_generator():
    logits, targets = batch(0, rows=40)
    step = partial(F.smooth_ap_loss, logits, targets, temperature=0.2, max_pool_size=30)
    losses = [step(generator=torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert step(max_pool_size=40)[0] == F.smooth_ap_loss(logits, targets, temperature=0.2)[0]


def test_the_queue_moves_only_when_asked_to():
    logits, targets = batch(0)
    queue = F.init_queue(QUEUE, CLASSES)
    gate = F.init_gate(CLASSES)
    _, aux = F.pauc_at_budget_loss(logits, targets, queue, gate=gate, update_queue=False)
    assert all(map(torch.equal, (*aux.queue, *aux.gate), (*queue, *gate)))
    _, aux = F.pauc_at_budget_loss(logits, targets, queue, gate=type(gate)(*(part.half() for part in gate)))
    assert {part.dtype for part in aux.gate} == {torch.float32}  # in half precision small steps would round to none
    assert (aux.gate.reached < 1).all()


@pytest.mark.parametrize(("name", "prefix"), [("temprature", "temperature"), ("multi_label", "multilabel")])
def test_misspelt_keywords_are_named(name, prefix):
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{name}'; did you mean '{prefix}'"):
        F.smooth_ap_loss(*batch(0), **{name: 1})


@every_ranking
def test_signatures_show_all_keywords(case):
    parameters = inspect.signature(function_of(case)).parameters
    assert parameters["reduction"].default == "mean"
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: F.smooth_ap_loss(x.tolist(), y), TypeError, "logits must be a torch.Tensor"),
        (lambda x, y: F.smooth_ap_loss(x, y, temperature=0), ValueError, "temperature must be a finite number > 0"),
        (lambda x, y: F.smooth_ap_loss(x, y, reduction="x"), ValueError, "reduction must be one of"),
        (lambda x, y: F.smooth_ap_loss(x, y, {}), TypeError, "queue must be a Queue"),
        (lambda x, y: F.smooth_ap_loss(x, y + 1), ValueError, r"targets must be class ids in \[0, 3\)"),
        (
            lambda x, y: F.smooth_ap_loss(x, y, sample_weight=-(x[:, 0] ** 2)),
            ValueError,
            "sample_weight must be finite",
        ),
        (
            lambda x, y: F.softmax_focal_loss(x, y, alpha=[1, 2, -3]),
            ValueError,
            "alpha must be finite and >= 0, got -3",
        ),
        (
            lambda x, _: F.sigmoid_focal_loss(x, x > 0, alpha=torch.tensor([0.2, 0.5, 2.0])),
            ValueError,
            r"alpha must be in \[0, 1\], got 2\.0",
        ),
        (lambda x, y: F.softmax_focal_loss(x, y + 1), ValueError, r"targets must be class ids in \[0, 3\)"),
        (
            lambda x, y: F.softmax_focal_loss(x[:, 0], y),
            ValueError,
            r"logits must be of shape \[N, C\] or \[N, \*, C\]",
        ),
        (lambda x, y: F.softmax_focal_loss(x[:, :1], y), ValueError, "logits must be of at least 2 classes"),
        (lambda x, y: F.symmetric_cross_entropy_loss(x, y, reduction="mean_positive"), ValueError, "reduction must be"),
    ],
)
def test_wrong_calls_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*batch(0))

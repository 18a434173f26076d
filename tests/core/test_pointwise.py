"""Every property that the pointwise losses share, over every loss and every backend."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imbalanced_core._namespace import array_namespace
from imbalanced_core.pointwise import sigmoid_focal, softmax_focal, symmetric_cross_entropy

CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25])


@dataclass(frozen=True)
class Case:
    """One loss with one kind of target, and its definition."""

    name: str
    loss: Callable
    definition: Callable
    draw_targets: Callable  # (generator, shape of the logits) -> targets

    def targets(self, rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
        targets = self.draw_targets(rng, logits.shape)
        return targets.astype(logits.dtype) if targets.dtype == np.float64 else targets

    def positions(self, logits: np.ndarray) -> tuple[int, ...]:
        return logits.shape if self.loss is sigmoid_focal else logits.shape[:-1]


def case(name: str, loss: Callable, draw_targets: Callable, **options: object) -> Case:
    definition = partial(getattr(reference, loss.__name__), **options)
    if options.get("alpha") is CLASS_WEIGHTS:
        del options["alpha"]

        def weighted(logits, targets, **more):
            alpha = array_namespace(logits).asarray(CLASS_WEIGHTS, device=getattr(logits, "device", None))
            return loss(logits, targets, alpha=alpha, **options, **more)

        return Case(name, weighted, definition, draw_targets)
    return Case(name, partial(loss, **options), definition, draw_targets)


def hard(rng, shape):
    return (rng.random(shape) < 0.3).astype(np.float64)


def soft(rng, shape):
    return np.clip(rng.random(shape) * 1.4 - 0.2, 0.0, 1.0)


def ids(rng, shape):
    return rng.integers(0, shape[-1], shape[:-1])


def probabilities(rng, shape):
    return rng.dirichlet(np.full(shape[-1], 0.3), shape[:-1])


CASES = [
    case("sigmoid", sigmoid_focal, hard),
    case("sigmoid-soft", sigmoid_focal, soft, gamma=1.5),
    case("sigmoid-half", sigmoid_focal, hard, gamma=0.5, alpha=None),
    case("sigmoid-zero", sigmoid_focal, soft, gamma=0, alpha=0.6),
    case("softmax", softmax_focal, ids),
    case("softmax-half-alpha", softmax_focal, ids, gamma=0.5, alpha=CLASS_WEIGHTS),
    case("softmax-zero-smooth", softmax_focal, ids, gamma=0, label_smoothing=0.1, alpha=CLASS_WEIGHTS),
    case("softmax-smooth", softmax_focal, ids, gamma=2.0, label_smoothing=0.2),
    case("softmax-soft", softmax_focal, probabilities, gamma=1.5, alpha=CLASS_WEIGHTS),
    case("symmetric", symmetric_cross_entropy, ids, alpha=0.3, beta=1.2),
    case("symmetric-soft", symmetric_cross_entropy, probabilities, epsilon=1e-4),
]
BY_NAME = {one.name: one for one in CASES}
every_loss = pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
# compiling costs a second each: there, one loss of each kind
BRIEF = ("sigmoid-soft", "softmax", "softmax-soft", "symmetric")


def skip_long_compilations(backend, case):
    if backend.name == "torch.compile" and case.name not in BRIEF:
        pytest.skip("the compiler sees the same code as in another case")


def is_elementwise(case):
    return case.name.startswith("sigmoid")


def positions(case, logits):
    return logits.shape if is_elementwise(case) else logits.shape[:-1]


def total(case, **options):
    def summed(logits, targets, *rest):
        losses = case.loss(logits, targets, **dict(zip(options.get("names", ()), rest, strict=True)))
        return array_namespace(losses).sum(losses)

    return summed


def close(actual, expected, dtype, *, scale=None):
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    floor = tolerance * (1e-6 if scale is None else scale)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=floor)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_is_the_definition(backend, case, dtype, rng):
    skip_long_compilations(backend, case)
    logits = (3 * rng.standard_normal((7, 4))).astype(dtype)
    targets = case.targets(rng, logits)
    losses = backend.run(case.loss, logits, targets)
    assert losses.dtype == dtype
    close(losses, case.definition(logits.astype(np.float64), targets.astype(np.float64)), dtype)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_is_that_of_the_definition(grad_backend, case, dtype, rng):
    skip_long_compilations(grad_backend, case)
    logits = (3 * rng.standard_normal((7, 4))).astype(dtype)
    targets = case.targets(rng, logits)
    _, gradient = grad_backend.value_and_grad(total(case), logits, targets)
    expected = reference.gradient(lambda x: case.definition(x, targets.astype(np.float64)).sum(), logits)
    close(gradient, expected, dtype, scale=np.abs(expected).max())

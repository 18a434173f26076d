"""The properties that all pointwise losses share, for every loss and backend."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from losses import POINTWISE

from imbalanced_core.losses.hard_examples import asymmetric, hard_negative, poly1
from imbalanced_core.losses.long_tail import ldam, logit_adjusted, sigmoid_logit_adjusted, vector_scaling
from imbalanced_core.losses.pointwise import sigmoid_focal, softmax_focal, symmetric_cross_entropy
from imbalanced_core.ops.namespace import array_namespace

CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25])
COUNTS = np.array([0.5, 0.25, 0.2, 0.05])


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


def case(name: str, loss: Callable, draw_targets: Callable, **options: object) -> Case:
    definition = partial(getattr(reference, loss.__name__), **options)
    arrays = {key: options.pop(key) for key in list(options) if isinstance(options[key], np.ndarray)}
    if arrays:

        def weighted(logits, targets, **more):
            xp, device = array_namespace(logits), getattr(logits, "device", None)
            own = {key: xp.asarray(array, device=device) for key, array in arrays.items()}
            return loss(logits, targets, **own, **options, **more)

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
    case("softmax-zero", softmax_focal, ids, gamma=0),
    case("softmax-zero-smooth", softmax_focal, ids, gamma=0, label_smoothing=0.1, alpha=CLASS_WEIGHTS),
    case("softmax-smooth", softmax_focal, ids, gamma=2.0, label_smoothing=0.2),
    case("softmax-soft", softmax_focal, probabilities, gamma=1.5, alpha=CLASS_WEIGHTS),
    case("symmetric", symmetric_cross_entropy, ids, alpha=0.3, beta=1.2),
    case("symmetric-soft", symmetric_cross_entropy, probabilities, epsilon=1e-4),
    case("logit-adjusted", logit_adjusted, ids, class_counts=COUNTS, tau=0.7),
    case("vector-scaling-soft", vector_scaling, probabilities, class_counts=COUNTS),
    case("ldam", ldam, ids, class_counts=COUNTS, scale=3.0),
    case("ldam-soft", ldam, probabilities, class_counts=COUNTS, scale=3.0),
    case("poly1", poly1, ids),
    case("sigmoid-logit-adjusted", sigmoid_logit_adjusted, hard, positive_rate=COUNTS),
    case("sigmoid-asymmetric", asymmetric, soft, clip=0.0, gamma_neg=2.0),
]
TRIED = {getattr(one.definition, "func", None) for one in CASES}
for row in POINTWISE:  # a new loss, with the options of its row
    if row.definition.func not in TRIED and row.kind in ("ids", "labels") and not row.selects:
        options = row.definition.keywords
        name, draw = (f"sigmoid-{row.name}", hard) if row.kind == "labels" else (row.name, ids)
        CASES.append(case(name, row.objective.func, draw, **options))
BY_NAME = {one.name: one for one in CASES}
every_loss = pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
# each compilation takes a second, so compiled backends test one loss of each kind
BRIEF = ("sigmoid-soft", "softmax", "softmax-soft", "symmetric")


def skip_long_compilations(backend, case, dtype):
    if backend.name in ("torch.compile", "jax") and (case.name not in BRIEF or dtype == np.float32):
        pytest.skip("the same code as in another case")


def is_elementwise(case):
    return case.name.startswith("sigmoid")


@cache  # one function per loss, so that tests with the same shape share its compiled program
def total(case):
    def summed(logits, targets):
        losses = case.loss(logits, targets)
        return array_namespace(losses).sum(losses)

    return summed


def close(actual, expected, dtype, *, scale=None):
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    floor = tolerance * (1e-6 if scale is None else scale)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=floor)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_is_the_definition(every_backend, case, dtype, rng):
    skip_long_compilations(every_backend, case, dtype)
    logits = (3 * rng.standard_normal((7, 4))).astype(dtype)
    targets = case.targets(rng, logits)
    losses = every_backend.run(case.loss, logits, targets)
    assert losses.dtype == dtype
    close(losses, case.definition(logits.astype(np.float64), targets.astype(np.float64)), dtype)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_is_that_of_the_definition(grad_backend, case, dtype, rng):
    skip_long_compilations(grad_backend, case, dtype)
    logits = (3 * rng.standard_normal((7, 4))).astype(dtype)
    targets = case.targets(rng, logits)
    _, gradient = grad_backend.value_and_grad(total(case), logits, targets)
    expected = reference.gradient(lambda x: case.definition(x, targets.astype(np.float64)).sum(), logits)
    close(gradient, expected, dtype, scale=np.abs(expected).max())


def masked(case):
    return lambda logits, targets, where: case.loss(logits, targets, where=where)


@cache
def masked_total(case):
    def summed(logits, targets, where):
        losses = case.loss(logits, targets, where=where)
        return array_namespace(losses).sum(losses)

    return summed


@every_loss
def test_masked_entries_may_hold_anything(value_grad_backend, case, rng):
    logits = 3 * rng.standard_normal((8, 4))
    targets = case.targets(rng, logits)
    where = rng.random(case_shape(case, logits)) < 0.5
    clean = np.where(spread(case, where, logits), logits, 0.0)
    dirty = np.where(spread(case, where, logits), logits, rng.choice([np.nan, np.inf, -np.inf], logits.shape))
    bad = -100 if targets.dtype == np.int64 else np.nan
    dirty_targets = np.where(where if targets.shape == where.shape else where[:, None], targets, bad)
    _, expected = value_grad_backend.value_and_grad(masked_total(case), clean, targets, where)
    losses = value_grad_backend.run(masked(case), dirty, dirty_targets, where)
    total_, gradient = value_grad_backend.value_and_grad(masked_total(case), dirty, dirty_targets, where)
    assert np.all(losses[~where] == 0)
    assert np.all(gradient[~spread(case, where, logits)] == 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    np.testing.assert_allclose(losses[where], case.definition(clean, targets)[where], rtol=1e-12)
    assert np.isfinite(total_)


def case_shape(case, logits):
    return logits.shape if is_elementwise(case) else logits.shape[:-1]


def spread(case, where, logits):
    """Expands a mask of positions to a mask of logits."""
    return where if is_elementwise(case) else np.broadcast_to(where[..., None], logits.shape)


@every_loss
@pytest.mark.parametrize(("size", "dtype"), [(20.0, np.float32), (1e4, np.float32), (1e30, np.float64)])
def test_saturated_logits_have_finite_value_and_gradient(value_grad_backend, case, size, dtype, rng):
    logits = (size * rng.choice([-1.0, 0.0, 1.0], (7, 4))).astype(dtype)
    targets = case.targets(rng, logits)
    value, gradient = value_grad_backend.value_and_grad(total(case), logits, targets)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0, 7.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_gradient_for_every_gamma_at_saturated_logits(value_grad_backend, gamma, dtype):
    sizes = [0.0, 1e-3, 1.0, 15.0, 20.0, 40.0]
    logits = np.array([sign * size for size in sizes for sign in (1, -1) for _ in range(3)], dtype)
    targets = np.array([0.0, 1.0, 0.25] * (2 * len(sizes)), dtype)

    def summed(x, y):
        return array_namespace(x).sum(sigmoid_focal(x, y, gamma=gamma, alpha=None))

    _, gradient = value_grad_backend.value_and_grad(summed, logits, targets)
    expected = reference.gradient(
        lambda x: reference.sigmoid_focal(x, targets.astype(float), gamma=gamma, alpha=None).sum(), logits
    )
    close(gradient, expected, dtype, scale=1e-20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_confident_class_predictions_keep_their_digits(value_grad_backend, dtype):
    logits = np.array([[9.0, 1.0, -2.0], [15.5, 0.25, 0.5], [0.0, 8.0, 7.0], [1.0, 1.0, 1.0]], dtype)
    targets = np.array([0, 0, 1, 2])
    for options in ({"gamma": 0.5}, {"gamma": 2.0}, {"gamma": 0.0}):
        losses = value_grad_backend.run(partial(softmax_focal, **options), logits, targets)
        close(losses, reference.softmax_focal(logits.astype(float), targets, **options), dtype)

        def summed(x, y, options=options):
            return array_namespace(x).sum(softmax_focal(x, y, **options))

        _, gradient = value_grad_backend.value_and_grad(summed, logits, targets)
        expected = reference.gradient(
            lambda x, options=options: reference.softmax_focal(x, targets, **options).sum(), logits
        )
        close(gradient, expected, dtype)


ONE_HOT = np.eye(3)
CONFIDENT = {
    "softmax": (softmax_focal, np.arange(3), {"gamma": 1.5}),
    "softmax-smooth": (softmax_focal, np.arange(3), {"gamma": 2.0, "label_smoothing": 0.1}),
    "softmax-soft": (softmax_focal, ONE_HOT, {"gamma": 0.5}),
    "softmax-softer": (softmax_focal, 0.9 * ONE_HOT + 0.1 / 3, {"gamma": 2.0}),
    "cross-entropy-soft": (softmax_focal, ONE_HOT, {"gamma": 0.0}),
    "symmetric": (symmetric_cross_entropy, np.arange(3), {"epsilon": 1e-4}),
    "symmetric-soft": (symmetric_cross_entropy, ONE_HOT, {}),
}


@cache
def confident_batch(name, dtype):
    """Logits, targets and the expected gradient. The logits are multiples of 1/8, so their differences are exact."""
    loss, targets, options = CONFIDENT[name]
    tops = np.array([0.0, 1.0, 4.0, 8.125, 16.0, 17.5, 23.0, 28.875, 40.0])
    rest = [[-0.25, 0.5], [0.0, -0.625], [-40.0, -7.0], [-40.0, -40.0]]
    rows = np.array([[top, *others] for top in tops for others in rest])
    logits = np.concatenate([np.roll(rows, shift, axis=1) for shift in range(3)] * 2)
    # the class with the highest logit is correct in the first half; in the second half the next class is
    labels = np.repeat([0, 1, 2, 1, 2, 0], len(rows))
    y = targets[labels] if targets.ndim == 1 else targets[labels].astype(dtype)
    definition = partial(getattr(reference, loss.__name__), **options)
    precise = y if targets.ndim == 1 else y.astype(np.float64)
    of_rows = zip(logits[:, None], precise[:, None], strict=True)
    gradient = [reference.gradient(lambda x, t=t: definition(x, t).sum(), row)[0] for row, t in of_rows]
    return logits.astype(dtype), y, np.array(gradient)


@pytest.mark.parametrize("name", CONFIDENT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_digit_of_a_gradient_is_lost_up_to_logits_of_40(value_grad_backend, name, dtype):
    """Even where p_t rounds to 1."""
    loss, targets, options = CONFIDENT[name]
    logits, y, expected = confident_batch(name, dtype)

    def summed(x, labels):
        return array_namespace(x).sum(loss(x, labels, **options))

    _, gradient = value_grad_backend.value_and_grad(summed, logits, y)
    of_row = np.abs(expected).max(axis=1, keepdims=True)
    digits = 4e-6 if dtype == np.float32 else 2e-13
    floor = 100 * float(np.finfo(dtype).smallest_normal)
    assert np.all(np.abs(gradient - expected) <= digits * of_row + floor)
    if targets.ndim == 1 and not options.get("label_smoothing"):  # terms of one sign: every entry is as accurate
        np.testing.assert_allclose(gradient, expected, rtol=4 * digits, atol=floor)


@pytest.mark.parametrize("masked", [False, True])
def test_gamma_of_classes_has_a_gradient(value_grad_backend, masked, rng):
    logits, labels = 3 * rng.standard_normal((6, 4)), np.array([0, 1, 2, 3, 0, 1])
    keep = np.array([True, True, False, True, True, True]) if masked else np.ones(6, bool)
    dirty = np.where(keep[:, None], logits, np.nan)

    def of_gamma(gamma, x, y, where):
        return array_namespace(x).sum(softmax_focal(x, y, gamma=gamma, where=where if masked else None))

    _, slope = value_grad_backend.value_and_grad(of_gamma, np.array(1.5), dirty, labels, keep)
    expected = reference.gradient(
        lambda g: reference.softmax_focal(logits + 0 * g, labels, gamma=g)[keep].sum(), np.array(1.5)
    )
    np.testing.assert_allclose(slope, expected, rtol=1e-11)


def test_a_logit_of_infinity_at_the_target_costs_nothing(value_grad_backend):
    for gamma in (0.0, 0.5, 2.0):

        def summed(x, y, gamma=gamma):
            return array_namespace(x).sum(softmax_focal(x, y, gamma=gamma))

        value, gradient = value_grad_backend.value_and_grad(summed, np.array([[np.inf, 1.0, -3.0]]), np.array([0]))
        assert value == 0
        assert np.all(gradient == 0)


def test_infinite_logits_that_agree_with_the_target_cost_nothing(value_grad_backend):

    def summed(x, y):
        return array_namespace(x).sum(sigmoid_focal(x, y, gamma=0.5))

    logits, targets = np.array([np.inf, -np.inf, 1.0]), np.array([1.0, 0.0, 1.0])
    value, gradient = value_grad_backend.value_and_grad(summed, logits, targets)
    np.testing.assert_allclose(value, reference.sigmoid_focal(np.array([1.0]), np.array([1.0]), gamma=0.5)[0])
    assert np.all(gradient[:2] == 0)

    for clip in (0.0, 0.05):

        def asymmetric_sum(x, y, clip=clip):
            return array_namespace(x).sum(asymmetric(x, y, clip=clip))

        value, gradient = value_grad_backend.value_and_grad(asymmetric_sum, logits, targets)
        np.testing.assert_allclose(value, reference.asymmetric(np.array([1.0]), np.array([1.0]), clip=clip)[0])
        assert np.all(gradient[:2] == 0)

    def ruled_out(x, ids):
        return array_namespace(x).sum(softmax_focal(x, ids, gamma=0.5))

    logits, ids_ = np.array([[1.0, 2.0, -np.inf], [3.0, -np.inf, -np.inf]]), np.array([0, 0])
    value, gradient = value_grad_backend.value_and_grad(ruled_out, logits, ids_)
    np.testing.assert_allclose(value, reference.softmax_focal(logits[:1, :2], ids_[:1], gamma=0.5)[0], rtol=1e-12)
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient[:, 2] == 0)


@every_loss
def test_nan_logits_reach_the_loss(value_grad_backend, case, rng):
    logits = rng.standard_normal((7, 4))
    targets = case.targets(rng, logits)
    logits[2, 1] = np.nan
    losses = value_grad_backend.run(case.loss, logits, targets)
    assert np.isnan(losses).sum() == 1
    _, gradient = value_grad_backend.value_and_grad(total(case), logits, targets)
    assert np.isnan(gradient[2, 1])
    assert np.all(np.isfinite(np.delete(gradient, 2, axis=0)))


@every_loss
def test_targets_outside_their_range_give_nan(value_backend, case, rng):
    logits = rng.standard_normal((7, 4))
    targets = case.targets(rng, logits)
    targets[2] = 4 if targets.dtype == np.int64 else 1.5
    targets[4] = -1 if targets.dtype == np.int64 else -0.5
    losses = value_backend.run(case.loss, logits, targets)
    assert np.all(np.isnan(losses[[2, 4]]))
    assert np.all(np.isfinite(losses[[0, 1, 3, 5, 6]]))


@every_loss
def test_half_precision_is_computed_in_float32(value_backend, case, rng):
    if value_backend.name == "strict":
        pytest.skip("no half precision in the standard")
    logits = (3 * rng.standard_normal((6, 4))).astype(np.float16)
    targets = case.targets(rng, logits.astype(np.float32))
    losses = value_backend.run(case.loss, logits, targets)
    assert losses.dtype == np.float32
    np.testing.assert_array_equal(losses, value_backend.run(case.loss, logits.astype(np.float32), targets))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.bool_])
def test_integer_and_bool_targets(value_backend, dtype, rng):
    logits = rng.standard_normal((6, 2))
    labels = rng.random((6, 2)) < 0.5
    expected = reference.sigmoid_focal(logits, labels.astype(float))
    np.testing.assert_allclose(value_backend.run(sigmoid_focal, logits, labels.astype(dtype)), expected, rtol=1e-12)
    expected = reference.softmax_focal(logits, labels[:, 0].astype(int))
    np.testing.assert_allclose(
        value_backend.run(softmax_focal, logits, labels[:, 0].astype(dtype)), expected, rtol=1e-12
    )


def test_class_ids_of_small_types_are_not_wrapped(value_backend, rng):
    logits = rng.standard_normal((3, 300))
    ids_ = np.array([0, 200, 255], np.uint8)
    losses = value_backend.run(softmax_focal, logits, ids_)
    np.testing.assert_allclose(losses, reference.softmax_focal(logits, ids_.astype(int)), rtol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "softmax-soft", "symmetric"])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_class_axis(value_backend, name, axis, rng):
    case = BY_NAME[name]
    logits = rng.standard_normal((2, 3, 5, 4))
    targets = case.targets(rng, logits)
    moved_targets = np.moveaxis(targets, -1, axis) if targets.ndim == 4 else targets
    moved = np.ascontiguousarray(np.moveaxis(logits, -1, axis))
    losses = value_backend.run(partial(case.loss, axis=axis), moved, moved_targets)
    np.testing.assert_allclose(losses, case.definition(logits, targets), rtol=1e-12)


@every_loss
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 1)])
def test_empty_and_single_shapes(value_grad_backend, case, shape, rng):
    if shape[-1] == 1 and any(isinstance(option, np.ndarray) for option in case.definition.keywords.values()):
        pytest.skip("has four classes")
    if value_grad_backend.name == "jax.jit" and case.name not in BRIEF:
        pytest.skip("the same code as in another case")
    logits = rng.standard_normal(shape)
    targets = case.targets(rng, logits)
    value, gradient = value_grad_backend.value_and_grad(total(case), logits, targets)
    np.testing.assert_allclose(value, np.sum(case.definition(logits, targets)), rtol=1e-12, atol=1e-15)
    assert gradient.shape == shape
    assert np.all(np.isfinite(gradient))


def test_gamma_and_alpha_may_be_arrays_with_gradients(value_grad_backend, rng):
    logits, targets = rng.standard_normal((6, 4)), soft(rng, (6, 4))

    def of_gamma(gamma, alpha, x, y):
        return array_namespace(x).sum(sigmoid_focal(x, y, alpha=alpha, gamma=gamma))

    def definition(gamma, alpha):
        return reference.sigmoid_focal(logits + 0 * (gamma + alpha), targets, alpha=alpha, gamma=gamma).sum()

    gamma, alpha = np.array(1.5), np.array(0.3)
    value, slope = value_grad_backend.value_and_grad(of_gamma, gamma, alpha, logits, targets)
    np.testing.assert_allclose(value, definition(1.5, 0.3), rtol=1e-12)
    np.testing.assert_allclose(slope, reference.gradient(lambda g: definition(g, 0.3), gamma), rtol=1e-11)
    _, slope = value_grad_backend.value_and_grad(lambda a, g, x, y: of_gamma(g, a, x, y), alpha, gamma, logits, targets)
    np.testing.assert_allclose(slope, reference.gradient(lambda a: definition(1.5, a), alpha), rtol=1e-11)


def test_soft_targets_carry_gradients(value_grad_backend, rng):
    logits, targets = 2 * rng.standard_normal((6, 4)), soft(rng, (6, 4))

    def of_targets(y, x):
        return array_namespace(x).sum(sigmoid_focal(x, y, gamma=0.5))

    _, slope = value_grad_backend.value_and_grad(of_targets, targets, logits)
    expected = reference.gradient(lambda y: reference.sigmoid_focal(logits + 0 * y, y, gamma=0.5).sum(), targets)
    np.testing.assert_allclose(slope, expected, rtol=1e-10)


@pytest.mark.parametrize("loss", [sigmoid_focal, softmax_focal, symmetric_cross_entropy])
def test_wrong_arguments_are_named(loss):
    x, y = np.zeros((3, 4)), np.zeros(3, int) if loss is not sigmoid_focal else np.zeros((3, 4))
    with pytest.raises(TypeError, match="logits must be a floating-point array, got dtype int64"):
        loss(np.zeros((3, 4), int), y)
    with pytest.raises(ValueError, match=r"targets must be .*got"):
        loss(x, y[:2])
    with pytest.raises(ValueError, match=r"where must be .*got"):
        loss(x, y, where=np.ones((2, 2), bool))


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf"), "2", None, np.zeros(2)])
def test_bad_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma must be a finite number >= 0"):
        sigmoid_focal(np.zeros(2), np.zeros(2), gamma=gamma)
    with pytest.raises(ValueError, match="gamma must be a finite number >= 0"):
        softmax_focal(np.zeros((2, 2)), np.zeros(2, int), gamma=gamma)


def test_other_bad_parameters_are_refused():
    x, y = np.zeros((2, 3)), np.zeros(2, int)
    with pytest.raises(ValueError, match=r"alpha must be a number in \[0, 1\].*, got 1.5"):
        sigmoid_focal(x, x, alpha=1.5)
    with pytest.raises(ValueError, match=r"alpha must be of shape \[classes\] = \(3,\), got \(2,\)"):
        softmax_focal(x, y, alpha=np.ones(2))
    with pytest.raises(ValueError, match=r"label_smoothing must be a number in \[0, 1\]"):
        softmax_focal(x, y, label_smoothing=1.1)
    with pytest.raises(ValueError, match="axis must be an axis of 2-d logits, got 2"):
        softmax_focal(x, y, axis=2)
    with pytest.raises(ValueError, match=r"epsilon must be a Python number in \(0, 1\), got 0.0"):
        symmetric_cross_entropy(x, y, epsilon=0.0)
    with pytest.raises(ValueError, match="floating-point targets must be probabilities"):
        softmax_focal(x, np.zeros(2))


NEUTRAL = {  # options that reduce each loss to the cross entropy
    logit_adjusted: {"class_counts": COUNTS, "tau": 0.0},
    vector_scaling: {"class_counts": COUNTS, "gamma": 0.0, "tau": 0.0},
    ldam: {"class_counts": COUNTS, "max_margin": 0.0, "scale": 1.0},
    poly1: {"epsilon": 0.0},
    sigmoid_logit_adjusted: {"positive_rate": 0.01, "tau": 0.0},
    asymmetric: {"gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0},
    hard_negative: {"share": 1.0},
}


@pytest.mark.parametrize("loss", NEUTRAL, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neutral_options_leave_the_cross_entropy(loss, dtype, rng):
    logits = (5 * rng.standard_normal((40, 4))).astype(dtype)
    if loss in (logit_adjusted, vector_scaling, ldam, poly1):
        targets = ids(rng, logits.shape)
        expected = softmax_focal(logits, targets, gamma=0.0)
    else:
        targets = hard(rng, logits.shape)
        expected = sigmoid_focal(logits, targets, alpha=None, gamma=0.0)
    losses = loss(logits, targets, **NEUTRAL[loss])
    losses = losses[0] if loss is hard_negative else losses
    np.testing.assert_allclose(losses, expected, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_hard_negatives_that_tie_are_all_kept():
    logits = np.array([[3.0], [1.0], [1.0], [0.0], [-1.0], [-9.0]])
    targets = np.array([[0.0], [0.0], [0.0], [0.0], [0.0], [1.0]])
    for share, kept in ((0.0, [0, 5]), (0.25, [0, 1, 2, 5]), (0.5, [0, 1, 2, 5]), (0.75, [0, 1, 2, 3, 5])):
        np.testing.assert_array_equal(np.flatnonzero(hard_negative(logits, targets, share=share)[1]), kept)


@pytest.mark.parametrize("count", [0, -1, np.nan, np.inf])
def test_a_class_without_items_has_no_finite_loss(count):
    counts = np.array([3.0, count, 5.0])
    for loss in (logit_adjusted, vector_scaling, ldam):
        assert np.isnan(loss(np.zeros((2, 3)), np.array([0, 2]), class_counts=counts)).all()
    rates = np.array([0.5, 1.0, 0.0])
    assert np.isnan(sigmoid_logit_adjusted(np.zeros((2, 3)), np.zeros((2, 3)), positive_rate=rates)[:, 1:]).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_and_mask(backend, data):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("a compilation for every shape")
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5))
    numbers = st.floats(-30, 30, allow_subnormal=False)
    logits = data.draw(hnp.arrays(np.float64, shape, elements=numbers))
    where = data.draw(hnp.arrays(np.bool_, shape))
    targets = data.draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.2, 1.0])))
    losses = backend.run(masked(BY_NAME["sigmoid-soft"]), logits, targets, where)
    expected = np.where(where, BY_NAME["sigmoid-soft"].definition(logits, targets), 0.0)
    np.testing.assert_allclose(losses, expected, rtol=1e-11, atol=1e-300)
    ids_ = data.draw(hnp.arrays(np.int64, shape[:-1], elements=st.integers(0, shape[-1] - 1)))
    losses = backend.run(BY_NAME["softmax"].loss, logits, ids_)
    np.testing.assert_allclose(losses, BY_NAME["softmax"].definition(logits, ids_), rtol=1e-11, atol=1e-300)

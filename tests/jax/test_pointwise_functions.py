"""The pointwise losses as JAX functions: reductions, transformations, bad input, recompilation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from imbalanced_jax import _pointwise as module
from imbalanced_jax import (
    class_weights,
    pos_weight,
    sigmoid_focal_loss,
    softmax_focal_loss,
    symmetric_cross_entropy_loss,
    validate_targets,
)

ALPHA = [0.5, 2.0, 1.0]
IGNORED = -100
CLASS_LOSSES = [softmax_focal_loss, partial(softmax_focal_loss, label_smoothing=0.1), symmetric_cross_entropy_loss]


def draw(seed, *shape):
    return 3 * jax.random.normal(jax.random.key(seed), shape, dtype=jnp.float64)


def ids(seed, *shape, classes=3):
    return jax.random.randint(jax.random.key(seed), shape, 0, classes)


# ------------------------------------------------------------------------------------------------------ reductions


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_reductions(reduction, weighted):
    x, y = draw(0, 6, 4), ids(1, 6, 4, classes=2)
    where = ids(2, 6, 4, classes=4) > 0
    weights = jnp.abs(draw(3, 6, 4)) if weighted else None
    loss = sigmoid_focal_loss(x, y, alpha=0.4, gamma=1.5, where=where, sample_weight=weights, reduction=reduction)
    losses = reference.sigmoid_focal(np.asarray(x), np.asarray(y, float), alpha=0.4, gamma=1.5)
    w = None if weights is None else np.asarray(weights)
    if reduction == "none":
        expected = np.where(where, losses * (1.0 if w is None else w), 0.0)
    else:
        positives = np.asarray(y, float)
        expected = reference.reduce_elements(losses, reduction=reduction, where=where, weights=w, positives=positives)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "mean_positive", "sum", "none"])
@pytest.mark.parametrize("weights_of", ["nothing", "positions", "rows"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_reductions(reduction, weights_of, axis):
    x, y = draw(0, 4, 5, 3), ids(1, 4, 5).at[0, 1].set(IGNORED).at[2, 4].set(IGNORED)
    weights = {"nothing": None, "positions": jnp.abs(draw(2, 4, 5)), "rows": jnp.abs(draw(2, 4))}[weights_of]
    loss = softmax_focal_loss(
        jnp.moveaxis(x, -1, axis),
        y,
        alpha=ALPHA,
        sample_weight=weights,
        reduction=reduction,
        background_class=1,
        axis=axis,
    )
    where, targets = np.asarray(y != IGNORED), np.maximum(np.asarray(y), 0)
    losses = reference.softmax_focal(np.asarray(x), targets, alpha=ALPHA)
    w = None if weights is None else np.broadcast_to(np.asarray(weights).reshape(4, -1), (4, 5))
    if reduction == "none":
        expected = np.where(where, losses * (1.0 if w is None else w), 0.0)
    else:
        positives = (targets != 1).astype(float)
        expected = reference.reduce_elements(losses, reduction=reduction, where=where, weights=w, positives=positives)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


def test_probability_targets():
    x, y = draw(0, 4, 3), jax.nn.softmax(draw(1, 4, 3))
    loss = softmax_focal_loss(x, y, alpha=ALPHA, label_smoothing=0.1, reduction="mean_positive", background_class=2)
    losses = reference.softmax_focal(np.asarray(x), np.asarray(y), alpha=ALPHA, label_smoothing=0.1)
    np.testing.assert_allclose(loss, losses.sum() / (1 - np.asarray(y)[:, 2]).sum(), rtol=1e-12)


def test_gamma_zero_is_cross_entropy():
    optax = pytest.importorskip("optax")
    x, y = draw(0, 6, 3), ids(1, 6)
    expected = optax.softmax_cross_entropy_with_integer_labels(x, y).mean()
    np.testing.assert_allclose(softmax_focal_loss(x, y, gamma=0), expected, rtol=1e-12)
    targets = jax.nn.sigmoid(draw(2, 6, 3))
    expected = optax.sigmoid_binary_cross_entropy(x, targets).mean()
    for alpha in (None, -1):
        loss = sigmoid_focal_loss(x, targets, gamma=0.0, alpha=alpha)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
    focal = optax.sigmoid_focal_loss(x, (targets > 0.5).astype(x.dtype), alpha=0.25, gamma=2.0).mean()
    np.testing.assert_allclose(sigmoid_focal_loss(x, targets > 0.5), focal, rtol=1e-9)


def test_symmetric_cross_entropy_is_its_definition():
    x, y = draw(0, 6, 3), ids(1, 6).at[2].set(IGNORED)
    loss = symmetric_cross_entropy_loss(x, y, alpha=0.5, beta=2.0, epsilon=1e-3)
    keep = np.asarray(y) != IGNORED
    losses = reference.symmetric_cross_entropy(
        np.asarray(x)[keep], np.asarray(y)[keep], alpha=0.5, beta=2.0, epsilon=1e-3
    )
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-12)


# -------------------------------------------------------------------------------------------------- transformations


def test_vmap_of_grad_is_a_loop_of_grads():
    x, y = draw(0, 5, 4, 3), ids(1, 5, 4)
    batched = jax.vmap(jax.grad(softmax_focal_loss))(x, y)
    for i in range(5):
        np.testing.assert_allclose(batched[i], jax.grad(softmax_focal_loss)(x[i], y[i]), rtol=1e-12)
    gammas = jnp.array([0.5, 1.0, 2.0])
    each = jax.vmap(lambda gamma: sigmoid_focal_loss(x, x > 0, gamma=gamma))(gammas)
    np.testing.assert_allclose(each, [sigmoid_focal_loss(x, x > 0, gamma=gamma) for gamma in (0.5, 1.0, 2.0)])


@pytest.mark.parametrize("loss", [sigmoid_focal_loss, *CLASS_LOSSES])
def test_forward_mode_and_second_derivatives(loss):
    x = draw(0, 3, 2).at[0].set(0.0)
    y = jnp.array([[0.0, 1.0], [0.25, 1.0], [1.0, 0.0]]) if loss is sigmoid_focal_loss else jnp.array([0, 1, 1])

    def objective(x):
        return loss(x, y) if loss is symmetric_cross_entropy_loss else loss(x, y, gamma=0.5)

    direction = draw(4, 3, 2)
    _, slope = jax.jvp(objective, (x,), (direction,))
    np.testing.assert_allclose(slope, jnp.sum(jax.grad(objective)(x) * direction), rtol=1e-10)
    _, curvature = jax.jvp(jax.grad(objective), (x,), (direction,))
    step = 1e-5
    numeric = (jax.grad(objective)(x + step * direction) - jax.grad(objective)(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(curvature, numeric, rtol=1e-6, atol=1e-9)


def test_schedules_do_not_recompile():
    x, y = draw(0, 7, 3), ids(1, 7)
    sigmoid_focal_loss(x, x > 0, alpha=0.5, gamma=2)
    softmax_focal_loss(x, y, gamma=2.0)
    symmetric_cross_entropy_loss(x, y)
    size = module._step._cache_size()
    for value in (0.0, 0.25, 1.0):
        sigmoid_focal_loss(x, x > 0, alpha=value, gamma=value)
        softmax_focal_loss(x, y, gamma=value)
        symmetric_cross_entropy_loss(x, y, alpha=value, beta=value)
    assert module._step._cache_size() == size


def test_gamma_and_alpha_of_another_dtype():
    x = draw(0, 4, 3).astype(jnp.float32)
    loss = sigmoid_focal_loss(x, x > 0, gamma=np.float64(2.0), alpha=jnp.asarray(0.25, jnp.float64))
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(loss, sigmoid_focal_loss(x, x > 0))
    per_class = softmax_focal_loss(x, jnp.array([0, 1, 2, 0]), alpha=np.array(ALPHA))
    np.testing.assert_array_equal(per_class, softmax_focal_loss(x, jnp.array([0, 1, 2, 0]), alpha=ALPHA))


def test_a_mapped_axis_shares_its_mean():
    x, y = draw(0, 8, 3), ids(1, 8).at[1].set(IGNORED)
    weights = jnp.abs(draw(2, 8))

    def loss(x, y, w, axis_name=None):
        return softmax_focal_loss(x, y, sample_weight=w, reduction="mean_positive", axis_name=axis_name)

    shards = (x.reshape(4, 2, 3), y.reshape(4, 2), weights.reshape(4, 2))
    sharded = jax.vmap(partial(loss, axis_name="devices"), axis_name="devices")(*shards)
    np.testing.assert_allclose(sharded, jnp.full(4, loss(x, y, weights)), rtol=1e-12)


# ---------------------------------------------------------------------------------------------------- shapes, dtypes


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision(dtype):
    x, y = draw(0, 6, 3).astype(dtype), ids(1, 6)
    loss, gradient = jax.value_and_grad(softmax_focal_loss)(x, y)
    assert loss.dtype == jnp.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(loss, softmax_focal_loss(x.astype(jnp.float32), y), rtol=1e-6)
    assert sigmoid_focal_loss(x, x > 0).dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32, jnp.int64, jnp.bool_])
def test_target_dtypes(dtype):
    x, y = draw(0, 6, 2), ids(1, 6, classes=2)
    np.testing.assert_array_equal(softmax_focal_loss(x, y.astype(dtype)), softmax_focal_loss(x, y))
    both = jnp.stack([y, 1 - y], axis=1)
    np.testing.assert_array_equal(
        sigmoid_focal_loss(x, both.astype(dtype)), sigmoid_focal_loss(x, both.astype(jnp.float64))
    )


def test_eight_bit_ids_are_not_taken_for_the_ignore_index():
    x, y = draw(0, 2, 200), jnp.array([156, 3], jnp.uint8)
    np.testing.assert_array_equal(softmax_focal_loss(x, y), softmax_focal_loss(x, y.astype(jnp.int32)))


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_nothing_that_takes_part_is_zero_with_zero_gradient(loss):
    for x, y in ((jnp.zeros((0, 3)), jnp.zeros(0, int)), (jnp.full((4, 3), jnp.nan), jnp.full(4, IGNORED))):
        value, gradient = jax.value_and_grad(loss)(x, y)
        assert value == 0
        assert jnp.all(gradient == 0)


def test_no_entry_is_zero_with_zero_gradient():
    x = jnp.full((4, 3), jnp.nan)
    value, gradient = jax.value_and_grad(partial(sigmoid_focal_loss, where=jnp.zeros((4, 3), bool)))(x, x)
    assert value == 0
    assert jnp.all(gradient == 0)


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_ignored_rows_with_nan_and_inf_leave_the_others_alone(loss):
    x, y = draw(0, 6, 3), ids(1, 6).at[1].set(IGNORED).at[4].set(IGNORED)
    dirty = x.at[1].set(jnp.nan).at[4].set(jnp.inf)
    value, gradient = jax.value_and_grad(loss)(dirty, y)
    expected, slope = jax.value_and_grad(loss)(x, y)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12)


# --------------------------------------------------------------------------------------------------------- bad input


def test_values_that_can_be_read_are_checked_and_traced_ones_give_nan():
    x, y = draw(0, 4, 3), jnp.array([3, -1, 7, 0])
    with pytest.raises(ValueError, match=r"class ids in \[0, 3\) or the ignore_index -100, got -1, 3, 7"):
        softmax_focal_loss(x, y)
    assert jnp.isnan(jax.jit(softmax_focal_loss)(x, y))
    assert jnp.isnan(jax.jit(symmetric_cross_entropy_loss)(x, y))
    with pytest.raises(ValueError, match=r"targets must be in \[0, 1\], got 2"):
        sigmoid_focal_loss(x, jnp.full((4, 3), 2))
    assert jnp.isnan(jax.jit(sigmoid_focal_loss)(x, jnp.full((4, 3), 2)))
    weights = jnp.array([1.0, -2.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"sample_weight must be finite and >= 0, got -2\.0"):
        softmax_focal_loss(x, jnp.zeros(4, int), sample_weight=weights)
    assert jnp.isnan(jax.jit(softmax_focal_loss)(x, jnp.zeros(4, int), sample_weight=weights))


def test_wrong_arguments_are_named():
    x, y = draw(0, 4, 3), jnp.zeros(4, int)
    cases = [
        (lambda: sigmoid_focal_loss(x, y), ValueError, r"targets must be of the same shape as logits"),
        (lambda: sigmoid_focal_loss(y, y), TypeError, r"logits must be a floating-point array, got dtype int64"),
        (lambda: softmax_focal_loss(x, jnp.zeros((4, 1), int)), ValueError, r"targets must be of shape .* = \(4,\)"),
        (lambda: softmax_focal_loss(x, jnp.zeros(4)), ValueError, r"or integers for class ids, got"),
        (lambda: softmax_focal_loss(x, y, axis=2), ValueError, r"axis must be an axis of 2-d logits, got 2"),
        (lambda: softmax_focal_loss(x, y, alpha=[1.0]), ValueError, r"alpha must be of shape \[classes\] = \(3,\)"),
        (lambda: softmax_focal_loss(x, y, alpha=[1.0, -1.0, 1.0]), ValueError, r"alpha must be finite and >= 0"),
        (lambda: softmax_focal_loss(x, y, gamma=-1), ValueError, r"gamma must be a finite number >= 0.*, got -1"),
        (lambda: softmax_focal_loss(x, y, gamma=float("nan")), ValueError, r"gamma must be .*, got nan"),
        (lambda: softmax_focal_loss(x, y, label_smoothing=2.0), ValueError, r"label_smoothing must be"),
        (lambda: softmax_focal_loss(x, y, reduction="avg"), ValueError, r"reduction must be one of 'mean', .*'avg'"),
        (lambda: symmetric_cross_entropy_loss(x, y, reduction="mean_positive"), ValueError, r"reduction must be one"),
        (
            lambda: symmetric_cross_entropy_loss(x, y, epsilon=0.0),
            ValueError,
            r"epsilon must be a Python number in \(0, 1\)",
        ),
        (lambda: symmetric_cross_entropy_loss(x, y, beta=-1.0), ValueError, r"beta must be a finite number >= 0"),
        (lambda: sigmoid_focal_loss(x, x > 0, alpha=1.5), ValueError, r"alpha must be a number in \[0, 1\]"),
        (lambda: softmax_focal_loss(x, y, sample_weight=jnp.ones(3)), ValueError, r"sample_weight must be of shape"),
        (
            lambda: softmax_focal_loss(x, [0, 1, 2, 0]),
            TypeError,
            "targets must be a JAX or numpy array, got builtins.list",
        ),
        (
            lambda: softmax_focal_loss(x, y, reduction="mean_positive", background_class=3),
            ValueError,
            r"background_class must be a class id in \[0, 3\), got 3",
        ),
        (
            lambda: softmax_focal_loss(x, y, background_class=-1),
            ValueError,
            r"background_class must be .* >= 0, got -1",
        ),
        (
            lambda: softmax_focal_loss(x.reshape(2, 2, 3), jnp.zeros((2, 3), int)),
            ValueError,
            r"class axis 2 \(axis 1 would fit\) = \(2, 2\), got \(2, 3\)",
        ),
        (lambda: softmax_focal_loss(x[:, 0], y), ValueError, r"logits must be of shape \[N, C\] or .*, got \(4,\)"),
        (
            lambda: softmax_focal_loss(x[:1, 0], y[:1]),
            ValueError,
            r"logits must be of shape \[N, C\] or .*, got \(1,\)",
        ),
        (
            lambda: sigmoid_focal_loss(x[:, :1], y),
            ValueError,
            r"targets must be .*, \(4, 1\), got .*; pass targets\[:, N",
        ),
        (lambda: softmax_focal_loss(x[:, :1], y), ValueError, r"at least 2 classes on axis -1 .*, got \(4, 1\)"),
        (lambda: symmetric_cross_entropy_loss(x[:1], x[:1] * 0, axis=0), ValueError, r"at least 2 classes on axis 0"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


def test_numpy_arrays_are_taken():
    x, y = np.asarray(draw(0, 4, 3)), np.array([0, 1, 2, 0])
    np.testing.assert_allclose(softmax_focal_loss(x, y), softmax_focal_loss(jnp.asarray(x), jnp.asarray(y)))
    np.testing.assert_allclose(sigmoid_focal_loss(x, x > 0), sigmoid_focal_loss(jnp.asarray(x), jnp.asarray(x) > 0))


def test_class_weights():
    counts = jnp.bincount(jnp.array([0, 0, 0, 0, 1, 1, 2]), length=3)
    np.testing.assert_allclose(class_weights(counts), [0.25, 0.5, 1.0])
    np.testing.assert_allclose(class_weights([4, 2, 1], scheme="balanced"), [7 / 12, 7 / 6, 7 / 3])
    np.testing.assert_allclose(pos_weight(jnp.array([10, 50]), 100), [9.0, 1.0])
    np.testing.assert_allclose(jax.jit(class_weights)(counts), [0.25, 0.5, 1.0])
    with pytest.raises(ValueError, match="counts must be finite and >= 0, got -1"):
        class_weights([3, -1])
    with pytest.raises(ValueError, match="total - positives must be finite and >= 0, got -10"):
        pos_weight(20, 10)


def test_validate_targets():
    validate_targets(jnp.array([0, 2, IGNORED]), num_classes=3)
    validate_targets(np.array([[0, 1], [IGNORED, 1]]), num_classes=2, multilabel=True)
    with pytest.raises(ValueError, match=r"class ids in \[0, 3\) or the ignore_index -100, got 3"):
        validate_targets(jnp.array([0, 3]), num_classes=3)
    with pytest.raises(ValueError, match="targets must be 0 or 1, got 2"):
        validate_targets(jnp.array([0, 2]), num_classes=1, ignore_index=None)
    with pytest.raises(TypeError, match="call validate_targets outside jit"):
        jax.jit(lambda y: validate_targets(y, num_classes=3))(jnp.array([0]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_second_derivatives_of_confident_rows_are_finite(gamma):
    optax = pytest.importorskip("optax")
    ids_ = jnp.array([0, 0])
    for size in (45.0, 80.0, 300.0):
        x = jnp.array([[size, 0.0, -1.0], [0.0, size, 3.0]], jnp.float32)
        for targets in (ids_, jnp.eye(3, dtype=jnp.float32)[ids_]):
            hessian = jax.jit(jax.hessian(lambda x, y=targets: softmax_focal_loss(x, y, gamma=gamma)))(x)
            assert jnp.all(jnp.isfinite(hessian))
        y = (x > 1).astype(jnp.float32)
        assert jnp.all(jnp.isfinite(jax.jit(jax.hessian(lambda x, y=y: sigmoid_focal_loss(x, y, gamma=gamma)))(x)))
    x, y = draw(0, 5), ids(1, 5, classes=2).astype(jnp.float64)
    ours = jax.hessian(lambda x: sigmoid_focal_loss(x, y, gamma=gamma, reduction="sum"))(x)
    theirs = jax.hessian(lambda x: optax.sigmoid_focal_loss(x, y, alpha=0.25, gamma=gamma).sum())(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def test_a_mask_made_of_concrete_targets_inside_jit():
    x, y = draw(0, 4, 3), ids(1, 4, 3, classes=2).at[0, 1].set(-1)
    weights = jnp.ones((4, 3)).at[0, 1].set(-5.0)
    expected = sigmoid_focal_loss(x, y, ignore_index=-1, sample_weight=weights)
    np.testing.assert_allclose(sigmoid_focal_loss(x, y, where=y >= 0, sample_weight=weights), expected)
    jitted = jax.jit(lambda x: sigmoid_focal_loss(x, y, where=y >= 0, sample_weight=weights))
    np.testing.assert_allclose(jitted(x), expected)
    np.testing.assert_allclose(
        jax.jit(partial(sigmoid_focal_loss, ignore_index=-1))(x, y), sigmoid_focal_loss(x, y, ignore_index=-1)
    )
    masks = jnp.stack([y >= 0, y > 0])
    each = jax.vmap(lambda where: sigmoid_focal_loss(x, y, where=where))(masks)
    np.testing.assert_allclose(each, [sigmoid_focal_loss(x, y, where=mask) for mask in masks])
    labels = ids(2, 4).at[1].set(IGNORED)
    row_weights = jnp.ones(4).at[1].set(-1.0)
    traced = jax.jit(lambda x, y: softmax_focal_loss(x, y, sample_weight=row_weights))(x, labels)
    np.testing.assert_allclose(traced, softmax_focal_loss(x, labels))


def test_alpha_per_label_and_weights_that_broadcast():
    x = draw(0, 6, 3)
    y, alpha = (x > 0).astype(jnp.float64), [0.1, 0.5, 1.0]
    per_label = sigmoid_focal_loss(x, y, alpha=alpha, reduction="none")
    for i, a in enumerate(alpha):
        np.testing.assert_allclose(per_label[:, i], sigmoid_focal_loss(x[:, i], y[:, i], alpha=a, reduction="none"))
    weights = jnp.abs(draw(1, 6, 1))
    expected = jnp.sum(weights * per_label) / jnp.sum(3 * weights)
    np.testing.assert_allclose(sigmoid_focal_loss(x, y, alpha=alpha, sample_weight=weights), expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 9\.0"):
        sigmoid_focal_loss(x[:, :1], y[:, :1], alpha=[9.0])
    with pytest.raises(ValueError, match=r"alpha must be .* one per label, \(3,\), got \(2,\)"):
        sigmoid_focal_loss(x, y, alpha=[0.1, 0.2])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_sigmoid_focal_of_logits_that_are_infinite_and_wrong(gamma):
    """Compiled: XLA multiplies in another order, in which ∞ · 0 may occur."""
    logits, targets = jnp.array([-jnp.inf, jnp.inf, -3e38, 0.3]), jnp.array([1.0, 0.0, 1.0, 0.0])
    step = jax.jit(jax.value_and_grad(partial(sigmoid_focal_loss, alpha=None, gamma=gamma, reduction="sum")))
    value, gradient = step(logits, targets)
    assert jnp.isfinite(value)
    np.testing.assert_allclose(gradient[:3], [-1.0, 1.0, -1.0])

"""The transformations of JAX on the ranking losses, and what is read of arrays and when."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbalanced_jax import (
    pauc_at_budget_loss,
    recall_at_quantile_loss,
    sigmoid_focal_loss,
    smooth_ap_loss,
    softmax_focal_loss,
    symmetric_cross_entropy_loss,
    validation,
)

RANKINGS = {
    "smooth_ap": partial(smooth_ap_loss, temperature=0.3),
    "recall": partial(recall_at_quantile_loss, quantile=0.2, temperature=0.3),
    "pairwise": partial(pauc_at_budget_loss, beta=0.5, temperature=0.5, surrogate="pairwise"),
}
every_ranking = pytest.mark.parametrize("name", RANKINGS)


def batch(dtype=np.float64):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((14, 2)).astype(dtype)), jnp.asarray(np.arange(14) % 2)


def scalar(name, targets):
    return lambda x: RANKINGS[name](x, targets)[0]


@every_ranking
def test_second_derivatives_are_the_slopes_of_the_first(name):
    """Along the positives, which set no threshold here: thresholds are constants in differentiation."""
    x, y = batch()
    loss = scalar(name, y)
    moving = jax.nn.one_hot(y, 2, dtype=x.dtype)
    if name == "recall":  # scores far below the threshold stay there
        moving = jnp.where(x < jnp.quantile(x, 0.6, axis=0), moving, 0.0)
    direction = moving * jax.random.normal(jax.random.key(1), x.shape, dtype=x.dtype)
    gradient = jax.jit(jax.grad(loss))
    _, curvature = jax.jvp(gradient, (x,), (direction,))
    step = 1e-5
    numeric = (gradient(x + step * direction) - gradient(x - step * direction)) / (2 * step)
    np.testing.assert_allclose((curvature * moving).sum(), (numeric * moving).sum(), rtol=1e-6, atol=1e-9)
    assert jnp.abs(curvature).max() > 1e-3


def test_forward_mode_works_or_says_that_it_is_not_there():
    x, y = batch()
    loss = scalar("recall", y)
    _, slope = jax.jvp(loss, (x,), (x,))
    np.testing.assert_allclose(slope, (jax.grad(loss)(x) * x).sum(), rtol=1e-9)
    with pytest.raises(TypeError, match=r"forward-mode autodiff .* custom_vjp"):
        jax.jvp(scalar("smooth_ap", y), (x,), (x,))


def test_recomputation_is_right():
    """State goes in and comes out, so `jax.checkpoint` computes the same twice."""
    x, y = batch()
    loss = scalar("smooth_ap", y)
    np.testing.assert_allclose(jax.grad(jax.checkpoint(loss))(x), jax.grad(loss)(x), rtol=1e-9)


def test_only_arrays_on_the_cpu_of_this_process_are_read(monkeypatch):
    def array(platform, *, addressable=True):
        devices = [SimpleNamespace(platform=platform)]
        # the class that `isinstance` sees is that of `__class__`
        return type(
            "Array",
            (),
            {
                "__class__": property(lambda _: type(jnp.zeros(()))),
                "is_fully_addressable": addressable,
                "devices": lambda _: devices,
            },
        )()

    assert validation.can_read(array("cpu"))
    assert not validation.can_read(array("cpu", addressable=False))
    assert not validation.can_read(array("gpu"))
    assert not validation.can_read(array("tpu"))

    # as on an accelerator: nothing is turned into numpy, and bad values are told by the loss
    x, y = batch(np.float32)
    monkeypatch.setattr(validation, "can_read", lambda _: False)
    monkeypatch.setattr(validation, "np", SimpleNamespace(ndarray=np.ndarray, generic=np.generic))  # no asarray
    for loss in (softmax_focal_loss, symmetric_cross_entropy_loss):
        assert jnp.isnan(loss(x, y + 1))
    assert jnp.isnan(sigmoid_focal_loss(x, jnp.full(x.shape, 2.0, dtype=x.dtype)))
    assert jnp.isnan(smooth_ap_loss(x, y + 1)[0])

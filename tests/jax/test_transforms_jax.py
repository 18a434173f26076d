"""The transformations of JAX on the ranking losses, and which arrays are read."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses import LOSSES, RANKING, each, every_ranking

from imbalanced_jax import validation


def batch(dtype=np.float64):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((14, 2)).astype(dtype)), jnp.asarray(np.arange(14) % 2)


def scalar(case, targets):
    return lambda x: case.value_in_jax()(x, targets)


@each(case for case in RANKING if "jax" not in case.forward_mode)
def test_second_derivatives_are_those_of_the_first(case):
    """With respect to the positives, which set no threshold here; thresholds are constants in differentiation."""
    x, y = batch()
    loss = scalar(case, y)
    moving = jax.nn.one_hot(y, 2, dtype=x.dtype)
    if case.threshold_of == "all items":  # fix the threshold and its two neighbours
        threshold = case.in_jax()(x, y)[1].diagnostics.t_beta
        moving = jnp.where(x < jnp.max(jnp.where(x < threshold, x, -jnp.inf), axis=0), moving, 0.0)
    direction = moving * jax.random.normal(jax.random.key(1), x.shape, dtype=x.dtype)
    gradient = jax.jit(jax.grad(loss))
    _, curvature = jax.jvp(gradient, (x,), (direction,))
    step = 1e-5
    numeric = (gradient(x + step * direction) - gradient(x - step * direction)) / (2 * step)
    np.testing.assert_allclose((curvature * moving).sum(), (numeric * moving).sum(), rtol=1e-6, atol=1e-9)
    assert jnp.abs(curvature).max() > 1e-3


@every_ranking
def test_forward_mode_works_or_says_that_it_is_not_there(case):
    x, y = batch()
    loss = scalar(case, y)
    if "jax" in case.forward_mode:
        _, slope = jax.jvp(loss, (x,), (x,))
        np.testing.assert_allclose(slope, (jax.grad(loss)(x) * x).sum(), rtol=1e-9)
    else:
        with pytest.raises(TypeError, match=r"forward-mode autodiff .* custom_vjp"):
            jax.jvp(loss, (x,), (x,))


def test_recomputation_is_right():
    """State is passed in and returned, so `jax.checkpoint` recomputes the same result."""
    x, y = batch()
    loss = scalar(RANKING[0], y)
    np.testing.assert_allclose(jax.grad(jax.checkpoint(loss))(x), jax.grad(loss)(x), rtol=1e-9)


def test_only_arrays_on_the_cpu_of_this_process_are_read(monkeypatch):
    def array(platform, *, addressable=True):
        devices = [SimpleNamespace(platform=platform)]
        # `isinstance` also accepts the class in `__class__`
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

    # as on an accelerator: no array is converted to numpy, and the loss reports bad values
    def asarray(numbers):
        assert isinstance(numbers, (list, tuple, float, int))
        return np.asarray(numbers)

    monkeypatch.setattr(validation, "can_read", lambda _: False)
    of_numpy = SimpleNamespace(ndarray=np.ndarray, generic=np.generic, asarray=asarray)
    monkeypatch.setattr(validation, "np", of_numpy)
    for case in LOSSES:
        x, y = map(jnp.asarray, case.batch())
        assert jnp.isnan(case.value_in_jax()(x, case.wrong(y))), case.name

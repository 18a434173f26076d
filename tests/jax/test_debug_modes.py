"""The debugging modes of JAX: each ranking loss is traced and runs one step in each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses import RANKING

from imbalanced_jax import (
    init_gate,
    init_queue,
    ndcg_loss,
    pauc_at_budget_loss,
    prior_correction,
    recall_at_quantile_loss,
    smooth_ap_loss,
    warmup_blend,
)

LOSSES = {
    "smooth_ap": (smooth_ap_loss, {}),
    "smooth_ap_std": (smooth_ap_loss, {"temperature_scale": "std", "margin": 0.5, "pos_numerator": "live"}),
    "smooth_ap_gated": (smooth_ap_loss, {"temperature_scale": "std", "gate": init_gate(3)}),
    "recall": (recall_at_quantile_loss, {}),
    "recall_iqr": (recall_at_quantile_loss, {"temperature_scale": "iqr", "margin": 0.5, "quantile": 0.2}),
    "pauc": (pauc_at_budget_loss, {"beta": 0.5}),
    "pauc_trapezoid": (pauc_at_budget_loss, {"beta": 0.5, "surrogate": "trapezoid", "n_knots": 4}),
    "pauc_two_way": (pauc_at_budget_loss, {"beta": 0.5, "min_tpr": 0.5}),
    "pauc_gated": (pauc_at_budget_loss, {"beta": 0.5, "tau_scale": "std", "gate": init_gate(3)}),
}
LOSSES |= {case.name: (case.jax_function, case.options) for case in RANKING if case.like}


@pytest.fixture(params=LOSSES)
def step(request):
    function, options = LOSSES[request.param]
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((12, 3)), jnp.float32)
    targets = jnp.arange(12, dtype=jnp.int32) % 2  # the third class has no positive

    def of_logits(logits, queue):
        return function(logits, targets, queue, **options)

    return lambda way: way(jax.value_and_grad(of_logits, has_aux=True))(logits, init_queue(8, 3))


def test_a_default_step_holds_no_nan(step):
    with jax.debug_nans(True):
        (loss, aux), gradient = step(jax.jit)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert np.isfinite(aux.per_class).all()


def test_a_warmup_holds_no_nan():
    logits, targets = jnp.linspace(-1.0, 1.0, 12).reshape(12, 1), jnp.arange(12, dtype=jnp.int32) % 2

    @jax.jit
    def step(number, queue):
        return warmup_blend(
            number,
            lambda: jnp.square(logits).mean(),
            lambda queue, temperature: smooth_ap_loss(logits, targets, queue, temperature=temperature),
            queue,
            warmup_steps=1,
        )

    with jax.debug_nans(True):
        for number in range(2):
            loss, aux = step(number, init_queue(8, 1, dtype=logits.dtype))
            assert np.isfinite(loss)
            assert np.isfinite(aux.per_class).all()


def test_no_rank_is_promoted(step):
    with jax.numpy_rank_promotion("raise"):
        step(jax.make_jaxpr)


def test_no_rank_is_promoted_in_lists():
    with jax.numpy_rank_promotion("raise"):
        jax.grad(ndcg_loss)(jnp.arange(24.0).reshape(3, 8), jnp.arange(24).reshape(3, 8) % 4)


def test_no_rank_is_promoted_in_a_correction():
    with jax.numpy_rank_promotion("raise"):
        prior_correction(jnp.zeros((4, 1)), weights=[2.0], binary=True)
        prior_correction(jnp.zeros((4, 2)), train_prior=[0.5, 0.5], prior=[0.1, 0.9], tau=1.0)


def test_strict_promotion_of_dtypes(step):
    with jax.numpy_dtype_promotion("strict"):
        step(jax.make_jaxpr)

"""Runs README, guides and examples as their readers do, with each framework's default settings."""

import functools

import jax
import numpy as np
import optax
import pytest
import torch


@pytest.fixture(autouse=True)
def settings_of_users():
    """JAX without the strict settings of the other tests, and seeded generators; cleans up after the test."""
    random_state, default_dtype, threads = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - a page may use the global generator
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield
    torch.set_rng_state(random_state)
    torch.set_default_dtype(default_dtype)
    torch.set_num_threads(threads)


@pytest.fixture
def steady_adam(monkeypatch):
    """Adam with an epsilon above rounding errors, for step-by-step comparison of runs in both frameworks.

    Some gradients of a ranking loss, such as that of the last bias, are 0 up to rounding. Adam scales each to a full
    step, whose direction then differs between the frameworks.
    """
    monkeypatch.setattr(torch.optim, "Adam", functools.partial(torch.optim.Adam, eps=1e-3))
    monkeypatch.setattr(optax, "adam", functools.partial(optax.adam, eps=1e-3))

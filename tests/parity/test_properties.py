"""Every public function on random shapes, masks, ties, extremes and dtypes: a small part of `python -m tests.fuzz`."""

import dataclasses

import fuzz
import numpy as np
import pytest
from fuzz_cases import DTYPES, run
from fuzz_small import FUNCTIONS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from losses import LOSSES, Loss

pytestmark = pytest.mark.filterwarnings("ignore:batch and queue have:UserWarning")  # intended: rows <= k

SEEDS = st.integers(0, 2**32 - 1)


def few(examples):
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def assert_near(errors):
    assert (errors.value <= errors.tolerance[0]).all()
    assert (errors.gradient <= errors.tolerance[1]).all()


@pytest.mark.parametrize("name", fuzz.LOSSES)
@few(15)
@given(data=st.data())
def test_torch_losses_are_the_reference(name, data):
    plan = data.draw(st.sampled_from(fuzz.make_plans(name)))
    least = {"ranking": 0, "labels": 1, "ids": 2, "lists": 1}[plan.case.kind]  # a softmax needs two
    columns = st.integers(least, 20 if plan.case.ranks else 7)
    shape = (data.draw(st.integers(1, 30)), data.draw(columns))
    plan = dataclasses.replace(plan, shape=shape, dtype=data.draw(st.sampled_from(list(DTYPES))))
    assert_near(run(plan, "torch", data.draw(SEEDS)))


@pytest.mark.parametrize("name", fuzz.LOSSES)
@pytest.mark.usefixtures("optimised")
@few(10)
@given(seed=SEEDS)
def test_jax_losses_are_the_reference(name, seed):
    """A single plan, to compile only once."""
    assert_near(run(fuzz.make_plans(name)[0], "jax", seed))


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("name", [names for names in FUNCTIONS if names != ("queue", "init_queue")])
@few(10)
@given(seed=SEEDS)
def test_other_functions_are_the_reference(name, library, seed):
    assert_near(FUNCTIONS[name][0](library, np.random.default_rng(seed)))


def test_a_wrong_loss_would_be_noticed():
    """Tests the comparison: a loss with a small margin fails, and the reported line reproduces the failure."""
    name = LOSSES[0].name
    plan = fuzz.make_plans(name)[0]
    fields = {field.name: getattr(plan.case, field.name) for field in dataclasses.fields(plan.case)}
    errors = run(dataclasses.replace(plan, case=Wrong(**fields)), "torch", 3)
    row = fuzz.Row("wrong")
    row.add(errors, f"'{name}' torch 0 3")
    assert row.failures[0].startswith(f"'{name}' torch 0 3  # ")
    assert not fuzz.report([row])
    np.testing.assert_array_equal(fuzz.repeat(name, "torch", "0", "3").value, run(plan, "torch", 3).value)


class Wrong(Loss):
    def in_torch(self, *arguments, **options):
        return super().in_torch(*arguments, margin=1e-3, **options)

"""Errors name the option as the user spelt it: every option of every class and function, given an invalid value."""

import inspect
import typing

import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from losses import LOSSES, POINTWISE, each

from imbalanced_torch import functional

NONSENSE = "bogus"
DATA = {
    "scores",
    "relevance",
    "logits",
    "targets",
    "queue",
    "where",
    "sample_weight",
    "iid_mask",
    "num_classes",
    "self",
}
# objects of the frameworks, which check them
FOREIGN = {"process_group", "axis_name", "generator", "dtype", "deterministic", "rngs"}


def options_of(function):
    """The keywords, including those of an unpacked TypedDict."""
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            names += typing.get_args(parameter.annotation)[0].__annotations__
        else:
            names.append(name)
    return [name for name in names if name not in DATA | FOREIGN]


def calls():
    """The (kind, loss, option) of every option."""
    seen = set()
    for case in LOSSES:
        for kind, function in (
            ("torch", case.torch_class),
            ("nnx", case.nnx_class.__init__),
            ("jax", case.jax_function),
            ("functional", getattr(functional, case.jax)),
        ):
            if (kind, case.torch) in seen:
                continue
            seen.add((kind, case.torch))
            for option in options_of(function):
                yield pytest.param(kind, case, option, id=f"{kind} {case.torch} {option}")


def in_functional(case, options):
    return lambda *batch: getattr(functional, case.jax)(*batch, **case.options | options)


@pytest.mark.parametrize(("kind", "case", "option"), list(calls()))
def test_an_error_has_the_name_of_the_option(kind, case, option):
    make, array = {
        "torch": (case.in_torch, torch.from_numpy),
        "nnx": (case.in_nnx, jnp.asarray),
        "jax": (case.in_jax, jnp.asarray),
        "functional": (lambda **options: in_functional(case, options), torch.from_numpy),
    }[kind]
    batch = tuple(map(array, case.batch()))
    streams = {"rngs": nnx.Rngs(0)} if (kind, option) == ("nnx", "max_pool_size") else {}
    with pytest.raises((ValueError, TypeError), match=rf"^{option} must be "):
        make(**{option: NONSENSE}, **streams)(*batch)


@each(case for case in POINTWISE if "mean_positive" not in case.reductions)
def test_a_loss_without_positives_has_no_mean_over_them(case):
    batch = case.batch()
    for make in (
        case.in_torch,
        case.in_nnx,
        lambda **options: case.in_jax(**options)(*map(jnp.asarray, batch)),
        lambda **options: in_functional(case, options)(*map(torch.from_numpy, batch)),
    ):
        with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'mean_positive'"):
            make(reduction="mean_positive")

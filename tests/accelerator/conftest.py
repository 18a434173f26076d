"""The losses on an accelerator: `pytest tests/accelerator`. Without a device all is skipped at once.

IMBALANCED_DEVICE=cpu runs the same tests on the CPU, where a step is called instead of being captured: a check of the
tests themselves.
"""

import gc
import os
import sys

import pytest

DEVICE = os.environ.get("IMBALANCED_DEVICE", "cuda")


def pytest_configure(config):
    """JAX finds the accelerator and optimises where these tests run alone; all others keep it on the CPU."""
    alone = all("accelerator" in argument for argument in config.args)
    if alone and DEVICE != "cpu" and "jax" not in sys.modules:
        os.environ["JAX_PLATFORMS"] = ""
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs memory of the same device


def pytest_collection_modifyitems(items):
    for item in items:
        if "accelerator" in item.path.parts:  # what drivers and compilers warn of is not on trial
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def _nothing_left_over():
    """A CUDA graph of an earlier test, freed while another is captured, breaks the capture; compiled code adds up."""
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    gc.collect()

"""The losses on an accelerator: `pytest tests/accelerator`. Without a device, everything is skipped at once.

IMBALANCED_DEVICE=cpu runs the same tests on the CPU, where steps are called instead of captured, to check the tests
themselves.
"""

import gc
import os
import sys

import pytest

DEVICE = os.environ.get("IMBALANCED_DEVICE", "cuda")


def pytest_configure(config):
    """If these tests run alone, JAX uses the accelerator, with optimisations; otherwise it stays on the CPU."""
    alone = all("accelerator" in argument for argument in config.args)
    if alone and DEVICE != "cpu" and "jax" not in sys.modules:
        os.environ["JAX_PLATFORMS"] = ""
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs memory on the same device


def pytest_collection_modifyitems(items):
    for item in items:
        if "accelerator" in item.path.parts:  # warnings of drivers and compilers are not tested
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def _nothing_left_over():
    """Freeing a CUDA graph of an earlier test during a capture breaks the capture, and compiled code accumulates."""
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    gc.collect()

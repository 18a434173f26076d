"""Every loss on an accelerator compared with its limits, in one table within five minutes, or two with --quick.

    python -m examples.benchmarks --device cuda
    python -m examples.benchmarks --device cuda --backend jax --quick
    python -m examples.benchmarks.accelerator --device cpu --quick     # tests the program itself, at small sizes

It needs only the library and the frameworks. A step is a loss and its gradient; times are medians of several rounds.
"graphed" is a loss turned into CUDA graphs by `torch.cuda.make_graphed_callables`, "captured" a replayed CUDA graph of
loss and gradient, "compiled" is `torch.compile(mode="reduce-overhead")`. A way that fails, or that does not fit in the
time limit, is reported as such in its row.
"""

import argparse
import importlib
import importlib.util
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

BACKENDS = {"torch": "PyTorch", "jax": "JAX"}
MINUTES, QUICK_MINUTES = 4.5, 1.75
SHARE = {"torch": 0.65, "jax": 1.0}  # fraction of the remaining time, for the frameworks in this order


class Sizes(NamedTuple):
    """The problem sizes."""

    queue: int  # queue of the default step, whose batch is 32
    medium: tuple[int, int]  # rows and classes
    long: int  # scores in one row
    elements: int  # logits of the pointwise losses
    swept: tuple[tuple[int, int], ...]  # rows and classes for which matrix and blocks are compared


def sizes(device: str, *, quick: bool) -> Sizes:
    """The sizes for an accelerator, or small ones for a test on the CPU."""
    if device == "cpu":
        return Sizes(128, (128, 3), 2**12, 2**16, ((256, 1), (1024, 1)))
    swept = [(2**k, 1) for k in range(9, 16)] + [(2**k, 10) for k in range(9, 14)]
    return Sizes(1024, (4096, 10), 2**20, 2**26, tuple(swept[1::2] if quick else swept))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX starts: PyTorch uses the device too
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.accelerator")
    parser.add_argument("--device", default="cuda", help="of torch (default: cuda); JAX takes its default device")
    parser.add_argument("--backend", nargs="+", choices=installed, default=installed)
    parser.add_argument("--quick", action="store_true", help="two minutes")
    options = parser.parse_args(arguments)
    minutes = QUICK_MINUTES if options.quick else MINUTES
    if options.device == "cpu":  # a test, where programs take longer to compile than to run
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        minutes = 10.0
    end = time.monotonic() + 60 * minutes
    seconds = 0.02 if options.device == "cpu" else 0.2 if options.quick else 0.4
    for name in (name for name in BACKENDS if name in options.backend):
        module = importlib.import_module(f".accelerator_{name}", __package__)
        if not module.is_there(options.device):
            print(f"\n{BACKENDS[name]} finds no device {options.device!r}.", flush=True)
            continue
        share = SHARE[name] if len(options.backend) > 1 else 1.0
        limit = share * (end - time.monotonic())
        module.run(options.device, sizes(options.device, quick=options.quick), seconds=seconds, limit=limit)


if __name__ == "__main__":
    main()

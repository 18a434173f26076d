"""Peak memory of one step: of the process on a CPU, of the device on an accelerator."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Memory of more than this goes back to the system as soon as it is free; without it, glibc keeps what the warm-up used.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def of_process(step: Callable[[], Any]) -> int | None:
    """By how many bytes a call takes the process above what it holds before; None where Linux's /proc is missing.

    The process must have been started with ENVIRONMENT, and must have made the call before: the first one loads code.
    """
    if not (STATUS.exists() and CLEAR.exists()):
        return None
    gc.collect()
    _trim()
    CLEAR.write_text("5")  # the high-water mark starts again from here
    before = _kilobytes("VmRSS")
    outcome = step()
    growth = _kilobytes("VmHWM") - before
    del outcome
    return 1024 * growth


def _kilobytes(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)

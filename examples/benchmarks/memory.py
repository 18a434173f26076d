"""Peak memory of one step: of the process on a CPU, of the device on an accelerator."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Larger blocks return to the system as soon as they are freed; otherwise glibc keeps what the warm-up used.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def of_process(step: Callable[[], Any]) -> int | None:
    """The bytes by which a call raises the memory of the process; None without Linux's /proc.

    The process must have been started with ENVIRONMENT, and must have made the call once before, which loads code.
    """
    if not (STATUS.exists() and CLEAR.exists()):
        return None
    gc.collect()
    _trim()
    CLEAR.write_text("5")  # resets the high-water mark
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

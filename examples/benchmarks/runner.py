"""Plans the measurements and runs each in a fresh process."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import memory
from .cases import RANKING, Case

PACKAGES = ("numpy", "torch", "jax", "optax", "imbalanced-losses", "pytorch-metric-learning")
LONGEST = 900  # timeout of a measurement, in seconds
TOP = Path(__file__).parents[len(__package__.split("."))]  # the folder from which Python imports this package


def run(cases: Sequence[Case], backends: Sequence[str], options: dict[str, Any], *, progress: bool) -> dict[str, Any]:
    """Measures the cases.

    Args:
        cases: the cases to measure.
        backends: "torch", "jax" or both.
        options: "device", "seconds", "most", "compiled" of `child.measure`, and "memory", whether to measure it.
        progress: whether to show a progress bar on stderr.

    Returns:
        {"about": the computer, "cases": {case name: {backend: what `child.measure` returned}}}; a contender of a case
        with memory has it as "memory", in bytes, and a case that failed has {"error": the reason}.
    """
    from tqdm import tqdm  # not needed on an accelerator

    start = time.monotonic()
    results: dict[str, Any] = {"about": about(options["device"]), "cases": {}}
    jobs = [(case, backend) for case in cases for backend in backends if not _is_left_out(case, backend)]
    with tqdm(total=len(jobs), unit="case", ncols=100, disable=not progress) as bar:
        for case, backend in jobs:
            bar.set_description(f"{backend:5} {case.name:28}")
            job = {"case": case.name, "backend": backend, **options}
            with tempfile.TemporaryDirectory() as cache:  # an empty compilation cache, reused below
                result = results["cases"].setdefault(case.name, {})[backend] = _child(job | {"what": "time"}, cache)
                if case.memory and options["memory"]:
                    _add_memory(result, job | {"what": "memory"}, cache)
            bar.update()
    results["about"]["minutes"] = round((time.monotonic() - start) / 60, 1)
    return results


def _is_left_out(case: Case, backend: str) -> bool:
    """Embeddings are only for the comparison with a torch library."""
    return case.loss == "retrieval" and (backend == "jax" or not importlib.util.find_spec("pytorch_metric_learning"))


def _add_memory(result: dict[str, Any], job: dict[str, Any], cache: str) -> None:
    for name, contender in result.get("contenders", {}).items():
        is_costly = name == "torch.compile" and job["case"].split(":")[0] in RANKING  # a minute of compilation
        if "error" not in contender and not is_costly:
            contender["memory"] = _child(job | {"contender": name}, cache).get("bytes")


def _child(job: dict[str, Any], cache: str) -> dict[str, Any]:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH")]))
    if job["what"] == "memory":
        environment |= memory.ENVIRONMENT
    command = [sys.executable, "-m", f"{__package__}.child", json.dumps(job)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"error": f"ended after {LONGEST} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"error": last if done.returncode > 0 else f"killed by signal {-done.returncode} (out of memory?)"}
    return json.loads(done.stdout.splitlines()[-1])


def about(device: str) -> dict[str, Any]:
    """The computer and the versions, without host or user names."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {"cores": cores, "load": load, "system": system, "device": device, "versions": versions}


def devices(results: dict[str, Any]) -> list[str]:
    """The names of the devices."""
    return sorted(set(_device_names(results["cases"].values())))


def _device_names(cases: Iterable[dict[str, Any]]) -> Iterable[str]:
    return (result["device"] for case in cases for result in case.values() if "device" in result)

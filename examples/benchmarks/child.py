"""One measurement in a separate process: the argument is a job, the output its result as JSON.

python -m examples.benchmarks.child '{"what": "time", "case": "recall:1024x1:5%", "backend": "torch"}'
"""

import importlib
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from .cases import Case, all_cases
from .contender import Contender
from .timing import side_by_side

DEFAULTS = {"device": "cpu", "seconds": 3.0, "most": 30, "compiled": True, "contender": None}


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measures the contenders of a case.

    Args:
        job: "what", "time" or "memory"; "case", its name; "backend", "torch" or "jax"; for "memory" also "contender".
            "device", "seconds" (for each contender), "most" (rounds) and "compiled" (whether torch.compile is used)
            are optional.

    Returns:
        For "time": {"device": its name, "contenders": {name: result}}, where a result is {"role", "compiled", "first":
        seconds of the first call, "rounds": seconds, "value", "gradient": its norm, and what was counted}, or {"role",
        "compiled", "error"}. For "memory": {"bytes": the growth, or None}.
    """
    job = DEFAULTS | job
    case = next(case for case in all_cases() if case.name == job["case"])
    steps_of = importlib.import_module(f".{job['backend']}_steps", __package__)
    contenders = steps_of.contenders(case, job["device"])
    if job["what"] == "memory":
        return {"bytes": _memory(steps_of, contenders[job["contender"]], job["device"])}
    if job["backend"] == "torch" and not job["compiled"]:
        contenders = {name: contender for name, contender in contenders.items() if not contender.is_compiled}
    return {"device": steps_of.device_name(job["device"]), "contenders": _times(steps_of, contenders, job, case)}


def _memory(steps_of: Any, contender: Contender, device: str) -> int | None:
    step = contender.build()
    steps_of.wait(step())  # loads code and compiles
    return steps_of.peak_growth(step, device)


def _times(steps_of: Any, contenders: dict[str, Contender], job: dict[str, Any], case: Case) -> dict[str, Any]:
    results: dict[str, Any] = {}
    steps = {}
    for name, contender in contenders.items():
        results[name] = {"role": contender.role, "compiled": contender.is_compiled}
        try:
            step = contender.build()
            start = time.perf_counter()
            value, gradient = steps_of.wait(step())
            results[name]["first"] = time.perf_counter() - start
        except Exception as error:  # no compiler or out of memory: the others can still be measured
            results[name]["error"] = _in_a_line(error)
            print(f"{case.name}, {name}: {error}", file=sys.stderr)
            continue
        if value is not None:
            results[name] |= {"value": float(value), "gradient": math.sqrt(float((gradient**2).sum()))}
        del gradient
        results[name] |= steps_of.count(step)
        steps[name] = step
    for name, rounds in side_by_side(steps, steps_of.wait, seconds=job["seconds"], most=job["most"]).items():
        results[name]["rounds"] = rounds
    return results


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:120]


def main(arguments: list[str], show: Callable[[str], Any] = print) -> None:
    show(json.dumps(measure(json.loads(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])

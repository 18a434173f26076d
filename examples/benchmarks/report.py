"""The results as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import RANKING, Case, all_cases
from .runner import devices
from .targets import Target, all_targets, evaluate, growth, is_met, sweep
from .timing import ratio, spread

BACKENDS = {"torch": "PyTorch", "jax": "JAX"}
BEGIN, END = "<!-- the table: begin -->", "<!-- the table: end -->"


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report: hardware, targets, growth, and every measurement."""
    return f"{summary(results)}\n## All measurements\n\n{measurements_table(results['cases'])}\n"


def summary(results: Mapping[str, Any]) -> str:
    """Hardware, targets and growth."""
    parts = [
        describe(results),
        "## Targets\n\n" + targets_table(results["cases"]),
        "## Growth\n\n" + growth_table(results["cases"]),
    ]
    return "\n\n".join(parts) + "\n"


def describe(results: Mapping[str, Any]) -> str:
    about = results["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = f"Measured on: {about['cores']} CPU cores, {', '.join(devices(results))}; {about['system']}; {versions}."
    if "minutes" in about:
        text += f" It took {about['minutes']} minutes."
    if about["load"] > 0.5 * about["cores"]:  # threads stall waiting for one another, which makes ratios meaningless
        text += f" **The computer was busy: its load was {about['load']:.1f} at the start. Do not use these numbers.**"
    return text


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int) -> str:
    """A Markdown table; the columns from number `numbers_from` on are right-aligned."""
    rule = ["---" if k < numbers_from else "---:" for k in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def targets_table(cases: Mapping[str, Any]) -> str:
    """Each target with the measurement, the middle half of the rounds, and whether it is met."""
    rows = []
    for target in all_targets():
        figure = evaluate(target, cases)
        if isinstance(figure, str):
            rows.append([*_in_words(target), figure, "not measured"])
            continue
        spread_text = "" if figure.low == figure.high else f" ({short(figure.low)} to {short(figure.high)})"
        verdict = "met" if is_met(target, figure) else "**missed**"
        rows.append([*_in_words(target), short(figure.middle) + spread_text, verdict])
    return table(["loss", "setting", "what", "target", "measured", ""], rows, numbers_from=3)


def _in_words(target: Target) -> list[str]:
    way = f"{BACKENDS[target.backend]} {target.ours}".replace("PyTorch torch.compile", "torch.compile")
    bound = f"{'≥' if target.figure == 'speed-up' else '≤'} {short(target.bound)}"
    if target.figure == "growth":
        return [RANKING[target.case][0], "n = 2¹⁰ to 2²⁰", f"{way}: p in time/(n log n) ~ n^p", bound]
    case = next(case for case in all_cases() if case.name == target.case)
    what = {
        "time": f"{way}, time / {target.reference}",
        "speed-up": f"{way}, times faster than {target.reference}",
        "memory": f"{way}, memory / {target.reference}",
        "bytes an item": f"{way}, bytes of memory an item",
        "compile": f"{way}, seconds of the first step, which compiles",
    }[target.figure]
    return [case.title, case.setting, what, bound]


def growth_table(cases: Mapping[str, Any]) -> str:
    """The exponent p of time/(n log n) ~ n^p of each ranking loss, over all lengths and over only the long rows."""
    rows = []
    for loss, (title, *_) in RANKING.items():
        for backend, contender in (("torch", "eager"), ("jax", "jit")):
            points = sweep(loss, cases, backend, contender)
            exponents = [growth(points), growth(points, least=2**15)]
            texts = ["" if math.isnan(exponent) else f"{exponent:+.2f}" for exponent in exponents]
            rows.append([title, f"{BACKENDS[backend]} {contender}", *texts])
    return table(["loss", "", "p, n ≥ 2¹⁰", "p, n ≥ 2¹⁵"], [row for row in rows if any(row[2:])], numbers_from=2)


def measurements_table(cases: Mapping[str, Any]) -> str:
    """One row per contender and case."""
    header = ["loss", "setting", "", "ms", "quartiles", "/ limit", "/ ours", "MiB", "calls", "compile s"]
    rows: list[list[str]] = []
    for case in all_cases():
        for backend, result in cases.get(case.name, {}).items():
            first = [case.title, case.setting]
            if "error" in result:
                rows.append([*first, f"{BACKENDS[backend]}: {result['error']}", *[""] * 7])
            for name, contender in result.get("contenders", {}).items():
                rows.append([*first, f"{BACKENDS[backend]}: {name}", *_figures(contender, result["contenders"])])
                first = ["", ""]
    return table(header, rows, numbers_from=3)


def _figures(contender: Mapping[str, Any], all_of_case: Mapping[str, Any]) -> list[str]:
    if "error" in contender:
        return [f"failed: {contender['error']}", *[""] * 6]
    times = spread(contender["rounds"])
    quartiles = f"{milliseconds(times.low)} to {milliseconds(times.high)}"
    ratios = []
    for role in ("limit", "ours"):
        with_role = (other for other in all_of_case.values() if other["role"] == role and "error" not in other)
        other = next(with_role, None)  # the first: torch eager, if there are several
        ratios.append("" if other in (None, contender) else short(ratio(contender["rounds"], other["rounds"]).middle))
    memory = contender.get("memory")
    compiles = contender["role"] == "ours" and contender["compiled"]
    return [
        milliseconds(times.middle),
        quartiles,
        *ratios,
        "" if memory is None else short(memory / 2**20),
        _count(contender),
        f"{contender['first']:.1f}" if compiles else "",
    ]


def _count(contender: Mapping[str, Any]) -> str:
    if "kernels" in contender:
        return f"{contender['kernels']} kernel{'' if contender['kernels'] == 1 else 's'}"
    return f"{contender['calls']}" + (f", waits for {contender['reads']}" if contender["reads"] else "")


def milliseconds(seconds: float) -> str:
    return short(1000 * seconds)


def short(number: float) -> str:
    """Two or three significant digits, without an exponent."""
    if abs(number) >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}" if abs(number) >= 0.1 else f"{number:.2g}"


def write_between_marks(page: Path, text: str) -> None:
    """Replaces the text between the two marks of a page.

    Raises:
        ValueError: if the page does not contain each mark once, in order.
    """
    old = page.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise ValueError(f"{page.name} must have one line {BEGIN} and below it one line {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")


def settings(cases: Iterable[Case]) -> str:
    """The names and descriptions of the cases, for `--list`."""
    return "\n".join(f"{case.name:30}{case.title}, {case.setting}" for case in cases)

"""A table printed row by row as it is measured, within a time limit."""

import statistics
import time
from collections.abc import Callable
from typing import Any

Step = Callable[[], Any]
COSTLY = 25.0  # seconds a compilation may take, which must remain


class Table:
    """Rows of settings and ways to compute them.

    Args:
        wait: waits until the device has finished.
        seconds: approximate measuring time per row.
        limit: seconds after which no row is started.
    """

    def __init__(self, wait: Callable[[Any], Any], *, seconds: float, limit: float) -> None:
        self._wait, self._seconds = wait, seconds
        self._end = time.monotonic() + limit
        self._taken: dict[tuple[str, str], float] = {}

    def start(self, title: str) -> None:
        """The heading and the header."""
        print(f"\n## {title}\n\n| setting | way | ms | against | ratio | aim |", flush=True)
        print("| --- | --- | ---: | --- | ---: | --- |", flush=True)

    def row(
        self,
        setting: str,
        way: str,
        build: Callable[[], Step],
        *,
        against: str | None = None,
        most: float | None = None,
        most_ms: float | None = None,
        is_costly: bool = False,
    ) -> float | None:
        """Measures one way; returns its milliseconds, None if it failed or there was no time.

        Args:
            setting: the problem.
            way: the implementation.
            build: makes the step.
            against: the previously measured way of the same setting to divide by.
            most: the target for the ratio.
            most_ms: the target in milliseconds.
            is_costly: whether building it involves a long compilation.
        """
        cells = [f"| {setting}", way]
        if time.monotonic() + (COSTLY if is_costly else 0.0) > self._end:
            print(" | ".join([*cells, "no time left | | | |"]), flush=True)
            return None
        try:
            taken = 1e3 * self._time(build())
        except Exception as error:  # out of memory or no compiler: the other rows can still be measured
            reason = (str(error).strip().splitlines() or [""])[0].replace("|", "/")
            print(" | ".join([*cells, f"{type(error).__name__}: {reason}"[:100] + " | | | |"]), flush=True)
            return None
        self._taken[setting, way] = taken
        reference = self._taken.get((setting, against or ""))
        ratio = taken / reference if reference else None
        aims = [f"≤ {most:g}: {_verdict(ratio <= most)}"] if most and ratio else []
        aims += [f"≤ {most_ms:g} ms: {_verdict(taken <= most_ms)}"] if most_ms else []
        shown = ["" if reference is None else str(against), "" if ratio is None else f"{ratio:.2f}"]
        print(" | ".join([*cells, f"{taken:.4g}", *shown, ", ".join(aims) + " |"]), flush=True)
        return taken

    def _time(self, step: Step) -> float:
        """Seconds per call: the median of rounds, each long enough for the clock."""
        for _ in range(2):
            self._wait(step())
        number = max(1, int(0.005 / self._round(step, 1)))
        end, rounds = time.monotonic() + self._seconds, [self._round(step, number)]
        while time.monotonic() < end and len(rounds) < 50:
            rounds.append(self._round(step, number))
        return statistics.median(rounds)

    def _round(self, step: Step, number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            outcome = step()
        self._wait(outcome)
        return (time.perf_counter() - start) / number


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def crossing(name: str, times: dict[int, tuple[float | None, float | None]]) -> None:
    """Prints the number of pairs up to which the matrix was no slower than the blocks: {pairs: (matrix, blocks)}."""
    both = {pairs: (dense, blocks) for pairs, (dense, blocks) in sorted(times.items()) if dense and blocks}
    best = 0
    for pairs, (dense, blocks) in both.items():
        if dense > blocks:
            break
        best = pairs
    print(f"\n{name}: one matrix is no slower up to {best:,} pairs of {max(both, default=0):,} tried.", flush=True)

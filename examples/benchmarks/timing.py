"""Interleaved timing of several functions."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Step = Callable[[], Any]


Rounds = Sequence[float | None]


class Ratio(NamedTuple):
    """A quotient: the median and the quartiles."""

    middle: float
    low: float
    high: float


def side_by_side(
    steps: Mapping[str, Step], wait: Callable[[Any], Any], *, seconds: float = 3.0, most: int = 30
) -> dict[str, list[float | None]]:
    """Calls functions in turn, round by round, so that other load on the computer affects all of them equally.

    Args:
        steps: functions by name, each already called once.
        wait: waits for the result of a function.
        seconds: approximate measuring time per function: slow ones run in fewer rounds, at least one.
        most: the largest number of rounds.

    Returns:
        The seconds per call of each function in each round; None in rounds that it skipped. Round k of one function ran
        right before or after round k of the others.
    """
    number, rounds = {}, {}
    for name, step in steps.items():
        once = _seconds_per_call(step, wait, 1)
        number[name] = max(1, int(0.01 / once))  # calls per round: the clock is too coarse for a short call
        rounds[name] = max(1, min(most, int(seconds / (once * number[name]))))
    taken: dict[str, list[float | None]] = {name: [] for name in steps}
    total = max(rounds.values(), default=0)
    gc.collect()
    for k in range(total):
        for name, step in steps.items():
            turn = (k + 1) * rounds[name] // total > k * rounds[name] // total
            taken[name].append(_seconds_per_call(step, wait, number[name]) if turn else None)
    return taken


def _seconds_per_call(step: Step, wait: Callable[[Any], Any], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        outcome = step()
    wait(outcome)
    return (time.perf_counter() - start) / number


def spread(rounds: Rounds) -> Ratio:
    """The median and the quartiles of the rounds that were run."""
    taken = [seconds for seconds in rounds if seconds is not None]
    return Ratio(statistics.median(taken), *_quartiles(taken))


def ratio(rounds: Rounds, others: Rounds) -> Ratio:
    """The quotient of two medians, and the quartiles of the quotients round by round."""
    quotients = [x / y for x, y in zip(rounds, others, strict=True) if x is not None and y is not None]
    middle = spread(rounds).middle / spread(others).middle
    low, high = _quartiles(quotients or [middle])
    return Ratio(middle, min(low, middle), max(high, middle))


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, method="inclusive")
    return low, high

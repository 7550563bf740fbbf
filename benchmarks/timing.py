"""Fair timing: both sides in one process, rounds interleaved, ratios taken round by round."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Figure:
    """A median and its 95 % interval (the whole range where there are fewer than six values)."""

    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def figure(values: Sequence[float]) -> Figure:
    """Median between the two order statistics that hold the true one in 95 % of samples, whatever the distribution."""
    ordered = sorted(values)
    outside = max(0, math.floor((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2))
    return Figure(statistics.median(ordered), ordered[outside], ordered[-1 - outside])


def ratio(ours: Sequence[float], reference: Sequence[float]) -> Figure:
    """Of ratios within a round, so that what slows the machine for a while slows both sides."""
    return figure([a / b for a, b in zip(ours, reference, strict=True)])


def interleaved(
    functions: Sequence[Callable[[], Any]], device: torch.device, seconds: float, rounds: tuple[int, int] = (5, 60), warm_up: int = 2
) -> list[list[float]]:
    """Seconds of every call, one list per function.

    Every other round runs backwards, so that no side always follows the other.

    Args:
        functions: the sides.
        device: waited for before the clock is read.
        seconds: start no round after so long.
        rounds: at least and at most.
        warm_up: rounds that do not count.
    """
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(warm_up):
        for function in functions:
            timed(function, device)
    began = time.perf_counter()
    while len(taken[0]) < rounds[0] or (len(taken[0]) < rounds[1] and time.perf_counter() - began < seconds):
        backwards = len(taken[0]) % 2 == 1
        for index in range(len(functions))[:: -1 if backwards else 1]:
            taken[index].append(timed(functions[index], device))
    return taken


def timed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start

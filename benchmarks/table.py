"""One table for every measurement: printed row by row, kept as Markdown and JSON."""

import dataclasses
import gc
import json
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timing import Figure, figure, ratio

COLUMNS = (("measured", 38), ("on", 56), ("ours", 12), ("reference", 12), ("ratio (95 % interval)", 24), ("limit", 12))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        measured: what.
        on: on which network, batch and mode.
        ours, reference: medians with unit, "" where there is none.
        ratio: ours to reference, round by round.
        limit: the ratio must not exceed it.
        numbers: everything else, for the JSON.
    """

    measured: str
    on: str
    ours: str = ""
    reference: str = ""
    ratio: Figure | None = None
    limit: float | None = None
    numbers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def compare(
        cls, measured: str, on: str, ours: list[float], reference: list[float], limit: float | None = None, unit: str = "s"
    ) -> "Row":
        """Row of two interleaved series."""
        numbers = {"ours": ours, "reference": reference}
        left, right = (f"{figure(values).median:.3g} {unit}" for values in (ours, reference))
        return cls(measured, on, left, right, ratio(ours, reference), limit, numbers)

    def cells(self) -> list[str]:
        share = "" if self.ratio is None else format(self.ratio, ".3f")
        return [self.measured, self.on, self.ours, self.reference, share, self._verdict()]

    def _verdict(self) -> str:
        if self.limit is None or self.ratio is None:
            return ""
        verdict = "met" if self.ratio.median <= self.limit else "not met"
        return f"{self.limit:.2f} {verdict}"


@dataclass(frozen=True)
class Case:
    """A measurement that may fail alone: its name and what gives its rows."""

    name: str
    measure: Callable[[], list[Row]]


def run(cases: Iterable[Case], device: torch.device, seconds: float) -> list[Row]:
    """Measure one case after the other and print as it goes; a failing case is a row of its own, one past the time is skipped."""
    began, rows = time.perf_counter(), []
    print(_line([name for name, _ in COLUMNS]), flush=True)
    for case in cases:
        late = time.perf_counter() - began > seconds
        found = [Row(case.name, f"skipped: the {seconds:.0f} s are used up")] if late else _guarded(case)
        for row in found:
            print(_line(row.cells()), flush=True)
        rows += found
        _clean(device)
    print(f"{time.perf_counter() - began:.0f} s", flush=True)
    return rows


def write(rows: list[Row], folder: Path, heading: str) -> None:
    """bench.md and bench.json in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "| " + " | ".join(cells) + " |" for cells in ([name for name, _ in COLUMNS], ["---"] * len(COLUMNS), *(r.cells() for r in rows))
    ]
    (folder / "bench.md").write_text(f"{heading}\n\n" + "\n".join(lines) + "\n")
    (folder / "bench.json").write_text(json.dumps({"heading": heading, "rows": [dataclasses.asdict(row) for row in rows]}, indent=1))


def _guarded(case: Case) -> list[Row]:
    try:
        return case.measure()
    except Exception as error:  # out of memory, a compiler's error: the other cases still count
        reason = str(error).strip().splitlines() or [""]
        return [Row(case.name, f"failed: {type(error).__name__} {reason[0][:100]}", numbers={"traceback": traceback.format_exc()})]


def _clean(device: torch.device) -> None:
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _line(cells: list[str]) -> str:
    return " ".join(cell.ljust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()

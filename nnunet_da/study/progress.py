"""How a study goes: one line per job that ended, and on a terminal a live table of the arms."""

import re
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nnunet_da.study.jobs import Job
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import Record, read_record

EPOCH = re.compile(rb"Epoch (\d+)\s*$", re.MULTILINE)
VALIDATION = re.compile(rb"Mean Validation Dice:\s+(\d\S*)")
SHOWN = ("train", "adapt", "predict", "evaluate", "radiomics")
TAIL_BYTES = 4000
MARKS = {"done": "done", "failed": "FAILED", "skipped": "skipped"}


class Progress:
    """Prints what has happened since it was last asked; to be used as a context."""

    def __init__(self, layout: Layout, jobs: list[Job]) -> None:
        self.layout, self.jobs, self.console = layout, jobs, Console(highlight=False, soft_wrap=True)
        self.records = {job.name: record for job in jobs if (record := read_record(layout.record(job.name)))}
        self.started = time.time()
        self._live = Live(self.table(), console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None

    def __enter__(self) -> "Progress":
        kept = len(self.records)
        self.console.print(f"{len(self.jobs)} jobs" + (f", {kept} done before" if kept else ""))
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, stopped_by: type[BaseException] | None, *_: Any) -> None:
        if self._live is not None:
            self._live.stop()
        self.console.print(self.summary() if stopped_by is None else self._stopped())

    def update(self) -> None:
        """Print the jobs that have ended since, in the order of their ends."""
        ended = {job.name: record for job in self.jobs if job.name not in self.records and (record := read_record(self._file(job)))}
        for name, record in sorted(ended.items(), key=lambda item: (item[1].ended, item[0])):
            self.records[name] = record
            if record.status != "skipped":  # the failure before it says it
                self.console.print(f"[{len(self.records)}/{len(self.jobs)}] {line(record)}{self._dice(record)}", markup=False)
        if self._live is not None:
            self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Arms by kinds of job: how many runs are done, and what runs now."""
        table = Table(title=f"{len(self.records)} of {len(self.jobs)} jobs, {_duration(time.time() - self.started)}")
        kinds = [kind for kind in SHOWN if any(job.kind == kind for job in self.jobs)]
        for title in ("arm", *kinds):
            table.add_column(title)
        for arm in dict.fromkeys(job.arm for job in self.jobs if job.arm):
            table.add_row(arm, *(self._cell(arm, kind) for kind in kinds))
        return table

    def summary(self) -> str:
        """Time of this call, and the share of it in which no job ran."""
        wall = time.time() - self.started
        spans = [(record.started, record.ended) for record in self.records.values() if record.ended > self.started]
        idle = wall - covered([(max(start, self.started), end) for start, end in spans])
        return f"{_duration(wall)}, of which {idle:.1f} s ({100 * idle / max(wall, 1e-9):.1f} %) no job ran"

    def _stopped(self) -> str:
        """Jobs that were cut off have no record, so how long none ran cannot be told."""
        wall = _duration(time.time() - self.started)
        return f"stopped after {wall}, {len(self.records)} of {len(self.jobs)} jobs ended: the same command goes on from there"

    def _file(self, job: Job) -> Any:
        return self.layout.record(job.name)

    def _cell(self, arm: str, kind: str) -> str:
        jobs = [job for job in self.jobs if job.arm == arm and job.kind == kind]
        if not jobs:
            return ""
        states = [self.records[job.name].status for job in jobs if job.name in self.records]
        text = f"{states.count('done')}/{len(jobs)}"
        bad = [MARKS[state] for state in ("failed", "skipped") if state in states]
        running = [self._epoch(job) for job in jobs if job.name not in self.records and self.layout.log(job.name).is_file()]
        return ", ".join([text, *bad, *running])

    def _epoch(self, job: Job) -> str:
        """Where a training stands."""
        found = EPOCH.findall(self._end_of_log(job.name))
        return f"epoch {int(found[-1])}" if found else "running"

    def _dice(self, record: Record) -> str:
        """Words for the Dice with which nnU-Net's training ended: whether it learnt anything is known long before the study ends."""
        if record.status != "done" or not record.job.startswith("train/"):
            return ""
        found = VALIDATION.findall(self._end_of_log(record.job))
        if not found:
            return ""
        dice = float(found[-1])
        return f", validation Dice {dice:.3f}" + ("" if dice > 0 else ": IT FOUND NOTHING, train longer")

    def _end_of_log(self, job: str) -> bytes:
        try:
            with self.layout.log(job).open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - TAIL_BYTES))
                return stream.read()
        except FileNotFoundError:
            return b""


def line(record: Record) -> str:
    """One job in words."""
    name = record.job.replace("/", " ", 1).replace(".", " ", 1)
    if record.status == "done":
        return f"{name}: done in {_duration(record.seconds)}, {record.peak_mb:.0f} MB"
    return f"{name}: {MARKS[record.status]}: {record.reason}"


def covered(spans: list[tuple[float, float]]) -> float:
    """Seconds that lie in at least one span."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"

"""What a job leaves behind: one JSON file, written whole when it ends."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nnunet_da.outputs import write_whole
from nnunet_da.study.layout import Layout

Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Record:
    """How a job ended.

    Attributes:
        job: `kind/name`.
        status: "skipped" where something it needs did not succeed.
        reason: one line, "" where it is done.
        started, ended: seconds since 1970.
        seconds: of all tries together, those that were killed too.
        peak_mb: largest memory of the job's processes together, looked at once a second.
        gpu: number of the GPU it ran on, None for none.
        gpu_peak_mb: largest memory of the processes on GPUs, looked at every few seconds; None where the driver did not tell.
    """

    job: str
    status: Status
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    peak_mb: float = 0.0
    gpu: int | None = None
    gpu_peak_mb: float | None = None

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(self), indent=2) + "\n")


def read_record(file: Path) -> Record | None:
    """The record, None where the job has not ended, or where a full disk left less than a record."""
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def skipped(job: str, reason: str) -> Record:
    now = time.time()
    return Record(job, "skipped", reason, now, now)


def failures(layout: Layout) -> dict[str, str]:
    """Words for every job that failed -> why."""
    content = json.loads(layout.jobs.read_text(encoding="utf-8"))
    found = {}
    for name, job in content["jobs"].items():
        record = read_record(layout.record(name))
        if record is not None and record.status == "failed":
            words = " ".join(part for part in (job["arm"], job["run"].replace("_", " ")) if part)
            found[f"{words}: {name.split('/')[0]}" if words else name.replace("/", " ")] = record.reason
    return found

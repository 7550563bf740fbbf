"""What a job leaves behind: one JSON file, written whole when it ends."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nnunet_da.outputs import write_whole

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
        peak_mb: largest resident memory of the job's processes together.
        gpu: number of the GPU it ran on, None for none.
    """

    job: str
    status: Status
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    peak_mb: float = 0.0
    gpu: int | None = None

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(self), indent=2) + "\n")


def read_record(file: Path) -> Record | None:
    """The record, None where the job has not ended."""
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def skipped(job: str, reason: str) -> Record:
    now = time.time()
    return Record(job, "skipped", reason, now, now)

"""`python -m nnunet_da.study.job FOLDER KIND/NAME`: run one job of a study and leave its record.

It ends well whatever its commands do, so that the engine goes on with the other arms; the record says what became of it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from nnunet_da import paths
from nnunet_da.outputs import write_whole
from nnunet_da.study.gpus import gpu_memory_mb
from nnunet_da.study.layout import Layout
from nnunet_da.study.locks import lock, try_lock
from nnunet_da.study.records import Record, Status, read_record, skipped

TOLERANT = ("collect", "report")  # run whatever became of what they wait for
POLL_SECONDS, MEMORY_SECONDS, GPU_MEMORY_SECONDS = 0.2, 1.0, 5.0
MEMORY_SHARE = 0.005  # of a core, at most, to look at memory: one look takes some 30 ms where gigabytes are mapped
GRACE_SECONDS = 60  # for a training to save where it stands


class Abandoned(Exception):
    """The study that started this job is gone."""


class Watched:
    """The process of the study, known by its number and its start; "none" for a study that need not live, on a cluster."""

    def __init__(self, text: str) -> None:
        self.pid, _, self.started = text.partition("@")

    @property
    def is_gone(self) -> bool:
        if self.pid == "none":
            return False
        try:
            return started_at(int(self.pid)) != self.started
        except psutil.NoSuchProcess:
            return True


def started_at(pid: int) -> str:
    """When a process began; tells it from a later one of the same number. On Linux in ticks since boot, which no clock moves."""
    began = psutil.Process(pid).create_time()
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]  # field 22, `starttime`
    except OSError:
        return f"{began:.2f}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nnunet_da.study.job")
    parser.add_argument("folder", type=Path)
    parser.add_argument("job")
    parser.add_argument("--watch", default="none", metavar="PID@START", help="stop when this process is gone")
    options = parser.parse_args(arguments)
    layout = Layout(options.folder.resolve())
    content = json.loads(layout.jobs.read_text(encoding="utf-8"))
    job = content["jobs"][options.job]
    with lock(layout.folder / "locks" / f"{options.job}.lock"):  # what a killed study left running may still be at it
        record = _unmet(layout, options.job, job) or _run(layout, options.job, job, content["gpus"], Watched(options.watch))
        if record is not None:
            record.write(layout.record(options.job))
    return 0 if record is not None else 1


def _unmet(layout: Layout, name: str, job: dict[str, Any]) -> Record | None:
    if name.split("/")[0] in TOLERANT:
        return None
    for need in job["needs"]:
        record = read_record(layout.record(need))
        if record is None or record.status != "done":
            return skipped(name, f"needs {need}, which {'has no record' if record is None else record.status}")
    return None


def _run(layout: Layout, name: str, job: dict[str, Any], gpus: int, study: Watched) -> Record | None:
    """None where the study is gone: the job is no failure, it was not let finish."""
    if study.is_gone:  # an engine that outlived it must not begin anything
        return None
    log, started, before = layout.log(name), time.time(), _Spent(layout.folder / "spent" / f"{name}.json")
    log.parent.mkdir(parents=True, exist_ok=True)
    for folder in job["remakes"]:
        shutil.rmtree(folder, ignore_errors=True)
    reason = ""
    with _gpu(layout, gpus if job["gpu"] else 0) as gpu, log.open("a", encoding="utf-8") as stream:
        for command in job["commands"]:
            command = _continued(command, job["fold_folder"])
            try:
                code = _watched(command, layout, stream, gpu, study, before, job)
            except Abandoned:
                return None
            if code not in job["allowed"]:
                reason = f"ended with code {code}: {_last_line(log)}"
                break
    status: Status = "failed" if reason else "done"
    seconds, peak_mb = round(before.seconds, 3), round(before.peak_mb, 1)
    return Record(name, status, reason, started, time.time(), seconds, peak_mb, gpu, before.gpu_peak_mb)


class _Spent:
    """Seconds and peak memory of a job over all its tries, kept as it runs: a killed try counts too."""

    def __init__(self, file: Path) -> None:
        self.file = file
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.seconds, self.peak_mb = float(found.get("seconds", 0.0)), float(found.get("peak_mb", 0.0))
        self.gpu_peak_mb: float | None = found.get("gpu_peak_mb")
        self._saved = time.monotonic()

    def add(self, seconds: float, memory_mb: float, gpu_mb: float | None) -> None:
        self.seconds += seconds
        self.peak_mb = max(self.peak_mb, memory_mb)
        if gpu_mb is not None:
            self.gpu_peak_mb = max(self.gpu_peak_mb or 0.0, gpu_mb)
        if time.monotonic() - self._saved > 5:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, json.dumps({"seconds": self.seconds, "peak_mb": self.peak_mb, "gpu_peak_mb": self.gpu_peak_mb}))


def _watched(command: list[str], layout: Layout, stream: Any, gpu: int | None, study: Watched, spent: _Spent, job: dict[str, Any]) -> int:
    """Run a command, measuring it. Raises Abandoned, with the command stopped, where the study is gone."""
    stream.write(f"$ {' '.join(command)}\n")
    stream.flush()
    environment = paths.job_environment(layout.folder, gpu, job["threads"])
    process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    last = time.monotonic()
    measure_at, measured_gpu = last, last
    while True:
        try:
            code: int | None = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        now, memory_mb, gpu_mb = time.monotonic(), 0.0, None
        if code is None and now > measure_at:
            began = time.process_time()
            memory_mb = _memory_mb(process.pid)
            measure_at = now + max(MEMORY_SECONDS, (time.process_time() - began) / MEMORY_SHARE)
        if code is None and job["gpu"] and now - measured_gpu > GPU_MEMORY_SECONDS:
            measured_gpu, gpu_mb = now, gpu_memory_mb([member.pid for member in _family(process.pid)])
        spent.add(now - last, memory_mb, gpu_mb)
        last = now
        if code is not None:
            spent.save()
            return code
        if study.is_gone:
            _stop(process)
            spent.save()
            raise Abandoned


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a command to leave, so that a training saves its very step; kill it and its children where it does not."""
    family = _family(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it; none where it is gone."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory_mb(pid: int) -> float:
    """Memory of a process and its children; on Linux what they share counts once (proportional set size)."""
    return sum(_bytes_of(process) for process in _family(pid)) / 2**20


def _bytes_of(process: psutil.Process) -> int:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))
    except (OSError, StopIteration):
        pass
    try:
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


@contextmanager
def _gpu(layout: Layout, gpus: int) -> Iterator[int | None]:
    """A GPU of this machine that no other job of the study has; None where the job needs none, or a cluster gives it one."""
    if not gpus:
        yield None
        return
    while True:
        for number in range(gpus):
            with try_lock(layout.folder / "locks" / f"gpu{number}.lock") as ours:
                if ours:
                    yield number
                    return
        time.sleep(POLL_SECONDS)


def _continued(command: list[str], fold_folder: str) -> list[str]:
    """A training that has left a checkpoint goes on from it."""
    started = fold_folder and any(Path(fold_folder).glob("checkpoint_*.pth"))
    return [*command, "--c"] if started and Path(command[0]).name == "nnUNetv2_train" else command


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


if __name__ == "__main__":
    sys.exit(main())

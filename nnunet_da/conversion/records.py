"""What is known about each converted case, kept beside the dataset: what a second run may skip, and what the log is made of."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from sys import modules
from typing import Any

from nnunet_da.conversion.scan import Scan
from nnunet_da.datasets import write_json

DETACHED_HEADERS = (".mhd", ".nhdr", ".hdr")  # their voxels stand in a file of the same name
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class CaseRecord:
    """One converted case.

    Attributes:
        made_from: "inputs", "settings", "loader" and "split" of the scan; all must agree for the case to be skipped.
        outputs: file below the output folder -> SHA-256.
        rows: of conversion.csv, one per channel.
        placement: the grid it has now, and the one it came from where that differs; see `restore`.
    """

    case: str
    made_from: dict[str, str]
    outputs: dict[str, str]
    rows: list[dict[str, str]]
    placement: dict[str, Any]


def record_file(folder: Path, case: str) -> Path:
    return folder / "conversion" / "records" / f"{case}.json"


def write_record(folder: Path, record: CaseRecord) -> None:
    """Last of a case's files: without it the case counts as not converted."""
    file = record_file(folder, record.case)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(asdict(record), file)


def read_records(folder: Path, case: str = "*") -> dict[str, CaseRecord]:
    """Case -> record, sorted, of all cases or one; an unreadable record counts as none."""
    records = {}
    for file in sorted(record_file(folder, "").parent.glob(f"{case}.json")):
        try:
            record = CaseRecord(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        records[record.case] = record
    return records


def remove_case(folder: Path, case: str, outputs: Iterable[str]) -> None:
    """Remove a case's record and files, where they are there."""
    before = read_records(folder, case).get(case)
    record_file(folder, case).unlink(missing_ok=True)
    for name in {*outputs, *(before.outputs if before else ())}:
        (folder / name).unlink(missing_ok=True)


def made_from(scan: Scan, load: Callable[..., Any]) -> dict[str, str]:
    """What a conversion of a scan depends on: paths, sizes and times of its files, settings, and the loader with its module's VERSION."""
    version = getattr(modules[load.__module__], "VERSION", 1)
    return {
        "inputs": _digest("\n".join(_file_states(scan))),
        "settings": repr(scan.settings),
        "loader": f"{load.__module__}.{load.__qualname__} {version}",
        "split": scan.split,
    }


def outputs_intact(folder: Path, record: CaseRecord) -> bool:
    """Whether every file of the case is there with the content it was written with."""
    try:
        return all(sha256(folder / name) == digest for name, digest in record.outputs.items())
    except OSError:
        return False


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _file_states(scan: Scan) -> Iterator[str]:
    for source in (*scan.images, *([scan.label] if scan.label else [])):
        for file in _files_of(Path(os.path.abspath(source))):
            try:
                state = file.stat()
                yield f"{file} {state.st_size} {state.st_mtime_ns}"
            except OSError:
                yield f"{file} missing"  # the loader will say so


def _files_of(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(file for file in source.rglob("*") if file.is_file())
    if source.suffix.lower() in DETACHED_HEADERS:
        return sorted(source.parent.glob(f"{source.stem}.*"))
    return [source]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

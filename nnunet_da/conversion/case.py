"""Convert one case in a worker process: load, check, draw, write aside, verify, put in place."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.checks import CaseFacts, check_case
from nnunet_da.conversion.dataset import FILE_ENDING, Output
from nnunet_da.conversion.images import grid_of, grid_offset_voxels
from nnunet_da.conversion.log import log_rows
from nnunet_da.conversion.records import CaseRecord, read_records, sha256, write_record
from nnunet_da.conversion.scan import Loaded, Scan
from nnunet_da.conversion.written import write_nifti
from nnunet_da.errors import UserError

PARTS = ".converting"  # below the output folder: files that are being written
STOP = f"{PARTS}/stop"  # there once no further case shall begin
PICTURES = "conversion"


class WriteError(UserError):
    """The output cannot be written: no other case can either."""


@dataclass(frozen=True)
class Job:
    """One case to convert.

    Attributes:
        folder: of the output; resolved here so that a worker need not.
        made_from: of `records.made_from`, taken before the scan is read.
        pictures: whether to draw.
    """

    scan: Scan
    load: Callable[[Scan], Loaded]
    output: Output
    folder: Path
    made_from: dict[str, str]
    pictures: bool


def convert_case(job: Job) -> str:
    """Convert one case.

    Returns:
        Why the scan was refused, "" when it was converted.

    Raises:
        WriteError: the disk refuses; nothing half-written is left.
    """
    _follow_parent()
    if (job.folder / STOP).exists():
        return "stopped before it began"
    try:
        loaded = job.load(job.scan)
        facts = _check(job, loaded)
        picture = _draw(job, loaded, facts) if job.pictures else None
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a damaged file makes a library do, the other cases are kept
        return f"{type(error).__name__}: {error}"
    _write(job, loaded, facts, picture)
    return ""


def _check(job: Job, loaded: Loaded) -> CaseFacts:
    scan = job.scan
    if (scan.label is None) != (loaded.label is None):
        raise UserError(f"a label is expected exactly where one was found, {scan.label} gave {'none' if scan.label else 'one'}")
    if len(loaded.unchanged) not in (0, len(loaded.images)):
        raise ValueError(f"{len(loaded.images)} images with {len(loaded.unchanged)} files to copy")
    return check_case(Case(scan.case, scan.images, scan.label), loaded.images, loaded.label, job.output.channel_names, job.output.labels)


def _draw(job: Job, loaded: Loaded, facts: CaseFacts) -> bytes:
    from nnunet_da.conversion.pictures import draw_case

    return draw_case(job.scan.case, loaded, facts, job.output.channel_names[0], job.output.labels)


def _write(job: Job, loaded: Loaded, facts: CaseFacts, picture: bytes | None) -> None:
    parts = job.folder / PARTS / f"{job.scan.case}-{os.getpid()}"
    outputs: dict[str, str] = {}
    try:
        outputs = _write_aside(parts, job, loaded, picture)
        _put_in_place(parts, job, outputs)
        rows = list(log_rows(job.output, job.scan, loaded, facts))
        write_record(job.folder, CaseRecord(job.scan.case, job.made_from, outputs, rows, _place_of(loaded)))
    except OSError as error:
        for name in outputs:
            (job.folder / name).unlink(missing_ok=True)
        raise WriteError(
            f"{job.folder} cannot be written ({error.strerror or error}): make room there, then run the same command again, which"
            " continues with what is missing"
        ) from None
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def _place_of(loaded: Loaded) -> dict[str, Any]:
    """The case's grid now and where it lies on its original one, for `restore`."""
    return {"grid": asdict(grid_of(loaded.images[0])), "placement": asdict(loaded.placement) if loaded.placement else None}


def _write_aside(parts: Path, job: Job, loaded: Loaded, picture: bytes | None) -> dict[str, str]:
    """Write and verify all files of the case below `parts`; returns file -> SHA-256."""
    outputs = {}
    grid = loaded.images[0]
    unchanged = loaded.unchanged or (None,) * len(loaded.images)
    for channel, (image, original) in enumerate(zip(loaded.images, unchanged, strict=True)):
        name = job.output.image_file(job.scan, channel)
        outputs[name] = _write_image(parts / name, image, grid, original)
    if loaded.label is not None:
        name = job.output.label_file(job.scan)
        largest = sitk.GetArrayViewFromImage(loaded.label).max()
        outputs[name] = _write_image(parts / name, sitk.Cast(loaded.label, sitk.sitkUInt8 if largest < 256 else sitk.sitkUInt16), grid)
    if picture is not None:
        name = f"{PICTURES}/{job.scan.case}.png"
        (parts / name).parent.mkdir(parents=True, exist_ok=True)
        (parts / name).write_bytes(picture)
        outputs[name] = sha256(parts / name)
    return outputs


def _write_image(file: Path, image: sitk.Image, grid: sitk.Image, original: Path | None = None) -> str:
    """Write one image, voxels as they are, with exactly the grid of the case's first image; copy the original where it says the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if original is not None and _may_stand_for(original, image) and grid_offset_voxels(grid, image) == 0:
        shutil.copyfile(original, file)
        return sha256(file)
    if image is not grid:
        image.CopyInformation(grid)
    write_nifti(image, file)
    return sha256(file)


def _may_stand_for(original: Path, image: sitk.Image) -> bool:
    """Whether a file is a NIfTI file of exactly the image's grid and type."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(original))
    reader.ReadImageInformation()
    same_type = reader.GetPixelID() == image.GetPixelID()
    return original.name.endswith(FILE_ENDING) and same_type and grid_offset_voxels(grid_of(reader), grid_of(image)) == 0


def _put_in_place(parts: Path, job: Job, outputs: dict[str, str]) -> None:
    before = read_records(job.folder, job.scan.case).get(job.scan.case)
    for name in outputs:
        (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (parts / name).replace(job.folder / name)
    for name in set(before.outputs if before else ()) - outputs.keys():
        (job.folder / name).unlink(missing_ok=True)


@cache
def _follow_parent() -> None:
    """In a worker process: leave Ctrl-C to the parent, and end with it even when it is killed."""
    parent = parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()

"""Put a finished folder in its place, or into a zip whose bytes depend on its content alone."""

import shutil
import zipfile
from pathlib import Path

from nnunet_da.errors import UserError
from nnunet_da.export.readme import README
from nnunet_da.outputs import check_folder

MODEL_CHECKPOINT = "checkpoint_final.pth"  # the one that stock prediction takes unasked
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time a zip can hold, in place of when things were made


def check_free(place: Path, overwrite: bool) -> None:
    """See that nothing is in the way that may not be replaced: no file without `overwrite`, and a folder that is no export never.

    Raises:
        UserError: something is.
    """
    check_folder(place.parent)
    if not place.exists():
        return
    if not _is_export(place):
        raise UserError(f"{place} must be free or an earlier export, it holds other files: choose another output, or remove it yourself")
    if not overwrite:
        raise UserError(f"{place} exists already: choose another output, or replace it with --overwrite")


def put(folder: Path, place: Path, scratch: Path) -> None:
    """Rename a finished file or folder to its place; what was there before goes to `scratch`, which the caller removes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        place.rename(scratch / "replaced")
    folder.replace(place)


def write_zip(root: Path, file: Path) -> None:
    """All files below `root`, sorted, without times, owners or permissions."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            with path.open("rb") as content, archive.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(content, packed, 1 << 20)


def first_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: what is made there can be renamed into it."""
    return next(above for above in (folder, *folder.parents) if above.is_dir())


def _is_export(place: Path) -> bool:
    """Of a folder or zip. An empty folder counts; logs, curves, validation or cases tell a training apart."""
    if place.is_dir():
        names = {path.name for path in place.rglob("*") if path.is_file()}
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            names = {Path(entry.filename).name for entry in archive.infolist() if not entry.is_dir()}
    else:
        return False
    return not names or (README in names and names <= {README, "plans.json", "dataset.json", MODEL_CHECKPOINT})

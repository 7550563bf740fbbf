"""What stands where a conversion wants to write: nothing, its own unfinished work, or something it must not touch."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.conversion.case import PARTS, PICTURES
from nnunet_da.conversion.dataset import FILE_ENDING, DatasetSpecification, Output
from nnunet_da.conversion.lock import refuse_busy
from nnunet_da.conversion.records import read_records
from nnunet_da.datasets import write_json
from nnunet_da.errors import UserError
from nnunet_da.outputs import check_folder, versions_of

ABOUT = "conversion.json"
LOG = "conversion.csv"
PLACEMENTS = f"{PICTURES}/placements.json"
IDENTITY = ("converted_by", "channel_names", "labels")


def read_about(folder: Path) -> dict[str, Any]:
    """The conversion.json of a folder, empty where there is none."""
    try:
        content = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_about(output: Output, **more: Any) -> None:
    """Say what makes this folder: the command, its versions, and how it ended."""
    content = output.identity() | {"command": output.command, "versions": versions_of("SimpleITK", "numpy")} | more
    write_json(content, output.folder / ABOUT)


def is_finished(output: Output) -> bool:
    """Whether a conversion came to its end here."""
    described = not isinstance(output, DatasetSpecification) or (output.folder / "dataset.json").is_file()
    return described and bool(read_about(output.folder).get("finished"))


def find_standing(output: Output, overwrite: bool) -> list[Path]:
    """See that the output may be written.

    Returns:
        Folders that must be moved out of the way first; none where this conversion is new or continues its own work.

    Raises:
        UserError: the output is taken and may not be replaced.
    """
    check_folder(output.folder)
    refuse_busy(output.folder)
    others = _other_datasets(output, overwrite) if isinstance(output, DatasetSpecification) else []
    if not output.folder.is_dir() or not any(output.folder.iterdir()):
        return others
    about = read_about(output.folder)
    different = [key for key in IDENTITY if about.get(key) != output.identity()[key]]
    if not different:
        return others
    if not overwrite:
        raise UserError(f"{_taken(output, about, different)}: choose another, or replace it with --overwrite")
    if not isinstance(output, DatasetSpecification):
        _refuse_foreign_files(output.folder, about)
    return [*others, output.folder]


def refuse_overlap(sources: Iterable[Path], outputs: Iterable[Path]) -> None:
    """See that nothing that is read lies in what is written or replaced, nor the other way round; links are followed.

    Raises:
        UserError: it does.
    """
    written = [output.resolve() for output in outputs]
    for source in set(sources):
        for place in {source.resolve(), source.parent.resolve() / source.name}:
            for output in written:
                if place.is_relative_to(output) or output.is_relative_to(place):
                    raise UserError(f"the input must lie outside the output, {source} and {output} overlap: choose another output")


def move_aside(output: Output, folders: list[Path]) -> None:
    """Hide what will be replaced beside the output."""
    for folder in folders:
        aside = aside_of(output.folder)
        aside.mkdir(exist_ok=True)
        if (aside / folder.name).exists():  # of a killed run: the folder itself is that run's unfinished work
            shutil.rmtree(folder)
        else:
            folder.rename(aside / folder.name)


def aside_of(folder: Path) -> Path:
    """Where what an output folder replaces is kept until every case of the new one is converted."""
    return folder.absolute().parent / f".replaced_{folder.name}"


def drop_aside(folder: Path) -> None:
    """Remove what was replaced."""
    shutil.rmtree(aside_of(folder), ignore_errors=True)


def undo(output: Output) -> None:
    """Leave nothing of a conversion without a case behind, and put back what it should have replaced."""
    folder, aside = output.folder, aside_of(output.folder)
    shutil.rmtree(folder / PICTURES, ignore_errors=True)
    remove_empty_folders(folder)
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {ABOUT, LOG}:
        shutil.rmtree(folder)
    for replaced in aside.iterdir() if aside.is_dir() else ():
        replaced.rename(folder.parent / replaced.name)
    if aside.is_dir():
        aside.rmdir()


def remove_parts(folder: Path) -> None:
    """Remove files that were not written to their end."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    for parent in (folder, folder / PICTURES, folder / PICTURES / "records"):
        for part in parent.glob(".*.part"):
            part.unlink(missing_ok=True)


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder's empty folders, then the folder itself if nothing is left."""
    for inner in [*(path for path in folder.glob("*") if path.is_dir()), folder]:
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()


def _other_datasets(output: DatasetSpecification, overwrite: bool) -> list[Path]:
    """Datasets of this id under another name. Stock nnU-Net refuses an id with two names, in any of its three folders."""
    prefix = f"Dataset{output.dataset_id:03d}_"
    others = [path for path in sorted(paths.nnunet_raw().glob(f"{prefix}*")) if path.name != output.folder_name]
    if others and not overwrite:
        raise UserError(f"the dataset id {output.dataset_id} is taken by {others[0]}: choose another id, or replace it with --overwrite")
    for folder in _further_nnunet_folders():
        for other in sorted(folder.glob(f"{prefix}*")):
            if other.name != output.folder_name:
                raise UserError(f"the dataset id {output.dataset_id} is in use by {other}: choose another id, or remove that folder first")
    return others


def _further_nnunet_folders() -> Iterator[Path]:
    for find in (paths.nnunet_preprocessed, paths.nnunet_results):
        try:
            yield find()
        except UserError:
            continue  # not needed for converting, so it may be unset


def _taken(output: Output, about: dict[str, Any], different: list[str]) -> str:
    what = f"the dataset id {output.dataset_id}" if isinstance(output, DatasetSpecification) else "the output"
    if not about:
        return f"{what} is taken by {output.folder}"
    new = output.identity()
    return f"{what} is taken by {output.folder}, where {different[0]} is {about.get(different[0])} and not {new[different[0]]}"


def _refuse_foreign_files(folder: Path, about: dict[str, Any]) -> None:
    """A plain folder is replaced only where all in it is ours: it may be anyone's."""
    ours = {ABOUT, LOG, PICTURES, PARTS}
    written = {name for record in read_records(folder).values() for name in record.outputs}
    for path in sorted(folder.iterdir()):
        if not about or (path.name not in ours and path.name not in written and not path.name.endswith(f"{FILE_ENDING}.part")):
            raise UserError(f"only a folder that `convert` made can be replaced, but {folder} holds {path.name}: choose another")

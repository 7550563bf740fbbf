"""One nnU-Net dataset of two: a labelled source, and cases of another dataset with labels from wherever.

The labels may be the other dataset's own (an upper bound that a study shows) or a model's predictions (self-training). Files are hard
links where the file system has them, so a merged dataset takes no space.
"""

import csv
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nnunet_da import paths
from nnunet_da.datasets import RawDataset, find_dataset, other_names_of_id, write_json
from nnunet_da.errors import UserError
from nnunet_da.links import link
from nnunet_da.moved_plans import move_plans, oracle_plans, plans_of_merged, splits_of

__all__ = ["Merged", "check_merge", "merge_datasets", "move_plans", "oracle_plans", "plans_of_merged", "splits_of"]

RECORD = "merging.csv"
RECORD_COLUMNS = ("case", "dataset", "original_case")


@dataclass(frozen=True)
class Merged:
    """A dataset that was merged.

    Attributes:
        dataset: as it stands in `nnUNet_raw`.
        source_cases: names of the source's cases, which are kept.
        added: case of the other dataset -> its name in the merged one.
        symbolic: whether any file is a symbolic link, so that the originals must stay where they are.
    """

    dataset: RawDataset
    source_cases: tuple[str, ...]
    added: dict[str, str]
    symbolic: bool


@dataclass(frozen=True)
class _MergedCase:
    name: str
    origin: str
    original: str
    images: list[Path]
    label: Path


def merge_datasets(
    source: RawDataset,
    other: RawDataset,
    new_id: int,
    new_name: str,
    *,
    labels: Path | None = None,
    cases: Sequence[str] | None = None,
    overwrite: bool = False,
    finish: Callable[[Merged], None] | None = None,
) -> Merged:
    """Write `DatasetXXX_NAME` into `nnUNet_raw`: all cases of the source, and cases of another dataset.

    Test cases of neither are taken over. What was preprocessed from an earlier merged dataset of this name goes with it: such data, plans
    and folds must not be trained on. If anything fails, all is as it was before.

    Args:
        source: labelled; its cases keep their names, and its dataset.json describes the merged dataset.
        other: of the same channels and file ending. Its cases keep their names unless one is the source's too: then all of them get the
            dataset's name in front.
        new_id: 1 to 999.
        new_name: NAME of `DatasetXXX_NAME`.
        labels: folder of CASE and file ending with label maps for `other`, in the source's label values; they are copied. None for its
            own `labelsTr`, which must then have the source's labels.
        cases: of `other` to take, None for all its training cases.
        overwrite: replace a merged dataset of this name; never any other, and never one of the two.
        finish: what else must succeed, such as moving plans, before the dataset counts and the one it replaces is deleted.

    Raises:
        UserError: datasets that do not fit or share cases, a case or label that is missing, or a name or id that is taken; nothing is left
            then.
    """
    folder = check_merge(source, other, new_id, new_name, own_labels=labels is None, overwrite=overwrite)
    of_source, of_other = _cases_of(source, None, None, {}), _cases_of(other, labels, cases, source.training_images())
    holder = Path(tempfile.mkdtemp(prefix=".merging_", dir=folder.parent))
    try:
        symbolic = _write(source, [*of_source, *of_other], holder / folder.name, folder, copied=labels is not None)
        with _replacing(folder):
            (holder / folder.name).rename(folder)
            added = {case.original: case.name for case in of_other}
            merged = Merged(find_dataset(folder.name), tuple(case.name for case in of_source), added, symbolic)
            if finish is not None:
                finish(merged)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
    return merged


def check_merge(source: RawDataset, other: RawDataset, new_id: int, new_name: str, *, own_labels: bool, overwrite: bool) -> Path:
    """Refuse what `merge_datasets` would refuse, but for single cases, before labels are made for it; returns the folder it will write.

    Raises:
        UserError: as above.
    """
    folder = paths.nnunet_raw() / _folder_name(new_id, new_name)
    if folder.name in (source.name, other.name):
        raise UserError(f"{folder.name} is merged itself and cannot be replaced by what is made of it: choose another id")
    _refuse_taken(folder, overwrite)
    _check_pair(source, other, own_labels)
    source.training_labels()
    return folder


def _folder_name(new_id: int, new_name: str) -> str:
    if not 1 <= new_id <= 999:
        raise UserError(f"a dataset id must be between 1 and 999, got {new_id}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", new_name) or "__" in new_name:
        raise UserError(f"a dataset name must be letters, digits, single '_', '-' and '.', without spaces, got '{new_name}'")
    return f"Dataset{new_id:03d}_{new_name}"


def _refuse_taken(folder: Path, overwrite: bool) -> None:
    for taken in other_names_of_id(folder.name):
        raise UserError(f"the dataset id {folder.name[7:10]} is in use by {taken}: choose another id")
    if not folder.exists():
        return
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder.name} is there already, and is no merged dataset that could be replaced: choose another id or name")
    if not overwrite:
        raise UserError(f"{folder.name} is there already: choose another id, or replace it with --overwrite")


def _check_pair(source: RawDataset, other: RawDataset, own_labels: bool) -> None:
    if source.name == other.name:
        raise UserError(f"two different datasets can be merged, got {source.name} twice: name another one")
    twice = sorted(_ancestors(source.name) & _ancestors(other.name))
    if twice:
        raise UserError(
            f"no scan must be in a merged dataset twice, but {source.name} and {other.name} both have cases of {twice[0]} (see {RECORD}):"
            " take another dataset, or a model that was trained without them"
        )
    keys = ["channel_names", "file_ending", *(["labels", "regions_class_order"] if own_labels else [])]
    for key in keys:
        here, there = source.description.get(key), other.description.get(key)
        if here != there:
            raise UserError(
                f"{other.name} must have the '{key}' of {source.name}, {here}, to be merged with it, got {there}: convert it so"
            )


def _ancestors(name: str) -> set[str]:
    """A dataset and, if it was merged, all those that it was made of and that are still there to tell."""
    record = paths.nnunet_raw() / name / RECORD
    if not record.is_file():
        return {name}
    with record.open(newline="", encoding="utf-8") as stream:
        origins = {row["dataset"] for row in csv.DictReader(stream)}
    return {name}.union(*map(_ancestors, origins - {name}))


def _cases_of(dataset: RawDataset, labels: Path | None, chosen: Sequence[str] | None, taken: dict[str, list[Path]]) -> list[_MergedCase]:
    """Cases with a label each, under names that `taken` does not have."""
    images = dataset.training_images()
    unknown = sorted(set(chosen or ()) - set(images))
    if unknown:
        raise UserError(f"cases to merge must be training cases of {dataset.name}, it has no '{unknown[0]}': correct the name")
    names = sorted(images) if chosen is None else sorted(set(chosen))
    if not names:
        raise UserError(f"at least one case of {dataset.name} must be chosen to be merged, got none")
    folder = labels or dataset.folder / "labelsTr"
    prefix = f"{dataset.name}_" if set(names) & set(taken) else ""
    cases = [_MergedCase(prefix + name, dataset.name, name, images[name], folder / f"{name}{dataset.file_ending}") for name in names]
    for case in cases:
        if not case.label.is_file():
            raise UserError(f"every merged case needs a label map, '{case.original}' of {dataset.name} has none in {folder}: add it")
        if case.name in taken:
            raise UserError(f"case names must differ in a merged dataset, {case.name} is in both: rename it")
    return cases


def _write(source: RawDataset, cases: list[_MergedCase], folder: Path, final: Path, copied: bool) -> bool:
    """Images, labels, the record, and dataset.json last; whether a symbolic link was needed."""
    folder.mkdir()
    symbolic = False
    for case in cases:
        for file, made in _files(case, source.file_ending):
            if copied and file == case.label and case.origin != source.name:
                (folder / made).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, folder / made)
            else:
                symbolic |= link(file, folder / made, final / made)
    with (folder / RECORD).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RECORD_COLUMNS)
        writer.writerows((case.name, case.origin, case.original) for case in cases)
    description = {key: value for key, value in source.description.items() if key != "dataset"}
    write_json(
        {**description, "name": final.name.split("_", 1)[1], "numTraining": len(cases), "converted_by": "nnunet-da"},
        folder / "dataset.json",
    )
    return symbolic


def _files(case: _MergedCase, ending: str) -> Iterator[tuple[Path, str]]:
    for channel, image in enumerate(case.images):
        yield image, f"imagesTr/{case.name}_{channel:04d}{ending}"
    yield case.label, f"labelsTr/{case.name}{ending}"


@contextmanager
def _replacing(folder: Path) -> Iterator[None]:
    """Make a dataset where an older one and what was preprocessed from it may stand; these go when the new one is complete."""
    preprocessed = paths.optional(paths.nnunet_preprocessed)
    with ExitStack() as places:
        for place in [folder, preprocessed / folder.name] if preprocessed and folder.exists() else [folder]:
            places.enter_context(_set_aside(place))
        yield


@contextmanager
def _set_aside(place: Path) -> Iterator[None]:
    """An empty place, whose former content is deleted afterwards, or put back if anything fails."""
    old = Path(tempfile.mkdtemp(prefix=".merging_", dir=place.parent)) / "old"
    if place.exists():
        place.rename(old)
    try:
        yield
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        if old.exists():
            old.rename(place)
        old.parent.rmdir()
        raise
    shutil.rmtree(old.parent, ignore_errors=True)

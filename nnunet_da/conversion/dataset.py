"""Write checked cases as a nnU-Net dataset: everything is read and checked first, then written aside and renamed."""

import json
import multiprocessing
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from tqdm import tqdm

from nnunet_da import paths
from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.checks import CaseFacts, inspect_case
from nnunet_da.conversion.images import grid_offset_voxels, read_image, voxels_zyx
from nnunet_da.conversion.log import log_rows, write_log
from nnunet_da.errors import UserError

FILE_ENDING = ".nii.gz"


@dataclass(frozen=True)
class DatasetSpecification:
    """Name and meaning of a nnU-Net dataset.

    Raises:
        UserError: id outside 1 to 999, a name nnU-Net cannot use, repeated channel names, or label values that are not 0, 1, 2, ...
    """

    dataset_id: int
    name: str
    channel_names: tuple[str, ...]
    labels: dict[str, int]  # background included
    converted_by: str = "nnunet-da convert"

    def __post_init__(self) -> None:
        if not 1 <= self.dataset_id <= 999:
            raise UserError(f"a dataset id must be between 1 and 999, got {self.dataset_id}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise UserError(f"a dataset name must be letters, digits, '_', '-' and '.', without spaces, got '{self.name}'")
        if len(set(self.channel_names)) != len(self.channel_names):
            raise UserError(f"channel names must differ from each other, got {', '.join(self.channel_names)}")
        if sorted(self.labels.values()) != list(range(len(self.labels))) or self.labels.get("background") != 0:
            given = ", ".join(f"{name}={value}" for name, value in self.labels.items())
            raise UserError(f"label values must be background=0 and then 1, 2, 3 without gaps (nnU-Net's rule), got {given}")

    @property
    def folder_name(self) -> str:
        return f"Dataset{self.dataset_id:03d}_{self.name}"


@dataclass(frozen=True)
class Split:
    """Cases for one pair of nnU-Net's folders: `Tr` to train on, `Ts` held out."""

    name: str
    suffix: str
    cases: tuple[Case, ...]


def write_dataset(
    specification: DatasetSpecification, training: Sequence[Case], test: Sequence[Case] = (), *, overwrite: bool = False, processes: int = 1
) -> Path:
    """Check all cases, then write them under `nnUNet_raw`; nothing is left there if anything fails.

    Returns:
        The folder of the new dataset.

    Raises:
        UserError: bad or repeated cases, the id in use (see `overwrite`), or the disk refuses.
    """
    splits = (Split("training", "Tr", tuple(training)), Split("test", "Ts", tuple(test)))
    _refuse_bad_case_list(splits)
    old = _existing_to_replace(specification, overwrite)
    facts = [_inspect_all(specification, split, processes) for split in splits]
    with _folder_aside(paths.nnunet_raw(), specification.folder_name) as folder:
        rows = [row for split, of_split in zip(splits, facts, strict=True) for row in _write_split(folder, split, of_split, processes)]
        write_log(folder / "conversion.csv", rows)
        _write_dataset_json(folder / "dataset.json", specification, len(training))
        return _put_in_place(folder, paths.nnunet_raw() / specification.folder_name, old)


def _refuse_bad_case_list(splits: tuple[Split, Split]) -> None:
    if not splits[0].cases:
        raise UserError("a dataset needs at least one training case, got none")
    names = [case.name for split in splits for case in split.cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"every case needs a name of its own, repeated (perhaps in training and test): {', '.join(repeated[:5])}")


def _existing_to_replace(specification: DatasetSpecification, overwrite: bool) -> list[Path]:
    """The datasets of this id in nnUNet_raw. Stock nnU-Net refuses an id with two names, in any of its three folders."""
    prefix, name = f"Dataset{specification.dataset_id:03d}", specification.folder_name
    old = sorted(paths.nnunet_raw().glob(f"{prefix}*"))
    if old and not overwrite:
        raise UserError(
            f"the dataset id {specification.dataset_id} is taken by {old[0]}: choose another id, or replace it with --overwrite"
        )
    for folder in _further_nnunet_folders():
        for other in sorted(folder.glob(f"{prefix}*")):
            if other.name != name:
                raise UserError(
                    f"the dataset id {specification.dataset_id} is in use by {other}: choose another id, or remove that folder first"
                )
    return old


def _further_nnunet_folders() -> Iterator[Path]:
    for find in (paths.nnunet_preprocessed, paths.nnunet_results):
        try:
            yield find()
        except UserError:
            continue  # not needed for converting, so it may be unset


def _inspect_all(specification: DatasetSpecification, split: Split, processes: int) -> list[CaseFacts]:
    inspect = partial(_facts_or_error, channel_names=specification.channel_names, labels=specification.labels)
    found = _map_cases(inspect, [(case,) for case in split.cases], processes, f"checking {split.name}")
    errors = [outcome for outcome in found if isinstance(outcome, UserError)]
    if errors:
        more = f" ({len(errors) - 1} more of {len(found)} cases were refused too)" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{more}")
    return found


def _facts_or_error(case: Case, channel_names: tuple[str, ...], labels: dict[str, int]) -> CaseFacts | UserError:
    try:
        return inspect_case(case, channel_names, labels)
    except UserError as error:
        return error


def _write_split(folder: Path, split: Split, facts: list[CaseFacts], processes: int) -> list[dict[str, str]]:
    if not split.cases:
        return []
    images_folder, labels_folder = folder / f"images{split.suffix}", folder / f"labels{split.suffix}"
    images_folder.mkdir()
    if any(case.label for case in split.cases):
        labels_folder.mkdir()
    write = partial(write_case, images_folder=images_folder, labels_folder=labels_folder)
    _map_cases(write, [(case,) for case in split.cases], processes, f"writing {split.name}")
    pairs = zip(split.cases, facts, strict=True)
    return [row for case, of_case in pairs for row in log_rows(case, of_case, split.name, split.suffix, FILE_ENDING)]


def write_case(case: Case, images_folder: Path, labels_folder: Path) -> None:
    """Write the images and label of one checked case under nnU-Net's names, voxels unchanged.

    A .nii.gz is copied byte for byte. Labels, and channels whose header differs in the last digits, get the grid of the first image.
    """
    first = read_image(case.images[0])
    for channel, path in enumerate(case.images):
        _write_image(path, first, images_folder / f"{case.name}_{channel:04d}{FILE_ENDING}")
    if case.label is not None:
        label = read_image(case.label)
        label = sitk.Cast(label, sitk.sitkUInt8 if voxels_zyx(label).max() < 256 else sitk.sitkUInt16)
        label.CopyInformation(first)
        sitk.WriteImage(label, str(labels_folder / f"{case.name}{FILE_ENDING}"), useCompression=True)


def _write_image(path: Path, first: sitk.Image, output: Path) -> None:
    image = read_image(path)
    if path.name.endswith(FILE_ENDING) and grid_offset_voxels(first, image) == 0:
        shutil.copyfile(path, output)
        return
    image.CopyInformation(first)
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)  # another format's header fields, such as names
    sitk.WriteImage(image, str(output), useCompression=True)


def _map_cases(function: Callable[..., Any], arguments: list[tuple[Any, ...]], processes: int, title: str) -> list[Any]:
    """Results in order, in this process or in several."""
    progress = partial(tqdm, total=len(arguments), desc=title, unit="case", disable=None)  # silent where stderr is no terminal
    processes = min(processes, len(arguments))
    try:
        if processes <= 1:
            return list(progress(function(*a) for a in arguments))
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            return list(progress(pool.map(function, *zip(*arguments, strict=True))))
    except BrokenProcessPool:
        raise UserError(f"a process died while {title} cases, probably for want of memory: try --processes 1") from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"{title} cases failed: {error}") from error


def _write_dataset_json(path: Path, specification: DatasetSpecification, training_cases: int) -> None:
    content = {
        "name": specification.name,
        "channel_names": {str(channel): name for channel, name in enumerate(specification.channel_names)},
        "labels": dict(sorted(specification.labels.items(), key=lambda item: item[1])),
        "numTraining": training_cases,
        "file_ending": FILE_ENDING,
        "converted_by": specification.converted_by,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _folder_aside(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder on the same disk, gone at the end unless renamed away."""
    holder = Path(tempfile.mkdtemp(prefix=".converting_", dir=parent))
    try:
        (holder / name).mkdir()  # not the holder itself: mkdtemp's is for its owner's eyes only
        yield holder / name
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _put_in_place(folder: Path, final: Path, old: list[Path]) -> Path:
    moved = [(dataset.rename(folder.parent / f"old_{dataset.name}"), dataset) for dataset in old]
    try:
        return folder.rename(final)
    except OSError:
        for aside, dataset in moved:
            aside.rename(dataset)
        raise

"""The files of a dataset's cases, channels and labels, in nnU-Net's folders or listed in dataset.json."""

import re
from pathlib import Path

from nnunet_da.conversion.cases import Case
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import UserError


def training_cases(source: RawDataset) -> dict[str, Case]:
    """imagesTr and labelsTr, or what dataset.json lists in their place; a label that is not there is None."""
    listed = source.description.get("dataset", {})
    return {
        case: Case(case, tuple(images), _existing(source.folder / listed.get(case, {}).get("label", _label_name(source, case, "labelsTr"))))
        for case, images in source.training_images().items()
    }


def refuse_unfit_files(source: RawDataset, case: Case) -> None:
    """Raises UserError where a case lacks a channel or has another file type than the dataset: its links could not be named."""
    if len(case.images) != source.num_channels:
        raise UserError(
            f"case '{case.name}' of {source.name} must have {source.num_channels} channel(s), found {len(case.images)}: add the rest"
        )
    for file in (*case.images, *([case.label] if case.label else [])):
        if not file.name.endswith(source.file_ending):
            raise UserError(
                f"every file of {source.name} must end in {source.file_ending} as in its dataset.json, got {file.name}: convert it"
            )


def test_cases(source: RawDataset) -> dict[str, Case]:
    """imagesTs and labelsTs."""
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(source.file_ending)}")
    images: dict[str, list[Path]] = {}
    for file in sorted((source.folder / "imagesTs").glob(f"*{source.file_ending}")):
        if match := pattern.fullmatch(file.name):
            images.setdefault(match[1], []).append(file)
    return {
        case: Case(case, tuple(files), _existing(source.folder / _label_name(source, case, "labelsTs"))) for case, files in images.items()
    }


def _label_name(source: RawDataset, case: str, folder: str) -> str:
    return f"{folder}/{case}{source.file_ending}"


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None

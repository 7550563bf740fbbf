"""The two places scans are converted to: a nnU-Net dataset, or a plain folder for `nnUNetv2_predict`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.conversion.scan import TEST, TRAINING, Scan
from nnunet_da.datasets import write_json
from nnunet_da.errors import UserError

FILE_ENDING = ".nii.gz"
SUFFIXES = {TRAINING: "Tr", TEST: "Ts"}


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
    command: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.dataset_id <= 999:
            raise UserError(f"a dataset id must be between 1 and 999, got {self.dataset_id}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise UserError(f"a dataset name must be letters, digits, '_', '-' and '.', without spaces, got '{self.name}'")
        _refuse_repeated_channels(self.channel_names)
        if sorted(self.labels.values()) != list(range(len(self.labels))) or self.labels.get("background") != 0:
            given = ", ".join(f"{name}={value}" for name, value in self.labels.items())
            raise UserError(f"label values must be background=0 and then 1, 2, 3 without gaps (nnU-Net's rule), got {given}")

    @property
    def folder_name(self) -> str:
        return f"Dataset{self.dataset_id:03d}_{self.name}"

    @property
    def folder(self) -> Path:
        return paths.nnunet_raw() / self.folder_name

    def image_file(self, scan: Scan, channel: int) -> str:
        """Where a channel goes, below `folder`."""
        return f"images{SUFFIXES[scan.split]}/{scan.case}_{channel:04d}{FILE_ENDING}"

    def label_file(self, scan: Scan) -> str:
        """Where the label goes, below `folder`."""
        return f"labels{SUFFIXES[scan.split]}/{scan.case}{FILE_ENDING}"

    def files(self, scan: Scan) -> list[str]:
        """All files a case may have, below `folder`."""
        return [*(self.image_file(scan, channel) for channel in range(len(self.channel_names))), self.label_file(scan)]

    def identity(self) -> dict[str, Any]:
        """What must agree for a second run to continue the first."""
        return {"converted_by": self.converted_by, "channel_names": list(self.channel_names), "labels": _by_value(self.labels)}


@dataclass(frozen=True)
class ScanFolder:
    """A plain folder of CASE_0000.nii.gz: new scans to predict, without labels and without dataset.json.

    Raises:
        UserError: repeated channel names.
    """

    folder: Path
    channel_names: tuple[str, ...] = ("CT",)
    converted_by: str = "nnunet-da convert"
    command: str = ""
    labels: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        _refuse_repeated_channels(self.channel_names)

    def image_file(self, scan: Scan, channel: int) -> str:
        """Where a channel goes, below `folder`."""
        return f"{scan.case}_{channel:04d}{FILE_ENDING}"

    def label_file(self, scan: Scan) -> str:
        raise UserError(
            f"a plain folder (-o) takes no labels, got one for '{scan.case}': leave them out, or make a dataset (-d and --name)"
        )

    def files(self, scan: Scan) -> list[str]:
        """All files a case may have, below `folder`."""
        return [self.image_file(scan, channel) for channel in range(len(self.channel_names))]

    def identity(self) -> dict[str, Any]:
        """What must agree for a second run to continue the first."""
        return {"converted_by": self.converted_by, "channel_names": list(self.channel_names), "labels": {}}


Output = DatasetSpecification | ScanFolder


def write_dataset_json(specification: DatasetSpecification, training_cases: int) -> None:
    """Write nnU-Net's description of the dataset: the last file, so that an interrupted dataset is none."""
    content = {
        "name": specification.name,
        "channel_names": {str(channel): name for channel, name in enumerate(specification.channel_names)},
        "labels": _by_value(specification.labels),
        "numTraining": training_cases,
        "file_ending": FILE_ENDING,
        "converted_by": specification.converted_by,
    }
    write_json(content, specification.folder / "dataset.json")


def _refuse_repeated_channels(names: tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        raise UserError(f"channel names must differ from each other, got {', '.join(names)}")


def _by_value(labels: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(labels.items(), key=lambda item: item[1]))

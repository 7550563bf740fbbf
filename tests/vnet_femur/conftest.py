"""A dataset of empty files with a table: splitting opens no scan."""

import json
from pathlib import Path

import pytest

WOMEN, MEN = 14, 12


@pytest.fixture
def dataset(nnunet_folders: Path) -> Path:
    """Dataset301_F: case_00 to case_25, women first, and table.csv beside it with a test case more."""
    folder = nnunet_folders / "nnUNet_raw" / "Dataset301_F"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    cases = [f"case_{index:02d}" for index in range(WOMEN + MEN)]
    for case in cases:
        (folder / "imagesTr" / f"{case}_0000.nii.gz").write_bytes(b"")
        (folder / "labelsTr" / f"{case}.nii.gz").write_bytes(b"")
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "femur": 1}, "numTraining": 26, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    rows = [f"{case},{'F' if index < WOMEN else 'M'}" for index, case in enumerate(cases)]
    (nnunet_folders / "table.csv").write_text("\n".join(["case,sex", *rows, "test_case,F"]) + "\n")
    return nnunet_folders

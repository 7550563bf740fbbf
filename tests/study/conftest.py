"""Study files of two phantom centres that nobody has to make: nothing of them runs unless a test says so."""

import copy
from pathlib import Path

import pytest
import yaml

from nnunet_da.study.file import read_study
from nnunet_da.study.resolve import resolve

CONTENT = {
    "name": "tiny",
    "phantom": [
        {"id": 101, "name": "A", "centre": "tulane", "train": 6, "test": 2},
        {"id": 102, "name": "B", "centre": "rochester", "train": 6, "test": 2},
    ],
    "source": 101,
    "targets": [102],
    "preset": "uda",
    "settings": {"num_epochs": 3, "iterations_per_epoch": 2},
    "arms": [{"name": "both", "trainer": "nnUNetTrainer_UDA_GRL_MMD"}, {"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"}],
    "seeds": [0, 1],
    "device": "cpu",
    "radiomics": False,
}


@pytest.fixture
def content() -> dict:
    return copy.deepcopy(CONTENT)


@pytest.fixture
def write(tmp_path: Path):
    """Content -> a study file."""

    def write(content: dict, name: str = "tiny.yaml") -> Path:
        file = tmp_path / name
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    return write


@pytest.fixture
def resolved(write, nnunet_folders):
    """Content -> the study, looked up in empty folders of nnU-Net."""
    return lambda content: resolve(read_study(write(content)))

"""A small study: two arms, two domains, three cases each, one of them with an empty prediction."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.evaluation.evaluate import evaluate_folders
from nnunet_da.evaluation.results import write_results

ARMS = {"source_only": 1, "adapted": 0}  # voxels by which the prediction is off
DOMAINS = ("Centre A", "Centre <B> & co")


def write_volume(array: np.ndarray, file: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.8, 2.5))
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file), True)


def write_domain(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for case in range(3):
        reference = np.zeros((9, 30, 32), np.uint8)
        reference[2:7, 8:18, 10 : 20 + case] = 1
        name = f"scan_{case}.nii.gz"
        write_volume(reference, folder / "references" / name)
        write_volume((reference * 900.0 + rng.normal(0, 60, reference.shape)).astype(np.int16), folder / "images" / name)
        for arm, shift in ARMS.items():
            empty = seed == 1 and case == 2 and arm == "source_only"
            write_volume(np.roll(reference, shift, 2) * (not empty), folder / arm / name)


@pytest.fixture
def study(scored_study: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(scored_study.parent, tmp_path / "copy") / "study"


@pytest.fixture(scope="session")
def scored_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("scored")
    for seed, domain in enumerate(DOMAINS):
        data = tmp_path / f"data_{seed}"
        write_domain(data, seed)
        for arm in ARMS:
            evaluation = evaluate_folders(
                data / "references", data / arm, images=data / "images", domains=domain, method=arm, processes=1, progress=False
            )
            write_results(evaluation, tmp_path / "study" / arm / f"domain_{seed}")
    for arm in ARMS:
        rows = "".join(f"{epoch},{term},{1 / (epoch + 1)}\n" for epoch in range(4) for term in ("train_loss", "mmd"))
        (tmp_path / "study" / arm / "curves.csv").write_text("epoch,term,value\n" + rows + "4,mmd,nan\n")
    settings = {
        "title": "Two <centres>",
        "demonstration": True,
        "note": "Trained for <script>alert(1)</script> minutes.",
        "commands": ["nnunet-da plan -d 101 && echo done"],
        "versions": {"nnunetv2": "2.8.1"},
        "arms": {"source_only": "Source only", "adapted": "PF-DAformer"},
    }
    (tmp_path / "study" / "report.json").write_text(json.dumps(settings))
    return tmp_path / "study"

"""Small scans on disk, and `convert nifti` as a user calls it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main

ANGLE = np.deg2rad(20)  # an oblique scan: turned about the first axis
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(ANGLE)), -float(np.sin(ANGLE)), 0.0, float(np.sin(ANGLE)), float(np.cos(ANGLE)))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty nnUNet_raw; the other two folders of nnU-Net are not set."""
    folder = tmp_path / "nnUNet_raw"
    folder.mkdir()
    monkeypatch.setenv("nnUNet_raw", str(folder))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    monkeypatch.delenv("nnUNet_results", raising=False)
    return folder


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write voxels (Z, Y, X) as an image with oblique direction and unequal spacing."""

    def write(path: Path, voxels: np.ndarray, spacing_xyz_mm=(0.7, 0.8, 2.5), origin=(-10.5, 20.25, 300.0), direction=OBLIQUE) -> Path:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(spacing_xyz_mm)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture
def scans(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Folder `images` with scans a and b, folder `labels` with their label maps (values 0 and 1)."""
    for number, name in enumerate("ab"):
        voxels = np.random.default_rng(number).integers(-1000, 1500, (6, 5, 4)).astype(np.int16)
        write_image(tmp_path / "images" / f"{name}.nii.gz", voxels)
        write_image(tmp_path / "labels" / f"{name}.nii.gz", (voxels > 0).astype(np.uint8))
    return tmp_path


@pytest.fixture
def convert(raw: Path, scans: Path) -> Callable[..., int]:
    """`nnunet-da convert nifti` with the scans' folders, id 101 and name A unless told otherwise."""

    def run(*more: str, images="images", labels: str | None = "labels", dataset_id="101", name="A") -> int:
        arguments = ["convert", "nifti", "-i", str(scans / images), "-d", dataset_id, "--name", name, "--processes", "1"]
        if labels:
            arguments += ["-l", str(scans / labels), *([] if any("label" in text for text in more) else ["--label", "femur=1"])]
        return main(arguments + list(more))

    return run

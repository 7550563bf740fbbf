"""Small phantoms as scans on disk, and datasets made of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.phantom.cohort import Window, centre, scan_case

SMALL = Window(size_mm=(150, 160, 160), pixel_mm=2.0, slice_scale=1.6)


def save(array: np.ndarray, file: Path, spacing_mm: tuple[float, float, float] = (2.5, 1.0, 1.0)) -> Path:
    """Write (Z, Y, X) with its spacing Z, Y, X."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm[::-1])
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))
    return file


@pytest.fixture(scope="session")
def phantoms() -> list[sitk.Image]:
    """Six people of one population on one scanner: scans that look alike."""
    here = centre("tulane", 0, population=False)
    images = []
    for seed in range(6):
        case = scan_case(here, seed, window=SMALL)
        image = sitk.GetImageFromArray(case.image)
        image.SetSpacing(case.spacing_mm[::-1])
        images.append(image)
    return images


@pytest.fixture
def make_dataset(nnunet_folders: Path) -> Callable[..., Path]:
    """id, name, training scans, ... -> the folder of a dataset of these images."""

    def make(dataset_id: int, name: str, training: list[sitk.Image], test: list[sitk.Image] = (), channel: str = "CT") -> Path:
        folder = nnunet_folders / "nnUNet_raw" / f"Dataset{dataset_id:03d}_{name}"
        for split, images in (("imagesTr", training), ("imagesTs", test)):
            (folder / split).mkdir(parents=True)
            for index, image in enumerate(images):
                sitk.WriteImage(image, str(folder / split / f"{name}{split[-2:]}_{index:02d}_0000.nii.gz"))
        content = {"channel_names": {"0": channel}, "labels": {"background": 0, "bone": 1}, "numTraining": len(training)}
        (folder / "dataset.json").write_text(json.dumps({**content, "file_ending": ".nii.gz"}))
        return folder

    return make

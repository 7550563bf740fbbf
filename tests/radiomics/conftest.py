"""A small cohort of bones: a dense shell around a lighter inside, in soft tissue."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths

SPACING_MM = (2.0, 1.0, 1.0)  # Z, Y, X
SHAPE = (14, 36, 36)


def write_volume(array: np.ndarray, file: Path, spacing_mm=SPACING_MM) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin((-10.0, 5.0, 3.0))
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file), True)
    return file


def bone(seed: int, radius_mm: float, cortex_mm: float = 3.0, shift_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Image in HU (int16) and mask of an ellipsoid with a cortex; `shift_mm` moves the mask's surface outwards."""
    rng = np.random.default_rng(seed)
    centre = np.array(SHAPE) * SPACING_MM / 2 + rng.uniform(-0.5, 0.5, 3)
    grid = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)], indexing="ij"), axis=-1)
    radius = np.linalg.norm((grid - centre) * (1.0, 1.0, 0.9), axis=-1)
    inside = np.where(radius < radius_mm - cortex_mm, 150 + 10 * seed, 900)
    image = np.where(radius < radius_mm, inside, 40) + rng.normal(0, 20, SHAPE)
    return image.round().astype(np.int16), radius < radius_mm + shift_mm


@pytest.fixture
def write() -> Callable[..., Path]:
    """array, file, spacing_mm -> the file."""
    return write_volume


@pytest.fixture
def make_bone() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """seed, radius_mm, cortex_mm, shift_mm -> image and mask."""
    return bone


@pytest.fixture
def cohort_folder(tmp_path: Path) -> Path:
    """images, references and predictions of five cases; predictions are a little too large, that of case_4 is empty."""
    for index in range(5):
        image, reference = bone(index, 8 + index * 0.7)
        prediction = bone(index, 8 + index * 0.7, shift_mm=0.4)[1] if index < 4 else np.zeros_like(reference)
        write_volume(image, tmp_path / "images" / f"case_{index}_0000.nii.gz")
        write_volume(reference.astype(np.uint8), tmp_path / "references" / f"case_{index}.nii.gz")
        write_volume(prediction.astype(np.uint8), tmp_path / "predictions" / f"case_{index}.nii.gz")
    return tmp_path


@pytest.fixture(scope="session")
def golden() -> Path:
    """pyradiomics' own cases with baseline values, and the IBSI digital phantom."""
    folder = paths.test_data_dir()
    if folder is None or not (folder / "radiomics").is_dir():
        pytest.skip("real test data not found: set NNUNET_DA_TEST_DATA")
    return folder / "radiomics"

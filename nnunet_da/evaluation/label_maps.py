"""Label maps on disk: find them, read them, refuse what would be scored wrongly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.images import read_image as read_volume
from nnunet_da.errors import UserError

FILE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".hdr", ".tif", ".tiff", ".png", ".bmp")
SPACING_TOLERANCE = 1e-4  # relative: 0.04 slices after 400
ORIGIN_TOLERANCE_MM = 1e-2
DIRECTION_TOLERANCE = 1e-3  # 0.06 degrees; NIfTI stores directions as float32


class UnreadableError(UserError):
    """A file cannot be read: the other cases can still be scored."""


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies in space, axes in SimpleITK's order (X, Y, Z)."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Z, Y, X."""
        return self.spacing[::-1]


def find_cases(folder: Path) -> dict[str, Path]:
    """Case name -> file, for every file of a known ending, sorted by case.

    Raises:
        UserError: the folder does not exist, holds no image, or holds one case twice.
    """
    if not folder.is_dir():
        raise UserError(f"a folder of label maps was expected, but {folder} is none: check the path.")
    cases: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        ending = next((ending for ending in sorted(FILE_ENDINGS, key=len, reverse=True) if file.name.lower().endswith(ending)), None)
        if ending is None or file.name.startswith(".") or not file.is_file():
            continue
        case = file.name[: -len(ending)]
        if case in cases:
            raise UserError(f"one file per case was expected in {folder}, got {cases[case].name} and {file.name}: remove one.")
        cases[case] = file
    if not cases:
        raise UserError(f"label maps ({', '.join(FILE_ENDINGS)}) were expected in {folder}, got none: check the path.")
    return cases


def read_geometry(file: Path) -> Geometry:
    """Geometry from the header alone. Raises UnreadableError."""
    return _geometry(_header(file))


def differing_geometry(reference: Geometry, prediction: Geometry) -> str | None:
    """The first of size, spacing, origin and direction that differs; None where all agree up to float32."""
    same = {
        "size": reference.size == prediction.size,
        "spacing": _close(reference.spacing, prediction.spacing, rtol=SPACING_TOLERANCE, atol=0),
        "origin": _close(reference.origin, prediction.origin, rtol=0, atol=ORIGIN_TOLERANCE_MM),
        "direction": _close(reference.direction, prediction.direction, rtol=0, atol=DIRECTION_TOLERANCE),
    }
    return next((name for name in same if not same[name]), None)


def check_same_geometry(reference: Geometry, prediction: Geometry, case: str) -> None:
    """Raises UserError naming the first of size, spacing, origin and direction that differs."""
    differing = differing_geometry(reference, prediction)
    if differing:
        raise UserError(
            f"case {case}: reference and prediction must have the same {differing} (x, y, z), got {getattr(reference, differing)} and "
            f"{getattr(prediction, differing)}. Predict on the images the references belong to, or add --allow-resample."
        )


def read_image(file: Path) -> sitk.Image:
    """A whole image of two or three dimensions with one value per voxel.

    Raises:
        UnreadableError: the file is truncated, damaged or no image.
        UserError: several values per voxel, or other dimensions.
    """
    header = _header(file)
    dimensions, components = header.GetDimension(), header.GetNumberOfComponents()
    if components != 1 or dimensions not in (2, 3):
        raise UserError(
            f"{file} must have 2 or 3 dimensions and one value per voxel, got {dimensions} and {components}: write one file per volume."
        )
    try:
        return read_volume(file) if dimensions == 3 else sitk.ReadImage(str(file))
    except (UserError, RuntimeError) as error:
        raise UnreadableError(str(error)) from error


def read_label_map(file: Path) -> tuple[np.ndarray, Geometry]:
    """A label map as integers, (Z, Y, X) or (Y, X), and its geometry.

    Raises:
        UnreadableError: the file is truncated, damaged or no image.
        UserError: a value is not a whole number, or negative.
    """
    image = read_image(file)
    values = sitk.GetArrayFromImage(image)
    if not np.issubdtype(values.dtype, np.integer):
        values = _whole_numbers(values, file)
    if values.size and values.min() < 0:
        raise UserError(f"{file} must hold labels of 0 and above, got {values.min()}: check that it is a label map and not an image.")
    return values, _geometry(image)


def _whole_numbers(values: np.ndarray, file: Path) -> np.ndarray:
    wrong = ~(np.isfinite(values) & (values == np.round(values)) & (np.abs(values) <= np.iinfo(np.int32).max))
    if wrong.any():
        raise UserError(f"{file} must hold whole numbers, got {values[wrong][0]}: round it, or check that it is a label map.")
    return values.astype(np.int32)


def _header(file: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableError(f"{file} must be an image that SimpleITK can read, but it is empty, damaged or of another kind.") from error
    return reader


def _close(first: tuple[float, ...], second: tuple[float, ...], *, rtol: float, atol: float) -> bool:
    return len(first) == len(second) and np.allclose(first, second, rtol=rtol, atol=atol)


def _geometry(header: Any) -> Geometry:
    return Geometry(tuple(header.GetSize()), tuple(header.GetSpacing()), tuple(header.GetOrigin()), tuple(header.GetDirection()))

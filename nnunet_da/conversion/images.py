"""Read an image so that damage is noticed, and compare the grids of two images."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.nifti_voxels import refuse_damaged_nifti
from nnunet_da.errors import UserError

GRID_TOLERANCE_VOXELS = 0.01  # NIfTI keeps origin, spacing and direction in float32: corners may differ by this much of a voxel


def read_image(path: Path) -> sitk.Image:
    """Read a whole 3D image with one real value per voxel.

    ITK hides damage in NIfTI files, so their bytes are looked at first.

    Raises:
        UserError: unreadable, truncated, NaN or infinite voxels, not 3D, several values per voxel, or complex values.
    """
    _refuse_uncompressed_twin(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with _native_stderr_silenced():
            reader.ReadImageInformation()
            _refuse_wrong_kind(path, reader)
            if reader.HasMetaDataKey("nifti_type"):
                refuse_damaged_nifti(path, {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()})
            image = reader.Execute()
    except RuntimeError as error:
        raise UserError(f"cannot read the image {path}: it is truncated, damaged or of an unknown format ({_last_line(error)})") from None
    _refuse_not_finite(path, image)
    return image


def voxels_zyx(image: sitk.Image) -> np.ndarray:
    """A copy (Z, Y, X) of the voxels: ITK's views dangle once the image is gone."""
    return sitk.GetArrayFromImage(image)


def grid_offset_voxels(image: sitk.Image, other: sitk.Image) -> float:
    """Largest distance between equal corners of two images, in voxels of the first one's shortest edge; infinite if the sizes differ."""
    if image.GetSize() != other.GetSize():
        return float("inf")
    corners = product(*((0, size - 1) for size in image.GetSize()))
    pairs = [(image.TransformIndexToPhysicalPoint(c), other.TransformIndexToPhysicalPoint(c)) for c in corners]
    return max(float(np.linalg.norm(np.subtract(a, b))) for a, b in pairs) / min(image.GetSpacing())


def refuse_other_grid(path: Path, image: sitk.Image, path_other: Path, other: sitk.Image) -> None:
    """Raises UserError unless both images cover the same grid within `GRID_TOLERANCE_VOXELS`."""
    if grid_offset_voxels(image, other) <= GRID_TOLERANCE_VOXELS:
        return
    raise UserError(
        f"image and label (and all channels) must share one grid, but {path} has {_grid_text(image)} and {path_other} has "
        f"{_grid_text(other)}: resample one onto the other"
    )


def _grid_text(image: sitk.Image) -> str:
    """Size, spacing, origin and direction in X, Y, Z, as a viewer shows them."""
    rounded = [
        tuple(round(float(value), 4) for value in values) for values in (image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    ]
    return f"size {image.GetSize()}, spacing {rounded[0]} mm, origin {rounded[1]}, direction {rounded[2]}"


def _refuse_uncompressed_twin(path: Path) -> None:
    """Asked for a.nii.gz, ITK reads a.nii where both exist."""
    twin = path.with_suffix("")
    if path.name.lower().endswith(".nii.gz") and twin.is_file():
        raise UserError(f"{path} stands beside {twin}, which image readers open in its place: keep one of the two")


def _refuse_wrong_kind(path: Path, reader: sitk.ImageFileReader) -> None:
    if reader.GetDimension() != 3:
        raise UserError(f"an image must have 3 dimensions, {path} has {reader.GetDimension()}: write one 3D file per volume")
    if reader.GetNumberOfComponents() != 1:
        raise UserError(f"an image must have one value per voxel, {path} has {reader.GetNumberOfComponents()}: write one file per channel")
    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise UserError(f"an image must have real values, {path} has complex ones: write the magnitude")


def _refuse_not_finite(path: Path, image: sitk.Image) -> None:
    voxels = voxels_zyx(image)
    if np.issubdtype(voxels.dtype, np.floating):
        broken = voxels.size - int(np.isfinite(voxels).sum())
        if broken:
            raise UserError(f"an image must hold finite values, {path} has {broken} NaN or infinite voxels: export or mask it again")


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Keep C++ readers from writing past our one line of error: their stderr goes to a file that vanishes."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)

"""Read an image so that damage is noticed, and compare the grids of two images."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.nifti_header import read_nifti_header
from nnunet_da.conversion.nifti_voxels import refuse_damaged_nifti
from nnunet_da.errors import UserError

GRID_TOLERANCE_VOXELS = 0.01  # NIfTI keeps origin, spacing and direction in float32: corners may differ by this much of a voxel


def read_image(path: Path, dimensions: tuple[int, ...] = (3,)) -> sitk.Image:
    """Read a whole image, 3D unless other `dimensions` are fine too, with one real value per voxel.

    ITK hides damage in NIfTI files, so their bytes are looked at first.

    Raises:
        UserError: unreadable, truncated, NaN or infinite voxels, not 3D, several values per voxel, or complex values.
    """
    _refuse_uncompressed_twin(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with native_stderr_silenced():
            reader.ReadImageInformation()
            _refuse_wrong_kind(path, reader, dimensions)
            if reader.HasMetaDataKey("nifti_type"):
                _refuse_missing_spacing(path)
                refuse_damaged_nifti(path, {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()})
            image = reader.Execute()
    except RuntimeError as error:
        raise UserError(f"cannot read the image {path}: it is truncated, damaged or of an unknown format ({_last_line(error)})") from None
    refuse_not_finite(path, image)
    return image


def voxels_zyx(image: sitk.Image) -> np.ndarray:
    """A copy (Z, Y, X) of the voxels: ITK's views dangle once the image is gone."""
    return sitk.GetArrayFromImage(image)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie, in SimpleITK's order (X, Y, Z), positions in LPS mm."""

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]

    def corners_mm(self) -> np.ndarray:
        """Physical positions of the corner voxels' centres, (corners, axes)."""
        axes = len(self.size)
        indices = np.array(list(product(*((0, size - 1) for size in self.size))), float)
        return np.array(self.origin_mm) + (indices * self.spacing_mm) @ np.reshape(self.direction, (axes, axes)).T

    def __str__(self) -> str:
        """As a viewer shows it."""
        spacing, origin, direction = (tuple(round(float(v), 4) for v in vs) for vs in (self.spacing_mm, self.origin_mm, self.direction))
        return f"size {self.size}, spacing {spacing} mm, origin {origin}, direction {direction}"


def grid_of(image: sitk.Image | sitk.ImageFileReader) -> Grid:
    """The grid of an image, or of the file whose header a reader has read."""
    return Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def grid_offset_voxels(image: sitk.Image | Grid, other: sitk.Image | Grid) -> float:
    """Largest distance between equal corners of two grids, in voxels of the first one's shortest edge; infinite if the sizes differ."""
    grid, grid_other = (item if isinstance(item, Grid) else grid_of(item) for item in (image, other))
    if tuple(grid.size) != tuple(grid_other.size):
        return float("inf")
    distances = np.linalg.norm(grid.corners_mm() - grid_other.corners_mm(), axis=1)
    return float(distances.max()) / min(grid.spacing_mm)


def refuse_other_grid(path: Path, image: sitk.Image, path_other: Path, other: sitk.Image) -> None:
    """Raises UserError unless both images cover the same grid within `GRID_TOLERANCE_VOXELS`."""
    if grid_offset_voxels(image, other) <= GRID_TOLERANCE_VOXELS:
        return
    raise UserError(
        f"image and label (and all channels) must share one grid, but {path} has {grid_of(image)} and {path_other} has "
        f"{grid_of(other)}: resample one onto the other"
    )


def refuse_not_finite(path: Path, image: sitk.Image) -> None:
    """Raises UserError for NaN or infinite voxels; takes no copy of good images."""
    voxels = sitk.GetArrayViewFromImage(image)
    if np.issubdtype(voxels.dtype, np.floating) and not (np.isfinite(voxels.min()) and np.isfinite(voxels.max())):
        broken = voxels.size - int(np.isfinite(voxels).sum())
        raise UserError(f"an image must hold finite values, {path} has {broken} NaN or infinite voxels: export or mask it again")


def refuse_several_values(path: Path, components: int, pixel: int) -> None:
    """Raises UserError for colour and other vectors, and for complex voxels."""
    if components != 1:
        raise UserError(f"an image must have one value per voxel, {path} has {components}: write one file per channel")
    if pixel in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise UserError(f"an image must have real values, {path} has complex ones: write the magnitude")


def _refuse_uncompressed_twin(path: Path) -> None:
    """Asked for a.nii.gz, ITK reads a.nii where both exist."""
    twin = path.with_suffix("")
    if path.name.lower().endswith(".nii.gz") and twin.is_file():
        raise UserError(f"{path} stands beside {twin}, which image readers open in its place: keep one of the two")


def _refuse_wrong_kind(path: Path, reader: sitk.ImageFileReader, dimensions: tuple[int, ...]) -> None:
    if reader.GetDimension() not in dimensions:
        raise UserError(f"an image must have 3 dimensions, {path} has {reader.GetDimension()}: write one 3D file per volume")
    refuse_several_values(path, reader.GetNumberOfComponents(), reader.GetPixelID())


def _refuse_missing_spacing(path: Path) -> None:
    """ITK turns a spacing of 0 into 1 mm."""
    header = read_nifti_header(path)
    if header is not None and not all(np.isfinite(edge) and edge > 0 for edge in header.spacing_mm):
        raise UserError(f"an image needs a spacing above 0 mm, {path} has {header.spacing_mm}: correct its header (pixdim)")


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Keep C++ code from writing past our one line of error: its stderr goes to a file that vanishes."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)

"""NumPy volumes with spacing, as images; nothing that could run code is ever loaded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.tables import Row, read_table
from nnunet_da.errors import UserError

ARRAY_SUFFIXES = (".npy", ".npz")
SPACING_COLUMNS = ("case", "z_mm", "y_mm", "x_mm")


def read_array(path: Path, spacing_mm: Sequence[float], orientation: str = "LPS") -> sitk.Image:
    """A volume (Z, Y, X) as an image with origin 0.

    Args:
        path: .npy, or .npz with one array.
        spacing_mm: Z, Y, X.
        orientation: where x, y and z grow to, as in SimpleITK: L or R, P or A, S or I.

    Raises:
        UserError: objects inside, not 3D, no real numbers, or NaN and infinity.
    """
    voxels = _simplest_type(path, _load(path))
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([float(edge) for edge in reversed(spacing_mm)])
    image.SetDirection(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(orientation))
    return image


def checked_orientation(text: str) -> str:
    """Three letters, one of each pair L/R, P/A and S/I, in upper case.

    Raises:
        UserError: anything else.
    """
    letters = text.upper()
    axes = sorted("LRPASI".find(letter) // 2 for letter in letters)
    if axes != [0, 1, 2]:
        raise UserError(f"an orientation must be three letters, one each of L/R, P/A and S/I, such as LPS, got '{text}'")
    return letters


def read_spacings(path: Path) -> dict[str, tuple[float, float, float]]:
    """Case -> spacing (Z, Y, X) in mm, from a CSV with the columns case, z_mm, y_mm, x_mm.

    Raises:
        UserError: as `read_table`, a value that is no length, or a case twice.
    """
    spacings: dict[str, tuple[float, float, float]] = {}
    for row in read_table(path, "the spacing table", SPACING_COLUMNS).rows:
        if row["case"] in spacings:
            raise UserError(f"every case may stand once in a spacing table, '{row['case']}' is twice in {path}: remove one line")
        spacings[row["case"]] = _spacing(row, path)
    return spacings


def _spacing(row: Row, path: Path) -> tuple[float, float, float]:
    try:
        z, y, x = (float(row[column]) for column in SPACING_COLUMNS[1:])
    except ValueError:
        z = y = x = float("nan")
    if not all(np.isfinite(edge) and edge > 0 for edge in (z, y, x)):
        given = " ".join(row[column] for column in SPACING_COLUMNS[1:])
        raise UserError(f"a spacing must be three lengths above 0 mm such as 2.5, case '{row['case']}' in {path} has {given}: correct it")
    return z, y, x


def _load(path: Path) -> np.ndarray:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return _only_array(path, content)
    except UserError:
        raise
    except Exception as error:  # damaged files fail in many ways; objects with a ValueError, unopened
        if "pickle" in str(error):
            raise UserError(
                f"an array must hold numbers, {path} holds Python objects, which are never loaded: save plain numbers"
            ) from None
        raise UserError(f"cannot read the array {path} ({error}): save it again with numpy.save") from None


def _only_array(path: Path, content: np.lib.npyio.NpzFile) -> np.ndarray:
    if len(content.files) != 1:
        raise UserError(f"a .npz must hold one array, {path} holds {', '.join(content.files) or 'none'}: save each array as .npy")
    return content[content.files[0]]


def _simplest_type(path: Path, voxels: np.ndarray) -> np.ndarray:
    """Types SimpleITK can write; integers as int16 where they fit."""
    if voxels.ndim != 3 or voxels.size == 0:
        raise UserError(f"an array must be a volume (Z, Y, X), {path} has the shape {voxels.shape}: save one 3D array per case")
    if voxels.dtype == bool:
        return voxels.astype(np.uint8)
    if np.issubdtype(voxels.dtype, np.integer):
        return _narrow_integers(path, voxels)
    if not np.issubdtype(voxels.dtype, np.floating):
        raise UserError(f"an array must hold real numbers, {path} holds {voxels.dtype}: save it as integers or floats")
    broken = voxels.size - int(np.isfinite(voxels).sum())
    if broken:
        raise UserError(f"an array must hold finite values, {path} has {broken} NaN or infinite voxels: save it again without")
    return voxels.astype(np.float32)


def _narrow_integers(path: Path, voxels: np.ndarray) -> np.ndarray:
    low, high = int(voxels.min()), int(voxels.max())
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return voxels.astype(dtype, copy=False)
    raise UserError(f"an array must hold integers of at most 32 bits, {path} holds {low} to {high}: are these HU or labels?")

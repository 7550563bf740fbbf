"""A prediction on its own grid brought onto the reference's, by the nearest voxel."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import Geometry, differing_geometry, read_label_map


@dataclass(frozen=True)
class Resampled:
    """What resampling changed; goes into evaluation.json.

    Attributes:
        differing: the first of size, spacing, origin and direction that differed.
        from_size, from_spacing_mm: the prediction's own grid, Z, Y, X.
        covered: share of the reference's voxels that lie inside the prediction's volume; the others count as background.
        foreground_mm3_before, foreground_mm3_after: volume of all labels of the prediction.
    """

    differing: str
    from_size: tuple[int, ...]
    from_spacing_mm: tuple[float, ...]
    covered: float
    foreground_mm3_before: float
    foreground_mm3_after: float


def read_prediction(file: Path, reference: Geometry, case: str) -> tuple[np.ndarray, Resampled | None]:
    """A predicted label map on the grid of `reference`, and what was done to it; None where the grids agree.

    Raises:
        UnreadableError: the file is truncated, damaged or no image.
        UserError: it holds what is no label, has other dimensions, or lies elsewhere in space.
    """
    prediction, geometry = read_label_map(file)
    differing = differing_geometry(reference, geometry)
    if differing is None:
        return prediction, None
    check_same_dimensions(reference, geometry, case)
    covered = float(_onto(np.ones_like(prediction, np.uint8), geometry, reference).mean())
    if covered == 0:
        raise UserError(
            f"case {case}: reference and prediction must overlap in space, got origins {reference.origin} and {geometry.origin} (x, y, z) "
            f"with nothing in common: check that {file} belongs to this case."
        )
    resampled = _onto(prediction, geometry, reference)
    volumes = [float(np.count_nonzero(array) * np.prod(grid.spacing)) for array, grid in ((prediction, geometry), (resampled, reference))]
    return resampled, Resampled(differing, geometry.size[::-1], geometry.spacing_mm, covered, *volumes)


def check_same_dimensions(reference: Geometry, prediction: Geometry, case: str) -> None:
    """Raises UserError where one is 2D and the other 3D."""
    if len(reference.size) != len(prediction.size):
        raise UserError(
            f"case {case}: reference and prediction must have the same dimensions, got sizes {reference.size} and {prediction.size}: "
            "write both as volumes or both as images."
        )


def _onto(label_map: np.ndarray, geometry: Geometry, reference: Geometry) -> np.ndarray:
    image = sitk.GetImageFromArray(label_map)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    grid = (reference.origin, reference.spacing, reference.direction)
    moved = sitk.Resample(image, reference.size, sitk.Transform(len(reference.size), sitk.sitkIdentity), sitk.sitkNearestNeighbor, *grid, 0)
    return sitk.GetArrayFromImage(moved)

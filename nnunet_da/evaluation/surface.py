"""Distances between the surfaces of two masks, in mm: HD, HD95, ASD."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import edt
import numpy as np

from nnunet_da.evaluation.overlap import checked_masks, checked_spacing


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of every boundary voxel to the other mask's boundary; every metric is derived from them.

    Both masks empty: both arrays are empty and every metric is 0. One mask empty: the other's distances are NaN and so is every metric.

    Attributes:
        reference_to_prediction_mm: (N_r,), one distance per boundary voxel of the reference.
        prediction_to_reference_mm: (N_p,), one distance per boundary voxel of the prediction.
    """

    reference_to_prediction_mm: np.ndarray
    prediction_to_reference_mm: np.ndarray

    @property
    def hd_mm(self) -> float:
        """Hausdorff distance: the larger of the two directed maxima."""
        return self._larger_directed(np.max)

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directed 95th percentiles (linear interpolation), as in MONAI; MedPy pools both directions first."""
        return self._larger_directed(lambda distances: np.percentile(distances, 95))

    @property
    def asd_mm(self) -> float:
        """Average symmetric surface distance: the mean over the boundary voxels of both masks together."""
        return self._summary(np.concatenate([self.reference_to_prediction_mm, self.prediction_to_reference_mm]), np.mean)

    @property
    def asd_reference_to_prediction_mm(self) -> float:
        """Mean over the boundary voxels of the reference."""
        return self._summary(self.reference_to_prediction_mm, np.mean)

    @property
    def asd_prediction_to_reference_mm(self) -> float:
        """Mean over the boundary voxels of the prediction."""
        return self._summary(self.prediction_to_reference_mm, np.mean)

    def metrics(self) -> dict[str, float]:
        """Metric name -> value in mm, by the names of `metrics.csv`."""
        names = ("hd_mm", "hd95_mm", "asd_mm", "asd_reference_to_prediction_mm", "asd_prediction_to_reference_mm")
        return {name: getattr(self, name) for name in names}

    def _larger_directed(self, statistic: Callable[[np.ndarray], float]) -> float:
        directed = [self._summary(self.reference_to_prediction_mm, statistic), self._summary(self.prediction_to_reference_mm, statistic)]
        return float(np.max(directed))  # NaN wins

    def _summary(self, distances_mm: np.ndarray, statistic: Callable[[np.ndarray], float]) -> float:
        if self.reference_to_prediction_mm.size == self.prediction_to_reference_mm.size == 0:
            return 0.0
        return float(statistic(distances_mm)) if distances_mm.size else float("nan")


def surface_distances(
    reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float], *, ignore: np.ndarray | None = None
) -> SurfaceDistances:
    """Distance of each boundary voxel of one mask to the nearest boundary voxel of the other, both ways.

    A boundary voxel is a voxel of the mask that erosion by the 6-neighbourhood (4 in two dimensions) removes; outside the volume counts as
    background, so a mask cut by the border has its boundary there. Distances run between voxel centres. This is MONAI's definition
    (`get_mask_edges`, `get_surface_distance`); it weighs voxels alike and not by the surface area they stand for.

    Args:
        reference: boolean, (Z, Y, X) or (Y, X).
        prediction: boolean, same shape.
        spacing_mm: one value per axis, in the order of the axes (SimpleITK's spacing reversed).
        ignore: boolean, same shape; True voxels are background in both masks.

    Raises:
        ValueError: a mask is not boolean, the shapes differ, or spacing_mm is not one positive value per axis.
    """
    reference, prediction = checked_masks(reference, prediction, ignore)
    spacing_mm = checked_spacing(spacing_mm, reference.ndim)
    box = _bounding_box(reference | prediction)
    boundary_reference, boundary_prediction = boundary(reference[box]), boundary(prediction[box])
    return SurfaceDistances(
        reference_to_prediction_mm=_distances(boundary_reference, boundary_prediction, spacing_mm),
        prediction_to_reference_mm=_distances(boundary_prediction, boundary_reference, spacing_mm),
    )


def boundary(mask: np.ndarray) -> np.ndarray:
    """Voxels of a boolean mask with a face neighbour outside the mask; outside the array counts as outside the mask."""
    padded = np.pad(mask, 1)
    inner = (slice(1, -1),) * mask.ndim
    interior = mask.copy()
    for axis in range(mask.ndim):
        for neighbour in (slice(None, -2), slice(2, None)):
            interior &= padded[(*inner[:axis], neighbour, *inner[axis + 1 :])]
    return mask & ~interior


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around the True voxels; an empty box where there are none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0))
    return tuple(box)


def _distances(boundary_from: np.ndarray, boundary_to: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """(N,) distances in mm from the True voxels of one boundary to the nearest of the other; NaN where the other is empty."""
    if not boundary_to.any():
        return np.full(np.count_nonzero(boundary_from), np.nan)
    if not boundary_from.any():
        return np.empty(0)
    # float64 keeps the mean of millions of float32 distances exact
    return edt.edt(~boundary_to, anisotropy=spacing_mm, black_border=False)[boundary_from].astype(np.float64)

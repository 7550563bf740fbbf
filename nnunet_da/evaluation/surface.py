"""Distances between the surfaces of two masks, in mm: HD, HD95, ASD, and the surface Dice of a tolerance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_da.evaluation.boxes import bounding_box
from nnunet_da.evaluation.nearest import boundary_distances
from nnunet_da.evaluation.overlap import checked_masks, checked_spacing

DISTANCES = ("hd_mm", "hd95_mm", "asd_mm", "asd_reference_to_prediction_mm", "asd_prediction_to_reference_mm")  # as metrics.csv names them
TOLERANCE_SLACK = 1e-6  # relative: a distance of ten float32 voxels of 0.1 mm is within 1 mm


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of every boundary voxel to the other mask's boundary; every metric is derived from them.

    Both masks empty: both arrays are empty and every metric in mm is 0. One mask empty: the other's distances are NaN, so are these.

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

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface Dice: the share of all boundary voxels whose distance is at most the tolerance; unitless.

        Both masks empty: 1; one empty: 0, as for Dice. Nikolov et al. 2018, arXiv:1809.04430, with voxels counted in place of area (MONAI's
        `compute_surface_dice` without subvoxels).
        """
        distances = np.concatenate([self.reference_to_prediction_mm, self.prediction_to_reference_mm])
        if not distances.size:
            return 1.0
        return float(np.count_nonzero(distances <= tolerance_mm * (1 + TOLERANCE_SLACK)) / distances.size)  # NaN is above

    def metrics(self, nsd_mm: Sequence[float] = ()) -> dict[str, float]:
        """Metric name -> value, by the names of `metrics.csv`; in mm, and nsd at these tolerances as fractions."""
        return {name: getattr(self, name) for name in DISTANCES} | {nsd_name(tolerance): self.nsd(tolerance) for tolerance in nsd_mm}

    def _larger_directed(self, statistic: Callable[[np.ndarray], float]) -> float:
        directed = [self._summary(self.reference_to_prediction_mm, statistic), self._summary(self.prediction_to_reference_mm, statistic)]
        return float(np.max(directed))  # NaN wins

    def _summary(self, distances_mm: np.ndarray, statistic: Callable[[np.ndarray], float]) -> float:
        if self.reference_to_prediction_mm.size == self.prediction_to_reference_mm.size == 0:
            return 0.0
        return float(statistic(distances_mm)) if distances_mm.size else float("nan")


def nsd_name(tolerance_mm: float) -> str:
    """`nsd_1mm`, `nsd_0.5mm`."""
    return f"nsd_{tolerance_mm:g}mm"


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
    box = bounding_box(reference | prediction)
    return SurfaceDistances(*boundary_distances(reference[box], prediction[box], spacing_mm))

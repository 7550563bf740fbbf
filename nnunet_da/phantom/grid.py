"""Axis-aligned sampling grids in patient space (LPS, mm) and linear interpolation between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_da.phantom.shapes import Coordinates

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Voxel centres at origin + index * spacing, all in order Z, Y, X; x grows to the patient's left, y to the back, z to the head."""

    shape: tuple[int, int, int]
    spacing_mm: Triple
    origin_mm: Triple

    def axis(self, which: int) -> NDArray[np.float32]:
        """Voxel-centre positions along axis 0 (z), 1 (y) or 2 (x), in mm."""
        return (self.origin_mm[which] + self.spacing_mm[which] * np.arange(self.shape[which])).astype(np.float32)

    def coordinates(self) -> Coordinates:
        """x, y, z in mm, each broadcastable to (Z, Y, X)."""
        return self.axis(2)[None, None, :], self.axis(1)[None, :, None], self.axis(0)[:, None, None]


def covering(low_mm: Triple, high_mm: Triple, spacing_mm: float) -> Grid:
    """The smallest grid of this spacing whose voxel centres enclose a box."""
    shape = tuple(int(np.ceil((h - lo) / spacing_mm)) + 1 for lo, h in zip(low_mm, high_mm, strict=True))
    return Grid(shape, (spacing_mm,) * 3, low_mm)  # type: ignore[arg-type]


def neighbours(positions_mm: NDArray[np.float32], grid: Grid, which: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For linear interpolation along an axis of two points or more: the lower neighbour of each position and the upper one's weight.

    Beyond the ends the end value holds.
    """
    size = grid.shape[which]
    index = np.clip((positions_mm - grid.origin_mm[which]) / grid.spacing_mm[which], 0, size - 1)
    low = np.minimum(index.astype(np.intp), size - 2)
    return low, (index - low).astype(np.float32)

"""What lies beside the patient: the table, and rods of known density to calibrate by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_da.phantom.anatomy import AIR_HU, Material
from nnunet_da.phantom.patient import Patient
from nnunet_da.phantom.shapes import Field

ROD_DENSITIES = (0.0, 50.0, 100.0, 150.0, 200.0)  # mg/cm3
_ROD_RADIUS_MM = 9.0
_ROD_DISTANCE_MM = 38.0


@dataclass(frozen=True)
class Fixtures:
    """Table and rods under a patient; the same in every slice."""

    patient: Patient
    table: bool
    rods: bool

    def material(self, y_mm: NDArray[np.float32], x_mm: NDArray[np.float32]) -> Material:
        """Soft HU and mineral (Y, X), air where there is nothing."""
        y, x = y_mm[:, None], x_mm[None, :]
        soft = np.full((len(y_mm), len(x_mm)), AIR_HU, dtype=np.float32)
        mineral = np.zeros_like(soft)
        if self.table:
            self._add_table(soft, y, x)
        if self.rods:
            self._add_rods(soft, mineral, y, x)
        return Material(soft, mineral)

    @property
    def back_mm(self) -> float:
        """Where the patient's back is, y."""
        return 6 + 88 * self.patient.size + self.patient.fat_thickness_mm

    def _add_table(self, soft: Field, y: Field, x: Field) -> None:
        top = self.back_mm + (30 if self.rods else 4) - 2.2e-4 * x**2
        depth = y - top
        soft[(depth > 0) & (depth < 2)] = -30.0
        soft[(depth >= 2) & (depth < 28)] = -940.0
        soft[(depth >= 28) & (depth < 30)] = -30.0

    def _add_rods(self, soft: Field, mineral: Field, y: Field, x: Field) -> None:
        centre_y = self.back_mm + 15
        for i, density in enumerate(ROD_DENSITIES):
            centre_x = (i - (len(ROD_DENSITIES) - 1) / 2) * _ROD_DISTANCE_MM
            rod = np.hypot(y - centre_y, x - centre_x) < _ROD_RADIUS_MM
            soft[rod], mineral[rod] = 0.0, density

"""What a bone study reports of one outlined bone: volume, density, mineral content, and its cortical shell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_da.errors import UserError
from nnunet_da.radiomics.cortex import cortical_thickness_mm
from nnunet_da.radiomics.signed_distance import signed_distance_mm

MM3_PER_CM3 = 1000.0
UNITS = {
    "volume_mm3": "mm3",
    "mean_hu": "HU",
    "bmd_mg_cm3": "mg/cm3",
    "bmc_mg": "mg",
    "cortical_hu": "HU",
    "cortical_bmd_mg_cm3": "mg/cm3",
    "cortical_thickness_mm": "mm",
}
CALIBRATED = ("bmd_mg_cm3", "bmc_mg", "cortical_bmd_mg_cm3")


@dataclass(frozen=True)
class BoneSettings:
    """How endpoints are measured.

    Attributes:
        calibration: (slope, intercept) of density = slope * HU + intercept in mg/cm3, from the scan's phantom; None leaves HU.
        shell_mm: depth of the cortical shell whose density is taken.

    Raises:
        UserError: a slope or a depth that is not above 0.
    """

    calibration: tuple[float, float] | None = None
    shell_mm: float = 2.0

    def __post_init__(self) -> None:
        if self.calibration is not None and not (np.isfinite(self.calibration).all() and self.calibration[0] > 0):
            raise UserError(f"the calibration must be a slope above 0 (mg/cm3 per HU) and an intercept (mg/cm3), got {self.calibration}.")
        if not self.shell_mm > 0:
            raise UserError(f"the shell's depth must be above 0 mm, got {self.shell_mm}.")

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names, in the order of `UNITS`."""
        return tuple(name for name in UNITS if self.calibration is not None or name not in CALIBRATED)

    def density_mg_cm3(self, hu: float) -> float:
        """NaN without a calibration."""
        return float("nan") if self.calibration is None else self.calibration[0] * hu + self.calibration[1]


def bone_endpoints(
    image: np.ndarray,
    mask: np.ndarray,
    spacing_mm: Sequence[float],
    settings: BoneSettings | None = None,
    distance_mm: np.ndarray | None = None,
) -> dict[str, float]:
    """Endpoints of the True voxels of a mask; NaN where one is not defined (all but the volume of an empty mask).

    `cortical_hu` is the mean of the voxels whose centres lie within `shell_mm` below the mask's surface, whatever they hold: a mask that
    reaches into the muscle has a less dense shell. `cortical_thickness_mm`: see `nnunet_da.radiomics.cortex`.

    Args:
        image: (Z, Y, X), HU.
        mask: boolean, same shape.
        spacing_mm: one value per axis, in the order of the axes.
        settings: default without calibration.
        distance_mm: `signed_distance_mm` of the mask, where it is at hand.
    """
    settings = settings or BoneSettings()
    found = dict.fromkeys(UNITS, float("nan"))
    found["volume_mm3"] = float(np.count_nonzero(mask) * np.prod(spacing_mm))
    if mask.any():
        found["mean_hu"] = float(image[mask].mean(dtype=np.float64))
        found["bmd_mg_cm3"] = settings.density_mg_cm3(found["mean_hu"])
        found["bmc_mg"] = found["bmd_mg_cm3"] * found["volume_mm3"] / MM3_PER_CM3
    if mask.any() and not mask.all():
        distance_mm = signed_distance_mm(mask, spacing_mm) if distance_mm is None else distance_mm
        shell = mask & (distance_mm >= -settings.shell_mm)
        found["cortical_hu"] = float(image[shell].mean(dtype=np.float64)) if shell.any() else float("nan")
        found["cortical_bmd_mg_cm3"] = settings.density_mg_cm3(found["cortical_hu"])
        found["cortical_thickness_mm"] = cortical_thickness_mm(image, mask, spacing_mm, distance_mm)
    return {name: found[name] for name in settings.endpoints}

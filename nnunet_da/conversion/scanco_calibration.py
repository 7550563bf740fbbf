"""From the values a Scanco file stores to HU and mg HA/cm3, by its header."""

from dataclasses import dataclass

import numpy as np

from nnunet_da.errors import UserError

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Calibration:
    """From stored values to HU and density, as a header gives it; None where it does not.

    Attributes:
        mu_scaling: stored value per linear attenuation in 1/cm.
        mu_water_per_cm: linear attenuation of water.
        density_slope, density_intercept: density = slope * attenuation + intercept.
        density_unit: the header's word for it, "mg HA/ccm".
    """

    mu_scaling: float
    mu_water_per_cm: float | None
    density_slope: float | None
    density_intercept: float | None
    density_unit: str

    def hu(self) -> tuple[float, float]:
        """Slope and intercept from stored values to HU: 1000 (mu - mu_water) / mu_water."""
        self._refuse_unscaled()
        if not self.mu_water_per_cm or self.mu_water_per_cm <= 0:
            raise UserError("HU need the attenuation of water, and the header holds none: give it with --mu-water (in 1/cm)")
        return 1000 / (self.mu_water_per_cm * self.mu_scaling), -1000.0

    def density(self) -> tuple[float, float]:
        """Slope and intercept from stored values to mg HA/cm3."""
        self._refuse_unscaled()
        if self.density_slope is None or self.density_intercept is None:
            raise UserError("--density needs the scanner's density calibration, and the header holds none: leave it out to get HU")
        if not self.density_unit.strip().lower().startswith("mg ha"):
            raise UserError(f"--density needs a calibration in mg HA/ccm, the header's is in '{self.density_unit}': leave it out to get HU")
        return self.density_slope / self.mu_scaling, self.density_intercept

    def _refuse_unscaled(self) -> None:
        """Other programs write files with a scaling of 1, whose values are whatever these had."""
        if self.mu_scaling <= 1:
            raise UserError(
                f"stored values must be attenuation times Mu_Scaling, which is {self.mu_scaling:g} here: export the scanner's file"
            )


def calibrate(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Apply slope and intercept to int16 voxels (Z, Y, X), rounded: in place where the result fits int16, else as float32."""
    bounds = sorted(float(extreme) * slope + intercept for extreme in (stored.min(), stored.max()))
    values = stored if round(bounds[0]) >= INT16.min and round(bounds[1]) <= INT16.max else np.empty(stored.shape, np.float32)
    for plane, output in zip(stored, values, strict=True):
        np.rint(plane * slope + intercept, out=output, casting="unsafe")
    return values

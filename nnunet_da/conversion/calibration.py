"""HU to bone density: a line through the rods of a phantom scanned with the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.tables import Row, read_table
from nnunet_da.errors import UserError

ROD_COLUMNS = ("rod", "nominal_mg_cm3", "measured_hu")


@dataclass(frozen=True)
class Calibration:
    """density = slope * HU + intercept.

    Attributes:
        slope, intercept: mg/cm3 per HU, and mg/cm3.
        r2: of the fit through the rods; None where slope and intercept were given.
        rods: how many were fitted.

    Raises:
        UserError: a slope that is not above 0, or numbers that are not finite.
    """

    slope: float
    intercept: float
    r2: float | None = None
    rods: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.slope, self.intercept]).all() and self.slope > 0):
            raise UserError(
                f"density needs a slope above 0 mg/cm3 per HU and an intercept in mg/cm3, got {self.slope:g} and {self.intercept:g}"
            )

    def notes(self) -> dict[str, str]:
        """Columns of the log."""
        r2 = "" if self.r2 is None else f"{self.r2:.6f}"
        return {"density_slope": f"{self.slope:.8g}", "density_intercept": f"{self.intercept:.8g}", "density_r2": r2}

    def density_mg_cm3(self, image: sitk.Image) -> sitk.Image:
        """A copy in mg/cm3, float32."""
        return sitk.ShiftScale(image, shift=self.intercept / self.slope, scale=self.slope, outputPixelType=sitk.sitkFloat32)


def fit_rods(nominal_mg_cm3: Sequence[float], measured_hu: Sequence[float]) -> Calibration:
    """Least squares of the nominal densities on the measured HU.

    Raises:
        UserError: fewer than two rods, equal HU, or a slope that is not above 0.
    """
    density, hu = np.asarray(nominal_mg_cm3, float), np.asarray(measured_hu, float)
    if len(density) < 2 or np.ptp(hu) == 0:
        raise UserError(f"a calibration needs at least two rods of different HU, got {len(density)} with HU {hu.tolist()}: add rods")
    slope, intercept = np.polyfit(hu, density, 1)
    residual, total = np.sum((density - slope * hu - intercept) ** 2), np.sum((density - density.mean()) ** 2)
    return Calibration(float(slope), float(intercept), float(1 - residual / total) if total else 0.0, len(density))


def read_rods(path: Path) -> dict[str, Calibration]:
    """Calibration per case from a CSV with rod, nominal_mg_cm3, measured_hu and perhaps case; "" is the one for all cases.

    Raises:
        UserError: as `read_table`, values that are no numbers, or rods no line goes through.
    """
    rods: dict[str, list[tuple[float, float]]] = {}
    for row in read_table(path, "the table of rods", ROD_COLUMNS).rows:
        rods.setdefault(row["case"], []).append(_pair(row, path))
    if not rods:
        raise UserError(f"a calibration needs at least two rods, {path} has no line below its header: add them")
    return {case: _fit(case, pairs, path) for case, pairs in rods.items()}


def _pair(row: Row, path: Path) -> tuple[float, float]:
    given = [row[column] for column in ROD_COLUMNS[1:]]
    try:
        density, hu = map(float, given)
    except ValueError:
        density = hu = float("nan")
    if not np.isfinite([density, hu]).all():
        raise UserError(
            f"a rod needs a density in mg/cm3 and measured HU, such as 100 and 125.5, '{row['rod']}' in {path} has {' and '.join(given)}:"
            " correct it"
        )
    return density, hu


def _fit(case: str, pairs: list[tuple[float, float]], path: Path) -> Calibration:
    try:
        return fit_rods(*zip(*pairs, strict=True))
    except UserError as error:
        raise UserError(f"{error} ({path}{', case ' + case if case else ''})") from None

"""Reconstruction kernels: the modulation transfer function (MTF) in the scan plane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Kernel:
    """MTF(f) = (1 + overshoot * bump(f)) * exp(-(f / a)^b), a and b such that MTF is 0.5 and 0.1 at the stated frequencies.

    bump(f) = (f / f_bump)^2 exp(1 - (f / f_bump)^2) with f_bump at 0.45 of the 50 % frequency; frequencies in line pairs per cm.
    """

    name: str
    f50_lp_cm: float
    f10_lp_cm: float
    overshoot: float = 0.0

    def mtf(self, frequency_per_mm: NDArray[np.floating]) -> NDArray[np.floating]:
        """Modulation at spatial frequencies in cycles per mm; 1 at 0."""
        f50, f10 = self.f50_lp_cm / 10, self.f10_lp_cm / 10
        log50, log10 = (np.log(self._boost(f) / level) for f, level in ((f50, 0.5), (f10, 0.1)))
        power = np.log(log10 / log50) / np.log(f10 / f50)
        return self._boost(frequency_per_mm) * np.exp(-log50 * (frequency_per_mm / f50) ** power)

    def _boost(self, frequency_per_mm: NDArray[np.floating] | float) -> NDArray[np.floating]:
        ratio = np.square(np.asarray(frequency_per_mm) / (0.45 * self.f50_lp_cm / 10))
        return 1 + self.overshoot * ratio * np.exp(1 - ratio)


KERNELS = {
    "b30s": Kernel("b30s", 3.5, 6.0),
    "standard": Kernel("standard", 4.2, 6.8),
    "bone": Kernel("bone", 8.5, 12.5, overshoot=0.35),
}

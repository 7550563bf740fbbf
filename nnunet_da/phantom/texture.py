"""Correlated random fields that belong to a patient: the same wherever and however often they are sampled."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from nnunet_da.phantom.shapes import Coordinates, Field

_SIZE = 64


@lru_cache(maxsize=8)
def random_lattice(seed: int, correlation: float) -> NDArray[np.float32]:
    """Periodic (64, 64, 64) Gaussian field, mean 0 and SD 1, with a Gaussian correlation of that many lattice steps."""
    white = np.random.default_rng(seed).standard_normal((_SIZE,) * 3).astype(np.float32)
    f = [np.fft.fftfreq(_SIZE).astype(np.float32)] * 2 + [np.fft.rfftfreq(_SIZE).astype(np.float32)]
    squared = f[0][:, None, None] ** 2 + f[1][None, :, None] ** 2 + f[2][None, None, :] ** 2
    smooth = fft.irfftn(fft.rfftn(white) * np.exp(-2 * (np.pi * correlation) ** 2 * squared), s=white.shape).astype(np.float32)
    return (smooth - smooth.mean()) / smooth.std()


def sample(seed: int, at: Coordinates, step_mm: float, correlation_mm: float) -> Field:
    """The patient's field at any points, SD about 1.

    Args:
        seed: which field.
        at: x, y, z in mm, broadcastable.
        step_mm: lattice step; finer structure does not exist.
        correlation_mm: SD of the Gaussian that correlates it.
    """
    lattice = random_lattice(seed, correlation_mm / step_mm)
    indices = np.stack(np.broadcast_arrays(*at)) / np.float32(step_mm)
    return ndimage.map_coordinates(lattice, indices, order=1, mode="grid-wrap", prefilter=False)

"""Noise of a reconstructed CT slice: coloured by the kernel, and streaks where little light comes through."""

import numpy as np
from scipy import fft

from nnunet_da.phantom.grid import Grid
from nnunet_da.phantom.kernels import Kernel
from nnunet_da.phantom.shapes import Field


def coloured_noise(grid: Grid, kernel: Kernel, rng: np.random.Generator) -> Field:
    """(Z, Y, X) noise of SD 1, slices independent; power spectrum |f| MTF(f)^2, that of filtered back-projection."""
    fy, fx = _frequencies(grid)
    f = np.hypot(fy, fx)
    return _shaped(grid, np.sqrt(f + 0.02) * kernel.mtf(f), rng)


def streak_noise(grid: Grid, kernel: Kernel, rng: np.random.Generator) -> Field:
    """(Z, Y, X) streaks of SD 1 that run from side to side, as where the beam crosses both hips."""
    fy, fx = _frequencies(grid)
    along = np.exp(-0.5 * (fx / (0.02 + 0.12 * np.abs(fy))) ** 2)
    return _shaped(grid, along * np.sqrt(np.abs(fy)) * kernel.mtf(np.hypot(fy, fx)), rng)


def _frequencies(grid: Grid) -> tuple[Field, Field]:
    """In cycles per mm, of a plane enlarged a little so that the noise does not repeat at its edges."""
    shape = [fft.next_fast_len(n + 8, real=True) for n in grid.shape[1:]]
    return np.fft.fftfreq(shape[0], grid.spacing_mm[1])[:, None], np.fft.rfftfreq(shape[1], grid.spacing_mm[2])[None, :]


def _shaped(grid: Grid, amplitude: Field, rng: np.random.Generator) -> Field:
    """White noise given this amplitude spectrum, scaled to SD 1."""
    shape = tuple(fft.next_fast_len(n + 8, real=True) for n in grid.shape[1:])
    doubled = np.full(amplitude.shape[1], 2.0)  # columns of a real FFT stand for two
    doubled[0] = 1
    if shape[1] % 2 == 0:
        doubled[-1] = 1
    power = (amplitude**2 * doubled).sum() / (shape[0] * shape[1])
    response = (amplitude / np.sqrt(power)).astype(np.float32)
    out = np.empty(grid.shape, dtype=np.float32)
    for k in range(grid.shape[0]):
        white = rng.standard_normal(shape, dtype=np.float32)
        out[k] = fft.irfft2(fft.rfft2(white) * response, s=shape)[: grid.shape[1], : grid.shape[2]]
    return out

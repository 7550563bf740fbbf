"""Simple numbers that describe the grey values and the texture of a volume, in its own voxels.

A network sees voxels, not millimetres: what interpolation and slice thickness do to neighbouring voxels is part of what it can learn a
site from, so texture is measured from voxel to voxel.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_da.audit.quality import chosen_slices

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MOST_VOXELS = 2_000_000  # for percentiles; every so manieth voxel of a larger scan
BAND_SIGMAS = (1.0, 2.0, 4.0, 8.0)  # voxels; texture between each and the next
_TINY = 1e-6

Field = NDArray[np.float32]


def measure_features(volume: NDArray) -> dict[str, float]:
    """Features of one channel, in its own unit (HU in a raw CT) and its own voxels.

    Args:
        volume: (Z, Y, X), finite.

    Returns:
        `p01` to `p99`, `mean`, `sd`: of all voxels. `detail`: robust SD of voxels minus their 3 x 3 mean in the slice. `gradient_p50`,
        `gradient_p90`: percentiles of the in-plane gradient. `band_1_2` and so on: log10 of the SD of what lies between Gaussians of 1
        and 2 voxels. `lag_y`, `lag_x`: correlation of the detail of neighbouring voxels. `lag_z`: of voxels above each other in
        neighbouring slices. `slice_change`: robust SD of the difference between neighbouring slices. All on at most 24 slices, without
        voxels whose surroundings are constant (padding, air).
    """
    return {**_grey_values(volume), **_texture(volume)}


def _grey_values(volume: NDArray) -> dict[str, float]:
    sample = volume.reshape(-1)[:: 1 + volume.size // MOST_VOXELS].astype(np.float32)
    values = np.percentile(sample, PERCENTILES)
    named = {f"p{percent:02d}": float(value) for percent, value in zip(PERCENTILES, values, strict=True)}
    return {**named, "mean": float(sample.mean(dtype=np.float64)), "sd": float(sample.std(dtype=np.float64))}


def _texture(volume: NDArray) -> dict[str, float]:
    chosen = chosen_slices(volume.shape[0])
    planes = volume[chosen].astype(np.float32)
    detail = planes - ndimage.uniform_filter(planes, (0, 3, 3))
    varied = ndimage.maximum_filter(np.abs(detail), (0, 3, 3)) > _TINY
    gradient = np.hypot(*np.gradient(planes, axis=(1, 2)))[varied] if min(planes.shape[1:]) > 1 else np.zeros(0)
    above = volume[np.minimum(chosen + 1, volume.shape[0] - 1)].astype(np.float32)
    detail_above = above - ndimage.uniform_filter(above, (0, 3, 3))
    blurred = [ndimage.gaussian_filter(planes, (0, sigma, sigma), truncate=3) for sigma in BAND_SIGMAS]
    bands = {
        f"band_{fine:g}_{coarse:g}": float(np.log10((blurred[i] - blurred[i + 1])[varied].std() + _TINY)) if varied.any() else 0.0
        for i, (fine, coarse) in enumerate(pairwise(BAND_SIGMAS))
    }
    return {
        "detail": _robust_sd(detail[varied]),
        "gradient_p50": _percentile(gradient, 50),
        "gradient_p90": _percentile(gradient, 90),
        **bands,
        "lag_y": _correlation(detail[:, :-1], detail[:, 1:], varied[:, :-1]),
        "lag_x": _correlation(detail[:, :, :-1], detail[:, :, 1:], varied[:, :, :-1]),
        "lag_z": _correlation(detail[:-1], detail_above[:-1], varied[:-1]),
        "slice_change": _robust_sd((above - planes)[:-1][varied[:-1]]),
    }


def _robust_sd(values: NDArray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _percentile(values: NDArray, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else 0.0


def _correlation(first: Field, second: Field, where: NDArray[np.bool_]) -> float:
    """Correlation over the voxels, values held back to five robust SDs so that edges do not drown the texture; 0 where none varies."""
    a, b = first[where], second[where]
    if not a.size:
        return 0.0
    limit = 5 * max(_robust_sd(a), _TINY)
    a, b = np.clip(a, -limit, limit), np.clip(b, -limit, limit)
    scale = float(a.std(dtype=np.float64) * b.std(dtype=np.float64))
    return float(((a - a.mean()) * (b - b.mean())).mean(dtype=np.float64) / scale) if scale > 0 else 0.0

"""Measure on any labelled hip CT what makes it look real: HU of tissues, noise, sharpness of the cortex's edge."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_da.errors import UserError
from nnunet_da.phantom.shapes import Field

# how far outside the range of the real cases a phantom's median may lie
TOLERANCES = {
    "cortex_hu": 50.0,
    "trabecular_hu": 40.0,
    "marrow_hu": 40.0,
    "muscle_hu": 5.0,
    "fat_hu": 5.0,
    "noise_hu": 4.0,
    "edge_mm": 0.2,
}
Mask = NDArray[np.bool_]
_PROFILE_MM = np.arange(-5, 7, 0.25)  # along the inward normal of the surface


def measure(image: NDArray, label: NDArray, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """Median HU of cortex, trabecular bone, marrow, muscle and fat, noise in muscle (HU) and the cortex's 10-90 % edge width (mm).

    Args:
        image: (Z, Y, X) HU, z to the head.
        label: (Z, Y, X), above 0 in the femur.
        spacing_mm: z, y, x.

    Returns:
        One value per key of TOLERANCES; NaN where a tissue is not in the image.

    Raises:
        UserError: shapes differ or the label is empty.
    """
    if image.shape != label.shape or not (label > 0).any():
        raise UserError(
            f"image and label must be of one shape with some femur, got {image.shape} and {label.shape}, {int((label > 0).sum())} voxels"
        )
    hu = image.astype(np.float32)
    masks = tissue_masks(hu, label, spacing_mm)
    values = {f"{name}_hu": _median(hu[mask]) for name, mask in masks.items()}
    return {**values, "noise_hu": noise(hu, masks["muscle"]), "edge_mm": edge_width(hu, label, spacing_mm)}


def tissue_masks(hu: Field, label: NDArray, spacing_mm: tuple[float, float, float]) -> dict[str, Mask]:
    """Where each tissue surely is: cortex and marrow of the shaft, trabecular bone of the head, muscle and fat away from bone."""
    femur = label > 0
    depth = ndimage.distance_transform_edt(femur, sampling=spacing_mm)
    away = ndimage.distance_transform_edt(~femur, sampling=spacing_mm) > 5
    low, high = _shaft_and_head(femur)
    smooth = ndimage.gaussian_filter(hu, (0, 1.5, 1.5))
    return {
        "cortex": low & (depth > 1.2) & (hu > 700),
        "trabecular": high & (depth > 5),
        "marrow": low & (depth > 7) & (smooth < 200),
        "muscle": _eroded(away & (smooth > 20) & (smooth < 110), 5),
        "fat": _eroded(away & (smooth > -160) & (smooth < -60), 3),
    }


def noise(hu: Field, where: Mask) -> float:
    """SD of what is left of a tissue after its 5 x 5 mean in the slice, robust (from the median deviation), HU."""
    rest = (hu - ndimage.uniform_filter(hu, (1, 5, 5)))[where]
    return 1.4826 * _median(np.abs(rest - _median(rest)))


def edge_width(hu: Field, label: NDArray, spacing_mm: tuple[float, float, float]) -> float:
    """Median 10-90 % width of the shaft's outer edge in mm, where the surface is upright enough for slices not to widen it."""
    profiles = _profiles(hu, label, spacing_mm)
    outside, peak = np.median(profiles[:, :8], axis=1), profiles[:, 16:44].max(axis=1, initial=-1000)
    good = (peak > 800) & (np.abs(outside) < 150)
    scaled = (profiles[good] - outside[good, None]) / (peak - outside)[good, None]
    widths = [_rise(profile) for profile in scaled]
    finite = np.array(widths)[np.isfinite(widths)]
    return _median(finite)


def accepted(values: Sequence[float], tolerance: float) -> tuple[float, float]:
    """The range of the real cases widened by the tolerance on both sides."""
    return float(np.nanmin(values)) - tolerance, float(np.nanmax(values)) + tolerance


def _median(values: NDArray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _eroded(mask: Mask, width: int) -> Mask:
    out: Mask = ndimage.binary_erosion(mask, np.ones((1, width, width)))
    return out


def _shaft_and_head(femur: Mask) -> tuple[Mask, Mask]:
    """Slices in the lower 35 % and the upper 30 % of the femur, broadcastable."""
    (used,) = np.nonzero(femur.any(axis=(1, 2)))
    height = (np.arange(femur.shape[0]) - used[0]) / max(used[-1] - used[0], 1)
    inside = (height >= 0) & (height <= 1)
    return (inside & (height < 0.35))[:, None, None] & femur, (inside & (height > 0.7))[:, None, None] & femur


def _profiles(hu: Field, label: NDArray, spacing_mm: tuple[float, float, float]) -> Field:
    """(N, S) HU along the inward in-plane normal at surface points of the shaft."""
    femur = label > 0
    outside = ndimage.distance_transform_edt(~femur, sampling=spacing_mm)
    signed = outside - ndimage.distance_transform_edt(femur, sampling=spacing_mm)
    signed = ndimage.gaussian_filter(signed, [sd / s for sd, s in zip((1.0, 1.5, 1.5), spacing_mm, strict=True)])
    gradient = np.stack(np.gradient(signed, *spacing_mm))
    gradient /= np.sqrt((gradient**2).sum(axis=0)) + 1e-6
    surface = (np.abs(signed) < 0.5 * spacing_mm[1]) & (np.abs(gradient[0]) < 0.25) & _shaft_slices(femur)
    z, y, x = np.nonzero(surface)
    normal = gradient[1:, z, y, x] / np.hypot(*gradient[1:, z, y, x])
    rows = y[:, None] - normal[0][:, None] * _PROFILE_MM / spacing_mm[1]
    columns = x[:, None] - normal[1][:, None] * _PROFILE_MM / spacing_mm[2]
    heights = np.broadcast_to(z[:, None], rows.shape)
    out: Field = ndimage.map_coordinates(hu, [heights, rows, columns], order=1, mode="nearest")
    return out


def _shaft_slices(femur: Mask) -> Mask:
    """All voxels of the shaft's slices but the two at its end, where a cut would pass for a surface."""
    low, _ = _shaft_and_head(femur)
    (used,) = np.nonzero(low.any(axis=(1, 2)))
    out = np.zeros((femur.shape[0], 1, 1), dtype=bool)
    out[used[2:]] = True
    return out


def _rise(profile: Field) -> float:
    """10-90 % width in mm of one scaled profile that starts near 0 and reaches 1."""
    half = int(np.argmax(profile > 0.5))
    low = half - int(np.argmax(profile[half::-1] < 0.1))  # the last sample below 10 % before the half height
    high = half + int(np.argmax(profile[half:] >= 0.9))
    if half == 0 or profile[low] >= 0.1:
        return float("nan")
    step = _PROFILE_MM[1] - _PROFILE_MM[0]
    start = low + (0.1 - profile[low]) / (profile[low + 1] - profile[low])
    end = high - (profile[high] - 0.9) / (profile[high] - profile[high - 1])
    return float((end - start) * step)

"""Thickness of the dense shell of an outlined bone, from the mask's surface to the half-maximum inside."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, map_coordinates

DEEPEST_MM = 10.0
STEPS_PER_VOXEL = 4
LEAST_CONTRAST = 100.0  # HU between cortex and what lies below it: less is noise
FEWEST_PROFILES = 20
MOST_PROFILES = 5000
FARTHEST_STEP = 0.5  # of a voxel: how far a ray may fall behind the growing depth before it counts as past the middle


def cortical_thickness_mm(image: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float], distance_mm: np.ndarray) -> float:
    """Median depth, over the surface of a mask, at which the density has fallen half way from its peak to what lies below.

    From every boundary voxel a ray runs inwards along the normal of the surface until the middle of the bone, 10 mm at most. On its
    profile: the peak, then the lowest value behind it, and the first crossing of their mean. The depth of the crossing below the mask's
    surface is the thickness there. The outer limit is the mask, not the image: a mask one millimetre too small measures a cortex one
    millimetre too thin. Rays without a fall of at least 100 HU say nothing and are left out.

    Limits: half-maximum is right for a cortex wider than about the scanner's blur (full width at half maximum) and too thick below it.
    On a bone without marrow or trabecular space nothing falls, and the result is NaN.

    Args:
        image: (Z, Y, X), HU.
        mask: boolean, same shape.
        spacing_mm: one value per axis, in the order of the axes.
        distance_mm: `signed_distance_mm` of the mask.

    Returns:
        mm, or NaN where fewer than 20 rays are left.
    """
    spacing = np.asarray(spacing_mm, float)
    starts, inwards = _rays(mask, distance_mm, spacing)
    if len(starts) < FEWEST_PROFILES:
        return float("nan")
    depths_mm = np.arange(0, DEEPEST_MM, spacing.min() / STEPS_PER_VOXEL)
    points = starts[:, None] + depths_mm[:, None] * inwards[:, None]  # (N, D, 3) mm
    voxels = np.moveaxis(points / spacing, -1, 0)
    profiles = map_coordinates(image, voxels, np.float64, order=1, mode="nearest")
    reached = -map_coordinates(distance_mm, voxels, order=1, mode="nearest")
    before_middle = np.logical_and.accumulate(reached >= depths_mm - FARTHEST_STEP * spacing.max(), axis=1)
    inside = before_middle & _in_volume(voxels, mask.shape)
    thickness = _half_maximum_depths(profiles, inside, depths_mm)
    thickness = thickness[np.isfinite(thickness)]
    return float(np.median(thickness)) if len(thickness) >= FEWEST_PROFILES else float("nan")


def _rays(mask: np.ndarray, distance_mm: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) points of the surface in mm, and (N, 3) unit normals inwards; an even sample of a large surface."""
    voxels = np.argwhere(mask & ~binary_erosion(mask, border_value=1))  # the border of the volume is no surface
    voxels = voxels[:: max(1, len(voxels) // MOST_PROFILES)]
    gradient = np.stack([_slope(distance_mm, voxels, axis) / spacing[axis] for axis in range(3)], axis=1)
    length = np.linalg.norm(gradient, axis=1)
    voxels, gradient, length = voxels[length > 0], gradient[length > 0], length[length > 0]
    inwards = -gradient / length[:, None]
    depth_mm = -distance_mm[tuple(voxels.T)]
    return voxels * spacing - depth_mm[:, None] * inwards, inwards


def _slope(values: np.ndarray, voxels: np.ndarray, axis: int) -> np.ndarray:
    """Central difference at some voxels along one axis, per voxel; one-sided at the array's border."""
    before, after = voxels.copy(), voxels.copy()
    before[:, axis] = np.maximum(before[:, axis] - 1, 0)
    after[:, axis] = np.minimum(after[:, axis] + 1, values.shape[axis] - 1)
    steps = np.maximum(after[:, axis] - before[:, axis], 1)
    return (values[tuple(after.T)] - values[tuple(before.T)]) / steps


def _in_volume(voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    largest = np.array(shape).reshape(3, *[1] * (voxels.ndim - 1)) - 1
    return np.all((voxels >= 0) & (voxels <= largest), axis=0)


def _half_maximum_depths(profiles: np.ndarray, inside: np.ndarray, depths_mm: np.ndarray) -> np.ndarray:
    """(N,) depth of the first crossing of half way behind the peak, linear between samples; NaN where nothing falls.

    Args:
        profiles: (N, D) values along N rays.
        inside: (N, D), samples that count.
        depths_mm: (D,).
    """
    rows, samples = np.arange(len(profiles)), np.arange(len(depths_mm))
    peak_at = np.where(inside, profiles, -np.inf).argmax(axis=1)
    peak = profiles[rows, peak_at]
    behind = inside & (samples > peak_at[:, None])
    lowest = np.where(behind, profiles, peak[:, None]).min(axis=1)
    half = (peak + lowest) / 2
    below = behind & (profiles < half[:, None])
    first = below.argmax(axis=1)
    falls = below.any(axis=1) & (peak - lowest >= LEAST_CONTRAST)
    rows, first, half = rows[falls], first[falls], half[falls]
    above, under = profiles[rows, first - 1], profiles[rows, first]
    depths = np.full(len(profiles), np.nan)
    depths[falls] = depths_mm[first] - (half - under) / (above - under) * (depths_mm[1] - depths_mm[0])
    return depths

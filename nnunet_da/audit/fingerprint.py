"""A compact fingerprint of a scan's content that survives cropping, other slices, a flip and an affine map of its grey values.

Blobs of the smoothed scan (extrema of a difference of Gaussians, so many per volume) are described by the grey values around them. The
description is folded over the three mirror planes, so that a mirrored scan has the same one, and normalised, so that it does not depend
on offset and slope. Two scans that share content share many descriptions whose places agree by one translation and one flip.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

POINTS_APART = 4  # steps: the nearest two points
RADIUS = 3  # samples on each side of a point
REACH = 2  # steps between samples
SCALES = (1.2, 2.4)  # steps: SDs of the difference of Gaussians

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Fingerprint:
    """What a scan looks like, in a few hundred kilobytes at most.

    Attributes:
        exact: hash of the voxels in LPS order; equal for copies, whatever type of number holds them.
        places_mm: (K, 3) x, y, z of each point from the scan's first voxel in LPS order.
        descriptions: (K, 128) of length 1.
        thumbnail: (16, 16, 16) of the whole scan as nnU-Net reads it, z, y, x, mean 0 and SD 1.
    """

    exact: str
    places_mm: Array
    descriptions: Array
    thumbnail: Array


def fingerprint(image: sitk.Image, step_mm: float) -> Fingerprint:
    """Fingerprint of a scan.

    Args:
        image: 3D, one value per voxel.
        step_mm: isotropic grid of the search, one for all scans that are to be compared.
    """
    upright = in_lps(image)
    coarse = isotropic(upright, step_mm)
    places, descriptions = _points(coarse)
    return Fingerprint(_hash(sitk.GetArrayViewFromImage(upright)), places * np.float32(step_mm), descriptions, _thumbnail(image))


def _hash(voxels: NDArray) -> str:
    """Of shape and values, slice by slice."""
    known = hashlib.sha256(str(voxels.shape).encode())
    for plane in voxels:
        known.update((plane.astype(np.float64) + 0.0).tobytes())  # no negative zeros
    return known.hexdigest()


def in_lps(image: sitk.Image) -> sitk.Image:
    """Axes along LPS as far as they can be without interpolation, origin at 0 and no rotation left: positions are mm from the corner."""
    upright = sitk.DICOMOrient(image, "LPS")
    upright.SetOrigin((0.0, 0.0, 0.0))
    upright.SetDirection((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    return upright


def isotropic(image: sitk.Image, step_mm: float) -> Array:
    """(Z, Y, X) of an image of `in_lps`, smoothed against aliasing and sampled every `step_mm` from its first voxel."""
    edges = image.GetSpacing()
    sigmas = [0.5 * step_mm if edge < step_mm else 0.0 for edge in edges]
    smooth = sitk.Cast(image, sitk.sitkFloat32)
    if any(sigmas):
        smooth = sitk.DiscreteGaussian(smooth, variance=[max(sigma, 1e-3) ** 2 for sigma in sigmas], maximumKernelWidth=64)
    size = [max(1, int((n - 1) * edge / step_mm) + 1) for n, edge in zip(image.GetSize(), edges, strict=True)]
    sampled = sitk.Resample(smooth, size, sitk.Transform(), sitk.sitkLinear, (0.0, 0.0, 0.0), [step_mm] * 3)
    return sitk.GetArrayFromImage(sampled)


def _points(volume: Array) -> tuple[Array, Array]:
    """(K, 3) places in steps (x, y, z) and (K, 128) descriptions of the blobs of a volume."""
    low, high = np.percentile(volume, [2, 99.5])
    clipped = np.clip(volume, low, high)
    fine, coarse = (ndimage.gaussian_filter(clipped, sigma) for sigma in SCALES)
    blobs = np.abs(fine - coarse)
    margin = RADIUS * REACH
    peak = (blobs == ndimage.maximum_filter(blobs, 2 * POINTS_APART - 1)) & (blobs > 0.02 * (high - low))
    peak &= _inside(volume.shape, margin)
    corners = np.argwhere(peak)
    offsets = REACH * np.stack(np.meshgrid(*[np.arange(-RADIUS, RADIUS + 1)] * 3, indexing="ij"))
    z, y, x = (corners[:, axis, None, None, None] + offsets[axis] for axis in range(3))
    return corners[:, ::-1].astype(np.float32), _described(fine[z, y, x])


def _inside(shape: tuple[int, ...], margin: int) -> NDArray[np.bool_]:
    inside = np.zeros(shape, dtype=bool)
    inside[tuple(slice(margin, max(n - margin, margin)) for n in shape)] = True
    return inside


def _described(patches: Array) -> Array:
    """(K, 7, 7, 7) patches -> (K, 128): mean and spread over the eight mirror images, for each place of one octant."""
    centred = patches - patches.mean(axis=(1, 2, 3), keepdims=True)
    flips = np.stack([np.flip(centred, axes) for axes in ((), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3))])
    octant = (slice(None), slice(None), *(slice(RADIUS, None),) * 3)
    folded = np.concatenate(
        [part.reshape(len(patches), (RADIUS + 1) ** 3) for part in (flips[octant].mean(axis=0), flips[octant].std(axis=0))], axis=1
    )
    length = np.linalg.norm(folded, axis=1, keepdims=True)
    out: Array = (folded / np.maximum(length, 1e-6)).astype(np.float32)
    return out


def _thumbnail(image: sitk.Image) -> Array:
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    low, high = np.percentile(array[:: 1 + array.shape[0] // 60, ::2, ::2], [1, 99])
    array = np.clip(array, low, high)
    smooth = ndimage.uniform_filter(array, [max(1, n // 16) for n in array.shape], mode="nearest")
    places = [np.linspace(0.5 * n / 16 - 0.5, n - 0.5 * n / 16 - 0.5, 16) for n in array.shape]
    small = ndimage.map_coordinates(smooth, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    out: Array = ((small - small.mean()) / max(float(small.std()), 1e-6)).astype(np.float32)
    return out

"""From each boundary voxel of one mask the exact distance to the nearest boundary voxel of another, fast where the two lie close."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, product
from operator import itemgetter

import edt
import numpy as np
from scipy.spatial import KDTree

NEIGHBOURS = 64  # voxels looked at around a point before anything slower is asked: a radius of 2.5 isotropic voxels
VOXELS_PER_POINT = 64  # a distance transform of so many voxels takes as long as one query of the tree


def boundary(mask: np.ndarray) -> np.ndarray:
    """Voxels of a boolean mask with a face neighbour outside the mask; outside the array counts as outside the mask."""
    padded = np.pad(mask, 1)
    return _boundary_of_padded(padded)[(slice(1, -1),) * mask.ndim]


def boundary_distances(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm, first to second and second to first, between the boundaries of two masks.

    Exact. Around each point the voxels within a small radius are looked up from near to far, all of one distance at a time: the first hit
    is the nearest. A k-d tree answers for the points that found none, or a Euclidean distance transform where they are many.

    Args:
        first, second: boolean, (Z, Y, X) or (Y, X), best cropped to what is filled.
        spacing_mm: one value per axis.

    Returns:
        (N_first,) and (N_second,) float64, in the order of the axes; NaN where the other mask is empty.
    """
    reach = _reach(spacing_mm)
    one, other = (_boundary_of_padded(np.pad(mask, [(width, width) for width in reach])) for mask in (first, second))
    return _distances(one, other, spacing_mm), _distances(other, one, spacing_mm)


def _boundary_of_padded(mask: np.ndarray) -> np.ndarray:
    """Of a mask whose outermost voxels are False, so that flat neighbours are neighbours in space."""
    flat = mask.reshape(-1)
    interior = flat.copy()
    for stride in _strides(mask.shape):
        interior[stride:] &= flat[:-stride]
        interior[:-stride] &= flat[stride:]
    return (flat & ~interior).reshape(mask.shape)


def _distances(boundary_from: np.ndarray, boundary_to: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    points = np.flatnonzero(boundary_from)
    distances = np.full(points.size, np.nan)
    if not boundary_to.any():
        return distances
    left, targets = np.arange(points.size), boundary_to.reshape(-1)
    for distance, offsets in _shells(boundary_to.shape, spacing_mm):
        if not left.size:
            return distances
        hit = targets[points + offsets[0]]
        for offset in offsets[1:]:
            hit |= targets[points + offset]
        distances[left[hit]] = distance
        points, left = points[~hit], left[~hit]
    distances[left] = _far(points, boundary_to, spacing_mm)
    return distances


def _far(points: np.ndarray, boundary_to: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    if points.size * VOXELS_PER_POINT > boundary_to.size:
        return edt.edt(~boundary_to, anisotropy=spacing_mm, black_border=False).reshape(-1)[points]
    places = [np.stack(np.unravel_index(found, boundary_to.shape), axis=1) * spacing_mm for found in (np.flatnonzero(boundary_to), points)]
    tree = KDTree(places[0], leafsize=32, balanced_tree=False, compact_nodes=False)  # built for one query
    return tree.query(places[1])[0]


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Steps along each axis in the flat array."""
    return [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]


@lru_cache(maxsize=8)
def _ball(spacing_mm: tuple[float, ...]) -> list[tuple[float, tuple[int, ...]]]:
    """(distance in mm, offset in voxels) of the nearest neighbours, from near to far."""
    voxel, axes = float(np.prod(spacing_mm)), len(spacing_mm)
    radius = (NEIGHBOURS * voxel * 3 / (4 * np.pi)) ** (1 / 3) if axes == 3 else (NEIGHBOURS * voxel / np.pi) ** 0.5
    reach = (int(radius / spacing) for spacing in spacing_mm)
    offsets = product(*(range(-voxels, voxels + 1) for voxels in reach))
    lengths = ((float(np.linalg.norm(np.multiply(offset, spacing_mm))), offset) for offset in offsets)
    return sorted(found for found in lengths if found[0] <= radius)[:NEIGHBOURS]  # all of the radius: nothing nearer was left out


def _reach(spacing_mm: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels along each axis that the neighbours span, at least one."""
    return tuple(max(1, *(offset[axis] for _, offset in _ball(spacing_mm))) for axis in range(len(spacing_mm)))


def _shells(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Iterator[tuple[float, list[int]]]:
    """(distance, steps in a flat array of this shape), all neighbours of one distance together."""
    strides = _strides(shape)
    for distance, neighbours in groupby(_ball(spacing_mm), itemgetter(0)):
        yield distance, [int(np.dot(offset, strides)) for _, offset in neighbours]

"""Signed distance fields (mm, negative inside) and the smooth joins that make anatomy out of them."""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Point = tuple[float, float, float]
Coordinates = tuple[Field, Field, Field]  # x, y, z in mm, broadcastable


def sphere(at: Coordinates, centre: Point, radius_mm: float) -> Field:
    """Exact distance to a sphere."""
    x, y, z = (axis - np.float32(c) for axis, c in zip(at, centre, strict=True))
    return np.sqrt(x * x + y * y + z * z) - np.float32(radius_mm)


def round_cone(at: Coordinates, start: Point, end: Point, radii_mm: tuple[float, float], stretch: Point = (1.0, 1.0, 1.0)) -> Field:
    """Distance to a thick line whose radius goes linearly from start to end.

    `stretch` above 1 lengthens the cross-section along that axis (an ellipse); the result is then a bound that
    `unit_gradient` turns into a distance near the surface.
    """
    inverse = [np.float32(1.0 / s) for s in stretch]
    p = [(axis - np.float32(s)) * k for axis, s, k in zip(at, start, inverse, strict=True)]
    axis = [np.float32((e - s) * k) for s, e, k in zip(start, end, inverse, strict=True)]
    length2 = np.float32(sum(float(a) ** 2 for a in axis))
    along = np.clip((p[0] * axis[0] + p[1] * axis[1] + p[2] * axis[2]) / length2, 0, 1)
    squared = sum((pi - along * ai) ** 2 for pi, ai in zip(p, axis, strict=True))
    return np.sqrt(squared) - (np.float32(radii_mm[0]) + along * np.float32(radii_mm[1] - radii_mm[0]))


def ellipsoid(at: Coordinates, centre: Point, radii_mm: Point) -> Field:
    """Distance to an ellipsoid, exact to first order near its surface."""
    scaled = [(axis - np.float32(c)) / np.float32(r) for axis, c, r in zip(at, centre, radii_mm, strict=True)]
    level = np.sqrt(sum(s * s for s in scaled))
    slope = np.sqrt(sum((s / np.float32(r)) ** 2 for s, r in zip(scaled, radii_mm, strict=True)))
    return level * (level - 1) / np.maximum(slope, np.float32(1e-4))


def smooth_union(first: Field, second: Field, width_mm: float) -> Field:
    """Union with a fillet: the polynomial smooth minimum, equal to the minimum where the two differ by more than the width."""
    overlap = np.maximum(np.float32(width_mm) - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap * np.float32(0.25 / width_mm)


def smooth_intersection(first: Field, second: Field, width_mm: float) -> Field:
    """Intersection with a rounded edge."""
    return -smooth_union(-first, -second, width_mm)


def smooth_step(value: Field, low: float, high: float) -> Field:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((value - np.float32(low)) * np.float32(1.0 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def unit_gradient(field: Field, spacing_mm: tuple[float, float, float]) -> Field:
    """Divide a (Z, Y, X) field by its slope, so that near its zero level it is a distance in mm."""
    gradients = np.gradient(field, *spacing_mm)
    slope = np.sqrt(sum(g * g for g in gradients))
    return (field / np.clip(slope, 0.4, 2.0)).astype(np.float32)


def rotation(axis: int, degrees: float) -> NDArray[np.float64]:
    """3 x 3 right-handed rotation about x (0), y (1) or z (2)."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def rotated(at: Coordinates, matrix: NDArray[np.float64]) -> Coordinates:
    """Coordinates in a frame whose axes are the rows of the matrix."""
    x, y, z = at
    m = matrix.astype(np.float32)
    first, second, third = (m[i, 0] * x + m[i, 1] * y + m[i, 2] * z for i in range(3))
    return first, second, third

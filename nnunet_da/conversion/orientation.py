"""Look at the voxels of an image in another orientation, without copying them."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

AXES = ("RL", "AP", "IS")  # the two ends of each axis of the body


def orientation_of(direction: Sequence[float]) -> str:
    """Three letters, where the x, y and z axis of an image point to, such as "LPS"; for oblique axes the closest."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines([float(cosine) for cosine in direction])


def oriented_view(voxels: np.ndarray, direction: Sequence[float], orientation: str) -> np.ndarray:
    """The voxels as SimpleITK's DICOMOrient would order them.

    Args:
        voxels: (Z, Y, X), perhaps with further axes behind.
        direction: nine cosines of the image the voxels belong to.
        orientation: three letters such as "LPS"; "" leaves the order as it is.

    Returns:
        A view of the same memory: writing into it writes into `voxels`.
    """
    if not orientation:
        return voxels
    present = orientation_of(direction)
    bodies = [_body_axis(letter) for letter in present]
    sources = [bodies.index(_body_axis(letter)) for letter in orientation]  # x, y, z of the result -> x, y, z now
    flips = [orientation[axis] != present[source] for axis, source in enumerate(sources)]
    further = range(3, voxels.ndim)
    turned = voxels.transpose(*(2 - source for source in reversed(sources)), *further)
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]


def _body_axis(letter: str) -> int:
    return next(axis for axis, ends in enumerate(AXES) if letter in ends)

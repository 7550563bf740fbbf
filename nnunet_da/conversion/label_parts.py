"""Which connected parts of a label belong to the femur that is cut out; looked at slice by slice, within the label's bounds."""

import numpy as np
from scipy import ndimage

from nnunet_da.errors import UserError

TOUCHING = np.ones((3, 3, 3), bool)  # voxels that share a face, an edge or a corner are one part


def bounds_xy(label: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """First column and row (x, y) with label, and the ones after the last."""
    columns, rows = (np.flatnonzero(label.any(axis=axes)) for axes in ((0, 1), (0, 2)))
    return (int(columns[0]), int(rows[0])), (int(columns[-1]) + 1, int(rows[-1]) + 1)


def own_parts(label: np.ndarray, start_xy: tuple[int, int], stop_xy: tuple[int, int]) -> np.ndarray:
    """The label without the connected parts on the other half of the field of view that do not reach into the window.

    Args:
        label: (Z, Y, X), above 0 is label, not empty.
        start_xy, stop_xy: the window; its middle says which half is its own.

    Returns:
        The same array if all of it belongs to this side, else a copy with background in place of the other parts.

    Raises:
        UserError: the whole label belongs to the other side.
    """
    (left, top), (right, bottom) = bounds_xy(label)
    within = np.s_[:, top:bottom, left:right]
    parts, count = _parts(label[within])
    own = _reaching(parts, count, np.subtract(start_xy, (left, top)), np.subtract(stop_xy, (left, top)))
    middle = label.shape[2] / 2
    on_left = (start_xy[0] + stop_xy[0]) / 2 >= middle
    own |= (_centres(parts, count) + left >= middle) == on_left
    if not own[1:].any():
        raise UserError(
            "the label must lie on the chosen side, but none of it reaches into the window and all of it lies on the other half of the "
            "field of view: choose the other --side, or move the window with --centre"
        )
    if own[1:].all():
        return label
    kept = label.copy()
    for plane, of_plane in zip(kept[within], parts, strict=True):
        plane[~own[of_plane] & (of_plane > 0)] = 0
    return kept


def _parts(label: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of its part per voxel, 0 outside, and how many there are; 16 bits where they suffice."""
    try:
        parts = np.empty(label.shape, np.uint16)
        return parts, int(ndimage.label(label, TOUCHING, output=parts))
    except RuntimeError:  # more parts than 16 bits can number
        parts = np.empty(label.shape, np.int32)
        return parts, int(ndimage.label(label, TOUCHING, output=parts))


def _reaching(parts: np.ndarray, count: int, start_xy: np.ndarray, stop_xy: np.ndarray) -> np.ndarray:
    """Per part whether it has a voxel in the window."""
    (x, y), (x_end, y_end) = np.maximum(start_xy, 0), np.maximum(stop_xy, 0)
    reaching = np.zeros(count + 1, bool)
    for plane in parts[:, y:y_end, x:x_end]:
        reaching[plane] = True
    return reaching


def _centres(parts: np.ndarray, count: int) -> np.ndarray:
    """Mean x of each part, in voxels from the array's edge."""
    columns = np.broadcast_to(np.arange(parts.shape[2]) + 0.5, parts.shape[1:]).ravel()
    voxels, sums = np.zeros(count + 1), np.zeros(count + 1)
    for plane in parts:
        voxels += np.bincount(plane.ravel(), minlength=count + 1)
        sums += np.bincount(plane.ravel(), columns, minlength=count + 1)
    return sums / np.maximum(voxels, 1)

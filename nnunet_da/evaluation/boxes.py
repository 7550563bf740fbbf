"""The part of a volume that holds a mask: all else need not be looked at."""

from collections.abc import Sequence

import numpy as np


def bounding_box(mask: np.ndarray, margin_voxels: Sequence[int] | None = None) -> tuple[slice, ...]:
    """The smallest box around the True voxels, widened by a margin as far as the array goes; an empty box where there are none.

    Args:
        mask: boolean, any number of axes.
        margin_voxels: one per axis; None for none.
    """
    box = [slice(0, size) for size in mask.shape]
    for axis in range(mask.ndim):  # each axis looks at what the axes before it have left
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not filled.size:
            return (slice(0, 0),) * mask.ndim
        box[axis] = slice(int(filled[0]), int(filled[-1]) + 1)
    margins = margin_voxels or (0,) * mask.ndim
    return tuple(
        slice(max(part.start - more, 0), min(part.stop + more, size)) for part, more, size in zip(box, margins, mask.shape, strict=True)
    )

"""How centres draw: volume, extent along the body, pieces, holes and cut ends of every label."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_da.conversion.images import read_image, refuse_other_grid

BODY_HU = -400.0
PROTOCOL = {
    "volume_mm3": "Volume (mm³)",
    "extent_si_mm": "Extent head to feet (mm)",
    "components": "Pieces",
    "holes_mm3": "Holes (mm³)",
    "touches_end": "Share that reaches the first or last slice",
    "side_mm": "Left of the body's middle (mm)",
}


def measure_labels(label_file: Path, image_file: Path, names: Mapping[int | tuple[int, ...], str]) -> dict[str, dict[str, float]]:
    """Label name -> its measures; a label that the scan does not hold is left out.

    Args:
        names: label value, or the values of a region -> name, foreground only.

    Returns:
        `volume_mm3`; `extent_si_mm`: from the lowest to the highest slice along head-feet, slice thickness included; `components`:
            pieces joined by faces, edges or corners; `holes_mm3`: background enclosed by the label; `touches_end`: 1 where it reaches the
            first or last slice along head-feet, so that the scan may cut it; `side_mm`: its centre of mass minus the body's (or, without
            HU, the scan's) along right-left in the label's own slices, positive to the patient's left.

    Raises:
        UserError: a file cannot be read, or the two have different grids.
    """
    label, image = (read_image(file) for file in (label_file, image_file))
    refuse_other_grid(image_file, image, label_file, label)
    label, image = (sitk.DICOMOrient(one, "LPS") for one in (label, image))
    spacing_mm = label.GetSpacing()[::-1]
    voxels, body = sitk.GetArrayFromImage(label), sitk.GetArrayFromImage(image) > BODY_HU
    boxes = ndimage.find_objects(voxels.astype(np.int32))
    measures = {}
    for values, name in names.items():
        wanted = (values,) if isinstance(values, int) else values
        found = [box for value in wanted if 0 < value <= len(boxes) and (box := boxes[value - 1]) is not None]
        if found:
            box = tuple(slice(min(one[axis].start for one in found), max(one[axis].stop for one in found)) for axis in range(3))
            measures[name] = _measures(np.isin(voxels[box], wanted), box, body, spacing_mm)
    return measures


def _measures(mask: NDArray[np.bool_], box: tuple[slice, ...], body: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> dict[str, float]:
    voxel_mm3 = float(np.prod(spacing_mm))
    padded = np.pad(mask, 1)
    filled = ndimage.binary_fill_holes(padded)
    column = np.arange(body.shape[2]) * spacing_mm[2]
    in_slices = body[box[0]].sum(axis=(0, 1))
    middle = float((column * in_slices).sum() / in_slices.sum()) if in_slices.any() else float(column.mean())
    own = float((column[box[2]] * mask.sum(axis=(0, 1))).sum() / mask.sum())
    return {
        "volume_mm3": float(mask.sum()) * voxel_mm3,
        "extent_si_mm": mask.shape[0] * spacing_mm[0],
        "components": float(ndimage.label(mask, np.ones((3, 3, 3)))[1]),
        "holes_mm3": float(filled.sum() - mask.sum()) * voxel_mm3,
        "touches_end": float(box[0].start == 0 or box[0].stop == body.shape[0]),
        "side_mm": own - middle,
    }

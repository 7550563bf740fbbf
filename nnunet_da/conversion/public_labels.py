"""Read an image and a label file of a public set, and give the label our values."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.images import read_image, refuse_other_grid, voxels_zyx
from nnunet_da.conversion.public_files import Codes
from nnunet_da.conversion.scan import Loaded, Scan
from nnunet_da.errors import UserError

Classes = tuple[tuple[str, tuple[str, ...]], ...]  # our name, the masks it unites

VERSION = 1  # of the loaders here: raise it when they make something else


def load_pair(scan: Scan) -> Loaded:
    """Read one image file and its label file; `scan.settings` are its `Codes`.

    Raises:
        UserError: a file that cannot be read, another grid, or a label value the set does not have.
    """
    (path,) = scan.images
    image = read_image(path)
    unchanged = (path if path.name.endswith(".nii.gz") else None,)
    if scan.label is None:
        return Loaded((image,), unchanged=unchanged)
    label = read_image(scan.label)
    refuse_other_grid(path, image, scan.label, label)
    voxels, warnings = recoded(scan.label, voxels_zyx(label), scan.settings)
    label = like(image, voxels)
    return Loaded((image,), label, warnings=(*warnings, *side_warnings(label, dict(scan.settings.names))), unchanged=unchanged)


def recoded(path: Path, voxels: np.ndarray, codes: Codes) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label voxels (Z, Y, X) with our values as uint8, and a warning for each doubtful value.

    Raises:
        UserError: values that `codes` does not name.
    """
    values = {0: 0, **dict(codes.values)}
    found, inverse = np.unique(voxels, return_inverse=True)
    unknown = [f"{value:g}" for value in found if value not in values]
    if unknown:
        expected = ", ".join(str(value) for value in sorted(values))
        raise UserError(f"the label {path} must hold the values {expected}, it also holds {', '.join(unknown[:5])}: is it of this set?")
    ours = np.array([values[int(value)] for value in found], np.uint8)[inverse.reshape(voxels.shape)]
    counts = {value: int(np.count_nonzero(voxels == value)) for value in codes.doubtful if value in found}
    return ours, tuple(f"{count} voxels of the stray value {value} taken as {values[value]}" for value, count in counts.items())


def like(image: sitk.Image, voxels_zyx: np.ndarray) -> sitk.Image:
    """Voxels (Z, Y, X) as an image on the grid of another."""
    made = sitk.GetImageFromArray(voxels_zyx)
    made.CopyInformation(image)
    return made


def side_warnings(label: sitk.Image, labels: Mapping[str, int]) -> tuple[str, ...]:
    """A warning for each pair `NAME_left`, `NAME_right` that lies the wrong way round in the patient (LPS: x grows to the left)."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOff()
    shapes.Execute(label)
    lefts = [name for name in labels if name.endswith("_left") and f"{name[:-5]}_right" in labels]
    both = [(name, labels[name], labels[f"{name[:-5]}_right"]) for name in lefts]
    return tuple(
        f"{name} lies to the right of {name[:-5]}_right: are the label or the header mirrored?"
        for name, left, right in both
        if shapes.HasLabel(left) and shapes.HasLabel(right) and shapes.GetCentroid(left)[0] < shapes.GetCentroid(right)[0]
    )


def load_masks(scan: Scan) -> Loaded:
    """Read one image and unite its masks, a file per class, into a label map; `scan.settings` are `Classes`, the first name becomes 1.

    Raises:
        UserError: a file that cannot be read, another grid, or a mask of more than two values.
    """
    (path,) = scan.images
    image = read_image(path)
    if scan.label is None:
        return Loaded((image,), unchanged=(path,))
    voxels, overlaps = np.zeros(image.GetSize()[::-1], np.uint8), 0
    for value, (_, united) in enumerate(scan.settings, start=1):
        inside = np.logical_or.reduce([_mask(scan.label / f"{single}.nii.gz", path, image) for single in united])
        overlaps += int(np.count_nonzero(voxels[inside]))
        voxels[inside] = value
    label = like(image, voxels)
    warnings = (f"{overlaps} voxels lie in two classes: the one named later has them",) if overlaps else ()
    names = {name: value for value, (name, _) in enumerate(scan.settings, start=1)}
    return Loaded((image,), label, warnings=warnings + side_warnings(label, names), unchanged=(path,))


def shows_anything(scan: Scan) -> bool:
    """Whether any mask of `load_masks` holds more than 0."""
    assert scan.label is not None
    files = [scan.label / f"{single}.nii.gz" for _, united in scan.settings for single in united]
    return any(voxels_zyx(read_image(file)).any() for file in files)


def _mask(file: Path, image_file: Path, image: sitk.Image) -> np.ndarray:
    mask = read_image(file)
    refuse_other_grid(image_file, image, file, mask)
    voxels = voxels_zyx(mask)
    if len(values := np.unique(voxels)) > 2 or values.min() < 0:
        raise UserError(f"a mask must hold 0 and one other value, {file} holds {', '.join(f'{value:g}' for value in values[:5])}")
    return voxels > 0

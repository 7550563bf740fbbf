"""Look at one case before it is converted: refuse what nnU-Net would train on wrongly, note what a person should see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.images import read_image, refuse_other_grid, voxels_zyx
from nnunet_da.errors import UserError

AIR_HU = -1024  # lowest value a CT scanner stores for air; lower ones are padding outside its field of view


@dataclass(frozen=True)
class ImageFacts:
    """What one image holds; spacing in mm and shape are Z, Y, X."""

    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    minimum: float
    maximum: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CaseFacts:
    """What one case holds: facts per channel, voxels per label value, and warnings about the label."""

    images: tuple[ImageFacts, ...]
    label_voxels: dict[int, int] | None
    label_warnings: tuple[str, ...]


def inspect_case(case: Case, channel_names: tuple[str, ...], labels: dict[str, int]) -> CaseFacts:
    """Read every file of a case and check it.

    Args:
        case: files to read.
        channel_names: one per image; "CT" turns on the checks of Hounsfield units.
        labels: declared names and values, background included.

    Raises:
        UserError: unreadable file, NaN or infinite voxels, another grid, or label values that are not declared integers.
    """
    images = [read_image(path) for path in case.images]
    for path, image in zip(case.images[1:], images[1:], strict=True):
        refuse_other_grid(case.images[0], images[0], path, image)
    facts = tuple(_image_facts(image, name) for image, name in zip(images, channel_names, strict=True))
    if case.label is None:
        return CaseFacts(facts, None, ())
    label = read_image(case.label)
    refuse_other_grid(case.images[0], images[0], case.label, label)
    counts = label_counts(case.label, label, labels)
    warnings = () if any(value > 0 for value in counts) else ("label holds background only",)
    return CaseFacts(facts, counts, warnings)


def label_counts(path: Path, label: sitk.Image, labels: dict[str, int]) -> dict[int, int]:
    """Voxels per label value.

    Raises:
        UserError: values that are not integers, or not among the declared ones.
    """
    values, counts = np.unique(_integers(path, voxels_zyx(label)), return_counts=True)
    unknown = [int(value) for value in values if value not in labels.values()]
    if unknown:
        declared = ", ".join(f"{name}={value}" for name, value in labels.items())
        raise UserError(
            f"the label {path} holds undeclared values {_few(unknown)}: declared are {declared};"
            " declare them in dataset.json (in `convert` with --label NAME=VALUE)"
        )
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _integers(path: Path, voxels: np.ndarray) -> np.ndarray:
    if not np.issubdtype(voxels.dtype, np.floating):
        return voxels
    fractional = voxels[voxels != np.round(voxels)]
    if fractional.size:
        raise UserError(
            f"a label must hold integers, {path} has {fractional.size} other voxels, such as {fractional[0]:g}: "
            "resample labels with nearest neighbours"
        )
    return voxels.astype(np.int64)


def _image_facts(image: sitk.Image, channel_name: str) -> ImageFacts:
    voxels = voxels_zyx(image)
    minimum, maximum = float(voxels.min()), float(voxels.max())
    depth, height, width = image.GetSpacing()[::-1]
    warnings = _image_warnings(image, minimum, maximum, channel_name)
    return ImageFacts((depth, height, width), voxels.shape, minimum, maximum, warnings)


def _image_warnings(image: sitk.Image, minimum: float, maximum: float, channel_name: str) -> tuple[str, ...]:
    is_ct = channel_name.upper() == "CT"  # the name that turns on nnU-Net's CT normalisation
    findings = {
        "image is constant": minimum == maximum,
        "spacing is 1 x 1 x 1 mm: is the true spacing missing from the header?": image.GetSpacing() == (1.0, 1.0, 1.0),
        "no negative values in a CT: is the HU offset missing?": is_ct and minimum >= 0,
        f"values below {AIR_HU} HU: padding outside the scanner's field of view?": is_ct and minimum < AIR_HU,
    }
    return tuple(text for text, holds in findings.items() if holds)


def _few(values: list[int]) -> str:
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")

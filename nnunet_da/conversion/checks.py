"""Look at one case before it is written: refuse what nnU-Net would train on wrongly, note what a person should see.

Voxels are looked at slice by slice through views: a case takes no memory beyond its images.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.images import read_image, refuse_not_finite, refuse_other_grid, refuse_several_values
from nnunet_da.errors import UserError

AIR_HU = -1024  # lowest value most CT scanners store for air; below it lie padding outside the field of view, or noise
PADDING_SHARE = 1e-3  # of all voxels: padding is one value in many of them, noise spreads over many values


@dataclass(frozen=True)
class ImageFacts:
    """What one image holds; spacing in mm and shape are (Z,) Y, X; `below_air` is a fraction, None outside CT."""

    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    minimum: float
    maximum: float
    below_air: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CaseFacts:
    """What one case holds: facts per channel, voxels per label value, and warnings about the label."""

    images: tuple[ImageFacts, ...]
    label_voxels: dict[int, int] | None
    label_warnings: tuple[str, ...]


def inspect_case(case: Case, channel_names: Sequence[str], labels: Mapping[str, int]) -> CaseFacts:
    """Read every file of a case and check it.

    Args:
        case: files to read.
        channel_names: one per image; "CT" turns on the checks of Hounsfield units.
        labels: declared names and values, background included.

    Raises:
        UserError: unreadable file, NaN or infinite voxels, another grid, or label values that are not declared integers.
    """
    label = read_image(case.label) if case.label else None
    return check_case(case, tuple(read_image(path) for path in case.images), label, channel_names, labels)


def check_case(
    case: Case, images: Sequence[sitk.Image], label: sitk.Image | None, channel_names: Sequence[str], labels: Mapping[str, int]
) -> CaseFacts:
    """Check what was read of a case.

    Args:
        case: where images and label come from, for the messages.
        images: one per channel, 3D or 2D.
        label: on their grid, or None.
        channel_names: one per image; "CT" turns on the checks of Hounsfield units.
        labels: declared names and values, background included.

    Raises:
        UserError: another number of channels or dimensions, several values per voxel, NaN or infinite voxels, another grid, or label values
            that are not declared integers.
    """
    if len(images) != len(channel_names):
        raise UserError(f"{len(channel_names)} channel(s) ({', '.join(channel_names)}) were expected, {case.images[0]} gave {len(images)}")
    paths = case.images if len(case.images) == len(images) else (case.images[0],) * len(images)
    for path, image in zip(paths, images, strict=True):
        _refuse_wrong_kind(path, image)
        refuse_other_grid(paths[0], images[0], path, image)
    facts = tuple(_image_facts(image, name) for image, name in zip(images, channel_names, strict=True))
    if label is None:
        return CaseFacts(facts, None, ())
    source = case.label or paths[0]
    _refuse_wrong_kind(source, label)
    refuse_other_grid(paths[0], images[0], source, label)
    counts = label_counts(source, label, labels)
    warnings = () if any(value > 0 for value in counts) else ("label holds background only",)
    return CaseFacts(facts, counts, warnings)


def label_counts(path: Path, label: sitk.Image, labels: Mapping[str, int]) -> dict[int, int]:
    """Voxels per label value.

    Raises:
        UserError: values that are not integers, or not among the declared ones.
    """
    counts: Counter[float] = Counter()
    for plane in planes_of(label):
        values, of_plane = np.unique(plane, return_counts=True)
        counts.update(dict(zip(values.tolist(), of_plane.tolist(), strict=True)))
    _refuse_fractions(path, counts)
    unknown = sorted(int(value) for value in counts if value not in labels.values())
    if unknown:
        declared = ", ".join(f"{name}={value}" for name, value in labels.items())
        raise UserError(
            f"the label {path} holds undeclared values {_few(unknown)}: declared are {declared};"
            " declare them in dataset.json (in `convert` with --label NAME=VALUE)"
        )
    return {int(value): counts[value] for value in sorted(counts)}


def planes_of(image: sitk.Image) -> Iterator[np.ndarray]:
    """Views of the slices (Y, X) along the last axis, valid while the image lives; a 2D image is one slice."""
    voxels = sitk.GetArrayViewFromImage(image)
    yield from voxels if voxels.ndim == 3 else voxels[None]


def _refuse_wrong_kind(path: Path, image: sitk.Image) -> None:
    if image.GetDimension() not in (2, 3):
        raise UserError(f"an image must have 3 dimensions, {path} has {image.GetDimension()}: write one 3D file per volume")
    refuse_several_values(path, image.GetNumberOfComponentsPerPixel(), image.GetPixelID())
    refuse_not_finite(path, image)


def _refuse_fractions(path: Path, counts: Mapping[float, int]) -> None:
    fractional = [value for value in counts if value != round(value)]
    if fractional:
        voxels = sum(counts[value] for value in fractional)
        raise UserError(
            f"a label must hold integers, {path} has {voxels} other voxels, such as {fractional[0]:g}: "
            "resample labels with nearest neighbours"
        )


def _image_facts(image: sitk.Image, channel_name: str) -> ImageFacts:
    voxels = sitk.GetArrayViewFromImage(image)
    minimum, maximum = float(voxels.min()), float(voxels.max())
    is_ct = channel_name.upper() == "CT"  # the name that turns on nnU-Net's CT normalisation
    below_air = sum(int((plane < AIR_HU).sum()) for plane in planes_of(image)) / voxels.size if is_ct else None
    padded = is_ct and minimum < AIR_HU and sum(int((plane == minimum).sum()) for plane in planes_of(image)) > PADDING_SHARE * voxels.size
    warnings = _image_warnings(image, minimum, maximum, is_ct, padded)
    return ImageFacts(image.GetSpacing()[::-1], voxels.shape, minimum, maximum, below_air, warnings)


def _image_warnings(image: sitk.Image, minimum: float, maximum: float, is_ct: bool, padded: bool) -> tuple[str, ...]:
    findings = {
        "image is constant": minimum == maximum,
        "spacing is 1 x 1 x 1 mm: is the true spacing missing from the header?": image.GetSpacing() == (1.0, 1.0, 1.0),
        "no negative values in a CT: is the HU offset missing?": is_ct and minimum >= 0,
        f"{minimum:g} HU in many voxels, below {AIR_HU} HU: padding outside the scanner's field of view?": padded,
    }
    return tuple(text for text, holds in findings.items() if holds)


def _few(values: list[int]) -> str:
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")

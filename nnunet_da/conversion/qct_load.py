"""What `convert qct` makes of one scan: HU on an LPS grid, the window of one femur, its label, a mirror image of a right one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.arrays import ARRAY_SUFFIXES, read_array
from nnunet_da.conversion.dicom import DicomSeries, read_dicom
from nnunet_da.conversion.dicom_files import DICOM_SUFFIXES
from nnunet_da.conversion.dicom_masks import Mask, read_dicom_mask
from nnunet_da.conversion.dicom_pixels import AIR_HU
from nnunet_da.conversion.femur_crop import LEFT, RIGHT, Box, crop, expected_box, mirror, place_box, placement, to_lps
from nnunet_da.conversion.images import read_image, refuse_other_grid, voxels_zyx
from nnunet_da.conversion.qct_scans import QctSettings
from nnunet_da.conversion.scan import Loaded, Scan
from nnunet_da.errors import UserError

VERSION = 1  # of `load`: raised when it makes something else
NO_BONE_BELOW_HU = 200
METAL_ABOVE_HU = 3071  # the highest value of 12 bits
LARGEST_LABEL = 65535


def load(scan: Scan) -> Loaded:
    """Read, reorient, crop and mirror one scan; voxels are moved, never changed, except by `--write-density`.

    Raises:
        UserError: image or label that cannot be read or do not fit each other.
    """
    settings: QctSettings = scan.settings
    series = _read_scan(scan.images[0], settings)
    image = to_lps(series.image)
    mask = None if scan.label is None else _read_mask(scan, image, series.frame_of_reference)
    box, label, warnings = _place(image, mask, settings)
    image = crop(image, box)
    warnings = [*series.warnings, *warnings, *_hu_warnings(image)]
    if settings.calibration and settings.write_density:
        image = settings.calibration.density_mg_cm3(image)
    return _mirrored_if_right(
        Loaded(
            images=(image,),
            label=None if label is None else crop(label, box),
            side=_side(settings),
            warnings=tuple(warnings),
            notes=_notes(series, box, settings),
            placement=placement(series.image, (*box.start, 0), settings.side == RIGHT),
        ),
        settings,
    )


def _side(settings: QctSettings) -> str:
    """The whole field of view shows both."""
    return "" if settings.window is None and settings.side == LEFT else settings.side


def _mirrored_if_right(loaded: Loaded, settings: QctSettings) -> Loaded:
    if settings.side != RIGHT:
        return loaded
    label = None if loaded.label is None else mirror(loaded.label)
    return replace(loaded, images=tuple(mirror(image) for image in loaded.images), label=label)


def _read_scan(path: Path, settings: QctSettings) -> DicomSeries:
    if _is_dicom(path):
        return read_dicom(path, settings.series)
    return DicomSeries(_read_volume(path, settings), "", "", 0, ())


def _is_dicom(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(DICOM_SUFFIXES)


def _read_volume(path: Path, settings: QctSettings) -> sitk.Image:
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        return read_image(path)
    if settings.spacing_mm is None:
        raise UserError(f"a NumPy label needs a NumPy image, whose spacing it shares, {path} has none: save it as NIfTI")
    return read_array(path, settings.spacing_mm, settings.orientation)


def _read_mask(scan: Scan, image: sitk.Image, frame_of_reference: str) -> Mask:
    """The label on the grid of the image, with the dataset's values."""
    settings: QctSettings = scan.settings
    path = scan.label
    assert path is not None
    if _is_dicom(path):
        return read_dicom_mask(path, image, dict(enumerate(settings.label_sources, start=1)), frame_of_reference)
    label = to_lps(_read_volume(path, settings))
    refuse_other_grid(scan.images[0], image, path, label)
    values = sitk.GetImageFromArray(_renumbered(path, voxels_zyx(label), settings))
    values.CopyInformation(image)
    return Mask(values)


def _renumbered(path: Path, voxels: np.ndarray, settings: QctSettings) -> np.ndarray:
    """The dataset's label values (uint8) for those of a label map."""
    low, high = float(voxels.min()), float(voxels.max())
    whole = voxels.astype(np.int64, copy=False)
    if low < 0 or high > LARGEST_LABEL or (np.issubdtype(voxels.dtype, np.floating) and (whole != voxels).any()):
        raise UserError(f"a label map must hold integers from 0, {path} holds values from {low:g} to {high:g}: is it an image?")
    present = np.flatnonzero(np.bincount(whole.ravel()))
    value_of = {_number(source): value for value, group in enumerate(settings.label_sources, start=1) for source in group}
    known = {0, *value_of, *map(_number, settings.other_sources)}
    unknown = [int(value) for value in present if value not in known]
    if unknown and not settings.drop_other_labels:
        raise UserError(
            f"the label {path} holds values nobody named: {', '.join(map(str, unknown[:8]))}: name them with --label NAME=VALUE, "
            "or make them background with --drop-other-labels"
        )
    table = np.zeros(int(high) + 1, np.uint8)
    for source, value in value_of.items():
        if source < len(table):
            table[source] = value
    return table[whole]


def _number(source: str) -> int:
    if not source.isdecimal():
        raise UserError(f"a label map has numbers, no names: give --label NAME=VALUE with its value, got '{source}'")
    return int(source)


def _place(image: sitk.Image, mask: Mask | None, settings: QctSettings) -> tuple[Box, sitk.Image | None, list[str]]:
    """The window, the label of this side on the whole grid, and warnings."""
    size_xy = image.GetSize()[:2]
    warnings = list(mask.warnings) if mask else []
    if settings.window is None:
        return Box((0, 0), size_xy), mask.image if mask else None, warnings
    box = expected_box(image, settings.window, settings.side)
    if mask is None:
        return box.inside(size_xy), None, warnings
    placed, kept, moved = place_box(box, voxels_zyx(mask.image))
    label = sitk.GetImageFromArray(kept)
    label.CopyInformation(image)
    return placed, label, warnings + moved


def _hu_warnings(image: sitk.Image) -> list[str]:
    """The engine looks at the lowest value; this at bone, metal and an offset applied twice."""
    voxels = sitk.GetArrayViewFromImage(image)
    highest = float(voxels.max())
    below_air = voxels[voxels < AIR_HU]
    twice = below_air.size > voxels.size / 5 and float(below_air.std()) > 1
    findings = {
        f"no value above {NO_BONE_BELOW_HU} HU: no bone, or a wrong rescale?": highest < NO_BONE_BELOW_HU,
        f"values up to {highest:.0f} HU: metal, or an extended range": highest > METAL_ABOVE_HU,
        f"{100 * below_air.size / voxels.size:.0f} % of the voxels vary below {AIR_HU} HU: was the offset applied twice?": twice,
    }
    return [text for text, holds in findings.items() if holds]


def _notes(series: DicomSeries, box: Box, settings: QctSettings) -> dict[str, str]:
    calibration = settings.calibration.notes() if settings.calibration else {}
    return {
        "dicom_series": series.name,
        "orientation_before": sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(series.image.GetDirection()),
        "window": box.text() if settings.window else "",
        "mirrored": "yes" if settings.side == RIGHT else "",
        "padding_voxels": str(series.padding_voxels),
        "voxel_unit": "mg/cm3" if settings.write_density else "HU",
    } | calibration

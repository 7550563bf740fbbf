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
from nnunet_da.conversion.femur_crop import LEFT, RIGHT, Box, crop, expected_box, mirror, place_box, placement, shows_one_hip, to_lps
from nnunet_da.conversion.images import read_image, refuse_other_grid
from nnunet_da.conversion.label_values import renumbered
from nnunet_da.conversion.orientation import orientation_of
from nnunet_da.conversion.qct_scans import QctSettings
from nnunet_da.conversion.scan import Loaded, Scan
from nnunet_da.conversion.stated_orientation import orientation_warnings
from nnunet_da.errors import UserError

VERSION = 1  # of `load`: raised when it makes something else
NO_BONE_BELOW_HU = 200
METAL_ABOVE_HU = 3071  # the highest value of 12 bits


def load(scan: Scan) -> Loaded:
    """Read, reorient, crop and mirror one scan; voxels are moved, never changed, except by `--write-density`.

    Raises:
        UserError: image or label that cannot be read or do not fit each other.
    """
    settings: QctSettings = scan.settings
    series = _read_scan(scan.images[0], settings)
    whole = placement(series.image, (0, 0, 0), settings.side == RIGHT)
    series = replace(series, image=to_lps(series.image))  # the scan as it was is not kept: a worker holds three volumes at most
    mask = None if scan.label is None else _read_mask(scan, series.image, series.frame_of_reference)
    box, label, warnings = _place(series.image, mask, settings)
    image = crop(series.image, box)
    warnings = [*series.warnings, *warnings, *_hu_warnings(image)]
    if settings.calibration and settings.write_density:
        image = settings.calibration.density_mg_cm3(image)
    return _mirrored_if_right(
        Loaded(
            images=(image,),
            label=None if label is None else crop(label, box),
            side=_side(settings),
            warnings=tuple(warnings),
            notes=_notes(series, orientation_of(whole.direction), box, settings),
            placement=replace(whole, start_xyz=(*box.start, 0)),
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
    image = _read_volume(path, settings)
    warnings = () if path.suffix.lower() in ARRAY_SUFFIXES else orientation_warnings(path, sides_matter=True)
    return DicomSeries(image, "", "", 0, warnings)


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
    values = renumbered(path, label, settings.label_sources, settings.other_sources, settings.drop_other_labels)
    values.CopyInformation(image)
    return Mask(values)


def _place(image: sitk.Image, mask: Mask | None, settings: QctSettings) -> tuple[Box, sitk.Image | None, list[str]]:
    """The window, the label of this side on the whole grid, and warnings."""
    size_xy = image.GetSize()[:2]
    warnings = list(mask.warnings) if mask else []
    if settings.window is None:
        return Box((0, 0), size_xy), mask.image if mask else None, warnings
    box = expected_box(image, settings.window, settings.side)
    if mask is None:
        placed = box.inside(size_xy)
        return placed, None, [*warnings, *_one_hip(image, box, placed, settings)]
    stored = sitk.GetArrayViewFromImage(mask.image)
    placed, kept, moved = place_box(box, stored)
    warnings += [*_one_hip(image, box, placed, settings), *moved]
    if kept is stored:
        return placed, mask.image, warnings
    label = sitk.GetImageFromArray(kept)
    label.CopyInformation(image)
    return placed, label, warnings


def _one_hip(image: sitk.Image, expected: Box, placed: Box, settings: QctSettings) -> list[str]:
    """Where the field is narrow both windows show the same hip, and nothing in it tells which one that is."""
    if not shows_one_hip(image, expected, placed):
        return []
    width_mm = image.GetSize()[0] * image.GetSpacing()[0]
    if settings.both_sides:
        raise UserError(
            f"both femora need a field of view with a window on either half, this one is {width_mm:.0f} mm wide, perhaps of one hip: "
            "convert it with --side left or --side right, or choose a smaller --window-mm"
        )
    return [f"field of view is {width_mm:.0f} mm wide, perhaps of one hip: the side is taken as told, look at the picture"]


def _hu_warnings(image: sitk.Image) -> list[str]:
    """The engine looks at the lowest value; this at bone, metal and an offset applied twice."""
    voxels = sitk.GetArrayViewFromImage(image)
    highest = float(voxels.max())
    below_air, deviation = _below_air(voxels)
    twice = below_air > voxels.size / 5 and deviation > 1
    findings = {
        f"no value above {NO_BONE_BELOW_HU} HU: no bone, or a wrong rescale?": highest < NO_BONE_BELOW_HU,
        f"values up to {highest:.0f} HU: metal, or an extended range": highest > METAL_ABOVE_HU,
        f"{100 * below_air / voxels.size:.0f} % of the voxels vary below {AIR_HU} HU: was the offset applied twice?": twice,
    }
    return [text for text, holds in findings.items() if holds]


def _below_air(voxels: np.ndarray) -> tuple[int, float]:
    """How many voxels lie below air, and their standard deviation; slice by slice, without a copy of the volume."""
    count, total, squares = 0, 0.0, 0.0
    for plane in voxels:
        low = plane[plane < AIR_HU].astype(float)
        count, total, squares = count + low.size, total + low.sum(), squares + (low**2).sum()
    mean = total / max(count, 1)
    return count, float(np.sqrt(max(squares / max(count, 1) - mean**2, 0)))


def _notes(series: DicomSeries, orientation_before: str, box: Box, settings: QctSettings) -> dict[str, str]:
    calibration = settings.calibration.notes() if settings.calibration else {}
    return {
        "dicom_series": series.name,
        "orientation_before": orientation_before,
        "window": box.text() if settings.window else "",
        "mirrored": "yes" if settings.side == RIGHT else "",
        "padding_voxels": str(series.padding_voxels),
        "voxel_unit": "mg/cm3" if settings.write_density else "HU",
    } | calibration

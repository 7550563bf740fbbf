"""Load one AIM or ISQ scan, or a slice of it, in HU or mg HA/cm3 with its label map."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion import scanco
from nnunet_da.conversion.hrpqct_files import Mask, Settings
from nnunet_da.conversion.images import read_image
from nnunet_da.conversion.scan import Loaded, Scan
from nnunet_da.conversion.scanco_calibration import calibrate
from nnunet_da.errors import UserError

VERSION = 1  # of `load`
POSITION_TOLERANCE_VOXELS = 0.05  # AIM 020 keeps voxel edges in float32, and positions in whole voxels


def load(scan: Scan) -> Loaded:
    """Read one scan, or one slice of it, with its masks.

    Raises:
        UserError: unreadable files, no calibration for the unit asked for, or a mask on another grid or with undeclared values.
    """
    settings: Settings = scan.settings
    path, chosen = scan.images[0], settings.slice_index
    header, values = _values(path, settings.density, settings.mu_water_per_cm, cached=chosen is not None)
    image = _image(values, header, chosen)
    del values  # the image holds a copy
    label, warnings = None, []
    if settings.masks:
        voxels, overlap = _labels(path, header, settings.masks, cached=chosen is not None)
        label = _image(voxels, header, chosen)
        if overlap:
            warnings.append(f"masks overlap in {overlap} voxels of the scan, the later one counts")
    if any(header.frame_xyz):
        warnings.append(f"the outermost {header.frame_xyz} voxels (X, Y, Z) are marked as invalid")
    return Loaded((image,), label, warnings=tuple(warnings), notes=_notes(header, settings))


def _values(path: Path, density: bool, mu_water_per_cm: float | None, cached: bool) -> tuple[scanco.Header, np.ndarray]:
    return (_read_values_once if cached else _read_values)(path, density, mu_water_per_cm)


def _read_values(path: Path, density: bool, mu_water_per_cm: float | None) -> tuple[scanco.Header, np.ndarray]:
    """Calibrated voxels (Z, Y, X); one volume in memory."""
    header, stored = scanco.read_stored(path, mask=False)
    calibration = header.calibration
    if mu_water_per_cm is not None and calibration.mu_water_per_cm is None:
        calibration = replace(calibration, mu_water_per_cm=mu_water_per_cm)
    try:
        slope, intercept = calibration.density() if density else calibration.hu()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return replace(header, calibration=calibration), calibrate(stored, slope, intercept)


def _labels(path: Path, header: scanco.Header, masks: tuple[Mask, ...], cached: bool) -> tuple[np.ndarray, int]:
    return (_read_labels_once if cached else _read_labels)(path, header, masks)


def _read_labels(path: Path, header: scanco.Header, masks: tuple[Mask, ...]) -> tuple[np.ndarray, int]:
    """Label map (Z, Y, X) on the scan's grid, and voxels that more than one mask claims."""
    labels = np.zeros(header.size_xyz[::-1], np.uint8)
    overlap = 0
    for mask in masks:
        at, voxels = _mask_on_grid(path, header, mask.path)
        codes = _codes(mask, voxels)
        for plane, target in zip(voxels, labels[at], strict=True):
            coded = codes[plane]
            overlap += int(np.count_nonzero((coded > 0) & (target > 0)))
            np.copyto(target, coded, where=coded > 0)
    return labels, overlap


def _mask_on_grid(path: Path, header: scanco.Header, mask: Path) -> tuple[tuple[slice, ...], np.ndarray]:
    """Where on the scan's grid a mask lies, and its voxels (Z, Y, X): masks are often cut to the bone."""
    grid, voxels = _mask_voxels(mask)
    edges = np.array(header.spacing_mm_xyz)
    start = (np.array(grid.origin_mm_xyz) - header.origin_mm_xyz) / edges
    first = np.round(start).astype(int)
    stretch = (np.array(grid.spacing_mm_xyz) / edges - 1) * grid.size_xyz  # in voxels, at the far end
    inside = (first >= 0).all() and (first + grid.size_xyz <= header.size_xyz).all()
    if not inside or np.abs([start - first, stretch]).max() > POSITION_TOLERANCE_VOXELS:
        raise UserError(
            f"a mask must lie on the voxels of its scan, {mask} starts at voxel {np.round(start, 2).tolist()} of {path}, with size "
            f"{list(grid.size_xyz)} in {list(header.size_xyz)} and edges {np.round(grid.spacing_mm_xyz, 5).tolist()} for "
            f"{np.round(edges, 5).tolist()} mm: export it on the scan's grid"
        )
    return tuple(slice(at, at + size) for at, size in zip(first[::-1], grid.size_xyz[::-1], strict=True)), voxels


def _mask_voxels(path: Path) -> tuple[scanco.Header, np.ndarray]:
    if scanco.is_scanco(path):
        return scanco.read_stored(path, mask=True)
    image = read_image(path)
    if not np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-4):
        raise UserError(f"a label must have the axes of its scan, {path} is turned: export it on the scan's grid")
    voxels = sitk.GetArrayFromImage(image)
    if voxels.min() < 0 or voxels.max() > 255 or (voxels != voxels.astype(np.uint8)).any():
        raise UserError(f"a label must hold whole numbers from 0 to 255, {path} has others: export it as labels")
    return scanco.Header(image.GetSize(), image.GetSpacing(), image.GetOrigin(), scanco.NO_CALIBRATION), voxels.astype(np.uint8)


def _codes(mask: Mask, voxels: np.ndarray) -> np.ndarray:
    """Value in the file -> label, as a table of 256."""
    present = np.flatnonzero(sum(np.bincount(plane.ravel(), minlength=256) for plane in voxels))
    codes = np.zeros(256, np.uint8)
    for value, label in mask.values:
        codes[slice(1, None) if value is None else value] = label
    unknown = [int(value) for value in present if value and not codes[value]]
    if unknown:
        raise UserError(f"{mask.path} holds the undeclared values {', '.join(map(str, unknown[:5]))}: declare each with --label NAME=VALUE")
    return codes


def _image(voxels: np.ndarray, header: scanco.Header, chosen: int | None) -> sitk.Image:
    """3D, or one slice as true 2D: nnU-Net then knows that there is no third axis."""
    image = sitk.GetImageFromArray(voxels if chosen is None else voxels[chosen])
    axes = 3 if chosen is None else 2
    image.SetSpacing(header.spacing_mm_xyz[:axes])
    image.SetOrigin(header.origin_mm_xyz[:axes])
    return image


def _notes(header: scanco.Header, settings: Settings) -> dict[str, str]:
    calibration = header.calibration
    slope, intercept = calibration.density() if settings.density else calibration.hu()
    notes = {"unit": "mg HA/cm3" if settings.density else "HU", "slope": f"{slope:.9g}", "intercept": f"{intercept:.9g}"}
    if len(settings.masks) > 1:  # the log names the first as the label's input
        notes["masks"] = "; ".join(str(mask.path) for mask in settings.masks)
    if settings.slice_index is not None:
        position = header.origin_mm_xyz[2] + settings.slice_index * header.spacing_mm_xyz[2]
        notes |= {"slice": str(settings.slice_index), "slice_position_mm": f"{position:.6g}"}
    return notes


_read_values_once = lru_cache(maxsize=1)(_read_values)  # slices of one scan come one after the other
_read_labels_once = lru_cache(maxsize=1)(_read_labels)

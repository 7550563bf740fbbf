"""Masks in DICOM on the grid of their scan: segmentation objects through highdicom, contours of structure sets as polygons.

The contours are filled by `skimage`, not by rt-utils, whose filling rounds every corner to a pixel, adds the outline and takes rows for
columns; see docs/convert.md for what was measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.dicom_files import dicom_files, import_pydicom
from nnunet_da.conversion.images import GRID_TOLERANCE_VOXELS
from nnunet_da.errors import UserError

SAME_PLANE_SLICES = 0.1  # a contour may lie this far from the middle of its slice, in slice distances
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
SNAP = 64  # corners are rounded to this part of a pixel, so that outlines through pixel centres, rounded in the file, still meet them


@dataclass(frozen=True)
class Mask:
    """A label map of values 0, 1, 2, ... and what a person should see."""

    image: sitk.Image
    warnings: tuple[str, ...] = ()


def read_dicom_mask(source: Path, grid: sitk.Image, names: Mapping[int, Sequence[str]], frame_of_reference: str = "") -> Mask:
    """The segmentation object or structure set in a file or folder, as a label map.

    Args:
        source: the file, or a folder that holds one of them among other files.
        grid: the scan, in any orientation whose third axis is across the slices.
        names: label value -> segment numbers, segment labels or ROI names.
        frame_of_reference: of the scan; "" is not compared.

    Raises:
        UserError: none or several masks, a name that is not there, masks that overlap or are off the grid, or another frame of reference.
    """
    dataset = _only_mask(source)
    read = _segmentation if dataset.Modality == "SEG" else _structure_set
    try:
        _refuse_other_frame(dataset, frame_of_reference)
        return read(dataset, grid, names)
    except (AttributeError, KeyError) as error:
        raise UserError(f"the mask {dataset.filename} is damaged or incomplete ({error}): copy or export it again") from None


def _only_mask(source: Path) -> Any:
    pydicom = import_pydicom()
    found = []
    for path in dicom_files(source):
        try:
            header = pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if header.get("Modality") in ("SEG", "RTSTRUCT"):
            found.append(path)
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise UserError(f"expected one DICOM segmentation or structure set in {source}, found {listed}: name the file with a pattern")
    try:
        return pydicom.dcmread(found[0])
    except Exception as error:
        raise UserError(f"cannot read the mask {found[0]}, it is damaged ({error}): copy it again") from None


def _refuse_other_frame(dataset: Any, frame_of_reference: str) -> None:
    referenced = dataset.get("ReferencedFrameOfReferenceSequence") or [dataset]
    frames = [str(item.get("FrameOfReferenceUID", "")) for item in referenced]
    if frame_of_reference and any(frames) and frame_of_reference not in frames:
        raise UserError(
            f"scan and mask must share one frame of reference, {dataset.filename} has {', '.join(frames)}: give the scan's own mask"
        )


def _segmentation(dataset: Any, grid: sitk.Image, names: Mapping[int, Sequence[str]]) -> Mask:
    try:
        import highdicom
    except ImportError as error:
        raise UserError(
            f"DICOM segmentations need the package highdicom, which is missing ({error}): pip install 'nnunet-da[dicom]'"
        ) from None
    path = Path(dataset.filename)
    labels = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in dataset.SegmentSequence}
    value_of = {
        number: value for value, wanted in names.items() for name in wanted for number in _numbers_of(name, labels, path, "segment")
    }
    try:
        segments = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
        volume = segments.get_volume(segment_numbers=list(value_of), combine_segments=True)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"expected a binary segmentation on evenly spaced slices whose segments do not overlap, {path} is none ({error})"
        ) from None
    voxels = np.zeros(volume.array.shape, np.uint8)
    for number, value in value_of.items():
        voxels[volume.array == number] = value
    return Mask(_on_grid(_as_image(voxels, volume), grid, path))


def _as_image(voxels: np.ndarray, volume: Any) -> sitk.Image:
    """highdicom's axes are slices, rows, columns; its affine maps them to LPS."""
    image = sitk.GetImageFromArray(voxels)
    image.SetOrigin([float(value) for value in volume.position])
    image.SetSpacing([float(edge) for edge in reversed(volume.spacing)])
    image.SetDirection(np.asarray(volume.direction)[:, ::-1].ravel().tolist())
    return image


def _on_grid(mask: sitk.Image, grid: sitk.Image, path: Path) -> sitk.Image:
    """The mask, which may hold some of the slices only, on the whole grid, voxel by voxel."""
    mask = sitk.DICOMOrient(mask, "LPS")
    corners = [(0, 0, 0), tuple(size - 1 for size in mask.GetSize())]
    first, last = (np.array(grid.TransformPhysicalPointToContinuousIndex(mask.TransformIndexToPhysicalPoint(c))) for c in corners)
    start = np.round(first).astype(int)
    off = max(np.abs(first - start).max(), np.abs(last - start - corners[1]).max())
    if off > GRID_TOLERANCE_VOXELS or (start < 0).any() or (start + mask.GetSize() > grid.GetSize()).any():
        raise UserError(
            f"a mask must lie on the voxels of its scan, {path} does not: segment this very series, or resample it onto the scan"
        )
    whole = np.zeros(grid.GetSize()[::-1], np.uint8)
    x, y, z = start
    width, height, depth = mask.GetSize()
    whole[z : z + depth, y : y + height, x : x + width] = sitk.GetArrayViewFromImage(mask)
    return _like(grid, whole)


def _structure_set(dataset: Any, grid: sitk.Image, names: Mapping[int, Sequence[str]]) -> Mask:
    path = Path(dataset.filename)
    rois = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    contours = {int(roi.ReferencedROINumber): roi.get("ContourSequence") or [] for roi in dataset.get("ROIContourSequence") or []}
    whole, warnings = np.zeros(grid.GetSize()[::-1], np.uint8), []
    for value, wanted in names.items():
        for number in [number for name in wanted for number in _numbers_of(name, rois, path, "ROI")]:
            filled = filled_contours(_points(contours.get(number, []), f"the ROI '{rois[number]}' of {path}"), grid, rois[number])
            if any(np.setdiff1d(other[inside], (0, value)).size for other, inside in zip(whole, filled, strict=True)):
                raise UserError(f"structures must not overlap, '{rois[number]}' and another one in {path} do: name only one of them")
            whole[filled] = value
            warnings += _gaps(filled, rois[number])
    return Mask(_like(grid, whole), tuple(warnings))


def _points(contours: Sequence[Any], what: str) -> list[np.ndarray]:
    """Corners (N, 3) of every closed contour, LPS mm."""
    closed = [contour for contour in contours if contour.get("ContourGeometricType", CLOSED[0]) in CLOSED]
    points = [np.asarray(contour.ContourData, float).reshape(-1, 3) for contour in closed]
    points = list({corners.tobytes(): corners for corners in points if len(corners) >= 3}.values())  # drawn twice would cancel out
    if not points:
        raise UserError(f"expected closed contours, {what} has none: draw it, or leave it out")
    return points


def filled_contours(contours: Sequence[np.ndarray], grid: sitk.Image, name: str = "ROI") -> np.ndarray:
    """Voxels (Z, Y, X) whose centres lie inside the contours; contours within contours are holes, and so on (even-odd).

    A centre on an outline counts as inside: outlines drawn through the centres of a mask's border pixels then give back that mask, holes
    included; outlines drawn along the border itself hardly ever meet a centre, so the area is not biased.

    Args:
        contours: corners (N, 3) in LPS mm, each within one slice of the grid.
        grid: its third axis is across the slices.
        name: for the error.

    Raises:
        UserError: a contour outside the grid, or across slices.
    """
    from skimage.measure import grid_points_in_poly

    width, height, depth = grid.GetSize()
    inside, outline = np.zeros((depth, height, width), bool), np.zeros((depth, height, width), bool)
    for corners in contours:
        xyz = _indices(corners, grid)
        z = int(np.round(xyz[:, 2].mean()))
        if not 0 <= z < depth or np.abs(xyz[:, 2] - z).max() > SAME_PLANE_SLICES:
            raise UserError(
                f"contours must lie in the slices of the scan, one of '{name}' does not (slice {xyz[:, 2].mean():.2f} of {depth}): "
                "use the scan it was drawn on"
            )
        xy = np.round(xyz[:, :2] * SNAP) / SNAP
        first = np.clip(np.floor(xy.min(axis=0)).astype(int), 0, (width, height))
        last = np.clip(np.ceil(xy.max(axis=0)).astype(int) + 1, 0, (width, height))
        if (last <= first).any():
            continue  # beside the field of view
        window = z, slice(first[1], last[1]), slice(first[0], last[0])
        found = grid_points_in_poly(tuple((last - first)[::-1]), (xy - first)[:, ::-1], binarize=False)
        inside[window] ^= found == 1
        outline[window] |= found > 1
    inside |= outline
    return inside


def _indices(points: np.ndarray, grid: sitk.Image) -> np.ndarray:
    """Continuous voxel indices (N, 3), x, y, z, of positions in mm."""
    axes = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    return np.linalg.solve(axes, (points - grid.GetOrigin()).T).T


def _gaps(filled: np.ndarray, name: str) -> list[str]:
    slices = np.flatnonzero(filled.any(axis=(1, 2)))
    missing = int(slices[-1] - slices[0] + 1 - len(slices)) if len(slices) else 0
    return [f"'{name}' has no contour in {missing} slice(s) between its first and last"] if missing else []


def _numbers_of(name: str, labels: Mapping[int, str], path: Path, kind: str) -> list[int]:
    """Numbers of the segments or ROIs that a name or number means."""
    numbers = [number for number, label in labels.items() if label == name]
    if not numbers and name.isdecimal() and int(name) in labels:
        numbers = [int(name)]
    if not numbers:
        listed = ", ".join(f"'{label}' ({number})" for number, label in labels.items())
        raise UserError(f"expected a {kind} '{name}' in {path}, it has {listed}: correct --label NAME={kind.upper()}")
    return numbers


def _like(grid: sitk.Image, voxels: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(grid)
    return image

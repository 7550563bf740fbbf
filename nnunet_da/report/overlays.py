"""Overlay pictures: the scan with the contours of reference and prediction."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import read_image
from nnunet_da.report.study import CaseRecord

BONE_WINDOW_HU = (-500.0, 1300.0)
MARGIN_MM = 25.0
REFERENCE_COLOUR, PREDICTION_COLOUR = "#56B4E9", "#E69F00"


@dataclass(frozen=True)
class Volumes:
    """One case, axes (Z, Y, X) towards head, back and the patient's left."""

    image: np.ndarray | None
    reference: np.ndarray
    prediction: np.ndarray
    spacing_mm: tuple[float, ...]


def read_volumes(record: CaseRecord) -> Volumes:
    """Reference, prediction and image (None where none is named), turned to one orientation. Raises UserError."""
    reference = _oriented(read_image(record.reference))
    prediction = _oriented(read_image(record.prediction))
    image = _oriented(read_image(record.image)) if record.image else None
    arrays = [None if volume is None else _three_axes(sitk.GetArrayFromImage(volume)) for volume in (image, reference, prediction)]
    if any(array is not None and array.shape != arrays[1].shape for array in arrays):  # type: ignore[union-attr]
        raise UserError("image, reference and prediction must have one size; evaluate again with the --images they belong to.")
    spacing_mm = (reference.GetSpacing() if reference.GetDimension() == 3 else (*reference.GetSpacing(), 1.0))[::-1]
    return Volumes(arrays[0], arrays[1], arrays[2], spacing_mm)  # type: ignore[arg-type]


def overlay_figure(volumes: Volumes) -> Figure:
    """Axial and coronal slice through the largest area of the reference (of the prediction where it is empty), cropped with a margin."""
    shown = volumes.reference > 0 if volumes.reference.any() else volumes.prediction > 0
    planes = [0] if volumes.reference.shape[0] == 1 else [0, 1]
    box = _box_with_margin((volumes.reference > 0) | (volumes.prediction > 0), volumes.spacing_mm)
    sizes = [_extent_mm(box, volumes.spacing_mm, axis) for axis in planes]
    height = 3.5
    width = max(3.0, sum(height * 0.86 * across / down for across, down in sizes))
    figure = Figure(figsize=(min(width, 8.0), height), layout="constrained", facecolor="black")
    for position, axis in enumerate(planes):
        axes = figure.add_subplot(1, len(planes), position + 1)
        _draw_plane(axes, volumes, axis, _largest_slice(shown, axis), box)
    handles = [Line2D([], [], color=REFERENCE_COLOUR, linewidth=3), Line2D([], [], color=PREDICTION_COLOUR, linewidth=1.4)]
    figure.legend(handles, ["reference", "prediction"], loc="outside lower center", ncols=2, frameon=False, labelcolor="white", fontsize=12)
    return figure


def _oriented(image: sitk.Image) -> sitk.Image:
    return sitk.DICOMOrient(image, "LPS") if image.GetDimension() == 3 else image


def _three_axes(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 2 else array


def _largest_slice(mask: np.ndarray, axis: int) -> int:
    if not mask.any():
        return mask.shape[axis] // 2
    return int(mask.sum(axis=tuple(other for other in range(3) if other != axis)).argmax())


def _box_with_margin(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> list[tuple[int, int]]:
    """First and last + 1 index per axis; the whole volume where the mask is empty."""
    box = []
    for axis, spacing in enumerate(spacing_mm):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(MARGIN_MM / spacing))
        low, high = (int(filled[0]), int(filled[-1])) if filled.size else (0, mask.shape[axis] - 1)
        box.append((max(0, low - margin), min(mask.shape[axis], high + 1 + margin)))
    return box


def _extent_mm(box: list[tuple[int, int]], spacing_mm: tuple[float, ...], axis: int) -> tuple[float, float]:
    """Across and down, in mm."""
    down, across = (other for other in range(3) if other != axis)
    return (box[across][1] - box[across][0]) * spacing_mm[across], (box[down][1] - box[down][0]) * spacing_mm[down]


def _draw_plane(axes: Axes, volumes: Volumes, axis: int, index: int, box: list[tuple[int, int]]) -> None:
    down, across = (other for other in range(3) if other != axis)
    window = tuple(slice(*box[other]) for other in (down, across))
    extent_across, extent_down = _extent_mm(box, volumes.spacing_mm, axis)
    # coronal: head up; axial: back down
    extent = (0.0, extent_across, 0.0, extent_down) if axis == 1 else (0.0, extent_across, extent_down, 0.0)
    plane = np.zeros((1, 1)) if volumes.image is None else np.take(volumes.image, index, axis)[window]
    low, high = _grey_range(volumes.image)
    axes.imshow(
        plane,
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=extent,
        origin="lower" if axis == 1 else "upper",
        interpolation="nearest",
        aspect="equal",
    )
    for label_map, colour, line_width in ((volumes.reference, REFERENCE_COLOUR, 2.6), (volumes.prediction, PREDICTION_COLOUR, 1.1)):
        labels = np.take(label_map, index, axis)[window]
        for value in np.unique(labels[labels != 0]):
            _contour(axes, labels == value, (volumes.spacing_mm[down], volumes.spacing_mm[across]), colour, line_width)
    axes.set_axis_off()
    axes.set_anchor("N")
    for across_position, side, alignment in ((0.02, "R", "left"), (0.98, "L", "right")):
        axes.text(across_position, 0.98, side, transform=axes.transAxes, color="white", fontsize=12, ha=alignment, va="top")
    axes.set_title(f"{'coronal' if axis == 1 else 'axial'}, slice {index}", color="white", fontsize=12)


def _contour(axes: Axes, mask: np.ndarray, spacing_mm: tuple[float, float], colour: str, line_width: float) -> None:
    """The outline half-way between voxel centres, in the mm of `_draw_plane`; closed at the edge of the picture."""
    padded = np.pad(mask, 1).astype(float)
    down, across = ((np.arange(size) - 0.5) * spacing for size, spacing in zip(padded.shape, spacing_mm, strict=True))
    axes.contour(across, down, padded, levels=[0.5], colors=[colour], linewidths=[line_width])


def _grey_range(image: np.ndarray | None) -> tuple[float, float]:
    """The bone window for HU; the middle 98 % where the values cannot be HU."""
    if image is None:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(image, (1, 99)))
    return BONE_WINDOW_HU if high - low > 100 and low < 0 else (low, max(high, low + 1e-6))

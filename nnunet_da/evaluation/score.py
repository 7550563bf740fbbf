"""Score one case: every metric of every label, in one pass over the box that holds it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nnunet_da.errors import UserError
from nnunet_da.evaluation.cases import CaseFiles
from nnunet_da.evaluation.label_maps import Geometry, check_same_geometry, read_label_map
from nnunet_da.evaluation.labels import Box, Label, Labels, boxes_of_values, mask_of, union
from nnunet_da.evaluation.overlap import Overlap, overlap
from nnunet_da.evaluation.regrid import Resampled, read_prediction
from nnunet_da.evaluation.surface import SurfaceDistances, nsd_name, surface_distances


@dataclass(frozen=True)
class Scoring:
    """What the user may choose about the metrics.

    Attributes:
        nsd_mm: tolerances of the normalised surface Dice, each above 0.
        field_of_view_mm: specificity counts a box around the reference's foreground with this margin; None counts the whole image.
        allow_resample: bring a prediction on another grid onto the reference's, by the nearest voxel.
    """

    nsd_mm: tuple[float, ...] = (1.0,)
    field_of_view_mm: float | None = None
    allow_resample: bool = False

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in self.nsd_mm):
            raise UserError(f"tolerances of the surface Dice must be above 0 mm, got {list(self.nsd_mm)}: correct --nsd-mm.")
        names = [nsd_name(value) for value in self.nsd_mm]
        if len(set(names)) < len(names):
            raise UserError(f"tolerances of the surface Dice must differ in six digits, got {list(self.nsd_mm)}: correct --nsd-mm.")
        margin = self.field_of_view_mm
        if margin is not None and not (math.isfinite(margin) and margin >= 0):
            raise UserError(f"the margin of the field of view must be 0 mm or more, got {margin}: correct --field-of-view.")


@dataclass(frozen=True)
class CaseScores:
    """One scored case.

    Attributes:
        files: what was read.
        spacing_mm: of the reference, Z, Y, X.
        overlaps: label key ("1", "(1, 2)") -> voxel counts of the whole image.
        metrics: label key -> metric name -> value, NaN where undefined.
        field_of_view_voxels: voxels that specificity counts, ignored ones left out.
        unscored_values: foreground values of the prediction that no label names.
        resampled: what was done to a prediction on another grid.
    """

    files: CaseFiles
    spacing_mm: tuple[float, ...]
    overlaps: dict[str, Overlap]
    metrics: dict[str, dict[str, float]]
    field_of_view_voxels: int = 0
    unscored_values: list[int] = field(default_factory=list)
    resampled: Resampled | None = None


def score_case(files: CaseFiles, labels: Labels, scoring: Scoring) -> CaseScores:
    """Scores of one case for every label and region.

    Raises:
        UserError: a file is unreadable, the geometries differ, or a label map holds values it must not hold.
    """
    reference, geometry = read_label_map(files.reference)
    prediction, resampled = _read_prediction(files, geometry, scoring)
    pair = _Pair(reference, prediction, boxes_of_values(reference), boxes_of_values(prediction), labels.ignore)
    _check_values(pair.boxes_reference, files.reference, labels, allow_ignore=True)
    _check_values(pair.boxes_prediction, files.prediction, labels, allow_ignore=False)
    everything = tuple(slice(0, size) for size in reference.shape)
    view = everything if scoring.field_of_view_mm is None else _around_reference(pair, geometry.spacing_mm, scoring.field_of_view_mm)
    counted, counted_in_view = pair.counted(everything), pair.counted(view)
    overlaps, metrics = {}, {}
    for label in labels.names:
        masks = pair.masks(label, pair.box_of(label))
        counts = overlaps[str(label)] = _counts(masks, counted, geometry.spacing_mm)
        distances = _distances(masks, _thin_axis(reference.shape), geometry.spacing_mm)
        metrics[str(label)] = counts.metrics() | distances.metrics(scoring.nsd_mm)
        if view != everything:
            metrics[str(label)]["specificity"] = _specificity(pair.masks(label, view), counted_in_view, geometry.spacing_mm)
    unscored = sorted(set(pair.boxes_prediction) - {value for label in labels.names for value in _values_of(label)})
    return CaseScores(files, geometry.spacing_mm, overlaps, metrics, counted_in_view, unscored, resampled)


@dataclass(frozen=True)
class _Pair:
    """Both label maps, and where in them each value lies."""

    reference: np.ndarray
    prediction: np.ndarray
    boxes_reference: Mapping[int, Box]
    boxes_prediction: Mapping[int, Box]
    ignore: int | None

    def box_of(self, label: Label) -> Box:
        """Around a label in both."""
        both = (self.boxes_reference, self.boxes_prediction)
        return union([boxes[value] for value in _values_of(label) for boxes in both if value in boxes], self.reference.ndim)

    def masks(self, label: Label, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Of a label in the reference and the prediction, without ignored voxels."""
        reference, prediction = mask_of(self.reference[box], label), mask_of(self.prediction[box], label)
        if self.ignore in self.boxes_reference:
            prediction &= self.reference[box] != self.ignore
        return reference, prediction

    def counted(self, box: Box) -> int:
        """Voxels of a box, ignored ones left out."""
        part = self.reference[box]
        return part.size - (int(np.count_nonzero(part == self.ignore)) if self.ignore in self.boxes_reference else 0)


def _counts(masks: tuple[np.ndarray, np.ndarray], counted: int, spacing_mm: tuple[float, ...]) -> Overlap:
    """Of two masks that lie in a volume with so many counted voxels."""
    counts = overlap(*masks, spacing_mm=spacing_mm)
    return replace(counts, true_negatives=counted - counts.true_positives - counts.false_positives - counts.false_negatives)


def _specificity(masks: tuple[np.ndarray, np.ndarray], counted: int, spacing_mm: tuple[float, ...]) -> float:
    return _counts(masks, counted, spacing_mm).specificity if counted else float("nan")


def _distances(masks: tuple[np.ndarray, np.ndarray], thin: int | None, spacing_mm: tuple[float, ...]) -> SurfaceDistances:
    if thin is None:
        return surface_distances(*masks, spacing_mm=spacing_mm)
    reference, prediction = (np.any(mask, axis=thin, keepdims=False) for mask in masks)
    return surface_distances(np.asarray(reference), np.asarray(prediction), spacing_mm[:thin] + spacing_mm[thin + 1 :])


def _thin_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of a volume's single slice: in three dimensions all its voxels would be boundary, so it is an image."""
    return shape.index(1) if len(shape) == 3 and shape.count(1) == 1 else None


def _read_prediction(files: CaseFiles, reference: Geometry, scoring: Scoring) -> tuple[np.ndarray, Resampled | None]:
    if scoring.allow_resample:
        return read_prediction(files.prediction, reference, files.case)
    prediction, geometry = read_label_map(files.prediction)
    check_same_geometry(reference, geometry, files.case)
    return prediction, None


def _check_values(found: Mapping[int, Box], file: Path, labels: Labels, *, allow_ignore: bool) -> None:
    if labels.allowed_values is None:
        return
    allowed = labels.allowed_values | ({labels.ignore} if allow_ignore and labels.ignore is not None else set())
    outside = sorted(set(found) - allowed)
    if outside:
        raise UserError(
            f"{file} must hold the labels {sorted(allowed)} of dataset.json, got {outside[:5]}: check the file and --dataset-json."
        )


def _around_reference(pair: _Pair, spacing_mm: tuple[float, ...], margin_mm: float) -> Box:
    """The box around all labels of the reference with a margin on every side, within the image; empty where there is no label."""
    box = union([box for value, box in pair.boxes_reference.items() if value != pair.ignore], pair.reference.ndim)
    if not pair.reference[box].size:
        return box
    margins = (math.ceil(margin_mm / spacing) for spacing in spacing_mm)
    sides = zip(box, margins, pair.reference.shape, strict=True)
    return tuple(slice(max(0, side.start - margin), min(size, side.stop + margin)) for side, margin, size in sides)


def _values_of(label: Label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (label,)

"""Overlap of two masks: Dice, IoU, precision, recall, specificity and volumes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OVERLAPS = ("dice", "iou", "precision", "recall", "specificity", "volume_mm3", "volume_error_mm3")  # as metrics.csv names them


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of one pair of masks; every metric is derived from them.

    A ratio 0 / 0 is NaN (undefined), except where both masks are empty: then nothing was missed and nothing invented, and the ratio is 1.

    Attributes:
        true_positives, false_positives, false_negatives, true_negatives: voxels.
        voxel_volume_mm3: volume of one voxel.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    voxel_volume_mm3: float = 1.0

    @property
    def reference_voxels(self) -> int:
        return self.true_positives + self.false_negatives

    @property
    def prediction_voxels(self) -> int:
        return self.true_positives + self.false_positives

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where both masks are empty, 0 where one is."""
        return self._ratio(2 * self.true_positives, self.reference_voxels + self.prediction_voxels)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN)."""
        return self._ratio(self.true_positives, self.true_positives + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); undefined where only the prediction is empty."""
        return self._ratio(self.true_positives, self.prediction_voxels)

    @property
    def recall(self) -> float:
        """TP / (TP + FN), also called sensitivity; undefined where only the reference is empty."""
        return self._ratio(self.true_positives, self.reference_voxels)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP) within what was counted: it grows with the air around the patient, so state the field of view with it."""
        return self._ratio(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def volume_mm3(self) -> float:
        """Volume of the prediction."""
        return self.prediction_voxels * self.voxel_volume_mm3

    @property
    def volume_error_mm3(self) -> float:
        """Prediction minus reference."""
        return (self.prediction_voxels - self.reference_voxels) * self.voxel_volume_mm3

    def metrics(self) -> dict[str, float]:
        """Metric name -> value, by the names of `metrics.csv`."""
        return {name: float(getattr(self, name)) for name in OVERLAPS}

    def _ratio(self, numerator: int, denominator: int) -> float:
        if denominator == 0:
            return 1.0 if self.reference_voxels == self.prediction_voxels == 0 else float("nan")
        return numerator / denominator


def overlap(
    reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float] | None = None, *, ignore: np.ndarray | None = None
) -> Overlap:
    """Count agreeing and disagreeing voxels of two masks.

    Args:
        reference: boolean, (Z, Y, X) or (Y, X).
        prediction: boolean, same shape.
        spacing_mm: one value per axis, in the order of the axes; without it volumes count voxels.
        ignore: boolean, same shape; True voxels are left out of every count.

    Raises:
        ValueError: a mask is not boolean, the shapes differ, or spacing_mm is not one positive value per axis.
    """
    reference, prediction = checked_masks(reference, prediction, ignore)
    true_positives = int(np.count_nonzero(reference & prediction))
    false_positives = int(np.count_nonzero(prediction)) - true_positives
    false_negatives = int(np.count_nonzero(reference)) - true_positives
    counted = reference.size if ignore is None else reference.size - int(np.count_nonzero(ignore))
    true_negatives = counted - true_positives - false_positives - false_negatives
    voxel_volume_mm3 = 1.0 if spacing_mm is None else float(np.prod(checked_spacing(spacing_mm, reference.ndim)))
    return Overlap(true_positives, false_positives, false_negatives, true_negatives, voxel_volume_mm3)


def checked_masks(reference: np.ndarray, prediction: np.ndarray, ignore: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Both masks without the ignored voxels. Raises ValueError where a mask is not boolean or the shapes differ."""
    masks = [np.asarray(mask) for mask in (reference, prediction, ignore) if mask is not None]
    if any(mask.dtype != bool for mask in masks) or any(mask.shape != masks[0].shape for mask in masks):
        got = ", ".join(f"{mask.dtype} {mask.shape}" for mask in masks)
        raise ValueError(
            f"Masks must be boolean arrays of one shape, got {got}. Compare label maps with a label first: label_map == label."
        )
    if masks[0].ndim not in (2, 3):
        raise ValueError(f"Masks must have the axes (Z, Y, X) or (Y, X), got shape {masks[0].shape}.")
    if ignore is None:
        return masks[0], masks[1]
    return masks[0] & ~masks[2], masks[1] & ~masks[2]


def checked_spacing(spacing_mm: Sequence[float], axes: int) -> tuple[float, ...]:
    """Spacing as floats. Raises ValueError where it is not one positive, finite value per axis."""
    spacing = tuple(float(value) for value in spacing_mm)
    if len(spacing) != axes or not all(np.isfinite(value) and value > 0 for value in spacing):
        raise ValueError(f"spacing_mm must be {axes} positive values in the order of the axes (Z first), got {spacing}.")
    return spacing

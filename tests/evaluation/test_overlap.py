import math

import numpy as np
import pytest

from nnunet_da.evaluation import overlap

EMPTY = np.zeros((3, 4, 5), bool)
FULL = np.ones((3, 4, 5), bool)


def test_values_worked_by_hand():
    reference, prediction = EMPTY.copy(), EMPTY.copy()
    reference[0, 0, :4] = True  # 4 voxels
    prediction[0, 0, 2:5] = True  # 3 voxels, 2 of them shared
    counts = overlap(reference, prediction, (2.5, 0.8, 0.5))
    assert (counts.true_positives, counts.false_positives, counts.false_negatives, counts.true_negatives) == (2, 1, 2, 55)
    expected = {
        "dice": 4 / 7,
        "iou": 2 / 5,
        "precision": 2 / 3,
        "recall": 1 / 2,
        "specificity": 55 / 56,
        "volume_mm3": 3.0,
        "volume_error_mm3": -1.0,
    }
    assert counts.metrics() == pytest.approx(expected)


def test_swapping_the_masks_swaps_precision_and_recall():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 6, 7, 8)) < 0.4
    there, back = overlap(first, second), overlap(second, first)
    assert there.precision == back.recall != there.recall
    assert there.volume_error_mm3 == -back.volume_error_mm3


def test_both_empty_is_perfect_agreement():
    metrics = overlap(EMPTY, EMPTY).metrics()
    assert metrics == {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "specificity": 1, "volume_mm3": 0, "volume_error_mm3": 0}


def test_one_empty_has_no_overlap_and_one_undefined_ratio():
    missed, invented = overlap(FULL, EMPTY), overlap(EMPTY, FULL)
    assert missed.dice == missed.iou == missed.recall == 0
    assert math.isnan(missed.precision)
    assert invented.dice == invented.iou == invented.precision == 0
    assert math.isnan(invented.recall)
    assert invented.specificity == 0
    assert math.isnan(missed.specificity)  # no background to be right about


def test_ignored_voxels_are_in_no_count():
    ignore = EMPTY.copy()
    ignore[0] = True
    counts = overlap(FULL, EMPTY, ignore=ignore)
    assert (counts.false_negatives, counts.true_negatives) == (40, 0)


@pytest.mark.parametrize(
    ("reference", "prediction", "spacing_mm"),
    [
        (FULL.astype(int), FULL, None),
        (FULL, FULL[:2], None),
        (FULL[0, 0], FULL[0, 0], None),
        (FULL, FULL, (1, 1)),
        (FULL, FULL, (1, 0, 1)),
        (FULL, FULL, (1, float("nan"), 1)),
    ],
)
def test_refuses_what_is_no_pair_of_masks(reference, prediction, spacing_mm):
    with pytest.raises(ValueError, match="must"):
        overlap(reference, prediction, spacing_mm)

import math
from pathlib import Path

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.cases import CaseFiles
from nnunet_da.evaluation.labels import Labels, labels_of_values
from nnunet_da.evaluation.score import CaseScores, Scoring, score_case


@pytest.fixture
def score(tmp_path: Path, write):
    """reference, prediction, spacing_mm, labels, scoring -> scores."""

    def scored(reference, prediction, spacing_mm=(1.0, 1.0, 1.0), labels=None, **scoring) -> CaseScores:
        files = [
            write(array.astype(np.uint8), tmp_path / name / "a.nii.gz", spacing_mm) for array, name in ((reference, "r"), (prediction, "p"))
        ]
        return score_case(CaseFiles("a", *files, None, "A"), labels or labels_of_values([1]), Scoring(**scoring))

    return scored


def volumes() -> tuple[np.ndarray, np.ndarray]:
    reference, prediction = np.zeros((2, 10, 12, 14))
    reference[4:6, 5:7, 6:8] = 1  # 8 voxels
    prediction[4:6, 5:7, 7:9] = prediction[0, 0, 0] = 1  # 4 right, 4 beside, 1 far away
    return reference, prediction


def test_specificity_of_the_whole_image_and_of_a_box_around_the_reference(score):
    whole = score(*volumes())
    assert whole.metrics["1"]["specificity"] == (1680 - 8 - 5) / (1680 - 8)
    assert whole.field_of_view_voxels == 1680
    box = score(*volumes(), (3.0, 1.0, 1.0), field_of_view_mm=2.0)  # one slice, two pixels on every side: 4 x 6 x 6 voxels
    assert box.field_of_view_voxels == 144
    assert box.metrics["1"]["specificity"] == (144 - 8 - 4) / (144 - 8)  # the far voxel is outside
    assert box.metrics["1"]["precision"] == whole.metrics["1"]["precision"]
    assert box.overlaps["1"].true_negatives == whole.overlaps["1"].true_negatives


def test_the_field_of_view_ends_with_the_image_and_is_the_same_for_every_label(score):
    reference, prediction = volumes()
    reference[9, 11, 13] = 2
    labels = labels_of_values([1, 2])
    scores = score(reference, prediction, labels=labels, field_of_view_mm=1.0)
    assert scores.field_of_view_voxels == 7 * 8 * 9
    assert scores.metrics["2"]["specificity"] == 1
    large, whole = (score(reference, prediction, labels=labels, field_of_view_mm=margin) for margin in (100.0, None))
    assert [large.metrics[label]["specificity"] for label in "12"] == [whole.metrics[label]["specificity"] for label in "12"]


def test_no_reference_no_field_of_view(score):
    _, prediction = volumes()
    assert math.isnan(score(0 * prediction, prediction, field_of_view_mm=5.0).metrics["1"]["specificity"])
    assert score(0 * prediction, prediction).metrics["1"]["specificity"] == (1680 - 9) / 1680


def test_ignored_voxels_are_in_no_field_of_view(score):
    reference, prediction = volumes()
    reference[0] = 3
    labels = Labels({1: "a"}, frozenset({0, 1}), ignore=3)
    scores = score(reference, prediction, labels=labels)
    assert scores.field_of_view_voxels == 1680 - 168
    assert scores.metrics["1"]["specificity"] == (1680 - 168 - 8 - 4) / (1680 - 168 - 8)
    assert scores.metrics["1"]["hd_mm"] == 1  # the far voxel is ignored
    assert score(reference, prediction, labels=labels, field_of_view_mm=0.0).field_of_view_voxels == 8


def test_a_volume_of_one_slice_is_scored_as_an_image(score):
    reference, prediction = np.zeros((2, 1, 20, 20))
    reference[0, 4:14, 4:14] = prediction[0, 4:14, 5:15] = 1
    for axes in ((0, 1, 2), (1, 0, 2), (1, 2, 0)):
        spacing_mm = tuple(np.array([999.0, 1.0, 1.0])[list(axes)])
        metrics = score(reference.transpose(axes), prediction.transpose(axes), spacing_mm).metrics["1"]
        # each way of 36 outline pixels the outer 10 are 1 mm off and the inner side's 8 are 1 mm from the other's outline
        assert metrics["asd_mm"] == pytest.approx(18 / 36)
        assert metrics["volume_mm3"] == pytest.approx(100 * 999)
    assert score(reference, 0 * prediction).metrics["1"]["dice"] == 0
    assert score(0 * reference, 0 * prediction).metrics["1"]["hd_mm"] == 0


def test_predicted_values_without_a_label_are_noted(score):
    reference, prediction = volumes()
    prediction[9, 9, 9] = 5
    assert score(reference, prediction).unscored_values == [5]
    with pytest.raises(UserError, match=r"must hold the labels \[0, 1\] of dataset.json, got \[5\]"):
        score(reference, prediction, labels=Labels({1: "a"}, frozenset({0, 1})))


def test_tolerances_name_the_surface_dice(score):
    metrics = score(*volumes(), nsd_mm=(0.5, 2.0)).metrics["1"]
    assert metrics["nsd_0.5mm"] == pytest.approx(8 / 17)
    assert metrics["nsd_2mm"] == pytest.approx(16 / 17)


@pytest.mark.parametrize(
    "wrong",
    [{"nsd_mm": (0.0,)}, {"nsd_mm": (1.0, -1.0)}, {"nsd_mm": (float("nan"),)}, {"nsd_mm": (1.0, 1.0000001)}, {"field_of_view_mm": -1.0}],
)
def test_refuses_impossible_choices(wrong):
    with pytest.raises(UserError, match="correct --"):
        Scoring(**wrong)

import math
import os

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.evaluate import Scoring, evaluate_folders
from nnunet_da.evaluation.label_maps import read_label_map

METRICS = ("dice", "iou", "precision", "recall", "specificity", "volume_mm3", "volume_error_mm3")
DISTANCES = ("hd_mm", "hd95_mm", "asd_mm", "asd_reference_to_prediction_mm", "asd_prediction_to_reference_mm")


def evaluate(folders, **options):
    return evaluate_folders(folders / "references", folders / "predictions", progress=False, **{"processes": 1, **options})


def test_every_case_and_label_has_every_metric(folders):
    evaluation = evaluate(folders, domains="A", method="m")
    assert [scores.files.case for scores in evaluation.cases] == [f"case_{index}" for index in range(4)]
    assert evaluation.labels.keys == {"1": "head", "2": "shaft"}
    assert all(list(metrics) == [*METRICS, *DISTANCES, "nsd_1mm"] for scores in evaluation.cases for metrics in scores.metrics.values())
    assert evaluation.failed == {}


def test_spacing_is_used_in_the_order_of_the_axes(tmp_path, write):
    reference = np.zeros((6, 7, 8), np.uint8)
    reference[1, 2, 3] = 1
    for axis, expected in enumerate((2.5, 0.8, 0.9)):
        write(reference, tmp_path / str(axis) / "references" / "a.nii.gz", (2.5, 0.8, 0.9))
        write(np.roll(reference, 1, axis), tmp_path / str(axis) / "predictions" / "a.nii.gz", (2.5, 0.8, 0.9))
        metrics = evaluate(tmp_path / str(axis)).cases[0].metrics["1"]
        assert metrics["hd_mm"] == pytest.approx(expected)
        assert evaluate(tmp_path / str(axis)).cases[0].overlaps["1"].voxel_volume_mm3 == pytest.approx(2.5 * 0.8 * 0.9)


def test_empty_masks(folders):
    evaluation = evaluate(folders)
    one_empty, both_empty = (evaluation.cases[index].metrics["2"] for index in (2, 3))
    assert one_empty["dice"] == 0
    assert all(math.isnan(one_empty[name]) for name in (*DISTANCES, "precision"))
    assert both_empty["dice"] == 1
    assert [both_empty[name] for name in DISTANCES] == [0] * 5
    assert evaluation.undefined() == [("case_2", "2", name) for name in ("precision", *DISTANCES)]


def test_processes_change_nothing(folders):
    one, two = (evaluate(folders, processes=processes) for processes in (1, 2))
    assert str([scores.metrics for scores in one.cases]) == str([scores.metrics for scores in two.cases])


def test_labels_of_the_references_without_dataset_json(folders):
    (folders / "predictions" / "dataset.json").unlink()
    assert evaluate(folders).labels.keys == {"1": "1", "2": "2"}


def test_regions(folders, set_labels):
    set_labels(folders / "predictions", {"background": 0, "whole": [1, 2], "shaft": 2})
    evaluation = evaluate(folders)
    assert list(evaluation.cases[0].metrics) == ["(1, 2)", "2"]
    assert evaluation.cases[0].overlaps["(1, 2)"].reference_voxels == np.count_nonzero(
        read_label_map(folders / "references" / "case_0.nii.gz")[0]
    )


def test_ignored_voxels_count_nowhere(folders, set_labels):
    set_labels(folders / "predictions", {"background": 0, "head": 1, "ignore": 2})
    (folders / "predictions" / "case_0.nii.gz").unlink()
    (folders / "predictions" / "case_1.nii.gz").unlink()
    evaluation = evaluate(folders)
    counts = evaluation.cases[0].overlaps["1"]
    ignored = np.count_nonzero(read_label_map(folders / "references" / "case_2.nii.gz")[0] == 2)
    total = counts.true_positives + counts.false_positives + counts.false_negatives + counts.true_negatives
    assert total == 8 * 20 * 22 - ignored
    assert evaluation.labels.keys == {"1": "head"}


def test_missing_and_damaged_cases_are_listed_and_the_rest_is_done(folders):
    (folders / "predictions" / "case_0.nii.gz").unlink()
    damaged = folders / "predictions" / "case_1.nii.gz"
    os.truncate(damaged, damaged.stat().st_size * 2 // 3)
    (folders / "references" / "case_3.nii.gz").write_bytes(b"no image")
    evaluation = evaluate(folders)
    assert [scores.files.case for scores in evaluation.cases] == ["case_2"]
    assert list(evaluation.failed) == ["case_0", "case_1", "case_3"]
    assert "no prediction" in evaluation.failed["case_0"]
    assert "case_1.nii.gz" in evaluation.failed["case_1"]


def test_nothing_scored_is_an_error(folders):
    for file in (folders / "predictions").glob("*.nii.gz"):
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"no case could be scored.*case_0"):
        evaluate(folders)


def test_predictions_without_reference_are_noted(folders):
    (folders / "references" / "case_1.nii.gz").unlink()
    assert evaluate(folders).unexpected_predictions == ["case_1"]


@pytest.mark.parametrize("processes", [1, 2])
def test_refuses_labels_outside_dataset_json(folders, set_labels, processes):
    set_labels(folders / "predictions", {"background": 0, "head": 1})
    with pytest.raises(UserError, match=r"case_\d.nii.gz must hold the labels \[0, 1\] of dataset.json, got \[2\]"):
        evaluate(folders, processes=processes)


def test_refuses_predictions_with_the_ignore_label(folders, set_labels):
    set_labels(folders / "predictions", {"background": 0, "head": 1, "ignore": 2})
    with pytest.raises(UserError, match=r"predictions/case_0.nii.gz must hold"):
        evaluate(folders)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spacing_mm": (2.0, 0.8, 0.9)}, "same spacing"),
        ({"origin": (0.0, 0.0, 0.0)}, "same origin"),
    ],
)
def test_refuses_another_geometry_before_any_work(folders, write, change, said):
    write(np.zeros((8, 20, 22), np.uint8), folders / "predictions" / "case_3.nii.gz", **change)
    with pytest.raises(UserError, match=said):
        evaluate(folders)


def test_counts_the_cases_of_another_geometry(folders, write):
    for index in (1, 3):
        write(np.zeros((8, 20, 21), np.uint8), folders / "predictions" / f"case_{index}.nii.gz")
    with pytest.raises(UserError, match=r"case case_1: .*same size.*--allow-resample.* 2 of 4 cases"):
        evaluate(folders)


@pytest.mark.parametrize("processes", [1, 2])
def test_resamples_when_asked_and_says_so(folders, write, processes):
    reference, geometry = read_label_map(folders / "references" / "case_1.nii.gz")
    spacing_mm = (geometry.spacing_mm[0], geometry.spacing_mm[1] / 3, geometry.spacing_mm[2])
    origin = (-10.0, 5.0 - spacing_mm[1], 3.0)
    write(reference.repeat(3, 1), folders / "predictions" / "case_1.nii.gz", spacing_mm, origin)
    cases = evaluate(folders, scoring=Scoring(allow_resample=True), processes=processes).cases
    assert [scores.resampled is not None for scores in cases] == [False, True, False, False]
    assert cases[1].metrics["2"]["dice"] == 1
    assert cases[1].resampled.from_size == (8, 60, 22)


def test_resampling_cannot_bridge_dimensions(folders, write):
    write(np.zeros((20, 22), np.uint8), folders / "predictions" / "case_1.nii.gz", (0.8, 0.9))
    with pytest.raises(UserError, match="same dimensions"):
        evaluate(folders, scoring=Scoring(allow_resample=True))


def test_one_case_is_enough(tmp_path, write):
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1, 2, 3] = 1
    for part in ("references", "predictions"):
        write(mask, tmp_path / part / "a.nii.gz")
    evaluation = evaluate(tmp_path, processes=2)
    assert [scores.metrics["1"]["dice"] for scores in evaluation.cases] == [1]


def test_images_of_two_dimensions(tmp_path, write):
    mask = np.zeros((12, 15), np.uint8)
    mask[3:9, 4:10] = 1
    write(mask, tmp_path / "references" / "a.png", (1.0, 1.0))
    write(np.roll(mask, 2, 1), tmp_path / "predictions" / "a.png", (1.0, 1.0))
    metrics = evaluate(tmp_path).cases[0].metrics["1"]
    assert (metrics["hd_mm"], metrics["volume_mm3"]) == (2, 36)


def test_refuses_references_without_any_label(tmp_path, write):
    for part in ("references", "predictions"):
        write(np.zeros((4, 5, 6), np.uint8), tmp_path / part / "a.nii.gz")
    with pytest.raises(UserError, match="every reference is empty"):
        evaluate(tmp_path)

import shutil

import numpy as np

from nnunet_da.diagnosis.held_out import HeldOut, HeldOutCase, held_out_cases, read_scans
from nnunet_da.diagnosis.runs import load_run


def names(cases):
    return [case.case for case in cases]


def test_what_is_held_out(runs):
    found = held_out_cases(load_run(runs["adapted"]))
    assert names(found.source) == ["A_00", "A_01", "A_02", "A_03", "A_test_0", "A_test_1", "A_test_2"]  # A_04 was trained on
    assert names(found.target) == [f"B_test_{index}" for index in range(5)]
    assert not found.transductive
    assert found.too_few() is None


def test_without_test_scans_the_targets_training_scans_serve_and_it_is_said(runs, centres_copy):
    shutil.rmtree(centres_copy / "nnUNet_raw" / "Dataset102_B" / "imagesTs")
    found = held_out_cases(load_run(runs["adapted"]))
    assert names(found.target) == ["B_00", "B_01", "B_02", "B_03"]
    assert found.transductive
    assert "seen unlabelled in training" in found.notes[1]
    assert "4 of the target" in found.too_few()


def test_scans_that_the_settings_left_out_are_held_out(runs, edit_checkpoint):
    edit_checkpoint(runs["adapted"], lambda content: content["nnunet_da"]["settings"].update(target_datasets={"Dataset102_B": ["B_00"]}))
    found = held_out_cases(load_run(runs["adapted"]))
    assert names(found.target)[5:] == ["B_01", "B_02", "B_03"]
    assert not found.transductive


def test_nothing_at_hand_is_not_a_crash(runs, monkeypatch, centres_copy):
    monkeypatch.delenv("nnUNet_raw")
    (centres_copy / "nnUNet_preprocessed" / "Dataset101_A" / "splits_final.json").unlink()
    found = held_out_cases(load_run(runs["adapted"]))
    assert found.source == []
    assert "0 of the source" in found.too_few()


def test_both_ways_to_a_scan_give_the_same_voxels(runs, centres_copy):
    """Validation cases come from disk as training saw them, test cases are preprocessed now: that must not tell the domains apart."""
    run = load_run(runs["adapted"])
    case = held_out_cases(run).source[0]
    images = tuple((centres_copy / "nnUNet_raw" / case.dataset / "imagesTr").glob(f"{case.case}_*"))
    (stored,), (fresh,) = (list(read_scans(run, [each])) for each in (case, HeldOutCase(case.case, case.dataset, images)))
    np.testing.assert_array_equal(stored.data, fresh.data)
    np.testing.assert_array_equal(stored.inside, fresh.inside)


def test_four_cases_are_too_few():
    cases = [HeldOutCase(str(index), "d") for index in range(5)]
    assert HeldOut(cases, cases).too_few() is None
    assert "4 of the target" in HeldOut(cases, cases[:4]).too_few()

"""Which pairs cross a border."""

import json
from pathlib import Path

import pytest

from nnunet_da.audit.leakage import PATIENT, border, folds_of, in_both_parts, leaks_of, same_patient
from nnunet_da.audit.scans import SOURCE, TARGET, TEST, TRAIN, AuditScan
from nnunet_da.datasets import find_dataset
from nnunet_da.errors import UserError

FOLDS = {"A": [(frozenset("ab"), frozenset("c")), (frozenset("c"), frozenset("ab"))]}


def scan(case: str, dataset: str = "A", split: str = TRAIN, patient: str = "") -> AuditScan:
    return AuditScan(dataset, case, SOURCE if dataset == "A" else TARGET, split, (Path(case),), patient=patient)


@pytest.mark.parametrize(
    ("first", "second", "between"),
    [
        (scan("a"), scan("b"), ""),
        (scan("a"), scan("c"), "training and validation of a fold"),
        (scan("c"), scan("a"), "training and validation of a fold"),
        (scan("a"), scan("x", split=TEST), "source train and source test"),
        (scan("x", split=TEST), scan("y", split=TEST), ""),
        (scan("a"), scan("x", "B"), "source train and target train"),
        (scan("a"), scan("x", "B", TEST), "source train and target test"),
        (scan("x", "B"), scan("y", "B"), ""),
        (scan("x", "B"), scan("y", "B", TEST), "target train and target test"),
    ],
)
def test_borders(first, second, between):
    assert border(first, second, FOLDS) == between


def test_patients_are_paired_and_those_unknown_are_not():
    scans = [
        scan("a", patient="1"),
        scan("c", patient="1"),
        scan("x", "B", patient=""),
        scan("y", "B", patient=""),
        scan("z", "B", patient="1"),
    ]
    leaks, harmless = leaks_of(PATIENT, same_patient(scans), FOLDS)
    assert [(leak.first.case, leak.second.case) for leak in leaks] == [("a", "c"), ("a", "z"), ("c", "z")]
    assert harmless == []


def test_folds_come_from_the_file_or_from_nnunet(make_centre, nnunet_folders):
    make_centre(101, "A", cases=6)
    folds, origin = folds_of(find_dataset("101"))
    assert "by itself" in origin
    assert sorted(case for _, validation in folds for case in validation) == [f"A_{index:02d}" for index in range(6)]
    file = nnunet_folders / "nnUNet_preprocessed" / "Dataset101_A" / "splits_final.json"
    file.parent.mkdir()
    file.write_text(json.dumps([{"train": ["A_00"], "val": ["A_01"]}]))
    assert folds_of(find_dataset("101")) == ([(frozenset({"A_00"}), frozenset({"A_01"}))], "splits_final.json")
    file.write_text('{"train": []}')
    with pytest.raises(UserError, match="list of folds"):
        folds_of(find_dataset("101"))


def test_too_few_cases_have_no_folds(make_centre):
    make_centre(101, "A", cases=3)
    assert folds_of(find_dataset("101"))[0] == []


def test_a_case_in_both_parts_of_a_fold_is_a_leak():
    folds = {"A": [(frozenset("ab"), frozenset("bc"))]}
    (leak,) = in_both_parts([scan("a"), scan("b"), scan("c"), scan("b", split=TEST), scan("b", "B")], folds)
    assert (leak.first.name, leak.between) == ("A/train/b", "training and validation of a fold")


def test_a_patient_spelled_in_two_ways_is_one():
    pairs = list(same_patient([scan("a", patient="P07"), scan("x", "B", patient="p7"), scan("y", "B", patient="p70")]))
    assert [(first.case, second.case, detail) for first, second, detail in pairs] == [("a", "x", "patient P07 and p7")]

"""`nnunet-da audit` as a user calls it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(out: Path, *more: str, targets: tuple[str, ...] = ("102",)) -> int:
    return main(["audit", "-d", "101", "-t", *targets, "-o", str(out), "--permutations", "40", "--processes", "1", *more])


def record(out: Path) -> dict:
    return json.loads((out / "audit.json").read_text())


def test_two_centres_without_leaks(make_centre, out, capsys):
    make_centre(101, "A", cases=6, seed=1)
    make_centre(102, "B", cases=6, seed=2, labels=False, offset_hu=200)
    assert run(out) == 0
    printed = capsys.readouterr().out
    found = record(out)
    assert found["layout"] == 1
    assert found["leaks"] == []
    assert found["probes"]["Dataset102_B"]["scans"]["result"]["auc"] > 0.95
    assert "identical" in found["probes"]["Dataset102_B"]["grid"]["not_assessed"]
    assert "does not prove" in printed
    page = (out / "audit.html").read_text()
    assert "does not prove" in page
    assert "No scan stands on two sides" in page
    with (out / "features.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert {row["dataset"] for row in rows} == {"Dataset101_A", "Dataset102_B"}
    assert abs(float(rows[0]["p50"]) + 50) < 10


def test_a_copy_in_the_target_is_a_leak(phantoms, make_dataset, out, capsys):
    rescaled = sitk.Cast(sitk.Cast(phantoms[1], sitk.sitkFloat32) * 0.5 + 100, sitk.sitkInt16)
    make_dataset(101, "A", phantoms[:3])
    make_dataset(102, "B", phantoms[3:5], [rescaled])
    assert run(out) == 1
    captured = capsys.readouterr()
    (leak,) = record(out)["leaks"]
    assert {leak["first"], leak["second"]} == {"Dataset101_A/train/ATr_01", "Dataset102_B/test/BTs_00"}
    assert leak["between"] == "source train and target test"
    assert "leak: same scan: Dataset101_A/train/ATr_01" in captured.out
    assert captured.err.splitlines()[-1].startswith("error: 1 leak")


def test_a_patient_on_both_sides_is_a_leak(phantoms, make_dataset, out, tmp_path):
    make_dataset(101, "A", phantoms[:2])
    make_dataset(102, "B", phantoms[2:4])
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\nATr_00,p1\nATr_01,p2\nBTr_00,p1\nBTr_01,p3\n")
    assert run(out, "--patients", str(table)) == 1
    (leak,) = record(out)["leaks"]
    assert (leak["kind"], leak["detail"]) == ("same patient", "patient p1")


def test_target_labels_are_never_opened_unless_asked_for(make_centre, out):
    make_centre(101, "A", cases=3, seed=1)
    target = make_centre(102, "B", cases=3, seed=2)
    for label in (target / "labelsTr").iterdir():
        label.unlink()
        label.write_bytes(b"no label")
    assert run(out) == 0
    assert {name for entry in record(out)["labels"] for name in entry["datasets"]} == {"Dataset101_A"}
    assert any("not opened" in gap for gap in record(out)["not_assessed"])
    assert run(out, "--target-labels", "--overwrite") == 1  # now they are, and cannot be read
    assert len(record(out)["unreadable"]) == 3


def test_labels_are_compared_where_it_is_allowed(make_centre, out):
    make_centre(101, "A", cases=3, seed=1)
    make_centre(102, "B", cases=3, seed=2)
    assert run(out, "--target-labels") == 0
    volume = next(entry for entry in record(out)["labels"] if entry["measure"] == "volume_mm3")
    assert set(volume["datasets"]) == {"Dataset101_A", "Dataset102_B"}
    assert volume["p_holm"]["Dataset102_B"] <= 1


def test_an_unreadable_scan_is_listed_and_the_rest_is_audited(make_centre, out, capsys):
    make_centre(101, "A", cases=3, seed=1)
    broken = make_centre(102, "B", cases=3, seed=2) / "imagesTr" / "B_01_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    assert run(out) == 1
    assert [entry["scan"] for entry in record(out)["unreadable"]] == ["Dataset102_B/train/B_01"]
    assert record(out)["scans"] == {"Dataset101_A": 3, "Dataset102_B": 2}
    assert "1 scan(s) could not be read" in capsys.readouterr().err


def test_one_scan_each_says_what_cannot_be_said(make_centre, out):
    make_centre(101, "A", cases=1, seed=1)
    make_centre(102, "B", cases=1, seed=2)
    assert run(out) == 0
    assert any("a probe needs 5 scans" in gap for gap in record(out)["not_assessed"])
    assert any("too few scans for a mean" in gap for gap in record(out)["not_assessed"])


def test_several_targets(make_centre, out):
    for dataset_id, name in ((101, "A"), (102, "B"), (103, "C")):
        make_centre(dataset_id, name, cases=2, seed=dataset_id)
    assert run(out, targets=("102", "103")) == 0
    assert set(record(out)["probes"]) == {"Dataset102_B", "Dataset103_C"}


def test_a_scan_that_is_no_ct_has_no_noise_in_hu(phantoms, make_dataset, out):
    make_dataset(101, "A", phantoms[:1], channel="MR")
    make_dataset(102, "B", phantoms[1:2], channel="MR")
    assert run(out) == 0
    assert "noise_hu" not in (out / "features.csv").read_text()


def test_names_from_outside_are_escaped(make_centre, out, tmp_path):
    make_centre(101, "A", cases=2, seed=1)
    make_centre(102, "B", cases=2, seed=2)
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\nA_00,<script>\nB_00,<script>\n")
    assert run(out, "--patients", str(table)) == 1
    assert "<script>" not in (out / "audit.html").read_text()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-t", "101"], ["each once"]),
        (["-t", "109"], ["109"]),
        (["-p", "NoPlans"], ["NoPlans"]),
        (["--patients", "missing.csv"], ["missing.csv"]),
        (["--permutations", "3"], ["40"]),
    ],
)
def test_bad_input_is_one_line(make_centre, nnunet_folders, out, refuses, more, words):
    make_centre(101, "A", cases=2, seed=1)
    make_centre(102, "B", cases=2, seed=2)
    refuses(nnunet_folders, ["audit", "-d", "101", "-t", "102", "-o", str(out), *more], *words)


@pytest.mark.parametrize("content", ["case\nA_00\n", "case,patient\nX,1\n", "case,patient\nA_00,1\nA_00,2\n"])
def test_unfit_tables_of_patients(make_centre, nnunet_folders, out, refuses, tmp_path, content):
    make_centre(101, "A", cases=2, seed=1)
    make_centre(102, "B", cases=2, seed=2)
    table = nnunet_folders / "patients.csv"
    table.write_text(content)
    refuses(nnunet_folders, ["audit", "-d", "101", "-t", "102", "-o", str(out), "--patients", str(table)], "patients.csv")


def test_results_are_not_overwritten_unasked(make_centre, nnunet_folders, out, refuses):
    make_centre(101, "A", cases=2, seed=1)
    make_centre(102, "B", cases=2, seed=2)
    assert run(out) == 0
    refuses(nnunet_folders, ["audit", "-d", "101", "-t", "102", "-o", str(out)], "--overwrite")
    assert run(out, "--overwrite") == 0


def test_the_same_scans_give_the_same_record(make_centre, out):
    make_centre(101, "A", cases=5, seed=1)
    make_centre(102, "B", cases=5, seed=2)
    run(out)
    first = record(out)["probes"]
    assert run(out, "--overwrite") == 0
    assert record(out)["probes"] == first
    assert np.isfinite(first["Dataset102_B"]["scans"]["result"]["auc"])

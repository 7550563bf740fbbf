"""`nnunet-da audit` as a user calls it."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk

from nnunet_da.audit.audit import AFTER, GRID, NOISE, RAW
from nnunet_da.audit.findings import MIXED, _site
from nnunet_da.audit.preprocessed import Preprocessing
from nnunet_da.audit.probing import FeatureDifference, SiteProbe
from nnunet_da.cli.main import main
from nnunet_da.evaluation.probe import ProbeResult


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
    assert re.search(r"<th[^>]*>The grid alone(?:(?!</th>).)*identical", page, re.DOTALL)  # beside its name
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
    """The probe has its own test."""
    make_centre(101, "A", cases=3, seed=1)
    make_centre(102, "B", cases=3, seed=2)
    run(out)
    first, table = record(out), (out / "features.csv").read_bytes()
    assert run(out, "--overwrite") == 0
    assert {**record(out), "command": ""} == {**first, "command": ""}
    assert (out / "features.csv").read_bytes() == table


def test_a_single_feature_may_tell_what_all_together_do_not():
    chance = ProbeResult(0.5, 0.3, 0.7, 0.5, 9, 9)
    probes = dict.fromkeys((RAW, AFTER, GRID, NOISE), SiteProbe(chance, "", [FeatureDifference("x", 0.9, 0.01, 0, 1)], []))
    scans = Preprocessing((1.0, 1.0, 1.0))
    audit = SimpleNamespace(probes={"B": probes}, source="A", preprocessing=scans, of=lambda _: [])
    finding = next(_site(audit, "B"))
    assert (finding.answer, finding.kind) == ("Not by all features together, but by single ones: AUC 0.50", MIXED)


def several_channels(folder: Path, names: list[str]) -> None:
    """Every scan gets a second channel."""
    for file in folder.glob("images*/*_0000.nii.gz"):
        sitk.WriteImage(sitk.ReadImage(str(file)) * 2, str(file).replace("_0000", "_0001"))
    description = json.loads((folder / "dataset.json").read_text())
    description["channel_names"] = {str(place): names[place] for place in (1, 0)}
    (folder / "dataset.json").write_text(json.dumps(description))


def test_several_channels_are_told_by_their_place(make_centre, out):
    several_channels(make_centre(101, "A", cases=2, seed=1), ["T1", "T2"])
    several_channels(make_centre(102, "B", cases=2, seed=2), ["t1w", "t2w"])
    assert run(out) == 0
    found = record(out)["probes"]["Dataset102_B"]["scans"]
    assert found["dropped"] == []
    assert {"T1: p50", "T2: p50"} <= {feature["name"] for feature in found["features"]}
    assert any("t1w, t2w" in gap for gap in record(out)["not_assessed"])


def test_a_test_scan_without_a_channel_is_unreadable(make_centre, out):
    several_channels(make_centre(101, "A", cases=2, seed=1), ["MR", "MR"])
    several_channels(folder := make_centre(102, "B", cases=2, seed=2), ["MR", "MR"])
    (folder / "imagesTs").mkdir()
    (folder / "imagesTs" / "B_09_0000.nii.gz").write_bytes((folder / "imagesTr" / "B_00_0001.nii.gz").read_bytes())
    assert run(out) == 1
    (entry,) = record(out)["unreadable"]
    assert (entry["scan"], "2 channel(s)" in entry["reason"]) == ("Dataset102_B/test/B_09", True)


def test_no_readable_scan_at_all_is_one_line(make_centre, nnunet_folders, out, refuses):
    for folder in (make_centre(101, "A", cases=1), make_centre(102, "B", cases=1)):
        next((folder / "imagesTr").iterdir()).write_bytes(b"garbage")
    refuses(nnunet_folders, ["audit", "-d", "101", "-t", "102", "-o", str(out)], "must have readable scans")


def test_listed_cases_have_the_labels_listed(make_centre, nnunet_folders, out, refuses):
    folder = make_centre(101, "A", cases=1, seed=1)
    make_centre(102, "B", cases=1, seed=2)
    (folder / "labelsTr").rename(folder / "elsewhere")
    description = json.loads((folder / "dataset.json").read_text())
    listed = {"images": ["imagesTr/A_00_0000.nii.gz"], "label": "elsewhere/A_00.nii.gz"}
    for case in (listed, {"image": "x"}):
        (folder / "dataset.json").write_text(json.dumps({**description, "dataset": {"A_00": case}}))
        if case is listed:
            assert run(out) == 0
            assert {name for entry in record(out)["labels"] for name in entry["datasets"]} == {"Dataset101_A"}
    refuses(nnunet_folders, ["audit", "-d", "101", "-t", "102", "-o", str(out), "--overwrite"], "'images' and 'label'")


def test_a_label_that_is_missing_is_said_and_one_that_is_no_file_is_unreadable(make_centre, out):
    labels = sorted((make_centre(101, "A", cases=2, seed=1) / "labelsTr").iterdir())
    make_centre(102, "B", cases=1, seed=2)
    for label in labels:
        label.unlink()
    labels[0].mkdir()
    assert run(out) == 1
    assert [entry["scan"] for entry in record(out)["unreadable"]] == ["Dataset101_A/train/A_00"]
    assert any("A_01 would be trained on: no label map" in gap for gap in record(out)["not_assessed"])


@pytest.mark.parametrize(
    "content", ["\ufeffCase; Patient\nA_00;p1\nB_00;p1\n;;\n", "dataset,case,patient\n101,A_00,p1\nDataset102_B,B_00,p1\n"]
)
def test_tables_as_spreadsheets_save_them(make_centre, out, tmp_path, content):
    make_centre(101, "A", cases=1, seed=1)
    make_centre(102, "B", cases=1, seed=2)
    table = tmp_path / "patients.csv"
    table.write_text(content, encoding="utf-8")
    assert run(out, "--patients", str(table)) == 1
    assert len(record(out)["leaks"]) == 1


def test_scans_that_the_table_does_not_name_are_a_gap(make_centre, out, tmp_path, capsys):
    make_centre(101, "A", cases=2, seed=1)
    make_centre(102, "B", cases=1, seed=2)
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\nA_00,p1\nA_01\n")
    assert run(out, "--patients", str(table)) == 0
    assert "Patients: not known of 2 of 3 scans." in capsys.readouterr().out
    assert "and no patient" not in (out / "audit.html").read_text()
    assert any("A_01, Dataset102_B/train/B_00 stand on two sides" in gap for gap in record(out)["not_assessed"])

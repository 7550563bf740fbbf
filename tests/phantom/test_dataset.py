import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli import phantom as verb
from nnunet_da.cli.main import main
from nnunet_da.errors import UserError
from nnunet_da.phantom import dataset
from nnunet_da.phantom.cohort import SWITCHES, Window, centre
from nnunet_da.phantom.dataset import write_dataset

TINY = Window(size_mm=(180, 180, 180), pixel_mm=5.0, slice_scale=3.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    return write_dataset(raw, 31, "Phantom", centre("rochester"), 2, 1, 5, window=TINY)


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def table(folder):
    return list(csv.DictReader((folder / "phantom.csv").read_text().splitlines()))


def test_files_are_those_of_nnunet(written):
    assert written.name == "Dataset031_Phantom"
    assert names(written) == [
        "dataset.json",
        "imagesTr/rochester_0001_0000.nii.gz",
        "imagesTr/rochester_0002_0000.nii.gz",
        "imagesTs/rochester_0003_0000.nii.gz",
        "labelsTr/rochester_0001.nii.gz",
        "labelsTr/rochester_0002.nii.gz",
        "labelsTs/rochester_0003.nii.gz",
        "phantom.csv",
    ]
    description = json.loads((written / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "femur": 1}
    assert description["channel_names"] == {"0": "CT"}
    assert description["numTraining"] == 2
    assert description["file_ending"] == ".nii.gz"
    assert description["phantom"]["centre"] == "rochester"


def test_image_and_label_share_a_geometry_with_the_left_hip_in_it(written):
    image, label = (sitk.ReadImage(str(written / f)) for f in ("imagesTs/rochester_0003_0000.nii.gz", "labelsTs/rochester_0003.nii.gz"))
    assert image.GetPixelID() == sitk.sitkInt16
    assert label.GetPixelID() == sitk.sitkUInt8
    assert image.GetSpacing() == label.GetSpacing() == (5.0, 5.0, 9.0)
    assert image.GetOrigin() == label.GetOrigin()
    assert image.GetDirection() == label.GetDirection()
    middle = label.TransformContinuousIndexToPhysicalPoint([n / 2 for n in label.GetSize()])
    assert middle[0] > 60  # patient-left is +x
    assert set(np.unique(sitk.GetArrayFromImage(label))) == {0, 1}


def test_table_tells_the_truth_about_each_case(written):
    rows = table(written)
    assert [r["case"] for r in rows] == ["rochester_0001", "rochester_0002", "rochester_0003"]
    assert [r["split"] for r in rows] == ["Tr", "Tr", "Ts"]
    for row in rows:
        assert row["sex"] in "MF"
        assert 27 <= float(row["age_years"]) <= 90
        assert float(row["trabecular_head_mg_cm3"]) > 100
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(written / "labelsTs" / "rochester_0003.nii.gz")))
    assert float(rows[2]["label_volume_mm3"]) == pytest.approx(label.sum() * 5 * 5 * 9)


def test_without_labels_only_the_test_cases_have_some(tmp_path):
    folder = write_dataset(tmp_path, 1, "A", centre("tulane"), 1, 1, 0, labels=False, window=TINY)
    assert not (folder / "labelsTr").exists()
    assert len(list((folder / "labelsTs").iterdir())) == 1


def test_processes_do_not_change_the_result(written, tmp_path):
    again = write_dataset(tmp_path, 31, "Phantom", centre("rochester"), 2, 1, 5, processes=2, window=TINY)
    for name in names(written):
        if name.endswith(".nii.gz"):
            first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / name))) for f in (written, again))
            assert np.array_equal(first, second)
    assert (written / "phantom.csv").read_text() == (again / "phantom.csv").read_text()


def test_one_seed_gives_other_people_at_another_centre(tmp_path):
    folders = [
        write_dataset(tmp_path, i, "A", centre(n, 0, population=False), 0, 1, 0, window=TINY) for i, n in ((1, "tulane"), (2, "rochester"))
    ]
    seeds = [table(f)[0]["seed"] for f in folders]
    assert seeds[0] != seeds[1]


def test_existing_datasets_are_kept_unless_told(written, tmp_path):
    before = names(written)
    with pytest.raises(UserError, match="must not exist yet"):
        write_dataset(written.parent, 31, "Phantom", centre("tulane"), 1, 0, 0, window=TINY)
    with pytest.raises(UserError, match="id 31 must be free"):
        write_dataset(written.parent, 31, "Other", centre("tulane"), 1, 0, 0, window=TINY)
    assert names(written) == before
    first = write_dataset(tmp_path, 3, "A", centre("tulane"), 1, 0, 0, window=TINY)
    assert write_dataset(tmp_path, 3, "A", centre("tulane"), 0, 1, 0, window=TINY, overwrite=True) == first
    assert not list((first / "imagesTr").iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "write_case", lambda job: (_ for _ in ()).throw(RuntimeError("disk full")))
    with pytest.raises(RuntimeError):
        write_dataset(tmp_path, 4, "A", centre("tulane"), 1, 0, 0, window=TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_id": 0}, "1 to 999"),
        ({"dataset_name": "a/b"}, "letters, digits"),
        ({"n_train": 0, "n_test": 0}, "not both 0"),
        ({"n_train": -1}, "0 or more"),
        ({"processes": 0}, "1 or more"),
    ],
)
def test_bad_input(tmp_path, changes, message):
    arguments = {"dataset_id": 1, "dataset_name": "A", "centre": centre("tulane"), "n_train": 1, "n_test": 1, "seed": 0, **changes}
    with pytest.raises(UserError, match=message):
        write_dataset(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_raw_folder(tmp_path):
    with pytest.raises(UserError, match="raw folder must exist"):
        write_dataset(tmp_path / "none", 1, "A", centre("tulane"), 1, 1, 0)


def test_command_writes_a_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    size = ["--window-mm", "180", "180", "180", "--pixel-mm", "5", "--slice-scale", "3"]
    common = ["phantom", "-d", "7", "--name", "P", "--centre", "rochester", "--train", "1", "--test", "1", "--processes", "1", *size]
    assert main([*common, "--no-labels", "--off", "kernel", "--on", "voltage"]) == 0
    assert str(tmp_path / "Dataset007_P") in capsys.readouterr().out
    differs = json.loads((tmp_path / "Dataset007_P" / "dataset.json").read_text())["phantom"]["differs"]
    assert "kernel" not in differs
    assert "voltage" in differs


@pytest.mark.parametrize(
    "extra", [["--centre", "mayo"], ["--centre", "tulane", "--on", "noise", "--off", "noise"], ["--centre", "tulane", "--severity", "9"]]
)
def test_command_refuses_bad_input_with_one_line(tmp_path, monkeypatch, capsys, extra):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert main(["phantom", "-d", "7", "--name", "P", *extra]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_the_commands_switches_are_the_cohorts():
    assert verb.SWITCHES == SWITCHES

import csv

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.dataset import DatasetSpecification
from nnunet_da.conversion.engine import convert_scans
from nnunet_da.conversion.scan import Loaded, Scan


def load(scan):
    """2 x 2 x 2 mm, 4 voxels of air, 2 below it, 3 of bone; the label marks the bone."""
    voxels = np.full((2, 3, 4), 40, np.int16)
    voxels[0, 0] = -1024
    voxels[0, 1, :2] = -2000
    voxels[1, 2, :3] = 900
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((2.0, 2.0, 2.0))
    label = image > 500
    notes = {"slope": "0.9"} if scan.case == "a" else {"rods": "5"}
    return Loaded((image, sitk.Cast(image, sitk.sitkFloat32)), label, "left", ("cut short",), notes)


@pytest.fixture
def rows(raw, tmp_path):
    dataset = DatasetSpecification(101, "A", ("CT", "PET"), {"background": 0, "bone": 1})
    for case in "ab":
        (tmp_path / case).touch()
    convert_scans([Scan(case, (tmp_path / case,), tmp_path / case) for case in "ab"], load, dataset, pictures=False)
    with (dataset.folder / "conversion.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_per_image(rows, tmp_path):
    assert [(row["case"], row["channel"], row["output"]) for row in rows[:2]] == [
        ("a", "0", "imagesTr/a_0000.nii.gz"),
        ("a", "1", "imagesTr/a_0001.nii.gz"),
    ]
    assert {row["input"] for row in rows[:2]} == {str(tmp_path / "a")}  # one file gave both channels


def test_values_worked_by_hand(rows):
    row = rows[0]
    assert (row["spacing_mm"], row["shape"], row["side"]) == ("2 2 2", "2 3 4", "left")
    assert (row["intensity_min"], row["intensity_max"]) == ("-2000", "900")
    assert float(row["below_air_percent"]) == pytest.approx(100 * 2 / 24, abs=0.01)  # -1024 itself is air
    assert row["label_voxels"] == "0:21 1:3"
    assert row["label_mm3"] == "1:24"
    assert "-2000 HU in many voxels, below -1024 HU: padding" in row["warnings"]
    assert row["warnings"].endswith("; cut short")


def test_hounsfield_columns_are_for_ct_alone(rows):
    assert rows[1]["below_air_percent"] == ""
    assert rows[1]["warnings"] == ""


def test_columns_of_the_format_come_last(rows):
    assert list(rows[0])[-2:] == ["slope", "rods"]
    assert [(row["slope"], row["rods"]) for row in rows] == [("0.9", ""), ("", ""), ("", "5"), ("", "")]


def load_noise(scan):
    """Air with noise, as in HR-pQCT: every fifth voxel lies below -1024 HU, no value in many of them."""
    return Loaded((sitk.GetImageFromArray(np.random.default_rng(0).normal(-900, 150, (10, 30, 40)).astype(np.int16)),))


def load_slice(scan):
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.int16).reshape(3, 4))
    image.SetSpacing((2.0, 3.0))
    return Loaded((image,), image > 6)


def only_row(folder):
    with (folder / "conversion.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


def test_noise_below_air_is_no_padding(tmp_path):
    convert_scans([Scan("a", (tmp_path,))], load_noise, tmp_path.parent / f"{tmp_path.name}_out", pictures=False)
    row = only_row(tmp_path.parent / f"{tmp_path.name}_out")
    assert float(row["below_air_percent"]) > 15
    assert "padding" not in row["warnings"]


def test_areas_of_slices_have_their_own_column(raw, tmp_path):
    (tmp_path / "a").touch()
    dataset = DatasetSpecification(101, "A", ("CT",), {"background": 0, "bone": 1})
    convert_scans([Scan("a", (tmp_path / "a",), tmp_path / "a")], load_slice, dataset, pictures=False)
    row = only_row(dataset.folder)
    assert (row["label_mm2"], row["label_mm3"]) == ("1:30", "")  # 5 pixels of 2 x 3 mm

"""Label measures worked by hand."""

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.audit.labels import measure_labels


@pytest.fixture
def files(tmp_path):
    """A hollow block of 4 x 4 x 4 voxels and a single voxel apart; spacing 3, 1, 2 mm; the body fills the scan."""
    label = np.zeros((10, 12, 14), np.uint8)
    label[2:6, 2:6, 9:13] = 1
    label[3:5, 3:5, 10:12] = 0
    label[0, 8, 2] = 2
    written = []
    for name, array in (("label", label), ("image", np.zeros(label.shape, np.int16))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2.0, 1.0, 3.0))
        written.append(tmp_path / f"{name}.nii.gz")
        sitk.WriteImage(image, str(written[-1]))
    return written


def test_measures_by_hand(files):
    found = measure_labels(*files, {1: "bone", 2: "speck", 3: "absent"})
    assert found == {
        "bone": {
            "volume_mm3": 56 * 6.0,
            "extent_si_mm": 12.0,
            "components": 1.0,
            "holes_mm3": 8 * 6.0,
            "touches_end": 0.0,
            "side_mm": pytest.approx((10.5 - 6.5) * 2),
        },
        "speck": {
            "volume_mm3": 6.0,
            "extent_si_mm": 3.0,
            "components": 1.0,
            "holes_mm3": 0.0,
            "touches_end": 1.0,
            "side_mm": pytest.approx((2 - 6.5) * 2),
        },
    }


def test_another_order_of_the_array_changes_nothing(files):
    before = measure_labels(*files, {1: "bone"})
    for file in files:
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(file)), "SAR"), str(file))
    assert measure_labels(*files, {1: "bone"}) == before


def test_pieces_are_counted(files):
    label = sitk.ReadImage(str(files[0]))
    label[0, 0, 9] = 1
    sitk.WriteImage(label, str(files[0]))
    found = measure_labels(*files, {1: "bone"})["bone"]
    assert (found["components"], found["touches_end"]) == (2.0, 1.0)


def test_a_region_is_measured_as_one(files):
    found = measure_labels(*files, {(1, 2): "both", (2, 9): "speck", (9,): "absent"})
    assert found["both"]["volume_mm3"] == 57 * 6.0
    assert (found["both"]["components"], found["both"]["touches_end"]) == (2, 1)
    assert found["speck"]["volume_mm3"] == 6.0
    assert set(found) == {"both", "speck"}

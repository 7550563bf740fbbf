import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import Geometry, read_geometry
from nnunet_da.evaluation.regrid import read_prediction

LABELS = np.random.default_rng(0).integers(0, 3, (6, 7, 8)).astype(np.uint8)


def test_a_finer_grid_of_the_same_space_comes_back_exactly(tmp_path, write):
    reference = read_geometry(write(LABELS, tmp_path / "r.nii.gz", (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    fine = LABELS.repeat(2, 0).repeat(3, 1).repeat(3, 2)  # three voxels per voxel, the middle one at its centre; two along z
    file = write(fine, tmp_path / "p.nii.gz", (1.0, 1 / 3, 1 / 3), (-1 / 3, -1 / 3, -0.5))
    found, resampled = read_prediction(file, reference, "a")
    assert (found == LABELS).all()
    assert resampled.differing == "size"
    assert (resampled.from_size, resampled.covered) == ((12, 21, 24), 1.0)
    assert resampled.from_spacing_mm == pytest.approx((1, 1 / 3, 1 / 3))
    assert resampled.foreground_mm3_before == pytest.approx(resampled.foreground_mm3_after)


def test_a_mirrored_direction_is_turned_back(tmp_path, write):
    reference = read_geometry(write(LABELS, tmp_path / "r.nii.gz"))
    image = sitk.Flip(sitk.ReadImage(str(tmp_path / "r.nii.gz")), (True, True, False))
    sitk.WriteImage(image, str(tmp_path / "p.nii.gz"))
    assert (sitk.GetArrayFromImage(image) != LABELS).any()
    found, resampled = read_prediction(tmp_path / "p.nii.gz", reference, "a")
    assert (found == LABELS).all()
    assert resampled.covered == 1


def test_the_same_grid_is_left_alone(tmp_path, write):
    file = write(LABELS, tmp_path / "p.nii.gz")
    found, resampled = read_prediction(file, read_geometry(file), "a")
    assert (found == LABELS).all()
    assert resampled is None


def test_says_what_is_not_covered(tmp_path, write):
    reference = read_geometry(write(LABELS, tmp_path / "r.nii.gz", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    found, resampled = read_prediction(write(LABELS[:3], tmp_path / "p.nii.gz", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), reference, "a")
    assert (found[:3] == LABELS[:3]).all()
    assert not found[3:].any()
    assert resampled.covered == 0.5


def test_refuses_what_lies_elsewhere_or_has_other_dimensions(tmp_path, write):
    reference = read_geometry(write(LABELS, tmp_path / "r.nii.gz"))
    with pytest.raises(UserError, match=r"case a: .*overlap in space"):
        read_prediction(write(LABELS, tmp_path / "p.nii.gz", origin=(900.0, 0.0, 0.0)), reference, "a")
    with pytest.raises(UserError, match="same dimensions"):
        read_prediction(tmp_path / "p.nii.gz", Geometry((8, 7), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0)), "a")

import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.images import grid_offset_voxels, read_image, voxels_zyx
from nnunet_da.errors import UserError

CLASSES = {".nii": nibabel.Nifti1Image, ".nii.gz": nibabel.Nifti1Image, ".hdr": nibabel.Nifti1Pair}


def save_nifti(path, voxels, ending, order="<"):
    """Write (X, Y, Z) voxels by nibabel, an implementation independent of ITK, in either byte order."""
    image = CLASSES[ending](voxels, np.eye(4))
    header = image.header.as_byteswapped(order)
    nibabel.save(CLASSES[ending](voxels, np.eye(4), header), path)
    return path


@pytest.mark.parametrize(("ending", "order"), list(itertools.product(CLASSES, "<>")))
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_every_flavour_of_nifti_is_read(tmp_path, ending, order, dtype):
    voxels = np.random.default_rng(0).integers(-1000, 1500, (4, 5, 6)).astype(dtype)
    image = read_image(save_nifti(tmp_path / f"a{ending}", voxels, ending, order))
    assert np.array_equal(voxels_zyx(image), voxels.T)


@pytest.mark.parametrize(("ending", "order"), list(itertools.product(CLASSES, "<>")))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_that_itk_would_turn_into_zero_is_refused(tmp_path, ending, order, dtype):
    voxels = np.zeros((4, 5, 6), dtype)
    voxels[3, 4, 5] = np.nan
    path = save_nifti(tmp_path / f"a{ending}", voxels, ending, order)
    assert sitk.ReadImage(str(path))[3, 4, 5] == 0  # the reason for this check
    with pytest.raises(UserError, match="1 NaN or infinite voxels"):
        read_image(path)


@pytest.mark.parametrize("ending", CLASSES)
def test_missing_bytes_that_itk_would_invent_are_refused(tmp_path, ending):
    path = save_nifti(tmp_path / f"a{ending}", np.random.default_rng(0).integers(-1000, 1500, (8, 8, 8)).astype(np.int16), ending)
    data = path.with_suffix(".img") if ending == ".hdr" else path
    data.write_bytes(data.read_bytes()[:-20])
    with pytest.raises(UserError, match="truncated"):
        read_image(path)


def test_large_values_stored_as_integers_with_a_slope_are_read(tmp_path):
    image = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    stored = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(voxels_zyx(read_image(tmp_path / "a.nii.gz")), np.asarray(stored.dataobj).T)


def test_nifti_2_which_itk_cannot_read_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti2Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="unknown format"):
        read_image(tmp_path / "a.nii.gz")


def test_spacing_of_0_that_itk_would_make_1_is_refused(tmp_path, capfd):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.header["pixdim"][3] = 0
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="spacing above 0"):
        read_image(tmp_path / "a.nii.gz")
    assert capfd.readouterr() == ("", "")


def test_uncompressed_twin_is_refused(tmp_path):
    for name in ("a.nii.gz", "a.nii"):
        sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkInt16), str(tmp_path / name))
    with pytest.raises(UserError, match="keep one of the two"):
        read_image(tmp_path / "a.nii.gz")


def test_sheared_grid_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), None)
    image.set_sform(sheared, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="orthonormal"):
        read_image(tmp_path / "a.nii.gz")


def test_reading_prints_nothing(tmp_path, capfd):
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n12"
    )
    with pytest.raises(UserError, match=r"a\.mha"):
        read_image(tmp_path / "a.mha")
    assert capfd.readouterr() == ("", "")


def test_grid_offset_worked_by_hand():
    image = sitk.Image([11, 3, 3], sitk.sitkInt16)
    image.SetSpacing((0.5, 1.0, 2.0))
    other = sitk.Image(image)
    assert grid_offset_voxels(image, other) == 0
    other.SetOrigin((0.0, 0.0, 1.0))  # 1 mm, in voxels of 0.5 mm
    assert grid_offset_voxels(image, other) == pytest.approx(2.0)
    other = sitk.Image(image)
    other.SetSpacing((0.51, 1.0, 2.0))  # 10 steps of 0.01 mm at the far corner
    assert grid_offset_voxels(image, other) == pytest.approx(0.2)
    assert grid_offset_voxels(image, sitk.Image([3, 3, 3], sitk.sitkInt16)) == np.inf

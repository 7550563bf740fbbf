import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.images import read_image
from nnunet_da.conversion.nifti_header import read_nifti_header
from nnunet_da.conversion.stated_orientation import orientation_warnings
from nnunet_da.errors import UserError

ANGLE = 0.3
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])


def affine_of(rotation=TURN, spacing=(-0.7, 0.8, 2.5), origin=(-10.5, 20.25, 300.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * spacing, origin
    return affine


def save(path, qform=None, sform=None, order="<"):
    image = nibabel.Nifti1Image(np.zeros((40, 50, 6), np.int16), None, nibabel.Nifti1Header().as_byteswapped(order))
    image.header.set_zooms((0.7, 0.8, 2.5))
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 0 if sform is None else 1)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_header_as_nibabel_reads_it(tmp_path, name, order):
    path = save(tmp_path / name, affine_of(), affine_of() + np.diag([0, 0, 0.1, 0]), order)
    header, expected = read_nifti_header(path), nibabel.load(path).header
    np.testing.assert_allclose(header.qform, expected.get_qform()[:3], atol=1e-5)
    np.testing.assert_allclose(header.sform, expected.get_sform()[:3], atol=1e-5)
    assert (header.size, header.qform_code, header.sform_code) == ((40, 50, 6), 1, 1)


@pytest.mark.parametrize(("qform", "sform"), [(affine_of(), affine_of()), (affine_of(), None), (None, affine_of())])
def test_one_orientation_is_trusted(tmp_path, qform, sform):
    assert orientation_warnings(save(tmp_path / "a.nii.gz", qform, sform), sides_matter=True) == ()


def test_no_orientation(tmp_path):
    assert "which side is left" in orientation_warnings(save(tmp_path / "a.nii.gz"))[0]


@pytest.mark.parametrize("change", [{"rotation": np.eye(3)}, {"origin": (0, 20.25, 300.0)}])
def test_two_orientations_of_the_same_sides_are_a_warning(tmp_path, change):
    path = save(tmp_path / "a.nii.gz", affine_of(), affine_of(**change))
    assert "the sform counts" in orientation_warnings(path, sides_matter=True)[0]
    read = read_image(path)
    assert read.GetOrigin()[0] == pytest.approx(-affine_of(**change)[0, 3], abs=1e-4)  # ITK is LPS


@pytest.mark.parametrize("flip", [np.diag([-1, 1, 1]), np.diag([-1, -1, 1]), np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])])
def test_two_orientations_of_other_sides(tmp_path, flip):
    path = save(tmp_path / "a.nii.gz", affine_of(), affine_of(flip @ TURN))
    assert "the sform counts" in orientation_warnings(path)[0]
    with pytest.raises(UserError, match="different sides"):
        orientation_warnings(path, sides_matter=True)


@pytest.mark.parametrize(("name", "says"), [("a.nrrd", True), ("a.mha", True), ("a.mhd", True), ("a.gipl", False), ("a.tif", False)])
def test_other_formats(tmp_path, name, says):
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkUInt8), str(tmp_path / name))
    assert orientation_warnings(tmp_path / name) == () if says else "which side" in orientation_warnings(tmp_path / name)[0]


@pytest.mark.parametrize(
    ("name", "said"), [("a.nrrd", b"space: left-posterior-superior\n"), ("a.mha", b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n")]
)
def test_headers_that_leave_it_out(tmp_path, name, said):
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkUInt8), str(tmp_path / name))
    content = (tmp_path / name).read_bytes()
    assert said in content
    (tmp_path / name).write_bytes(content.replace(said, b""))
    assert "which side is left" in orientation_warnings(tmp_path / name)[0]


def test_analyze_has_no_orientation(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "a.hdr")
    assert "which side is left" in orientation_warnings(tmp_path / "a.hdr")[0]

import os

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.arrays import checked_orientation, read_array, read_spacings
from nnunet_da.errors import UserError

SPACING_MM = (2.5, 0.8, 0.7)


@pytest.fixture
def saved(tmp_path):
    def save(voxels: np.ndarray, name="a.npy"):
        np.save(tmp_path / name, voxels)
        return tmp_path / name

    return save


def test_place_of_a_voxel_worked_by_hand(saved):
    voxels = np.zeros((4, 5, 6), np.int16)
    voxels[3, 2, 1] = 700
    image = read_array(saved(voxels), SPACING_MM)
    assert image[1, 2, 3] == 700
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), (0.7, 1.6, 7.5))


def test_orientation_says_where_indices_grow_to(saved):
    image = read_array(saved(np.zeros((4, 5, 6), np.int16)), SPACING_MM, "RAS")
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), (-0.7, -1.6, 7.5))


@pytest.mark.parametrize(
    ("dtype", "pixel"),
    [(np.int64, sitk.sitkInt16), (np.uint16, sitk.sitkInt16), (bool, sitk.sitkUInt8), (np.float64, sitk.sitkFloat32)],
)
def test_simplest_type_that_keeps_the_values(saved, dtype, pixel):
    voxels = np.random.default_rng(0).integers(0, 3000, (3, 4, 5)).astype(dtype)
    image = read_array(saved(voxels), SPACING_MM)
    assert image.GetPixelID() == pixel
    assert np.array_equal(sitk.GetArrayFromImage(image), voxels)


def test_large_integers_keep_32_bits(saved):
    image = read_array(saved(np.full((2, 2, 2), 70000)), SPACING_MM)
    assert image.GetPixelID() == sitk.sitkInt32


def test_npz_with_one_array(tmp_path):
    np.savez(tmp_path / "a.npz", volume=np.ones((2, 3, 4), np.int16))
    assert read_array(tmp_path / "a.npz", SPACING_MM).GetSize() == (4, 3, 2)
    np.savez(tmp_path / "b.npz", image=np.ones((2, 3, 4)), mask=np.ones((2, 3, 4)))
    with pytest.raises(UserError, match="image, mask"):
        read_array(tmp_path / "b.npz", SPACING_MM)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_objects_are_refused_and_never_unpickled(tmp_path, save):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, np.array([Trap(tmp_path / "ran")], dtype=object))
    with pytest.raises(UserError, match="Python objects"):
        read_array(path, SPACING_MM)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (np.zeros((2, 3, 4, 5)), "shape"),
        (np.zeros((0, 3, 4)), "shape"),
        (np.zeros((2, 3, 4), complex), "complex"),
        (np.full((2, 3, 4), np.nan), "24 NaN"),
        (np.full((2, 3, 4), "a"), "real numbers"),
        (np.full((2, 3, 4), 2**40), "32 bits"),
    ],
)
def test_refused_arrays(saved, voxels, words):
    path = saved(voxels)
    with pytest.raises(UserError, match=words) as caught:
        read_array(path, SPACING_MM)
    assert str(path) in str(caught.value)


def test_damaged_file(tmp_path, saved):
    path = saved(np.zeros((9, 9, 9)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"a\.npy"):
        read_array(path, SPACING_MM)
    path.write_bytes(b"text")
    with pytest.raises(UserError, match=r"a\.npy"):
        read_array(path, SPACING_MM)


@pytest.mark.parametrize("text", ["LP", "LLS", "LPX", "LRS", ""])
def test_refused_orientations(text):
    with pytest.raises(UserError, match="three letters"):
        checked_orientation(text)


def test_orientations():
    assert [checked_orientation(text) for text in ("LPS", "ras", "SAL")] == ["LPS", "RAS", "SAL"]


def test_spacing_table_as_a_spreadsheet_saves_it(tmp_path):
    (tmp_path / "spacing.csv").write_bytes(b"\xef\xbb\xbfCase ; Z_mm; y_mm;x_mm\r\n a ;2.5; 0.8 ;0.7\r\n;;;\r\n")
    assert read_spacings(tmp_path / "spacing.csv") == {"a": (2.5, 0.8, 0.7)}


def test_spacing_table(tmp_path):
    table = tmp_path / "spacing.csv"
    table.write_text("case,z_mm,y_mm,x_mm\na,2.5,0.8,0.7\nb,3,1,1\n")
    assert read_spacings(table) == {"a": (2.5, 0.8, 0.7), "b": (3.0, 1.0, 1.0)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,z,y,x\na,1,1,1\n", "columns"),
        ("case,z_mm,y_mm,x_mm\na,1,1\n", "value for 'x_mm' in line 2"),
        ("case,z_mm,y_mm,x_mm\na,1,1,0\n", "above 0"),
        ("case,z_mm,y_mm,x_mm\na,1,1,inf\n", "above 0"),
        ("case,z_mm,y_mm,x_mm\na,1,1,1\na,1,1,2\n", "twice"),
        ("", "columns"),
    ],
)
def test_refused_spacing_tables(tmp_path, text, words):
    (tmp_path / "spacing.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_spacings(tmp_path / "spacing.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_spacings(tmp_path / "none.csv")

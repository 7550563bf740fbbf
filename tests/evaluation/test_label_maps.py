import os

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import Geometry, UnreadableError, check_same_geometry, find_cases, read_geometry, read_label_map

LABELS = np.random.default_rng(0).integers(0, 3, (6, 7, 8)).astype(np.uint8)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_reads_every_format_with_axes_reversed(tmp_path, write, ending):
    found, geometry = read_label_map(write(LABELS, tmp_path / f"a{ending}", spacing_mm=(2.5, 0.8, 0.9)))
    assert (found == LABELS).all()
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.9))
    assert find_cases(tmp_path) == {"a": tmp_path / f"a{ending}"}


def test_whole_numbers_stored_as_float_are_labels(tmp_path, write):
    found, _ = read_label_map(write(LABELS.astype(np.float32), tmp_path / "a.nii.gz"))
    assert found.dtype == np.int32
    assert (found == LABELS).all()


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.8])
def test_a_truncated_file_is_refused_though_simpleitk_reads_some(tmp_path, write, ending, kept):
    file = write(LABELS, tmp_path / f"a{ending}")
    os.truncate(file, int(file.stat().st_size * kept))
    with pytest.raises(UnreadableError, match="a" + ending):
        read_label_map(file)


def test_a_flipped_bit_is_noticed(tmp_path, write):
    file = write(LABELS, tmp_path / "a.nii.gz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)
    with pytest.raises(UnreadableError, match=r"a\.nii\.gz"):
        read_label_map(file)


@pytest.mark.parametrize(("value", "said"), [(0.5, "whole numbers"), (-1.0, "0 and above"), (float("nan"), "NaN")])
def test_refuses_values_that_are_no_labels(tmp_path, write, value, said):
    array = LABELS.astype(np.float32)
    array[2, 3, 4] = value
    with pytest.raises(UserError, match=said):
        read_label_map(write(array, tmp_path / "a.nii.gz"))


def test_refuses_colours(tmp_path):
    import SimpleITK as sitk

    file = tmp_path / "a.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 3), np.uint8), isVector=True), str(file))
    with pytest.raises(UserError, match="one value per voxel"):
        read_label_map(file)


def test_refuses_four_dimensions(tmp_path):
    import SimpleITK as sitk

    file = tmp_path / "a.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.uint8), isVector=False), str(file))
    with pytest.raises(UserError, match="2 or 3 dimensions"):
        read_label_map(file)


def test_reads_two_dimensions(tmp_path, write):
    found, geometry = read_label_map(write(LABELS[0], tmp_path / "a.png", (1.0, 1.0)))
    assert (found == LABELS[0]).all()
    assert len(geometry.spacing_mm) == 2


def test_a_folder_is_searched_for_images_alone(tmp_path, write):
    write(LABELS, tmp_path / "b.nii.gz")
    write(LABELS, tmp_path / "a.with.dots.nrrd")
    (tmp_path / "summary.json").write_text("{}")
    assert list(find_cases(tmp_path)) == ["a.with.dots", "b"]


def test_refuses_empty_missing_and_ambiguous_folders(tmp_path, write):
    with pytest.raises(UserError, match="got none"):
        find_cases(tmp_path)
    with pytest.raises(UserError, match="is none"):
        find_cases(tmp_path / "nowhere")
    write(LABELS, tmp_path / "a.nii.gz")
    write(LABELS, tmp_path / "a.nrrd")
    with pytest.raises(UserError, match="one file per case"):
        find_cases(tmp_path)


GEOMETRY = Geometry((3, 4, 5), (0.8, 0.8, 2.5), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("size", Geometry((3, 4, 6), *list(GEOMETRY.__dict__.values())[1:])),
        ("spacing", Geometry((3, 4, 5), (0.8, 0.8, 2.51), GEOMETRY.origin, GEOMETRY.direction)),
        ("origin", Geometry((3, 4, 5), GEOMETRY.spacing, (0.0, 0.1, 0.0), GEOMETRY.direction)),
        ("direction", Geometry((3, 4, 5), GEOMETRY.spacing, GEOMETRY.origin, (-1.0, 0, 0, 0, 1, 0, 0, 0, 1))),
        ("size", Geometry((3, 4), (0.8, 0.8), (0.0, 0.0), (1.0, 0, 0, 1))),
    ],
)
def test_geometry_must_agree(name, other):
    with pytest.raises(UserError, match=f"case 7.* same {name}"):
        check_same_geometry(GEOMETRY, other, "7")


def test_float32_rounding_is_no_difference(tmp_path, write):
    spacing, origin = (2.5, 0.847123456789, 0.847123456789), (-512.123456789, 233.3, -1024.7)
    first = read_geometry(write(LABELS, tmp_path / "a.nii.gz", spacing, origin))
    second = read_geometry(write(LABELS, tmp_path / "a.nrrd", spacing, origin))
    assert first != second
    check_same_geometry(first, second, "a")

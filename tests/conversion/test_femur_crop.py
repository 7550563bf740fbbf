import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.femur_crop import (
    LEFT,
    RIGHT,
    Box,
    Window,
    crop,
    expected_box,
    mirror,
    place_box,
    placement,
    shows_one_hip,
    to_lps,
)
from nnunet_da.errors import UserError

SMALL = Window(width_mm=40, height_mm=30)


def image_of(shape=(4, 100, 200), spacing_xyz=(1.0, 1.0, 2.5), direction=None) -> sitk.Image:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-1000, 1500, shape).astype(np.int16))
    image.SetSpacing(spacing_xyz)
    image.SetOrigin((-99.0, 12.0, 7.0))
    if direction:
        image.SetDirection(direction)
    return image


def label_with(*blocks: tuple[slice, slice], shape=(4, 100, 200)) -> np.ndarray:
    """Blocks of (x, y) voxels on every slice."""
    label = np.zeros(shape, np.uint8)
    for x, y in blocks:
        label[:, y, x] = 1
    return label


def test_window_worked_by_hand():
    image = image_of((4, 100, 200), (0.8, 1.25, 2.5))  # 40 mm are 50 voxels, 30 mm are 24; centre at 150 and 50
    assert expected_box(image, SMALL, LEFT) == Box((125, 38), (175, 62))
    assert expected_box(image, SMALL, RIGHT) == Box((25, 38), (75, 62))


def test_the_papers_window():
    image = image_of((1, 512, 512), (0.78, 0.78, 2.5))
    assert expected_box(image, Window(voxels=192), LEFT) == Box((288, 160), (480, 352))


def test_default_is_160_mm():
    box = expected_box(image_of((1, 512, 512), (0.8, 0.8, 2.5)), Window(), LEFT)
    assert (box.stop[0] - box.start[0], box.stop[1] - box.start[1]) == (200, 200)


@pytest.mark.parametrize("width", [199, 200])
@pytest.mark.parametrize("voxels", [30, 31])
def test_right_window_is_the_left_one_of_the_mirrored_image(width, voxels):
    image = image_of((1, 50, width))
    window = Window(voxels=voxels)
    mirrored = crop(mirror(image), expected_box(mirror(image), window, LEFT))
    assert np.array_equal(sitk.GetArrayFromImage(mirror(crop(image, expected_box(image, window, RIGHT)))), sitk.GetArrayFromImage(mirrored))


def test_window_is_cut_at_the_border_never_padded():
    image = image_of((2, 20, 60))
    box = expected_box(image, SMALL, LEFT).inside((60, 20))
    assert box == Box((25, 0), (60, 20))
    assert crop(image, box).GetSize() == (35, 20, 2)


def test_window_beside_the_image_is_refused():
    with pytest.raises(UserError, match="field of view"):
        expected_box(image_of(), Window(voxels=10), LEFT).inside((100, 100))


@pytest.mark.parametrize("settings", [{"width_mm": 0}, {"width_mm": np.nan}, {"height_mm": np.inf}, {"voxels": 0}, {"centre_width": 1.5}])
def test_refused_windows(settings):
    with pytest.raises(UserError):
        Window(**settings)


ORIENTATIONS = ("LPS", "RAS", "LAI", "PSR", "SLA", "IRP")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_left_femur_is_found_by_orientation_not_by_index(orientation):
    """One scan stored in several ways gives one crop, with every voxel where it was in space."""
    image = image_of()
    stored = sitk.DICOMOrient(image, orientation)
    assert orientation == "LPS" or stored.GetDirection() != image.GetDirection()
    box = expected_box(image, SMALL, LEFT)
    expected = crop(image, box)
    found = to_lps(stored)
    found = crop(found, expected_box(found, SMALL, LEFT))
    assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(found.GetOrigin(), expected.GetOrigin(), atol=1e-9)


def test_oblique_scan_keeps_positions():
    angle = np.deg2rad(20)
    rotation = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    stored = sitk.DICOMOrient(image_of(direction=rotation), "ASR")
    lps = to_lps(stored)
    cut = crop(lps, Box((130, 40), (170, 60)))
    point = cut.TransformIndexToPhysicalPoint((3, 4, 1))
    index = stored.TransformPhysicalPointToIndex(point)
    assert stored[index] == cut[3, 4, 1]
    np.testing.assert_allclose(stored.TransformIndexToPhysicalPoint(index), point, atol=1e-6)


def test_label_inside_moves_nothing():
    label = label_with((slice(140, 160), slice(45, 55)))
    placed, kept, warnings = place_box(Box((130, 35), (170, 65)), label)
    assert placed == Box((130, 35), (170, 65))
    assert kept is label
    assert warnings == []


def test_label_near_the_margin_moves_the_window():
    label = label_with((slice(132, 160), slice(45, 63)))  # 2 voxels from both edges: 3 more are needed
    placed, _, warnings = place_box(Box((130, 35), (170, 65)), label)
    assert placed == Box((127, 38), (167, 68))
    assert len(warnings) == 2
    assert "left-right by -3" in warnings[0]
    assert "front-back by 3" in warnings[1]


def test_label_larger_than_the_window_enlarges_it():
    label = label_with((slice(120, 180), slice(45, 55)))
    placed, _, warnings = place_box(Box((130, 35), (170, 65)), label)
    assert placed == Box((115, 35), (185, 65))
    assert "enlarged left-right from 40 to 70" in warnings[0]


def test_window_keeps_its_size_when_it_comes_back_into_the_image():
    label = label_with((slice(140, 170), slice(45, 55)))
    placed, _, _ = place_box(Box((165, 35), (205, 65)), label)
    assert placed == Box((135, 35), (175, 65))


def test_other_femur_of_the_same_value_is_left_out():
    own, other = (slice(130, 155), slice(45, 55)), (slice(30, 50), slice(45, 55))
    placed, kept, warnings = place_box(Box((130, 35), (170, 65)), label_with(own, other))
    assert placed == Box((125, 35), (165, 65))
    assert np.array_equal(kept, label_with(own))
    assert f"{4 * 20 * 10} label voxels of the other side" in warnings[0]


def test_part_that_reaches_into_the_window_counts_whatever_its_centre():
    label = label_with((slice(60, 132), slice(45, 55)))
    placed, kept, _ = place_box(Box((130, 35), (170, 65)), label)
    assert placed.start[0] == 55
    assert np.array_equal(kept, label)


def test_fragment_on_the_same_side_is_never_cut_off():
    label = label_with((slice(140, 160), slice(45, 55)), (slice(190, 192), slice(45, 47)))
    placed, kept, warnings = place_box(Box((130, 35), (170, 65)), label)
    assert kept[:, 35:65, placed.start[0] : placed.stop[0]].sum() == label.sum()
    assert "enlarged" in warnings[0]


def test_label_of_the_other_side_alone_is_refused():
    with pytest.raises(UserError, match="--side"):
        place_box(Box((130, 35), (170, 65)), label_with((slice(30, 50), slice(45, 55))))


@pytest.mark.parametrize("side", [LEFT, RIGHT])
@pytest.mark.parametrize(("width_mm", "one_hip"), [(40, False), (100, False), (101, True), (160, True)])
def test_field_of_one_hip_worked_by_hand(side, width_mm, one_hip):
    """A field of 200 mm: windows centred at a quarter of it meet in its middle from 100 mm on."""
    image = image_of(spacing_xyz=(0.5, 1.0, 2.5), shape=(4, 100, 400))
    expected = expected_box(image, Window(width_mm=width_mm, height_mm=30), side)
    assert shows_one_hip(image, expected, expected.inside((400, 100))) == one_hip


def test_window_enlarged_to_most_of_the_field_shows_one_hip():
    image = image_of()
    expected = expected_box(image, SMALL, LEFT)
    assert not shows_one_hip(image, expected, Box((60, 30), (180, 70)))
    assert shows_one_hip(image, expected, Box((60, 30), (181, 70)))


def test_many_parts_need_more_than_16_bits():
    """Every second voxel is a part of its own; the other half's are left out."""
    label = np.zeros((41, 82, 164), np.uint8)
    label[::2, ::2, ::2] = 1
    label = np.concatenate([label, label], axis=2)
    _, kept, _ = place_box(Box((164, 0), (328, 82)), label)
    assert label.sum() > 2**16
    assert not kept[:, :, :164].any()
    assert np.array_equal(kept[:, :, 164:], label[:, :, 164:])


def test_empty_label_leaves_the_window():
    assert place_box(Box((180, 35), (220, 65)), label_with())[0] == Box((180, 35), (200, 65))


def test_mirror_reverses_voxels_on_the_same_grid():
    image = crop(image_of(), Box((10, 20), (30, 40)))
    mirrored = mirror(image)
    assert np.array_equal(sitk.GetArrayFromImage(mirrored), sitk.GetArrayFromImage(image)[:, :, ::-1])
    assert mirrored.GetOrigin() == image.GetOrigin()
    assert mirrored.GetDirection() == image.GetDirection()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_placement_brings_a_crop_back(orientation, mirrored):
    """Undone by hand: flip, put at the start on the LPS grid, turn back."""
    original = sitk.DICOMOrient(image_of(), orientation)
    lps, box = to_lps(original), Box((120, 30), (170, 70))
    cut = crop(lps, box)
    cut = mirror(cut) if mirrored else cut
    found = placement(original, (*box.start, 0), mirrored)
    whole = sitk.Image(lps.GetSize(), lps.GetPixelID())
    whole.CopyInformation(lps)
    x, y, z = found.start_xyz
    width, height, depth = cut.GetSize()
    whole[x : x + width, y : y + height, z : z + depth] = mirror(cut) if found.mirrored else cut
    back = sitk.DICOMOrient(whole, orientation)
    kept = sitk.GetArrayFromImage(back)
    assert back.GetSize() == found.size_xyz
    np.testing.assert_allclose(back.GetOrigin(), found.origin_mm_xyz, atol=1e-9)
    assert back.GetDirection() == found.direction
    assert np.array_equal(kept[kept != 0], sitk.GetArrayFromImage(original)[kept != 0])
    assert (kept != 0).sum() > 0.9 * 50 * 40 * 4

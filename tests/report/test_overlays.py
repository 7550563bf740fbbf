import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.errors import UserError
from nnunet_da.report.overlays import Volumes, median_case, overlay_figure, overlay_pictures, read_volumes
from nnunet_da.report.study import CaseRecord, load_study


def test_worst_case_and_the_median_case_of_every_domain(study):
    loaded = load_study(study)
    pictures, problems = overlay_pictures(loaded, loaded.arms[0])
    assert problems == []
    captions = [picture.caption for picture in pictures]
    assert any("Centre <B> & co, scan_2 (worst case" in caption and "Dice 0.000, HD95 undefined" in caption for caption in captions)
    assert sum(caption.startswith("Centre A") for caption in captions) == 2
    assert all("Dice" in caption and "HD95" in caption for caption in captions)


def test_median_case_is_the_same_for_all_arms(study):
    loaded = load_study(study)
    # Dice per case rises with its width, so the middle case is scan_1; in the other domain scan_2 fails in one arm
    assert median_case(loaded, "Centre A") == "scan_1"
    assert median_case(loaded, "Centre <B> & co") == "scan_0"


def test_a_missing_file_is_said_and_the_rest_is_drawn(study):
    loaded = load_study(study)
    loaded.arms[1].cases["Centre A", "scan_0"].prediction.unlink()
    pictures, problems = overlay_pictures(loaded, loaded.arms[1])
    assert len(problems) == 1
    assert "scan_0" in problems[0]
    assert len(pictures) == 2  # of two in one domain, and one that is both in the other


def test_contour_lies_half_a_voxel_outside_the_mask_in_mm():
    reference = np.zeros((4, 50, 50), np.uint8)
    reference[1:3, 20:30, 10:40] = 1
    figure = overlay_figure(Volumes(None, reference, reference, (3.0, 1.0, 0.5)))
    axial, coronal = figure.axes
    box = reference_box(axial)
    assert box == pytest.approx((30 * 0.5, 10 * 1.0), abs=1e-6)
    assert reference_box(coronal) == pytest.approx((30 * 0.5, 2 * 3.0), abs=1e-6)
    assert axial.get_title() == "axial, slice 1"
    assert coronal.get_title() == "coronal, slice 20"


def reference_box(axes):
    vertices = axes.collections[0].get_paths()[0].vertices
    return tuple(np.ptp(vertices, axis=0))


def test_coronal_shows_the_head_up_and_axial_the_back_down():
    reference = np.zeros((6, 20, 20), np.uint8)
    reference[4, 15, 10] = 1  # near the head and the back
    axial, coronal = overlay_figure(Volumes(None, reference, reference, (1.0, 1.0, 1.0))).axes
    on_screen = [axes.transData.transform(axes.collections[0].get_paths()[0].vertices.mean(0)) for axes in (axial, coronal)]
    middle = [axes.transData.transform((10, axes_middle)) for axes, axes_middle in ((axial, 10), (coronal, 3))]
    assert on_screen[0][1] < middle[0][1]  # posterior below
    assert on_screen[1][1] > middle[1][1]  # superior above


def test_volumes_are_turned_to_one_orientation(tmp_path):
    array = np.zeros((5, 6, 7), np.uint8)
    array[4, 1, 6] = 1
    image = sitk.GetImageFromArray(array)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # x to the right, y to the front
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    volumes = read_volumes(CaseRecord("a", "A", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", None))
    assert np.argwhere(volumes.reference).tolist() == [[4, 4, 0]]


def test_refuses_volumes_of_different_size(tmp_path):
    for name, shape in (("a", (4, 5, 6)), ("b", (4, 5, 7))):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros(shape, np.uint8)), str(tmp_path / f"{name}.nrrd"))
    with pytest.raises(UserError, match="one size"):
        read_volumes(CaseRecord("a", "A", tmp_path / "a.nrrd", tmp_path / "a.nrrd", tmp_path / "b.nrrd"))


@pytest.mark.parametrize("filled", ["neither", "prediction"])
def test_empty_masks_are_drawn(filled):
    empty, full = np.zeros((4, 10, 10), np.uint8), np.ones((4, 10, 10), np.uint8)
    assert len(overlay_figure(Volumes(None, empty, full if filled == "prediction" else empty, (1, 1, 1))).axes) == 2

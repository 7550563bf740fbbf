import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.errors import UserError
from nnunet_da.report.overlays import Volumes, overlay_figure, read_volumes
from nnunet_da.report.study import CaseRecord


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

import numpy as np
import pytest

from nnunet_da.evaluation.surface import surface_distances
from nnunet_da.report.surfaces import common_scale_mm, signed_surface_distances, surface_figure, surface_views

SPACING = (2.0, 1.0, 1.0)


def box(margin: int = 0) -> np.ndarray:
    mask = np.zeros((20, 30, 30), bool)
    mask[6 - margin : 14 + margin, 10 - margin : 20 + margin, 10 - margin : 20 + margin] = True
    return mask


def test_beyond_is_positive_left_out_negative_equal_zero():
    for prediction, sign in ((box(1), 1), (box(-1), -1), (box(), 0)):
        _, distances = signed_surface_distances(box(), prediction, SPACING)
        assert set(np.sign(distances)) == {sign}
    _, grown = signed_surface_distances(box(), box(1), SPACING)
    assert np.abs(grown).min() == 1.0  # one voxel in the plane
    assert np.abs(grown).max() == 2.0 == np.abs(grown[grown > 1.5]).min()  # one slice at the flat ends, away from their edges


def test_its_size_is_the_metric_s_distance():
    prediction = np.roll(box(), (1, 2, -1), (0, 1, 2))
    positions, distances = signed_surface_distances(box(), prediction, SPACING)
    distances_of_metrics = surface_distances(box(), prediction, SPACING)
    assert np.abs(distances).mean() == pytest.approx(distances_of_metrics.asd_reference_to_prediction_mm)
    assert positions.min(0).tolist() == [12.0, 10.0, 10.0]


def test_an_empty_prediction_has_no_distance():
    _, distances = signed_surface_distances(box(), np.zeros_like(box()), SPACING)
    assert np.isnan(distances).all()
    views = surface_views(box(), np.zeros_like(box()), SPACING)
    assert np.isnan(views[0].distance_mm).all()
    assert np.isfinite(views[0].shade).any()  # drawn, in grey


def test_views_show_head_up_and_the_left_on_the_right_side_from_the_front():
    reference = box()
    prediction = reference.copy()
    prediction[12:16, 10:20, 18:22] = True  # beyond at the head end and the patient's left
    front, behind = surface_views(reference, prediction, SPACING)
    rows, columns = np.nonzero(np.nan_to_num(front.distance_mm) > 0.5)
    height, width = front.distance_mm.shape
    assert rows.mean() < height / 2
    assert columns.mean() > width / 2
    assert np.nonzero(np.nan_to_num(behind.distance_mm) > 0.5)[1].mean() < width / 2


def test_what_lies_in_front_is_seen_from_the_front_alone():
    prediction = box()
    prediction[6:14, 7:10, 10:20] = True  # three voxels beyond, towards the front (small Y)
    front, behind = surface_views(box(), prediction, SPACING)
    assert np.nanmax(front.distance_mm) == pytest.approx(3.0)
    assert np.nanmedian(behind.distance_mm) == 0.0


def test_size_of_the_drawn_shape_in_mm():
    front, _ = surface_views(box(), box(), SPACING)
    rows, columns = np.nonzero(np.isfinite(front.shade))
    assert np.ptp(rows) * front.pixel_mm == pytest.approx(8 * 2.0, abs=0.7)
    assert np.ptp(columns) * front.pixel_mm == pytest.approx(10 * 1.0, abs=0.7)


def test_one_scale_is_a_round_figure_above_nearly_all():
    views = surface_views(box(), box(1), SPACING)
    assert common_scale_mm(views) == 2.0  # the flat ends are one slice of 2 mm off
    assert common_scale_mm(surface_views(box(), box(), SPACING)) == 0.5
    assert common_scale_mm([]) == 0.5
    assert len(surface_figure(views, 2.0).axes) == 3


def test_refuses_an_empty_reference():
    with pytest.raises(ValueError, match="empty reference"):
        surface_views(np.zeros_like(box()), box(), SPACING)

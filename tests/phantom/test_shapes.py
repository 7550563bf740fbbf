import numpy as np
import pytest
from scipy import ndimage

from nnunet_da.phantom import shapes
from nnunet_da.phantom.grid import Grid, neighbours


def points(*xyz):
    return tuple(np.array([p[i] for p in xyz], dtype=np.float32) for i in range(3))


def test_sphere_and_round_cone_by_hand():
    at = points((0, 0, 0), (5, 0, 0), (0, 0, 12))
    np.testing.assert_allclose(shapes.sphere(at, (0, 0, 0), 3), [-3, 2, 9])
    # radius 2 at z = 0, 4 at z = 10: at (5, 0, 5) the line is 5 away and the radius 3; beyond the end the distance is to the end's ball
    cone = shapes.round_cone(points((5, 0, 5), (0, 0, 16)), (0, 0, 0), (0, 0, 10), (2, 4))
    np.testing.assert_allclose(cone, [2, 2], atol=1e-5)


def test_smooth_union_is_the_minimum_apart_and_a_quarter_width_lower_where_equal():
    first, second = np.array([1.0, 0.0], dtype=np.float32), np.array([9.0, 0.0], dtype=np.float32)
    np.testing.assert_allclose(shapes.smooth_union(first, second, 4.0), [1.0, -1.0])
    np.testing.assert_allclose(shapes.smooth_intersection(first, second, 4.0), [9.0, 1.0])


def test_unit_gradient_makes_a_stretched_shape_a_distance():
    grid = Grid((61, 61, 61), (0.5, 0.5, 0.5), (-15.0, -15.0, -15.0))
    x, y, z = grid.coordinates()
    field = np.broadcast_to(shapes.round_cone((x, y, z), (0, 0, 0), (0, 0, 0.1), (5, 5), (2.0, 1.0, 1.0)), grid.shape)
    inside = field < 0
    brute = ndimage.distance_transform_edt(~inside, sampling=0.5) - ndimage.distance_transform_edt(inside, sampling=0.5)
    near = np.abs(brute) < 1.5
    assert np.abs(shapes.unit_gradient(field, grid.spacing_mm) - brute)[near].mean() < 0.25
    assert np.abs(field - brute)[near].mean() > 0.25  # without it the long axis is off by a factor of 2


def test_rotation_is_right_handed():
    np.testing.assert_allclose(shapes.rotation(2, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(shapes.rotation(0, 90) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_interpolation_is_exact_for_straight_lines_and_holds_the_ends(which):
    grid = Grid((5, 6, 7), (1.5, 2.0, 2.5), (-3.0, 4.0, 1.0))
    values = 3 * grid.axis(which) + 1
    positions = np.linspace(grid.axis(which)[0], grid.axis(which)[-1] + 5, 11, dtype=np.float32)
    low, weight = neighbours(positions, grid, which)
    expected = np.minimum(3 * positions + 1, values[-1])
    np.testing.assert_allclose(values[low] + weight * (values[low + 1] - values[low]), expected, rtol=1e-5)

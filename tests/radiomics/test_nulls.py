"""Masks eroded and dilated by less than a voxel."""

from itertools import pairwise

import numpy as np
import pytest

from nnunet_da.radiomics.nulls import mask_names, null_masks
from nnunet_da.radiomics.signed_distance import signed_distance_mm

RADIUS_MM = 15.0


def ball(spacing_mm):
    axes = [np.arange(-RADIUS_MM - 6, RADIUS_MM + 6, spacing) + 0.3 for spacing in spacing_mm]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))) - RADIUS_MM


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (2.5, 0.7, 0.7), (3.0, 0.8, 0.8), (2.5, 1.5, 1.5)])
def test_a_ball_loses_and_gains_about_what_geometry_says(spacing_mm):
    truth = ball(spacing_mm)
    mask = truth < 0
    masks = null_masks(mask, signed_distance_mm(mask, spacing_mm), (0.5, 1.0))
    for sign, name in ((-1, "eroded"), (1, "dilated")):
        for by in (0.5, 1.0):
            expected = (1 + sign * by / RADIUS_MM) ** 3 - 1
            changed = np.count_nonzero(masks[f"reference_{name}_{by:g}mm"]) / np.count_nonzero(mask) - 1
            assert changed == pytest.approx(expected, rel=0.6)


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (2.5, 0.7, 0.7)])
def test_signed_distance_near_the_surface_of_a_ball(spacing_mm):
    truth = ball(spacing_mm)
    near = np.abs(truth) < 2
    error = (signed_distance_mm(truth < 0, spacing_mm) - truth)[near]
    assert error.std() < 0.25
    assert abs(error.mean()) < 0.15


def test_masks_are_nested_and_named():
    mask = ball((1.0, 1.0, 1.0)) < 0
    masks = {"reference": mask} | null_masks(mask, signed_distance_mm(mask, (1, 1, 1)))
    assert list(masks) == [name for name in mask_names((0.5, 1.0)) if name != "prediction"]
    order = [f"reference_{name}" for name in ("eroded_1mm", "eroded_0.5mm", "dilated_0.5mm", "dilated_1mm")]
    order.insert(2, "reference")
    counts = [np.count_nonzero(masks[name]) for name in order]
    assert counts == sorted(counts)
    assert all(not (masks[inner] & ~masks[outer]).any() for inner, outer in pairwise(order))


def test_a_face_along_the_grid_stays_below_half_a_voxel():
    mask = np.zeros((20, 20, 20), bool)
    mask[5:15] = True  # a slab: two flat faces, cut by the volume on the other sides
    masks = null_masks(mask, signed_distance_mm(mask, (2.0, 2.0, 2.0)), (0.5, 1.5))
    assert np.array_equal(masks["reference_eroded_0.5mm"], mask)
    assert np.count_nonzero(masks["reference_eroded_1.5mm"].any(axis=(1, 2))) == 8


def test_the_border_of_the_volume_is_no_surface():
    mask = np.zeros((20, 20, 20), bool)
    mask[:10, 5:15, 5:15] = True
    eroded = null_masks(mask, signed_distance_mm(mask, (1.0, 1.0, 1.0)), (1.0,))["reference_eroded_1mm"]
    assert eroded[0].any()
    assert not eroded[9].any()

import numpy as np

from nnunet_da.evaluation.boxes import bounding_box


def test_smallest_box_and_a_margin_that_stays_inside():
    mask = np.zeros((10, 10, 10), bool)
    mask[2, 5, 9] = mask[3, 7, 8] = True
    assert bounding_box(mask) == (slice(2, 4), slice(5, 8), slice(8, 10))
    assert bounding_box(mask, (1, 2, 3)) == (slice(1, 5), slice(3, 10), slice(5, 10))


def test_an_empty_mask_has_an_empty_box():
    assert bounding_box(np.zeros((4, 5), bool)) == (slice(0, 0), slice(0, 0))
    assert np.zeros((4, 5))[bounding_box(np.zeros((4, 5), bool), (1, 1))].size == 0


def test_every_single_voxel_is_found():
    for place in np.ndindex(3, 4, 2):
        mask = np.zeros((3, 4, 2), bool)
        mask[place] = True
        assert bounding_box(mask) == tuple(slice(at, at + 1) for at in place)

import math

import numpy as np
import pytest

from nnunet_da.evaluation import surface_distances

EMPTY = np.zeros((6, 7, 8), bool)


def test_cube_shifted_by_one_slice():
    cube = np.zeros((12, 12, 12), bool)
    cube[3:9, 3:9, 3:9] = True
    metrics = surface_distances(cube, np.roll(cube, 1, axis=0), (2.5, 0.8, 0.8)).metrics()
    assert metrics["hd_mm"] == metrics["hd95_mm"] == 2.5
    # each way: 36 voxels of the outer face are 2.5 mm off; inside the other face 12 are 0.8 and 4 are 1.6 mm from a side; 152 in all
    assert metrics["asd_mm"] == pytest.approx((36 * 2.5 + 12 * 0.8 + 4 * 1.6) / 152)


def test_one_voxel_each_has_the_distance_of_their_centres():
    reference, prediction = EMPTY.copy(), EMPTY.copy()
    reference[1, 1, 1] = prediction[2, 4, 5] = True
    metrics = surface_distances(reference, prediction, (2.0, 1.0, 0.5)).metrics()
    assert metrics == pytest.approx(dict.fromkeys(metrics, math.sqrt(4 + 9 + 4)))


def test_directions_are_not_mixed_up():
    reference, prediction = EMPTY.copy(), EMPTY.copy()
    reference[1, 1, 1] = prediction[1, 1, 1] = prediction[1, 1, 7] = True  # one extra voxel, 6 mm away
    metrics = surface_distances(reference, prediction, (1, 1, 1)).metrics()
    assert metrics["asd_reference_to_prediction_mm"] == 0
    assert metrics["asd_prediction_to_reference_mm"] == 3
    assert metrics["asd_mm"] == 2  # three boundary voxels in all
    assert metrics["hd95_mm"] == pytest.approx(5.7)  # 95 % of the way from 0 to 6 in the worse direction


@pytest.mark.parametrize("seed", range(50))
def test_equals_monai(seed, random_pair, monai_values):
    reference, prediction, spacing_mm = random_pair(seed)
    found = surface_distances(reference, prediction, spacing_mm).metrics((1.0, 2.5))
    assert found == pytest.approx(monai_values(reference, prediction, spacing_mm), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("seed", range(0, 50, 5))
def test_equals_medpy_but_for_its_pooled_percentile(seed, random_pair):
    medpy = pytest.importorskip("medpy.metric.binary", reason="medpy comes with the extra dev")
    reference, prediction, spacing_mm = random_pair(seed)
    found = surface_distances(reference, prediction, spacing_mm)
    hd, hd95, assd = (metric(prediction, reference, voxelspacing=spacing_mm) for metric in (medpy.hd, medpy.hd95, medpy.assd))
    assert (found.hd_mm, found.asd_mm) == pytest.approx((hd, assd), rel=1e-6)
    pooled = np.concatenate([found.reference_to_prediction_mm, found.prediction_to_reference_mm])
    assert hd95 == pytest.approx(np.percentile(pooled, 95), rel=1e-6)
    assert hd95 <= found.hd95_mm + 1e-6


def test_both_empty_has_no_distance():
    assert set(surface_distances(EMPTY, EMPTY, (1, 1, 1)).metrics().values()) == {0.0}


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_is_undefined(swap):
    pair = (~EMPTY, EMPTY) if swap else (EMPTY, ~EMPTY)
    metrics = surface_distances(*pair, (1, 1, 1)).metrics()
    assert len(metrics) == 5
    assert all(math.isnan(value) for value in metrics.values())


def test_surface_dice_worked_by_hand():
    cube = np.zeros((12, 12, 12), bool)
    cube[3:9, 3:9, 3:9] = True
    distances = surface_distances(cube, np.roll(cube, 1, axis=0), (2.5, 0.8, 0.8))
    # of 152 boundary voxels each way 36 are 2.5 mm off, 4 are 1.6 mm and 12 are 0.8 mm
    assert distances.nsd(0.5) == pytest.approx(100 / 152)
    assert distances.nsd(0.8) == distances.nsd(1) == pytest.approx(112 / 152)
    assert distances.nsd(2) == pytest.approx(116 / 152)
    assert distances.nsd(2.5) == 1
    assert list(distances.metrics((0.5, 2.0)))[-2:] == ["nsd_0.5mm", "nsd_2mm"]


def test_a_distance_that_is_the_tolerance_up_to_float32_is_within():
    reference, prediction = np.zeros((2, 3, 30), bool)
    reference[1, 3] = prediction[1, 13] = True
    assert surface_distances(reference, prediction, (1.0, float(np.float32(0.1)))).nsd(1.0) == 1


def test_surface_dice_of_empty_masks_is_that_of_dice():
    both, one = surface_distances(EMPTY, EMPTY, (1, 1, 1)), surface_distances(~EMPTY, EMPTY, (1, 1, 1))
    assert (both.nsd(1), one.nsd(1), one.nsd(1000)) == (1, 0, 0)


def test_a_mask_that_fills_the_volume_has_its_boundary_at_the_border():
    metrics = surface_distances(~EMPTY, ~EMPTY, (1, 1, 1)).metrics((1.0,))
    assert metrics == {**dict.fromkeys(metrics, 0.0), "nsd_1mm": 1.0}


def test_two_dimensions():
    reference = np.zeros((9, 9), bool)
    reference[2:5, 2:5] = True
    assert surface_distances(reference, np.roll(reference, 2, axis=1), (3.0, 0.5)).hd_mm == pytest.approx(1.0)


def test_refuses_spacing_that_does_not_fit():
    with pytest.raises(ValueError, match="3 positive values"):
        surface_distances(EMPTY, EMPTY, (1, 1))

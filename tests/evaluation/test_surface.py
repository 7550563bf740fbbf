import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from nnunet_da.evaluation import surface_distances
from nnunet_da.evaluation.surface import boundary

EMPTY = np.zeros((6, 7, 8), bool)


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two blobs that differ, often cut by the border, and an anisotropic spacing."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(6, 26, 3)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1)
    return field > 0, field + 0.2 * noise > rng.normal() * 0.02, rng.uniform(0.3, 4, 3)


def monai_values(reference: np.ndarray, prediction: np.ndarray, spacing_mm: np.ndarray) -> dict[str, float]:
    first, second = torch.from_numpy(prediction[None, None]), torch.from_numpy(reference[None, None])
    options = {"include_background": True, "spacing": list(spacing_mm)}
    values = {
        "hd_mm": compute_hausdorff_distance(first, second, **options),
        "hd95_mm": compute_hausdorff_distance(first, second, percentile=95, **options),
        "asd_mm": compute_average_surface_distance(first, second, symmetric=True, **options),
        "asd_reference_to_prediction_mm": compute_average_surface_distance(second, first, **options),
        "asd_prediction_to_reference_mm": compute_average_surface_distance(first, second, **options),
    }
    return {name: float(value) for name, value in values.items()}


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
def test_equals_monai(seed):
    reference, prediction, spacing_mm = random_pair(seed)
    found = surface_distances(reference, prediction, spacing_mm).metrics()
    assert found == pytest.approx(monai_values(reference, prediction, spacing_mm), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 9, 9), (5, 9, 9), (9, 9)])
def test_boundary_is_what_erosion_removes_and_the_border_counts_as_background(shape):
    mask = np.random.default_rng(1).random(shape) < 0.8
    assert (boundary(mask) == (mask & ~ndimage.binary_erosion(mask))).all()
    assert boundary(np.ones(shape, bool)).any()


def test_both_empty_has_no_distance():
    assert set(surface_distances(EMPTY, EMPTY, (1, 1, 1)).metrics().values()) == {0.0}


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_is_undefined(swap):
    pair = (~EMPTY, EMPTY) if swap else (EMPTY, ~EMPTY)
    metrics = surface_distances(*pair, (1, 1, 1)).metrics()
    assert len(metrics) == 5
    assert all(math.isnan(value) for value in metrics.values())


def test_two_dimensions():
    reference = np.zeros((9, 9), bool)
    reference[2:5, 2:5] = True
    assert surface_distances(reference, np.roll(reference, 2, axis=1), (3.0, 0.5)).hd_mm == pytest.approx(1.0)


def test_refuses_spacing_that_does_not_fit():
    with pytest.raises(ValueError, match="3 positive values"):
        surface_distances(EMPTY, EMPTY, (1, 1))

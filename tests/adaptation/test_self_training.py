import numpy as np
import pytest

from nnunet_da.adaptation.self_training import case_confidence


def test_value_worked_by_hand():
    """Foreground voxels at 0.6 and 0.8; the background's 1.0 does not count."""
    probabilities = np.array([[[1.0, 0.4, 0.2]], [[0.0, 0.6, 0.1]], [[0.0, 0.0, 0.7]]])
    assert case_confidence(probabilities, np.array([[0, 1, 2]])) == pytest.approx(0.65)


def test_regions_count_what_is_absent_too():
    probabilities = np.array([[[0.1, 0.9]], [[0.2, 0.3]]])  # region 1 predicted at the second voxel, region 2 nowhere
    assert case_confidence(probabilities, np.array([[0, 1]]), has_regions=True) == pytest.approx((0.9 + 0.7) / 2)


def test_a_scan_without_foreground_has_none():
    assert case_confidence(np.ones((2, 3, 3)), np.zeros((3, 3), dtype=int)) is None

"""Features: what they must not change with, and what they must see."""

import numpy as np
import pytest

from nnunet_da.audit.features import measure_features


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, (12, 60, 60)).astype(np.float32)


def test_white_noise(noise):
    found = measure_features(noise)
    assert found["mean"] == pytest.approx(100, abs=0.5)
    assert found["sd"] == pytest.approx(20, rel=0.02)
    assert found["detail"] == pytest.approx(20 * np.sqrt(8 / 9), rel=0.02)
    assert found["slice_change"] == pytest.approx(20 * np.sqrt(2), rel=0.02)
    assert found["lag_z"] == pytest.approx(0, abs=0.02)
    assert found["p50"] == pytest.approx(100, abs=0.5)


def test_repeated_slices_show(noise):
    """What interpolation within slices alone leaves behind."""
    assert measure_features(np.repeat(noise, 2, axis=0))["lag_z"] > 0.4


def test_axes_are_told_apart(noise):
    smooth = (noise + np.roll(noise, 1, axis=2)) / 2
    found = measure_features(smooth)
    assert found["lag_x"] > found["lag_y"] + 0.3


def test_padding_changes_no_texture(noise):
    padded = np.pad(noise, ((0, 0), (40, 40), (40, 40)), constant_values=-1000)
    assert measure_features(padded)["detail"] == pytest.approx(measure_features(noise)["detail"], rel=0.1)  # the border itself is texture


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 1, 1), (2, 5, 5)])
def test_tiny_and_constant_volumes_give_finite_numbers(shape):
    assert all(np.isfinite(value) for value in measure_features(np.full(shape, 7, np.int16)).values())

"""Noise and sharpness against volumes whose noise and blur are known."""

import numpy as np
import pytest
from scipy import ndimage

from nnunet_da.audit.quality import chosen_slices, measure_quality

PIXEL_MM = 0.8
SHAPE = (8, 160, 160)


def shaft(blur_mm: float, noise_hu: float, seed: int = 0) -> np.ndarray:
    """A bone of 1000 HU in muscle of 50 HU in a body in air, blurred in the slice, then noisy."""
    fine = 4
    y, x = (np.arange(n * fine) / fine - n / 2 for n in SHAPE[1:])
    radius = np.hypot(y[:, None], x[None]) * PIXEL_MM
    plane = np.where(radius < 15, 1000.0, np.where(radius < 50, 50.0, -1000.0))
    plane = ndimage.gaussian_filter(plane, fine * blur_mm / PIXEL_MM)[fine // 2 :: fine, fine // 2 :: fine]
    return plane + np.random.default_rng(seed).normal(0, noise_hu, SHAPE)


@pytest.mark.parametrize("noise_hu", [5, 20, 60])
def test_noise_is_the_known_one(noise_hu):
    assert measure_quality(shaft(1.0, noise_hu), (3, PIXEL_MM, PIXEL_MM))["noise_hu"] == pytest.approx(noise_hu, rel=0.03)


@pytest.mark.parametrize("blur_mm", [0.8, 1.2])
@pytest.mark.parametrize("noise_hu", [0, 30])
@pytest.mark.parametrize("kind", ["bone", "skin"])
def test_edge_width_is_that_of_the_known_blur(blur_mm, noise_hu, kind):
    found = measure_quality(shaft(blur_mm, noise_hu), (3, PIXEL_MM, PIXEL_MM))
    assert found[f"edge_{kind}_mm"] == pytest.approx(2.563 * blur_mm, rel=0.06)


def test_a_scan_without_the_tissue_gives_no_number():
    found = measure_quality(np.full(SHAPE, -1000.0), (3, PIXEL_MM, PIXEL_MM))
    assert all(np.isnan(value) for value in found.values())


def test_one_slice_is_enough():
    found = measure_quality(shaft(1.0, 20)[:1], (3, PIXEL_MM, PIXEL_MM))
    assert found["noise_hu"] == pytest.approx(20, rel=0.05)


def test_planes_of_one_pixel_have_no_gradient():
    assert all(np.isnan(value) for value in measure_quality(np.zeros((4, 9, 1)), (3, 1, 1)).values())


def test_slices_are_spread_and_few():
    assert list(chosen_slices(3)) == [0, 1, 2]
    many = chosen_slices(1000)
    assert (len(many), many[0], many[-1]) == (24, 0, 999)

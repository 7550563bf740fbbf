import numpy as np
import pytest
from skimage.exposure import match_histograms

from nnunet_da.adaptation.histogram_matching import LEVELS, intensity_quantiles, match_histogram

EVERYWHERE = np.ones((20, 20, 20), dtype=bool)


def matched(image, reference, inside=EVERYWHERE, inside_reference=EVERYWHERE):
    return match_histogram(image, intensity_quantiles(image, inside), intensity_quantiles(reference, inside_reference))


def scan(seed, scale=1.0, offset=0.0, power=1.0):
    rng = np.random.default_rng(seed)
    return (rng.gamma(2.0, 1.0, (1, 20, 20, 20)) ** power * scale + offset).astype(np.float32)


def test_value_worked_by_hand():
    """Ranks 0, 1/4, ... of five intensities."""
    image = np.linspace(0, 4, LEVELS, dtype=np.float32).reshape(1, -1, 1, 1)
    inside = np.ones(image.shape[1:], dtype=bool)
    reference = 10 + 2 * image
    result = match_histogram(
        np.array([[[[0.0, 1.0, 2.5, 4.0, 9.0]]]]), intensity_quantiles(image, inside), intensity_quantiles(reference, inside)
    )
    np.testing.assert_allclose(result.ravel(), [10, 12, 15, 18, 18], rtol=1e-6)


def test_another_scale_of_the_same_scan_is_undone():
    image = scan(0)
    np.testing.assert_allclose(matched(image, image * 3 - 7), image * 3 - 7, rtol=1e-4, atol=1e-3)


def test_agrees_with_skimage():
    image, reference = scan(0), scan(1, scale=2, offset=-1, power=1.3)
    theirs = match_histograms(image[0], reference[0])
    difference = np.abs(matched(image, reference)[0] - theirs)
    assert np.quantile(difference, 0.95) < 0.01 * reference.std()


def test_order_is_kept_and_the_reference_bounds_it():
    image, reference = scan(0), scan(1, scale=2, power=0.5)
    result = matched(image, reference)
    order = np.argsort(image.ravel())
    assert (np.diff(result.ravel()[order]) >= -1e-5).all()
    assert result.min() >= reference.min() - 1e-4
    assert result.max() <= reference.max() + 1e-4


def test_more_clipped_air_than_the_other_does_not_become_tissue():
    """The source has 40 % air at one value, the reference 30 %: skimage takes air to the rank 0.4, which is tissue."""
    image, reference = scan(0, offset=5), scan(1, offset=5)
    image.reshape(-1)[:3200] = reference.reshape(-1)[:2400] = -1
    assert matched(image, reference).min() == -1
    assert match_histograms(image[0], reference[0]).min() > 0


def test_padding_counts_for_nothing():
    image, reference = scan(0), scan(1)
    inside = EVERYWHERE.copy()
    inside[:, :, 10:] = False
    image[:, ~inside] = 100
    expected = match_histogram(
        image[..., :10], intensity_quantiles(image[..., :10], EVERYWHERE[..., :10]), intensity_quantiles(reference, EVERYWHERE)
    )
    np.testing.assert_array_equal(matched(image, reference, inside)[..., :10], expected)


def test_nothing_but_padding_and_constant_scans_are_finite():
    constant = np.full((1, 4, 4, 4), 2.0, dtype=np.float32)
    nowhere = np.zeros((4, 4, 4), dtype=bool)
    result = match_histogram(constant, intensity_quantiles(constant, nowhere), intensity_quantiles(scan(0), EVERYWHERE))
    np.testing.assert_allclose(result, np.median(scan(0)), rtol=1e-2)
    back = match_histogram(scan(0), intensity_quantiles(scan(0), EVERYWHERE), intensity_quantiles(constant, nowhere))
    assert (back == 2).all()


def test_channels_are_matched_apart():
    image = np.concatenate([scan(0), scan(1)])
    reference = np.concatenate([scan(2, scale=2), scan(3, offset=9)])
    result = matched(image, reference)
    np.testing.assert_array_equal(result[:1], matched(image[:1], reference[:1]))
    np.testing.assert_array_equal(result[1:], matched(image[1:], reference[1:]))
    with pytest.raises(ValueError, match="same channels"):
        match_histogram(image, intensity_quantiles(image[:1], EVERYWHERE), intensity_quantiles(reference, EVERYWHERE))


def test_a_large_scan_is_thinned():
    image = scan(0)
    thinned = intensity_quantiles(image, EVERYWHERE, most_voxels=1000)
    np.testing.assert_allclose(thinned[0, 512], np.median(image), rtol=0.1)

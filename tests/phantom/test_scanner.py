from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from nnunet_da.errors import UserError
from nnunet_da.phantom import scanner as scanners
from nnunet_da.phantom.anatomy import Anatomy, Material
from nnunet_da.phantom.grid import Grid
from nnunet_da.phantom.kernels import KERNELS
from nnunet_da.phantom.patient import Patient, Pose
from nnunet_da.phantom.scanner import HU_PER_MINERAL, Scanner, scan

QUIET = Scanner(noise_hu=0, streak_hu=0, table=False)
PATIENT = Patient(3, "M", 40)
SMALL = Grid((3, 80, 80), (2.5, 1.6, 1.6), (-30.0, -85.0, 40.0))


class Edge:
    """A plane 10 degrees off the y axis, 0 HU on one side and 1000 on the other; each sample the mean over its step."""

    patient = PATIENT

    def sampler(self, y_mm, x_mm, contrast_hu):
        angle = np.deg2rad(10)
        distance = np.cos(angle) * x_mm[None, :] + np.sin(angle) * y_mm[:, None]
        share = np.clip(distance / (x_mm[1] - x_mm[0]) + 0.5, 0, 1).astype(np.float32)
        return SimpleNamespace(slab=lambda low, high: Material(1000 * share, 0 * share))


class Plate:
    """A plate of 0.1 mm across the z axis."""

    patient = PATIENT

    def sampler(self, y_mm, x_mm, contrast_hu):
        one = np.ones((len(y_mm), len(x_mm)), dtype=np.float32)

        def slab(low, high):
            inside = max(min(high, 0.05) - max(low, -0.05), 0) / (high - low)
            return Material(1e4 * inside * one, 0 * one)

        return SimpleNamespace(slab=slab)


def small_scan(scanner, seed=0):
    return scan(PATIENT, Pose(), replace(scanner, pixel_mm=1.6), SMALL, seed).image


@pytest.mark.parametrize("name", ["b30s", "standard", "bone"])
def test_mtf_measured_from_a_slanted_edge_is_half_where_the_kernel_says(name):
    pixel = 0.5
    grid = Grid((1, 128, 128), (2.5, pixel, pixel), (0.0, -32.0, -32.0))
    image = scanners._blurred(Edge(), replace(QUIET, kernel=name, pixel_mm=pixel, blur_mm=0.0), grid)[0]
    angle = np.deg2rad(10)
    distance = np.cos(angle) * grid.axis(2)[None, :] + np.sin(angle) * grid.axis(1)[:, None]
    step = 0.1
    bins = np.round(distance / step).astype(int)
    keep = np.abs(bins) <= 150
    count = np.bincount(bins[keep] + 150)
    esf = np.bincount(bins[keep] + 150, weights=image[keep]) / count
    mtf = np.abs(np.fft.rfft(np.diff(esf), 8192))
    frequency = np.fft.rfftfreq(8192, step)
    half = frequency[np.nonzero(mtf / mtf[0] < 0.5)[0][0]]
    assert 10 * half == pytest.approx(KERNELS[name].f50_lp_cm, rel=0.05)


def test_blur_widens_the_edge_as_a_gaussian_would():
    grid = Grid((1, 96, 96), (2.5, 0.5, 0.5), (0.0, -24.0, -24.0))
    widths = []
    for blur in (0.0, 1.0):
        image = scanners._blurred(Edge(), replace(QUIET, pixel_mm=0.5, blur_mm=blur), grid)[0]
        line = np.diff(image[48])
        x = np.arange(len(line)) * 0.5 * np.cos(np.deg2rad(10))
        mean = (line * x).sum() / line.sum()
        widths.append((line * (x - mean) ** 2).sum() / line.sum())
    assert widths[1] - widths[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("slice_mm", [2.0, 2.5])
def test_slice_profile_is_a_box_of_the_slice_thickness(slice_mm):
    offsets = np.arange(-2, 2.001, 0.05)
    grid = Grid((1, 16, 16), (slice_mm, 1.0, 1.0), (0.0, 0.0, 40.0))
    machine = replace(QUIET, slice_mm=slice_mm, pixel_mm=1.0)
    signals = [scanners._blurred(Plate(), machine, replace(grid, origin_mm=(float(o), 0.0, 40.0)))[0, 8, 8] for o in offsets]
    profile = np.array(signals) / max(signals)
    assert (profile > 0.5).sum() * 0.05 == pytest.approx(slice_mm, abs=0.15)
    assert np.sum(signals) * 0.05 == pytest.approx(1e4 * 0.1, rel=0.02)  # mass is kept


def test_fourier_interpolation_keeps_what_3_mm_slices_can_hold_and_drops_the_rest():
    grid = Grid((20, 1, 1), (3.0, 1.0, 1.0), (10.0, 0.0, 0.0))
    acquired = scanners._acquisition_grid(replace(QUIET, slice_mm=2.0, output_slice_mm=3.0), grid)
    assert acquired.spacing_mm[0] == 2.0
    assert acquired.shape[0] * 2 % 3 == 0
    assert acquired.axis(0)[0] < 10 - 10
    assert acquired.axis(0)[-1] > grid.axis(0)[-1] + 10
    length = acquired.shape[0] * 2.0

    def wave(z, cycles):
        return np.cos(2 * np.pi * cycles * (z - acquired.origin_mm[0]) / length + 0.7).astype(np.float32)[:, None, None]

    for cycles in (3, 12):
        np.testing.assert_allclose(
            scanners._regridded(wave(acquired.axis(0), cycles), acquired, grid), wave(grid.axis(0), cycles), atol=1e-4
        )
    too_fine = int(0.2 * length)  # 0.2 cycles per mm, beyond 1 / (2 * 3 mm)
    np.testing.assert_allclose(scanners._regridded(wave(acquired.axis(0), too_fine), acquired, grid), 0, atol=1e-4)


def test_regridded_scan_shows_the_same_places_as_a_direct_one():
    direct = small_scan(replace(QUIET, slice_mm=2.5))
    regridded = small_scan(replace(QUIET, slice_mm=1.5, output_slice_mm=2.5))
    assert regridded.shape == direct.shape
    assert np.corrcoef(direct.ravel(), regridded.ravel())[0, 1] > 0.985


def test_voltage_changes_mineral_by_the_table_and_leaves_soft_tissue():
    soft = small_scan(replace(QUIET, kilovolt=120))
    low = small_scan(replace(QUIET, kilovolt=100))
    assert 1.15 <= HU_PER_MINERAL[100] / HU_PER_MINERAL[120] <= 1.20
    bone = soft > 700
    assert np.median(low[bone] / soft[bone]) == pytest.approx(1.17, abs=0.03)
    far = Anatomy(PATIENT, Pose(), (-40, -90, 30), (-20, 50, 175)).sampler(SMALL.axis(1), SMALL.axis(2)).slab(-28.0, -27.0).mineral == 0
    far[:4], far[-4:], far[:, :4], far[:, -4:] = False, False, False, False
    muscle = ndimage.binary_erosion(far, iterations=4) & (np.abs(soft[1] - 57) < 15)
    assert muscle.sum() > 50
    np.testing.assert_allclose(low[1][muscle], soft[1][muscle], atol=2)


def test_offset_slope_and_range():
    plain, changed = small_scan(QUIET), small_scan(replace(QUIET, offset_hu=-10, slope=0.9))
    inside = plain > -1000
    np.testing.assert_allclose(changed[inside], 0.9 * plain[inside] - 10, atol=1e-2)
    assert plain.min() >= -1024
    assert small_scan(replace(QUIET, offset_hu=9000)).max() == 3071


def test_noise_has_the_stated_sd_and_depends_on_its_seed_alone():
    machine = replace(QUIET, noise_hu=20)
    first, again, other = small_scan(machine, 1), small_scan(machine, 1), small_scan(machine, 2)
    assert np.array_equal(first, again)
    rest = (first - other)[np.abs(small_scan(QUIET)) < 500] / np.sqrt(2)
    gain = np.exp(2.2 * (scanners.body_size(PATIENT) - 1))
    assert rest.std() == pytest.approx(20 * gain, rel=0.05)
    large = replace(PATIENT, fat_thickness_mm=50)
    assert scanners.body_size(large) > scanners.body_size(PATIENT)


def test_cupping_darkens_the_middle_of_the_body_by_its_amount():
    plain, cupped = small_scan(QUIET), small_scan(replace(QUIET, cupping_hu=20))
    drop = (plain - cupped)[1]
    muscle = np.abs(plain[1] - 55) < 20
    x = np.broadcast_to(SMALL.axis(2)[None, :], drop.shape)
    near, far = drop[muscle & (x < 60)].mean(), drop[muscle & (x > 120)].mean()
    assert 10 < near < 25
    assert far < 0.75 * near


def test_contrast_agent_brightens_muscle_by_its_amount_and_vessels_more():
    difference = (small_scan(replace(QUIET, contrast_hu=20)) - small_scan(QUIET))[1]
    muscle = np.abs(small_scan(QUIET)[1] - 55) < 8
    assert np.median(difference[muscle]) == pytest.approx(20, abs=1)
    assert difference.max() > 70


def test_wrong_settings_are_refused_with_what_to_do():
    with pytest.raises(UserError, match="kernel must be one of b30s, standard, bone"):
        Scanner(kernel="b70")
    with pytest.raises(UserError, match="kilovolt"):
        Scanner(kilovolt=90)
    with pytest.raises(UserError, match="slice_mm"):
        Scanner(slice_mm=0)
    with pytest.raises(UserError, match="noise_hu"):
        Scanner(noise_hu=-1)
    with pytest.raises(UserError, match="spacing must be the scanner's"):
        scan(PATIENT, Pose(), QUIET, SMALL, 0)

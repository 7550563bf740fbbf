"""Bone endpoints of tubes and boxes whose values are known."""

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.radiomics.endpoints import BoneSettings, bone_endpoints

SPACING_MM = (2.5, 0.8, 0.8)


def tube(cortex_mm, mask_by_mm=0.0, blur_mm=0.0, radius_mm=14.0):
    """A bone shaft from one end of the volume to the other, and its mask; area sampled 4 x 4 times a voxel, then blurred."""
    from scipy.ndimage import gaussian_filter

    fine = (np.arange(50 * 4) + 0.5) / 4 * 0.8 - 20.13
    radius = np.hypot(fine[:, None], fine + 0.3)
    slab = np.where(radius > radius_mm, 0.0, np.where(radius > radius_mm - cortex_mm, 1200.0, 100.0))
    slab = gaussian_filter(slab, blur_mm / 0.2) if blur_mm else slab
    image = np.tile(slab.reshape(50, 4, 50, 4).mean((1, 3)), (10, 1, 1))
    centres = (np.arange(50) + 0.5) * 0.8 - 20.13
    mask = np.tile(np.hypot(centres[:, None], centres + 0.3) < radius_mm + mask_by_mm, (10, 1, 1))
    return image, mask


@pytest.mark.parametrize("cortex_mm", [1.5, 2.0, 3.0, 4.0, 6.0])
def test_thickness_of_a_tube(cortex_mm):
    assert bone_endpoints(*tube(cortex_mm), SPACING_MM)["cortical_thickness_mm"] == pytest.approx(cortex_mm, abs=0.15)


def test_blur_thickens_only_a_thin_cortex():
    """Blur of 0.8 mm standard deviation is 1.9 mm wide at half maximum."""
    wide, thin = (bone_endpoints(*tube(mm, blur_mm=0.8), SPACING_MM)["cortical_thickness_mm"] for mm in (4.0, 1.0))
    assert wide == pytest.approx(4, abs=0.15)
    assert thin > 1.4


@pytest.mark.parametrize("by_mm", [-1.0, -0.5, 0.5, 1.0])
def test_a_wrong_mask_moves_the_thickness_by_its_error(by_mm):
    right, wrong = (bone_endpoints(*tube(3.0, by), SPACING_MM)["cortical_thickness_mm"] for by in (0.0, by_mm))
    assert wrong - right == pytest.approx(by_mm, abs=0.15)


def test_thickness_needs_something_less_dense_below():
    image, mask = tube(3.0)
    assert np.isnan(bone_endpoints(np.full_like(image, 900.0), mask, SPACING_MM)["cortical_thickness_mm"])


def test_the_shell_is_the_cortex_and_a_larger_mask_dilutes_it():
    shell = BoneSettings(shell_mm=2.0)
    right, larger = (bone_endpoints(*tube(3.0, by), SPACING_MM, shell)["cortical_hu"] for by in (0.0, 1.0))
    assert right == pytest.approx(1200, abs=120)  # voxels cut by the surface hold soft tissue, too
    assert larger < 0.75 * right


def test_values_of_a_box_worked_by_hand():
    """2 x 5 x 5 voxels of 1.6 mm3 hold 80 mm3; 200 HU * 0.8 + 10 = 170 mg/cm3; 0.08 cm3 of it are 13.6 mg."""
    image, mask = np.zeros((6, 9, 9)), np.zeros((6, 9, 9), bool)
    mask[2:4, 2:7, 2:7] = True
    image[mask] = 200
    found = bone_endpoints(image, mask, SPACING_MM, BoneSettings((0.8, 10.0)))
    assert found["volume_mm3"] == pytest.approx(80)
    assert found["mean_hu"] == 200
    assert found["bmd_mg_cm3"] == pytest.approx(170)
    assert found["bmc_mg"] == pytest.approx(13.6)
    assert found["cortical_bmd_mg_cm3"] == pytest.approx(170)


def test_density_needs_a_calibration():
    assert not {"bmd_mg_cm3", "bmc_mg", "cortical_bmd_mg_cm3"} & set(bone_endpoints(*tube(3.0), SPACING_MM))


def test_an_empty_mask_has_a_volume_alone():
    image, mask = tube(3.0)
    found = bone_endpoints(image, np.zeros_like(mask), SPACING_MM)
    assert found.pop("volume_mm3") == 0
    assert np.isnan(list(found.values())).all()


def test_a_full_mask_has_no_surface():
    image, mask = tube(3.0)
    found = bone_endpoints(image, np.ones_like(mask), SPACING_MM)
    assert np.isfinite(found["mean_hu"])
    assert np.isnan(found["cortical_hu"])


@pytest.mark.parametrize("wrong", [{"calibration": (0.0, 1.0)}, {"calibration": (1.0, float("nan"))}, {"shell_mm": 0.0}])
def test_refuses_impossible_settings(wrong):
    with pytest.raises(UserError, match="must be"):
        BoneSettings(**wrong)

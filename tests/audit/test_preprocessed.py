"""Preprocessing as nnU-Net does it, and what it makes of noise."""

import numpy as np
import pytest

from nnunet_da.audit.features import measure_features
from nnunet_da.audit.preprocessed import Preprocessing, from_grids, from_plans, noise_on, padding, preprocess
from nnunet_da.audit.scans import SOURCE, TRAIN, AuditScan, Grid
from nnunet_da.datasets import find_dataset
from nnunet_da.errors import UserError


def grid(*spacing_mm: float, shape: tuple[int, int, int] = (24, 64, 64)) -> Grid:
    return Grid(shape, spacing_mm, "LPS")


def test_the_common_grid_is_the_median():
    assert from_grids([grid(2.5, 1, 1), grid(3, 1, 1), grid(3, 0.8, 0.8)]).spacing_mm == (3.0, 1.0, 1.0)


def test_noise_is_told_by_its_grid_alone():
    """Trap: above a ratio of 3 stock resampling takes the nearest slice, below it interpolates between slices."""
    how = Preprocessing((2.0, 0.9, 0.9))
    below, above = (measure_features(noise_on(grid(slice_mm, 0.9, 0.9), how, seed=1))["lag_z"] for slice_mm in (2.6, 2.8))
    assert abs(above - below) > 0.1
    untouched = noise_on(grid(2.0, 0.9, 0.9), how, seed=1)
    assert untouched.std() == pytest.approx(1, abs=0.01)


def test_a_large_scan_is_cut_before_it_is_resampled():
    volume = np.zeros((200, 300, 40), np.int16)
    scan = AuditScan("A", "a", SOURCE, TRAIN, ())
    out = preprocess(scan, [volume], grid(1, 1, 1, shape=volume.shape), Preprocessing((2.0, 1.0, 1.0)))
    assert out.shape == (1, 48, 256, 40)


def test_plans_give_what_stock_preprocessing_gives(two_centres, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(two_centres / "nnUNet_raw"))
    monkeypatch.setenv("nnUNet_preprocessed", str(two_centres / "nnUNet_preprocessed"))
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    source = find_dataset("101")
    how = from_plans(source, "UDAPlans", "3d_fullres")
    case, files = next(iter(source.training_images().items()))
    found = preprocess(AuditScan(source.name, case, SOURCE, TRAIN, tuple(files)), [], grid(2.5, 2, 2), how)
    stored = nnUNetDatasetBlosc2(str(two_centres / "nnUNet_preprocessed" / source.name / "UDAPlans_3d_fullres")).load_case(case)[0][:]
    np.testing.assert_allclose(found, stored, atol=1e-5)
    assert 0 <= padding(found.shape[1:], how) < 1
    assert "UDAPlans" in how.text


def test_plans_that_are_not_there(make_centre):
    make_centre(101, "A")
    with pytest.raises(UserError, match="NoPlans"):
        from_plans(find_dataset("101"), "NoPlans", "3d_fullres")

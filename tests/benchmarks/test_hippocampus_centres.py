"""The simulated scanner of the hippocampus study."""

import argparse
import importlib

import numpy as np
import pytest

from nnunet_da.errors import UserError


@pytest.fixture
def centres():
    return importlib.import_module("hippocampus_centres")


def shift(**changes) -> argparse.Namespace:
    return argparse.Namespace(**{"gamma": 1.0, "bias": 0.0, "noise": 0.0, "slice_voxels": 1, **changes})


@pytest.fixture
def voxels():
    return np.random.default_rng(0).uniform(0, 100, (6, 8, 10)).astype(np.float32)


def test_no_shift_is_the_scan(centres, voxels):
    assert np.allclose(centres.shifted(voxels, shift(), np.random.default_rng(1)), voxels, atol=1e-3)


def test_contrast_is_a_power_within_the_same_range(centres, voxels):
    darker = centres.shifted(voxels, shift(gamma=2.0), np.random.default_rng(1))
    low, high = voxels.min(), np.percentile(voxels, 99.5)
    expected = low + ((voxels - low) / (high - low)) ** 2 * (high - low)
    assert np.allclose(darker, expected, atol=1e-3)


def test_noise_is_a_share_of_the_range_and_slices_average(centres, voxels):
    noisy = centres.shifted(np.tile(voxels, (8, 8, 8)), shift(noise=0.1), np.random.default_rng(1))
    assert (noisy - np.tile(voxels, (8, 8, 8))).std() == pytest.approx(0.1 * np.ptp(voxels), rel=0.05)
    thick = centres.shifted(voxels, shift(slice_voxels=2), np.random.default_rng(1))
    assert np.allclose(thick[1], (voxels[0] + voxels[1]) / 2, atol=1e-3)


@pytest.mark.real
def test_two_centres_are_written(centres, nnunet_folders, monkeypatch):
    from nnunet_da import paths
    from nnunet_da.datasets import find_dataset

    data = paths.test_data_dir()
    if data is None or not (data / "hippocampus").is_dir():
        pytest.skip("the test data are not here")
    monkeypatch.setattr("sys.argv", ["hippocampus_centres.py", "--raw", str(paths.nnunet_raw())])
    images = sorted((data / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    monkeypatch.setattr(centres, "sorted", lambda files: images[:12], raising=False)
    centres.main()
    for dataset_id in (301, 302):
        dataset = find_dataset(dataset_id)
        assert len(dataset.training_labels()) == dataset.description["numTraining"] == 4
        assert len(list((dataset.folder / "labelsTs").iterdir())) == 2
    with pytest.raises(UserError, match="must not be there yet"):
        centres.main()


def test_without_a_folder_nothing_is_written(centres, nnunet_folders, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hippocampus_centres.py"])
    centres.main()
    assert "--raw" in capsys.readouterr().out
    assert not list((nnunet_folders / "nnUNet_raw").iterdir())

"""Preprocessing as nnU-Net does it, and what it makes of noise."""

import json

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


def test_plans_give_what_stock_preprocessing_stores(make_centre, nnunet_folders):
    """Plans as stock planning writes them, with transposed axes and another spacing; planning itself would take half a minute."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    make_centre(101, "A", cases=1)
    source = find_dataset("101")
    folder = nnunet_folders / "nnUNet_preprocessed" / source.name
    folder.mkdir()
    resampling = {
        f"resampling_fn_{kind}{end}": value
        for kind, order in (("data", 3), ("seg", 1))
        for end, value in (
            ("", "resample_data_or_seg_to_shape"),
            ("_kwargs", {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}),
        )
    }
    configuration = {
        "architecture": {},
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": [64, 16, 16],
        "spacing": [1.5, 3.0, 2.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **resampling,
    }
    intensities = {"mean": 10.0, "std": 200.0, "percentile_00_5": -90.0, "percentile_99_5": 480.0}
    plans = {
        "dataset_name": source.name,
        "plans_name": "TinyPlans",
        "transpose_forward": [1, 0, 2],
        "transpose_backward": [1, 0, 2],
        "image_reader_writer": "SimpleITKIO",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {"3d_fullres": configuration},
    }
    (folder / "TinyPlans.json").write_text(json.dumps(plans))
    how = from_plans(source, "TinyPlans", "3d_fullres")
    (files,) = source.training_images().values()
    found = preprocess(AuditScan(source.name, "A_00", SOURCE, TRAIN, tuple(files)), [], grid(2.5, 2, 2), how)
    manager, label = PlansManager(plans), str(source.training_labels()["A_00"])
    stock = DefaultPreprocessor(verbose=False)
    stock.run_case_save(str(folder / "A_00"), [str(files[0])], label, manager, manager.get_configuration("3d_fullres"), source.description)
    np.testing.assert_allclose(found, nnUNetDatasetBlosc2(str(folder)).load_case("A_00")[0][:], atol=1e-5)
    assert found.shape == (1, 37, 17, 28)  # 28 x 2 / 1.5, 20 x 2.5 / 3, 28 x 2 / 2
    assert found.min() == pytest.approx((-90 - 10) / 200, abs=0.2)
    assert padding(found.shape[1:], how) == pytest.approx(1 - 37 / 64)
    assert "TinyPlans" in how.text


def test_plans_that_are_not_there(make_centre):
    make_centre(101, "A")
    with pytest.raises(UserError, match="NoPlans"):
        from_plans(find_dataset("101"), "NoPlans", "3d_fullres")


def test_plans_without_a_spacing_are_refused(make_centre, nnunet_folders):
    make_centre(101, "A")
    source = find_dataset("101")
    file = nnunet_folders / "nnUNet_preprocessed" / source.name / "Half.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"dataset_name": source.name, "plans_name": "Half", "configurations": {"3d_fullres": {}}}))
    with pytest.raises(UserError, match="plan again"):
        from_plans(source, "Half", "3d_fullres")

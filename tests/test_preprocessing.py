"""Target scans on the source's plans: equal to stock preprocessing, without labels, and refused when stale."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main
from nnunet_da.errors import UserError
from nnunet_da.preprocessing import preprocess, preprocessing_hash, target_cache

COMMAND = ["preprocess", "-d", "101", "-p", "PFDAformerDemoPlans", "--processes", "1"]


def plans_file(root):
    return root / "nnUNet_preprocessed" / "Dataset101_A" / "PFDAformerDemoPlans.json"


def change_plans(root, change):
    plans = json.loads(plans_file(root).read_text())
    change(plans)
    plans_file(root).write_text(json.dumps(plans))


def read_case(root, case):
    import blosc2

    folder = root / "nnUNet_preprocessed" / "Dataset101_A" / "PFDAformerDemoPlans_3d_fullres_target_Dataset102_B"
    return blosc2.open(str(folder / f"{case}.b2nd"))[:], blosc2.open(str(folder / f"{case}_seg.b2nd"))[:]


def test_target_is_normalised_with_the_sources_intensities(two_centres):
    data, seg = read_case(two_centres, "B_00")
    channel = json.loads(plans_file(two_centres).read_text())["foreground_intensity_properties_per_channel"]["0"]
    raw = sitk.GetArrayFromImage(sitk.ReadImage(str(two_centres / "nnUNet_raw/Dataset102_B/imagesTr/B_00_0000.nii.gz")))
    expected = (np.clip(raw.astype(np.float32), channel["percentile_00_5"], channel["percentile_99_5"]) - channel["mean"]) / channel["std"]
    np.testing.assert_allclose(data[0], expected, atol=1e-4)  # planned at the native spacing: nothing else happens
    assert seg.max() == 0  # no label; -1 marks border voxels of exactly 0 HU, for source and target alike


def test_record_names_cases_and_plans(two_centres):
    record = json.loads(
        (two_centres / "nnUNet_preprocessed/Dataset101_A/PFDAformerDemoPlans_3d_fullres_target_Dataset102_B.json").read_text()
    )
    assert record["cases"] == [f"B_{index:02d}" for index in range(4)]


def test_cache_holds_only_the_file_types_of_nnunet(two_centres):
    folder = two_centres / "nnUNet_preprocessed/Dataset101_A/PFDAformerDemoPlans_3d_fullres_target_Dataset102_B"
    assert {file.suffix for file in folder.iterdir()} == {".b2nd", ".pkl"}


def test_hash_depends_on_what_changes_voxels_only(two_centres):
    plans = json.loads(plans_file(two_centres).read_text())
    configuration = plans["configurations"]["3d_fullres"]
    before = preprocessing_hash(plans, configuration)
    assert preprocessing_hash(plans, {**configuration, "batch_size": 9, "nnunet_da": {}}) == before
    assert preprocessing_hash(plans, {**configuration, "spacing": [1.0, 1.0, 1.0]}) != before
    other = json.loads(json.dumps(plans))
    other["foreground_intensity_properties_per_channel"]["0"]["std"] += 1
    assert preprocessing_hash(other, configuration) != before


def test_stale_or_incomplete_caches_are_refused(centres_copy):
    plans = json.loads(plans_file(centres_copy).read_text())
    configuration = plans["configurations"]["3d_fullres"]
    cache = target_cache("Dataset101_A", "Dataset102_B", configuration)
    assert len(cache.check(plans, configuration)) == 4
    with pytest.raises(UserError, match="other ones"):
        cache.check(plans, {**configuration, "spacing": [9.0, 1.0, 1.0]})
    raw = centres_copy / "nnUNet_raw" / "Dataset102_B"
    (raw / "imagesTr" / "B_09_0000.nii.gz").write_bytes(b"new scan")
    with pytest.raises(UserError, match="changed since"):
        cache.check(plans, configuration)
    raw.rename(raw.with_name("Dataset900_Gone"))  # a compute node has no raw data: nothing to compare with
    assert len(cache.check(plans, configuration)) == 4
    (cache.folder / "B_01_seg.b2nd").unlink()
    with pytest.raises(UserError, match="'B_01' is missing"):
        cache.check(plans, configuration)
    cache.record.unlink()
    with pytest.raises(UserError, match="not there"):
        cache.check(plans, configuration)


def test_failure_leaves_the_old_cache(centres_copy, monkeypatch):
    def fail(job):
        raise RuntimeError("disk on fire")

    monkeypatch.setattr("nnunet_da.preprocessing._preprocess_target_case", fail)
    before = sorted(str(f) for f in (centres_copy / "nnUNet_preprocessed").rglob("*"))
    with pytest.raises(RuntimeError, match="on fire"):
        preprocess("101", "PFDAformerDemoPlans", "3d_fullres", 1, targets_only=True)
    assert sorted(str(f) for f in (centres_copy / "nnUNet_preprocessed").rglob("*")) == before


def test_targets_only_replaces_a_stale_cache(centres_copy):
    change_plans(centres_copy, lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[2.5, 4.0, 4.0]))
    assert main([*COMMAND, "--targets-only"]) == 0
    data, _ = read_case(centres_copy, "B_00")
    assert data.shape == (1, 20, 14, 14)


def test_plans_of_another_dataset(centres_copy, refuses):
    change_plans(centres_copy, lambda plans: plans.update(dataset_name="Dataset007_Other"))
    refuses(centres_copy, COMMAND, "Dataset007_Other", "Dataset101_A")


def test_variants_are_not_preprocessed(centres_copy, refuses):
    main(["plan", "-d", "101", "-t", "102", "--preset", "pf_daformer_demo", "--name", "ab"])
    refuses(centres_copy, [*COMMAND, "-c", "3d_fullres_ab"], "'3d_fullres'", "variant")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-c", "3d_lowres"], ("3d_fullres", "3d_lowres")),
        (["-p", "NoPlans"], ("NoPlans", "nnunet-da plan")),
        (["-p", "dataset"], ("dataset_name",)),
        (["-p", "../Dataset103_C/UDAPlans"], ("without folder",)),
    ],
)
def test_absent_plans_and_configurations(centres_copy, refuses, arguments, words):
    refuses(centres_copy, [*COMMAND, *arguments], *words)


def test_plans_of_stock_nnunet(centres_copy, refuses):
    change_plans(centres_copy, lambda plans: plans["configurations"]["3d_fullres"].pop("nnunet_da"))
    refuses(centres_copy, COMMAND, "nnunet_da", "nnunet-da plan")


def test_a_damaged_scan_costs_no_preprocessed_data(centres_copy, refuses):
    """Stock preprocessing empties its folder before it reads a scan; ours reads first."""
    file = centres_copy / "nnUNet_raw/Dataset101_A/imagesTr/A_03_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:3000])
    refuses(centres_copy, COMMAND, file.name)

"""Plans: what stock nnU-Net reads from them, and every refusal leaves the folders as they were."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_da.cli.main import main
from nnunet_da.planning import TRANSUNET3D, PlanRequest, load_preset, plan, preset_names
from nnunet_da.settings import settings_from_dict

PLAN = ["plan", "-d", "101", "-t", "102"]


def read_plans(root, name):
    return json.loads((root / "nnUNet_preprocessed" / "Dataset101_A" / f"{name}.json").read_text())


# --- what the plans hold


def test_plans_of_pf_daformer_hold_its_network_and_all_settings(two_centres):
    plans = read_plans(two_centres, "PFDAformerDemoPlans")
    assert list(plans["configurations"]) == ["3d_fullres"]
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["architecture"]["network_class_name"] == TRANSUNET3D
    assert configuration["architecture"]["arch_kwargs"]["patch_size"] == configuration["patch_size"] == [16, 16, 16]
    assert configuration["nnunet_da"]["target_datasets"] == {"Dataset102_B": None}
    assert configuration["nnunet_da"]["seed"] == 7
    assert settings_from_dict(configuration["nnunet_da"])  # complete and valid
    assert configuration["resampling_fn_data_kwargs"]["force_separate_z"] is False


def test_padding_stands_for_air_in_the_plans(two_centres):
    """CTNormalization clips and subtracts `mean`: what was clipped to the lowest value becomes 0, which is what padding is."""
    channel = read_plans(two_centres, "PFDAformerDemoPlans")["foreground_intensity_properties_per_channel"]["0"]
    stock = read_plans(two_centres, "UDAPlans")["foreground_intensity_properties_per_channel"]["0"]
    assert channel["mean"] == channel["percentile_00_5"] == stock["percentile_00_5"]
    assert channel["fingerprint_mean"] == stock["mean"]


def test_stock_network_of_uda_is_untouched(two_centres):
    plans = read_plans(two_centres, "UDAPlans")
    assert plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"].endswith("PlainConvUNet")
    assert plans["configurations"]["3d_fullres"]["batch_size"] == 3
    assert "2d" in plans["configurations"]
    assert plans["experiment_planner_used"] == "ExperimentPlanner"


def test_the_target_leaves_no_trace_in_the_fingerprint(two_centres):
    fingerprint = json.loads((two_centres / "nnUNet_preprocessed" / "Dataset101_A" / "dataset_fingerprint.json").read_text())
    assert len(fingerprint["spacings"]) == 5
    assert not (two_centres / "nnUNet_preprocessed" / "Dataset102_B").exists()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_says_what_it_is(name):
    preset = load_preset(name)
    settings = settings_from_dict({**preset.settings, "preset": name})
    assert len(preset.comment) > 60
    assert preset.plans_name.endswith("Plans")
    assert "__" not in preset.plans_name
    if preset.needs_target:
        assert settings.random_source_samples(preset.batch_size) >= 2
    if preset.network and not preset.network_name.startswith("dynamic_network_architectures"):
        assert not settings.deep_supervision


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("uda")])
def test_uda_presets_have_the_weights_that_were_measured(name):
    settings = settings_from_dict(load_preset(name).settings)
    assert (settings.classifier_input, settings.w_adv, settings.w_mmd) == ("standardised", 0.001, 0.002)


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("pf_daformer")])
def test_pf_daformer_presets_keep_the_papers_classifier_and_weights(name):
    settings = settings_from_dict(load_preset(name).settings)
    assert (settings.classifier_input, settings.w_adv, settings.w_mmd) == ("raw", 0.1, 0.1)


def test_issue_presets_are_there():
    pf_daformer = {"pf_daformer", "pf_daformer_paper", "pf_daformer_small", "pf_daformer_demo", "pf_daformer_finetune"}
    uda = {"uda", "uda_resenc", "uda_finetune", "uda_small", "uda_small_bn"}
    baselines = {"stock", "resenc_m", "segformer3d", "swin_unetr", "vnet_femur", "vnet_milletari"}
    assert set(preset_names()) == pf_daformer | uda | baselines
    assert {name for name in preset_names() if not load_preset(name).needs_target} == baselines


def test_paper_preset_is_the_paper():
    preset = load_preset("pf_daformer_paper")
    assert (preset.patch_size, preset.spacing_mm, preset.padding_hu) == ([192, 192, 192], "native", 0.0)
    settings = settings_from_dict(preset.settings)
    assert (settings.w_adv, settings.w_mmd, settings.grl_schedule, settings.grl_lambda_max) == (0.1, 0.1, "constant", 1.0)
    assert (settings.warmup_epochs, settings.num_epochs, settings.lr_floor, settings.seg_mix) == (38, 300, 6e-6, 0.4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "norm"), [("uda_small", "InstanceNorm3d"), ("uda_small_bn", "BatchNorm3d")])
def test_a_preset_may_fix_a_stock_network(make_centre, nnunet_folders, name, norm):
    """Nothing of it is ours: stock nnU-Net builds it from the plans, with its outputs at several resolutions."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    make_centre(101, "A")
    make_centre(102, "B", labels=False)
    file, _ = plan(PlanRequest("101", ["102"], name, patch_size=[16, 24, 32], processes=1))
    configuration = json.loads(file.read_text())["configurations"]["3d_fullres"]
    network = configuration["architecture"]
    assert (configuration["patch_size"], configuration["batch_size"]) == ([16, 24, 32], 2)
    assert configuration["nnunet_da"]["deep_supervision"] is True
    assert "patch_size" not in network["arch_kwargs"]
    names = network["network_class_name"], network["arch_kwargs"], network["_kw_requires_import"]
    built = get_network_from_plans(*names, 1, 2, deep_supervision=True)
    assert {type(module).__name__ for module in built.modules() if "Norm3d" in type(module).__name__} == {norm}
    outputs = built(torch.zeros(1, 1, *configuration["patch_size"]))
    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 24, 32), (8, 12, 16), (4, 6, 8)]


def test_the_small_presets_differ_in_their_norm_alone():
    small, batch_norm = load_preset("uda_small"), load_preset("uda_small_bn")
    changed = {**small.network["arch_kwargs"], "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}
    assert batch_norm.network == {**small.network, "arch_kwargs": changed}
    assert batch_norm == replace(small, comment=batch_norm.comment, plans_name=batch_norm.plans_name, network=batch_norm.network)


# --- variants and overwriting


def test_a_variant_shares_its_parents_data(centres_copy, capsys):
    assert main([*PLAN, "--preset", "pf_daformer_demo", "--set", "w_mmd=0.2", "--name", "wmmd02"]) == 0
    plans = read_plans(centres_copy, "PFDAformerDemoPlans")
    variant = plans["configurations"]["3d_fullres_wmmd02"]
    assert set(variant) == {"inherits_from", "nnunet_da"}
    assert variant["nnunet_da"]["w_mmd"] == 0.2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    resolved = PlansManager(plans).get_configuration("3d_fullres_wmmd02")
    assert resolved.data_identifier == "PFDAformerDemoPlans_3d_fullres"
    assert "3d_fullres_wmmd02" in capsys.readouterr().out


def test_a_variant_is_its_parent_but_for_what_was_set(centres_copy):
    """Also what was set when the parent was planned, and what planning worked out, such as the mirror axes."""
    main([*PLAN, "--preset", "pf_daformer_demo", "--set", "w_adv=0.5", "--set", "iterations_per_epoch=9", "--name", "ab"])
    configurations = read_plans(centres_copy, "PFDAformerDemoPlans")["configurations"]
    parent, variant = configurations["3d_fullres"]["nnunet_da"], configurations["3d_fullres_ab"]["nnunet_da"]
    assert {name for name in parent if parent[name] != variant[name]} == {"w_adv", "iterations_per_epoch"}
    assert variant["seed"] == 7


def test_left_right_is_not_mirrored(make_centre, nnunet_folders):
    make_centre(101, "A")
    make_centre(102, "B", labels=False)
    overrides = {"mirror_axes": None}
    plan(PlanRequest("101", ["102"], "pf_daformer_demo", overrides, patch_size=[16, 16, 16], processes=1))
    assert read_plans(nnunet_folders, "PFDAformerDemoPlans")["configurations"]["3d_fullres"]["nnunet_da"]["mirror_axes"] == [0, 1]


def test_every_configuration_has_enough_samples_to_align(two_centres):
    for name in ("UDAPlans", "UDAResEncMPlans"):
        for configuration in read_plans(two_centres, name)["configurations"].values():
            settings_from_dict(configuration["nnunet_da"]).check_batch(configuration["batch_size"])


def test_replanning_keeps_the_variants(centres_copy):
    main([*PLAN, "--preset", "pf_daformer_demo", "--set", "w_mmd=0.2", "--name", "kept"])
    request = PlanRequest("101", ["102"], "pf_daformer_demo", patch_size=[16, 16, 32], processes=1, overwrite=True)
    plan(request)
    plans = read_plans(centres_copy, "PFDAformerDemoPlans")
    assert plans["configurations"]["3d_fullres"]["patch_size"] == [16, 16, 32]
    assert plans["configurations"]["3d_fullres_kept"]["nnunet_da"]["w_mmd"] == 0.2


def test_planning_with_no_workers_set_does_not_crash(make_centre, monkeypatch, nnunet_folders):
    """nnU-Net's planner takes the number of training workers for its threads and fails on 0."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    make_centre(101, "A")
    make_centre(102, "B", labels=False)
    assert main([*PLAN, "--preset", "uda", "--processes", "1"]) == 0
    import os

    assert os.environ["nnUNet_n_proc_DA"] == "0"


# --- refusals


@pytest.fixture
def centres(make_centre, nnunet_folders):
    make_centre(101, "A")
    make_centre(102, "B", labels=False)
    return nnunet_folders


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-d", "105", "-t", "102"], ("105", "Dataset101_A")),
        (["-d", "101", "-t", "nowhere"], ("nowhere", "Dataset101_CENTRE")),
        (["-d", "101", "-t", "101"], ("different", "Dataset101_A")),
        (["-d", "101", "-t", "102", "102"], ("once",)),
        (["-d", "102", "-t", "101"], ("Dataset102_B", "label map")),
        (["-d", "101", "-t", "102", "--preset", "pfdaformer"], ("pf_daformer_paper", "'pfdaformer'")),
        (["-d", "101", "-t", "102", "--set", "w_mdm=1"], ("w_mdm", "w_mmd")),
        (["-d", "101", "-t", "102", "--set", "w_mmd=much"], ("w_mmd", "a number")),
        (["-d", "101", "-t", "102", "--set", "w_mmd"], ("name=value",)),
        (["-d", "101", "-t", "102", "--set", "preset=uda"], ("--preset",)),
        (["-d", "101", "-t", "102", "--set", 'target_datasets={"Dataset102_B": ["nobody"]}'], ("nobody",)),
        (["-d", "101", "-t", "102", "--patch-size", "64", "100", "128"], ("100", "128")),
        (["-d", "101", "-t", "102", "--preset", "uda", "--patch-size", "64", "64", "64"], ("stock network",)),
        (
            ["-d", "101", "-t", "102", "--preset", "uda_small", "--patch-size", "64", "60", "64"],
            ("60", "does not fit the preset uda_small"),
        ),
        (["-d", "101", "-t", "102", "--batch-size", "1"], ("at least 2", "batch of 1")),
        (["-d", "101", "-t", "102", "--preset", "uda", "--batch-size", "2"], ("at least 2", "oversample_foreground_percent")),
        (["-d", "101", "-t", "102", "--preset", "uda", "-tr", "nnUNetTrainer_PFDAformer"], ("TransUNet3D", "UDA")),
        (["-d", "101", "-t", "102", "-tr", "nnUNetTrainer_X"], ("nnUNetTrainer_X", "nnUNetTrainer_UDA_GRL")),
        (["-d", "101", "-t", "102", "--name", "a__b"], ("a__b",)),
        (["-d", "101", "-t", "102", "--name", "ab"], ("PFDAformerPlans.json",)),
        (["-d", "101", "-t", "102", "--name", "ab", "--batch-size", "4"], ("shares",)),
        (["-d", "101", "-t", "102", "--batch-size", "0"], ("batch of 0",)),
        (["-d", "101", "-t", "102", "--spacing", "0", "1", "1"], ("positive", "mm")),
        (["-d", "101", "-t", "102", "--spacing", "nan", "1", "1"], ("positive", "mm")),
        (["-d", "101", "-t", "102", "--preset", "pf_daformer_paper", "--spacing", "2", "1", "1"], ("native",)),
        (["-d", "101", "-t", "102", "--set", "deep_supervision=true"], ("deep supervision",)),
        (["-d", "101", "-t", "102", "--set", "target_datasets={}"], ("Dataset102_B", "none")),
        (["-d", "101", "-t", "102", "--set", 'target_datasets={"Dataset102_B": []}'], ("empty list",)),
        (["-d", "101", "-t", "102", "--processes", "0"], ("1 or more",)),
        (["-d", "²", "-t", "102"], ("²",)),
    ],
)
def test_bad_requests(centres, refuses, arguments, words):
    refuses(centres, ["plan", *arguments], *words)


def test_existing_plans_and_variants_are_not_replaced(centres_copy, refuses):
    refuses(centres_copy, [*PLAN, "--preset", "pf_daformer_demo"], "--name", "--overwrite")
    assert main([*PLAN, "--preset", "pf_daformer_demo", "--name", "ab"]) == 0
    refuses(centres_copy, [*PLAN, "--preset", "pf_daformer_demo", "--name", "ab"], "3d_fullres_ab")


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed"])
def test_missing_variables(centres, refuses, monkeypatch, variable):
    monkeypatch.delenv(variable)
    refuses(centres, PLAN, variable, "export")
    monkeypatch.setenv(variable, str(centres / "absent"))
    refuses(centres, PLAN, variable, "absent")


def test_target_with_other_channels(centres, refuses):
    file = centres / "nnUNet_raw" / "Dataset102_B" / "dataset.json"
    description = json.loads(file.read_text())
    description["channel_names"]["1"] = "MR"
    file.write_text(json.dumps(description))
    refuses(centres, PLAN, "1 channel", "it has 2")


def test_two_datasets_of_one_id(centres, make_centre, refuses):
    make_centre(102, "C")
    refuses(centres, PLAN, "unique", "Dataset102_C")


def test_a_target_without_images(centres, refuses):
    for file in (centres / "nnUNet_raw" / "Dataset102_B" / "imagesTr").iterdir():
        file.unlink()
    refuses(centres, PLAN, "imagesTr", "found none")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"labels": {}}',
        '{"channel_names": {"0": "CT"}, "labels": {"bone": "x"}, "file_ending": ".nii.gz"}',
        '{"channel_names": ["CT"], "labels": {"background": 0}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0}, "file_ending": 3}',
    ],
)
def test_broken_dataset_json(centres, refuses, content):
    (centres / "nnUNet_raw" / "Dataset102_B" / "dataset.json").write_text(content)
    refuses(centres, PLAN, "dataset.json")


def change_voxels(file, function, dtype=np.float32):
    image = sitk.ReadImage(str(file))
    changed = sitk.GetImageFromArray(function(sitk.GetArrayFromImage(image).astype(dtype)))
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(file))


def set_first(value):
    def change(voxels):
        voxels[0, 0, 0] = value
        return voxels

    return change


@pytest.mark.parametrize("file", ["Dataset101_A/imagesTr/A_01_0000.nii.gz", "Dataset102_B/imagesTr/B_00_0000.nii.gz"])
class TestDamagedScans:
    def test_truncated(self, centres, refuses, file):
        path = centres / "nnUNet_raw" / file
        path.write_bytes(path.read_bytes()[:2000])
        refuses(centres, PLAN, path.name, "truncated")

    def test_not_an_image(self, centres, refuses, file):
        (centres / "nnUNet_raw" / file).write_text("no image")
        refuses(centres, PLAN, file)

    def test_nan(self, centres, refuses, file):
        change_voxels(centres / "nnUNet_raw" / file, set_first(np.nan))
        refuses(centres, PLAN, file, "NaN")


def test_label_outside_dataset_json(centres, refuses):
    change_voxels(centres / "nnUNet_raw" / "Dataset101_A" / "labelsTr" / "A_00.nii.gz", set_first(7), np.uint8)
    refuses(centres, PLAN, "A_00.nii.gz", "undeclared values 7")


def test_image_and_label_on_other_grids(centres, refuses):
    file = centres / "nnUNet_raw" / "Dataset101_A" / "labelsTr" / "A_00.nii.gz"
    label = sitk.ReadImage(str(file))
    label.SetOrigin((5.0, 0.0, 0.0))
    sitk.WriteImage(label, str(file))
    refuses(centres, PLAN, "A_00", "share one grid")


def test_one_slice_images_cannot_be_planned(centres, refuses):
    for kind in ("imagesTr", "labelsTr"):
        for file in (centres / "nnUNet_raw" / "Dataset101_A" / kind).iterdir():
            sitk.WriteImage(sitk.ReadImage(str(file))[:, :, :1], str(file))
    refuses(centres, PLAN, "one slice")


def test_a_variant_cannot_have_other_targets(centres_copy, refuses):
    shutil.copytree(centres_copy / "nnUNet_raw" / "Dataset102_B", centres_copy / "nnUNet_raw" / "Dataset103_C")
    refuses(
        centres_copy, ["plan", "-d", "101", "-t", "103", "--preset", "pf_daformer_demo", "--name", "ab"], "Dataset102_B", "Dataset103_C"
    )


def test_a_variant_of_plans_of_another_dataset(centres_copy, refuses):
    file = centres_copy / "nnUNet_preprocessed" / "Dataset101_A" / "PFDAformerDemoPlans.json"
    file.write_text(file.read_text().replace("Dataset101_A", "Dataset007_Other"))
    refuses(centres_copy, [*PLAN, "--preset", "pf_daformer_demo", "--name", "ab"], "Dataset007_Other")

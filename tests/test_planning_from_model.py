"""Plans from a trained model: its network and preprocessing for another run, and models that do not fit are refused."""

import copy
import json

import pytest
import torch

from nnunet_da.cli.main import main
from nnunet_da.planning import TRANSUNET3D
from nnunet_da.settings import settings_from_dict

PLAN = ["plan", "-d", "101", "-t", "102", "--processes", "1"]
FINETUNE = [*PLAN, "--preset", "uda_finetune"]
TASK = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "file_ending": ".nii.gz", "numTraining": 2}
RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
NETWORK = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
INTENSITIES = {"mean": 321.0, "std": 77.0, "percentile_00_5": -150.0, "percentile_99_5": 990.0}
FULLRES = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [16, 24, 24],
    "median_image_size_in_voxels": [20.0, 28.0, 28.0],
    "spacing": [2.7, 1.9, 1.9],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")},
    **{f"resampling_fn_{kind}_kwargs": RESAMPLING for kind in ("data", "seg", "probabilities")},
    "architecture": NETWORK,
    "batch_dice": True,
    "next_stage": "3d_cascade_fullres",
}
PLANS = {
    "dataset_name": "Dataset007_Elsewhere",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "NibabelIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
    "configurations": {
        "2d": {"spacing": [1.9, 1.9]},
        "3d_fullres": FULLRES,
        "3d_fullres_bs4": {"inherits_from": "3d_fullres", "batch_size": 4},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    },
}


@pytest.fixture
def centres(make_centre, nnunet_folders):
    """With a fingerprint as planning for another model leaves it: to make one takes nnU-Net seconds of starting processes."""
    folder = make_centre(101, "A")
    make_centre(102, "B", labels=False)
    fingerprint = nnunet_folders / "nnUNet_preprocessed" / folder.name / "dataset_fingerprint.json"
    fingerprint.parent.mkdir()
    fingerprint.write_text("{}")
    return nnunet_folders


@pytest.fixture
def save(centres):
    """What to change of a checkpoint -> its file; planning reads no weights."""

    def write(name="fold_0/checkpoint_final.pth", configuration="3d_fullres", plans=PLANS, dataset_json=TASK, fold=0, **entries):
        file = centres / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        init_args = {"plans": copy.deepcopy(plans), "configuration": configuration, "fold": fold, "dataset_json": dataset_json}
        stock = {"network_weights": {}, "init_args": init_args, "trainer_name": "nnUNetTrainer", "current_epoch": 1000}
        torch.save({**stock, "inference_allowed_mirroring_axes": (0, 1, 2), **entries}, file)
        return str(file)

    return write


def changed(configuration="3d_fullres", **entries):
    plans = copy.deepcopy(PLANS)
    plans["configurations"][configuration].update(entries)
    return plans


def read_plans(root, name="UDAFinetunePlans"):
    return json.loads((root / "nnUNet_preprocessed" / "Dataset101_A" / f"{name}.json").read_text())


# --- what the plans hold


def test_network_and_preprocessing_are_the_models(centres, save):
    file = save()
    assert main([*FINETUNE, "--from-checkpoint", file]) == 0
    plans = read_plans(centres)
    configuration = plans["configurations"].pop("3d_fullres")
    assert plans.pop("configurations") == {}
    assert plans == {
        **{k: v for k, v in PLANS.items() if k != "configurations"},
        "dataset_name": "Dataset101_A",
        "plans_name": "UDAFinetunePlans",
    }
    settings = settings_from_dict(configuration.pop("nnunet_da"))
    expected = {**FULLRES, "data_identifier": "UDAFinetunePlans_3d_fullres", "batch_size": 3}
    expected.pop("next_stage")
    assert configuration == expected
    assert settings.init_checkpoint == file
    assert (settings.initial_lr, settings.num_epochs, settings.save_every) == (1e-3, 50, 5)
    assert settings.mirror_axes == [0, 1, 2]
    assert settings.deep_supervision


@pytest.mark.slow
def test_stock_training_finds_what_it_reads_beside_the_plans(centres, save):
    (centres / "nnUNet_raw" / "Dataset101_A" / "splits_final.json").write_text('[{"train": ["A_00"], "val": ["A_01"]}]')
    folder = centres / "nnUNet_preprocessed" / "Dataset101_A"
    (folder / "dataset_fingerprint.json").unlink()
    main([*FINETUNE, "--from-checkpoint", save()])
    assert json.loads((folder / "dataset.json").read_text())["labels"] == TASK["labels"]
    assert len(json.loads((folder / "dataset_fingerprint.json").read_text())["spacings"]) == 2
    assert json.loads((folder / "splits_final.json").read_text())[0]["val"] == ["A_01"]


def test_the_users_own_plans_data_and_splits_stay(centres, save):
    folder = centres / "nnUNet_preprocessed" / "Dataset101_A"
    own = {
        "nnUNetPlans_3d_fullres/A_00.b2nd": "voxels",
        "nnUNetPlans.json": "plans",
        "splits_final.json": "[]",
        "dataset_fingerprint.json": "{}",
    }
    for name, text in own.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    main([*FINETUNE, "--from-checkpoint", save()])
    assert {name: (folder / name).read_text() for name in own} == own


def test_a_models_habits_are_kept_unless_set(centres, save):
    entries = {"trainer_name": "nnUNetTrainerNoDeepSupervision", "inference_allowed_mirroring_axes": None}
    main([*FINETUNE, "--from-checkpoint", save(**entries)])
    settings = read_plans(centres)["configurations"]["3d_fullres"]["nnunet_da"]
    assert (settings["deep_supervision"], settings["mirror_axes"]) == (False, [])
    main([*FINETUNE, "--overwrite", "--from-checkpoint", save(**entries), "--set", "mirror_axes=[1]", "--set", "deep_supervision=true"])
    settings = read_plans(centres)["configurations"]["3d_fullres"]["nnunet_da"]
    assert (settings["deep_supervision"], settings["mirror_axes"]) == (True, [1])


def test_an_inherited_configuration_is_written_out(centres, save):
    main([*FINETUNE, "--from-checkpoint", save(configuration="3d_fullres_bs4"), "--batch-size", "5"])
    configuration = read_plans(centres)["configurations"]["3d_fullres_bs4"]
    assert "inherits_from" not in configuration
    assert configuration["batch_size"] == 5
    assert configuration["data_identifier"] == "UDAFinetunePlans_3d_fullres_bs4"
    assert main([*FINETUNE, "--set", "w_mmd=0.2", "--name", "weak"]) == 0
    assert read_plans(centres)["configurations"]["3d_fullres_bs4_weak"]["inherits_from"] == "3d_fullres_bs4"


def test_plans_of_older_versions_are_read(centres, save):
    old = {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "num_pool_per_axis": [1, 1, 1],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
        "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    }
    plans = copy.deepcopy(PLANS)
    plans["configurations"] = {"3d_fullres": {**{k: v for k, v in FULLRES.items() if k != "architecture"}, **old}}
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    with pytest.warns(UserWarning, match="old nnU-Net plans"):
        assert main([*FINETUNE, "--from-checkpoint", save(plans=plans)]) == 0
    written = read_plans(centres)
    assert written["configurations"]["3d_fullres"]["architecture"] == NETWORK
    assert written["foreground_intensity_properties_per_channel"]["0"]["mean"] == 321


def test_a_reader_that_cannot_read_the_files_is_replaced(centres, save):
    main([*FINETUNE, "--from-checkpoint", save(plans={**PLANS, "image_reader_writer": "Tiff3DIO"})])
    assert read_plans(centres)["image_reader_writer"] == "SimpleITKIO"


def test_a_transunet_has_a_preset_of_its_own(centres, save):
    plans = changed(
        architecture={"network_class_name": TRANSUNET3D, "arch_kwargs": {"patch_size": [16, 24, 24]}, "_kw_requires_import": []}
    )
    preset = ["--preset", "pf_daformer_finetune", "-tr", "nnUNetTrainer_PFDAformer"]
    assert main([*PLAN, *preset, "--from-checkpoint", save(plans=plans)]) == 0
    settings = read_plans(centres, "PFDAformerFinetunePlans")["configurations"]["3d_fullres"]["nnunet_da"]
    assert (settings["initial_lr"], settings["deep_supervision"]) == (1e-5, False)


def test_one_plans_file_serves_all_folds(centres, save, monkeypatch):
    save("fold_1/checkpoint_final.pth", fold=1)
    save("fold_2/checkpoint_final.pth", fold=2)
    monkeypatch.chdir(centres / "models")
    assert main([*FINETUNE, "--set", "init_checkpoint=fold_{fold}/checkpoint_final.pth"]) == 0
    path = str(centres / "models" / "fold_{fold}" / "checkpoint_final.pth")
    assert read_plans(centres)["configurations"]["3d_fullres"]["nnunet_da"]["init_checkpoint"] == path


# --- refusals


def test_no_model_named(centres, refuses):
    refuses(centres, FINETUNE, "--from-checkpoint", "uda_finetune")


def test_no_such_file(centres, refuses):
    refuses(centres, [*FINETUNE, "--from-checkpoint", "absent/checkpoint_final.pth"], "absent/checkpoint_final.pth")
    refuses(centres, [*FINETUNE, "--from-checkpoint", "absent/fold_{fold}/checkpoint_final.pth"], "each fold", "fold_{fold}")


def test_no_checkpoint(centres, refuses):
    (centres / "scan.nii.gz").write_text("no checkpoint")
    refuses(centres, [*FINETUNE, "--from-checkpoint", str(centres / "scan.nii.gz")], "scan.nii.gz")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"dataset_json": {**TASK, "labels": {"background": 0, "bone": 1, "metal": 2}}}, ("labels", "metal", "Dataset101_A")),
        ({"dataset_json": {**TASK, "labels": {"background": 0, "femur": 1}}}, ("labels", "femur")),
        ({"dataset_json": {**TASK, "channel_names": {"0": "CT", "1": "PET"}}}, ("channels", "pet")),
        ({"configuration": "3d_cascade_fullres"}, ("cascade",)),
        ({"configuration": "absent"}, ("'absent'", "missing")),
        ({"init_args": {"plans": PLANS}}, ("'configuration'",)),
        ({"plans": {**PLANS, "dataset_name": "Dataset102_B"}}, ("target labels", "Dataset102_B")),
        ({"plans": changed(architecture={**NETWORK, "network_class_name": TRANSUNET3D})}, ("TransUNet3D", "pf_daformer_finetune")),
    ],
)
def test_models_that_do_not_fit(centres, refuses, save, entries, words):
    refuses(centres, [*FINETUNE, "--from-checkpoint", save(**entries)], *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--patch-size", "16", "16", "16"], ("--patch-size",)),
        (["--spacing", "1", "1", "1"], ("--spacing",)),
        (["--batch-size", "2"], ("at least 2",)),
        (["--set", "init_checkpoint=3"], ("--from-checkpoint",)),
        (["-tr", "nnUNetTrainer_PFDAformer"], ("TransUNet3D", "UDA")),
    ],
)
def test_bad_requests(centres, refuses, save, arguments, words):
    start = [] if "init_checkpoint=3" in arguments else ["--from-checkpoint", save()]
    refuses(centres, [*FINETUNE, *start, *arguments], *words)


def test_a_preset_for_another_network(centres, refuses, save):
    refuses(centres, [*PLAN, "--preset", "pf_daformer_finetune", "--from-checkpoint", save()], "PlainConvUNet", "uda_finetune")


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        (changed(spacing=[3.0, 1.9, 1.9]), ("spacing", "[3.0, 1.9, 1.9]", "[2.7, 1.9, 1.9]")),
        (changed(normalization_schemes=["ZScoreNormalization"]), ("normalization_schemes", "ZScore", "CTNormalization")),
        ({**PLANS, "transpose_forward": [1, 0, 2]}, ("transpose_forward", "[1, 0, 2]")),
        (
            {**PLANS, "foreground_intensity_properties_per_channel": {"0": {**INTENSITIES, "mean": 5.0}}},
            ("mean of channel 0", "5.0", "321.0"),
        ),
        (changed(architecture={**NETWORK, "arch_kwargs": {**NETWORK["arch_kwargs"], "n_stages": 3}}), ("network", "n_stages", "3")),
    ],
)
def test_a_variant_must_start_from_a_model_of_its_plans(centres, refuses, save, plans, words):
    main([*FINETUNE, "--from-checkpoint", save()])
    other = save("other/checkpoint_final.pth", plans=plans)
    refuses(centres, [*FINETUNE, "--name", "other", "--from-checkpoint", other], *words)


def test_a_variant_may_start_from_another_model_of_its_plans(centres, save):
    main([*FINETUNE, "--from-checkpoint", save()])
    other = save("other/checkpoint_final.pth", plans=changed(patch_size=[16, 16, 16]))  # patches may differ
    assert main([*FINETUNE, "--name", "other", "--from-checkpoint", other]) == 0
    configurations = read_plans(centres)["configurations"]
    assert configurations["3d_fullres_other"]["nnunet_da"]["init_checkpoint"] == other
    assert configurations["3d_fullres"]["nnunet_da"]["init_checkpoint"] != other

"""Baselines are planned without a target, as stock plans them or with a network of theirs, and refuse patches it cannot take."""

import json

import pytest

from nnunet_da.cli.main import main
from nnunet_da.planning import PlanRequest, load_preset, plan
from nnunet_da.planning_trainers import needs_target, network_of
from nnunet_da.preprocessing import preprocess
from nnunet_da.presets import SEGFORMER3D, SWIN_UNETR, TRANSUNET3D, VNET

PLAN = ["plan", "-d", "101", "--processes", "1"]
# the first leaves one coarsest cell, which two samples are enough to train BatchNorm on
SMALL = {"segformer3d": (32, 32, 32), "swin_unetr": (32, 32, 64), "vnet_femur": (16, 16, 16), "vnet_milletari": (32, 16, 16)}


@pytest.fixture
def centres(make_centre, nnunet_folders):
    make_centre(101, "A")
    make_centre(102, "B", labels=False)
    return nnunet_folders


def read_plans(root, name):
    return json.loads((root / "nnUNet_preprocessed" / "Dataset101_A" / f"{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "planner"), [("stock", "ExperimentPlanner"), ("resenc_m", "nnUNetPlannerResEncM")])
def test_stock_presets_plan_what_stock_plans(centres, monkeypatch, preset, planner):
    """Every entry of every configuration but ours, and but what our trainers do not train: cascades."""
    import nnunetv2
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # stock's own planning crashes on 0
    file, configuration = plan(PlanRequest("101", [], preset, processes=1))
    ours = json.loads(file.read_text())
    extract_fingerprint_dataset(101, num_processes=1, clean=True)
    planner_class = recursive_find_python_class(nnunetv2.__path__[0] + "/experiment_planning", planner, "nnunetv2.experiment_planning")
    _, name = plan_experiment_dataset(101, planner_class)
    stock = read_plans(centres, name)
    assert configuration == "3d_fullres"
    assert ours["configurations"]["3d_fullres"]["nnunet_da"]["target_datasets"] == {}
    for configuration in ours["configurations"].values():
        del configuration["nnunet_da"], configuration["data_identifier"]
    for name, configuration in ours["configurations"].items():
        expected = {key: value for key, value in stock["configurations"][name].items() if key not in ("data_identifier", "next_stage")}
        assert configuration == expected, name
    assert ours["foreground_intensity_properties_per_channel"] == stock["foreground_intensity_properties_per_channel"]


@pytest.mark.slow
def test_networks_are_planned_without_a_target(centres):
    for preset, patch_size in SMALL.items():
        assert main([*PLAN, "--preset", preset, "--patch-size", *map(str, patch_size)]) == 0
        plans = read_plans(centres, load_preset(preset).plans_name)
        configuration = plans["configurations"]["3d_fullres"]
        assert configuration["architecture"] == load_preset(preset).network  # no patch size: only position embeddings need one
        assert configuration["patch_size"] == list(patch_size)
        assert configuration["nnunet_da"]["target_datasets"] == {}
        assert configuration["nnunet_da"]["deep_supervision"] is False
    assert not (centres / "nnUNet_preprocessed" / "Dataset102_B").exists()


@pytest.mark.slow
def test_a_target_is_recorded_and_preprocessed_where_it_is_given(centres):
    """The arms of a study share source and target, whether a trainer opens the target or not."""
    assert main([*PLAN, "-t", "102", "--preset", "vnet_femur", "--patch-size", "16", "16", "16", "--batch-size", "1"]) == 0
    plans = read_plans(centres, "VNetFemurPlans")
    assert plans["configurations"]["3d_fullres"]["nnunet_da"]["target_datasets"] == {"Dataset102_B": None}
    assert plans["configurations"]["3d_fullres"]["batch_size"] == 1  # no alignment, so one sample will do
    written = preprocess("101", "VNetFemurPlans", "3d_fullres", 1)
    assert [folder.name for folder in written] == ["VNetFemurPlans_3d_fullres", "VNetFemurPlans_3d_fullres_target_Dataset102_B"]


def test_preprocessing_and_variants_without_a_target(centres, refuses):
    main([*PLAN, "--preset", "stock", "--batch-size", "1"])
    command = ["preprocess", "-d", "101", "-p", "StockPlans", "-c", "3d_fullres", "--processes", "1"]
    refuses(centres, [*command, "--targets-only"], "no target dataset", "plan with -t")
    assert main(command) == 0
    folders = sorted(path.name for path in (centres / "nnUNet_preprocessed" / "Dataset101_A").iterdir() if path.is_dir())
    assert folders == ["StockPlans_3d_fullres", "gt_segmentations"]

    assert main([*PLAN, "--preset", "stock", "--set", "seed=1", "--name", "seed1"]) == 0
    assert read_plans(centres, "StockPlans")["configurations"]["3d_fullres_seed1"]["nnunet_da"]["seed"] == 1
    refuses(centres, [*PLAN, "-t", "102", "--preset", "stock", "--name", "seed2"], "(none)", "Dataset102_B")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "uda"], ("at least one target", "-t")),
        (["--preset", "pf_daformer", "-tr", "nnUNetTrainer_Stock"], ("at least one target",)),
        (["--preset", "stock", "-tr", "nnUNetTrainer_UDA_GRL"], ("adapts to a target", "-t")),
        (["--preset", "stock", "-tr", "nnUNetTrainer_VNetFemur"], ("VNet such as vnet_femur", "the stock network")),
        (["--preset", "vnet_femur", "-tr", "nnUNetTrainer_SwinUNETR"], ("SwinUNETR such as swin_unetr", "VNet")),
        (["--preset", "stock", "--batch-size", "0"], ("batch of 0",)),
        (
            ["--preset", "stock", "-t", "102", "-tr", "nnUNetTrainer_UDA_GRL", "--batch-size", "2"],
            ("at least 2 samples per domain", "batch of 2"),
        ),
        (["--preset", "stock", "--patch-size", "32", "32", "32"], ("stock network",)),
        (["--preset", "stock", "--set", 'target_datasets={"Dataset102_B": null}'], ("given with -t (none)",)),
        (["--preset", "segformer3d", "--patch-size", "32", "48", "32"], ("multiples of 32", "48 along Y", "64")),
        (["--preset", "segformer3d", "--patch-size", "32", "32", "32", "--batch-size", "1"], ("one coarsest cell", "batch of 1")),
        (["--preset", "swin_unetr", "--patch-size", "32", "32", "32"], ("one coarsest cell", "larger patch")),
        (["--preset", "swin_unetr", "--patch-size", "64", "64", "40"], ("multiples of 32", "40 along X")),
        (["--preset", "vnet_femur", "--patch-size", "16", "20", "16"], ("multiples of 8", "20 along Y", "24")),
        (["--preset", "vnet_femur", "--patch-size", "8", "8", "8", "--batch-size", "1"], ("one coarsest cell", "batch of 1")),
        (["--preset", "vnet_milletari", "--patch-size", "16", "24", "16"], ("multiples of 16", "24 along Y", "32")),
        (["--preset", "vnet_femur", "--set", "deep_supervision=true"], ("deep supervision",)),
        (["--preset", "vnet_femur", "--set", "l2_weight=-1"], ("l2_weight", "0 or more")),
    ],
)
def test_refusals(centres, refuses, arguments, words):
    refuses(centres, [*PLAN, *arguments], *words)


@pytest.mark.parametrize(
    ("trainer", "network", "target"),
    [
        ("nnUNetTrainer_Stock", None, False),
        ("nnUNetTrainer_StockDA5", None, False),
        ("nnUNetTrainer_SegFormer3D", SEGFORMER3D, False),
        ("nnUNetTrainer_SwinUNETR", SWIN_UNETR, False),
        ("nnUNetTrainer_VNetFemur", VNET, False),
        ("nnUNetTrainer_UDA_SourceOnly", None, False),
        ("nnUNetTrainer_UDA_GRL", None, True),
        ("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET3D, False),
        ("nnUNetTrainer_PFDAformer", TRANSUNET3D, True),
    ],
)
def test_what_a_trainer_needs(trainer, network, target):
    assert network_of(trainer) == network
    assert needs_target(trainer) is target


@pytest.mark.slow
def test_a_rival_that_restyles_compares_no_samples(centres):
    """It takes any batch: only alignment needs two samples that are drawn alike."""
    arguments = ["-t", "102", "--preset", "stock", "-tr", "nnUNetTrainer_UDA_Fourier", "--batch-size", "2"]
    assert main([*PLAN, *arguments]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planner", "patch_size", "parameters"),
    [("ExperimentPlanner", [64, 192, 160], 31_113_098), ("nnUNetPlannerResEncM", [64, 160, 160], 102_267_274)],
)
def test_stock_networks_of_the_papers_scans_have_their_published_sizes(centres, monkeypatch, planner, patch_size, parameters):
    """Shapes and spacing of proximal-femur QCT as PF-DAformer states them, in the place of what was extracted; two classes."""
    import nnunetv2
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # stock's own planning crashes on 0
    extract_fingerprint_dataset(101, num_processes=1, clean=False)
    file = centres / "nnUNet_preprocessed" / "Dataset101_A" / "dataset_fingerprint.json"
    shapes = [[slices, 192, 192] for slices in range(37, 96)]
    found = json.loads(file.read_text()) | {"shapes_after_crop": shapes, "spacings": [[2.5, 0.847, 0.847]] * len(shapes)}
    file.write_text(json.dumps(found))
    planner_class = recursive_find_python_class(nnunetv2.__path__[0] + "/experiment_planning", planner, "nnunetv2.experiment_planning")
    _, name = plan_experiment_dataset(101, planner_class)
    planned = read_plans(centres, name)["configurations"]["3d_fullres"]
    assert planned["patch_size"] == patch_size
    architecture = planned["architecture"]
    names = architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"]
    with torch.device("meta"):
        network = get_network_from_plans(*names, 1, 2, deep_supervision=True)
    assert sum(weight.numel() for weight in network.parameters()) == parameters

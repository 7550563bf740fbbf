"""Whole short runs by stock code on our trainers: every kind of labels and configuration, and what nnU-Net does with finished runs."""

import csv
import json
import multiprocessing
import os
import types
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_da import paths

pytestmark = pytest.mark.slow

SHAPE = (16, 20, 20)
TRANSUNET, STOCK = "PFDAformerDemoPlans", "UDAPlans"
SHORT = {"num_epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "seed": 7, "head_lr": 1e-3}
CLASSES = {"background": 0, "shell": 1, "core": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2}
IGNORE = {"background": 0, "shell": 1, "core": 2, "ignore": 3}
REGIONS_IGNORE = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}


def write_dataset(raw, dataset_id, name, labels, channels, cases, with_labels=True):
    """Noisy volumes of 2.5 x 2 x 2 mm with a shell around a core; where labels ignore, the last quarter along x is not annotated."""
    folder = raw / f"Dataset{dataset_id}_{name}"
    for part in ("imagesTr", "labelsTr") if with_labels else ("imagesTr",):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(dataset_id)
    grid = np.indices(SHAPE).astype(np.float32)
    for case in range(cases):
        centre = np.array(SHAPE) / 2 + rng.uniform(-2, 2, 3)
        distance = sum(((grid[axis] - centre[axis]) / rng.uniform(4, 6)) ** 2 for axis in range(3))
        segmentation = (distance < 1).astype(np.uint8) + (distance < 0.3)
        for channel in range(channels):
            voxels = rng.normal(-50, 30, SHAPE) + 300.0 * (channel + 1) * segmentation
            write(voxels.astype(np.int16), folder / f"imagesTr/{name}_{case}_{channel:04d}.nii.gz")
        if "ignore" in labels:
            segmentation[..., -SHAPE[2] // 4 :] = labels["ignore"]
        if with_labels:
            write(segmentation.astype(np.uint8), folder / f"labelsTr/{name}_{case}.nii.gz")
    description = {
        "channel_names": {str(c): "CT" for c in range(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    if "whole" in labels:
        description["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(description))


def write(array, file):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 2.0, 2.5))
    sitk.WriteImage(image, str(file))


@pytest.fixture(scope="module")
def threads():
    """nnU-Net's pools as threads: each process it spawns would import nnU-Net again, which takes seconds."""
    patch = pytest.MonkeyPatch()
    patch.setattr(multiprocessing, "get_context", lambda method=None: types.SimpleNamespace(Pool=ThreadPool))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, threads):
    """Sources 201 to 204 with labels of every kind (201 with two channels), targets 211 (two channels) and 212 (one), all preprocessed."""
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.preprocessing import preprocess

    patch = pytest.MonkeyPatch()
    root = tmp_path_factory.mktemp("promises")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir()
        patch.setenv(name, str(root / name))
    raw = root / "nnUNet_raw"
    for dataset_id, (name, labels, channels) in enumerate(
        [("Classes", CLASSES, 2), ("Regions", REGIONS, 1), ("Ignore", IGNORE, 1), ("RegionsIgnore", REGIONS_IGNORE, 1)], start=201
    ):
        write_dataset(raw, dataset_id, name, labels, channels, 5)
    write_dataset(raw, 211, "TargetTwo", {"background": 0}, 2, 3, with_labels=False)
    write_dataset(raw, 212, "TargetOne", {"background": 0}, 1, 3, with_labels=False)
    for source, target in (("201", "211"), ("202", "212"), ("203", "212"), ("204", "212")):
        plan(PlanRequest(source, [target], "uda", overrides=SHORT, processes=1))
        preprocess(source, STOCK, "3d_fullres", processes=1)
    for source, target in (("201", "211"), ("203", "212")):
        small = {"patch_size": [16, 16, 16], "spacing_mm": [2.5, 2.0, 2.0]}
        plan(PlanRequest(source, [target], "pf_daformer_demo", overrides=SHORT, processes=1, **small))
        preprocess(source, TRANSUNET, "3d_fullres", processes=1)
    add_lowres(root / "nnUNet_preprocessed" / "Dataset201_Classes" / f"{STOCK}.json")
    for configuration in ("2d", "3d_lowres"):
        preprocess("201", STOCK, configuration, processes=1)
    patch.setenv("nnUNet_n_proc_DA", "0")
    patch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
    torch.set_num_threads(1)
    yield root
    patch.undo()


def add_lowres(file):
    """What nnU-Net plans for large scans: these are too small for it."""
    plans = json.loads(file.read_text())
    fullres = plans["configurations"]["3d_fullres"]
    spacing = [value * 1.5 for value in fullres["spacing"]]
    plans["configurations"]["3d_lowres"] = {**fullres, "data_identifier": f"{STOCK}_3d_lowres", "spacing": spacing}
    file.write_text(json.dumps(plans))


@pytest.fixture
def train(datasets, monkeypatch):
    """Stock run_training with few processes; the folder of the fold."""
    from nnunetv2.run.run_training import run_training
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock_trainer
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    monkeypatch.setattr(stock_trainer, "default_num_processes", 1)

    def run(dataset, trainer, plans=STOCK, configuration="3d_fullres", fold="0", **options):
        run_training(dataset, configuration, fold, trainer, plans, device=torch.device("cpu"), **options)
        name = maybe_convert_to_dataset_name(int(dataset))
        return datasets / "nnUNet_results" / name / f"{trainer}__{plans}__{configuration}" / f"fold_{fold}"

    return run


def curves(fold):
    with (fold / "curves.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return {term: [float(row["value"]) for row in rows if row["term"] == term] for term in {row["term"] for row in rows}}


ALL_TERMS, NONE = ("seg", "adv", "mmd"), ("seg",)
RUNS = [
    ("201", "nnUNetTrainer_UDA_GRL_MMD", STOCK, "3d_fullres", ALL_TERMS),
    ("201", "nnUNetTrainer_PFDAformer", TRANSUNET, "3d_fullres", ALL_TERMS),
    ("201", "nnUNetTrainer_UDA_GRL_MMD", STOCK, "2d", ALL_TERMS),
    ("201", "nnUNetTrainer_UDA_SourceOnly", STOCK, "2d", NONE),
    ("201", "nnUNetTrainer_UDA_GRL_MMD", STOCK, "3d_lowres", ALL_TERMS),
    ("202", "nnUNetTrainer_UDA_GRL_MMD", STOCK, "3d_fullres", ALL_TERMS),
    ("202", "nnUNetTrainer_UDA_SourceOnly", STOCK, "3d_fullres", NONE),
    ("203", "nnUNetTrainer_UDA_SourceOnly", STOCK, "3d_fullres", NONE),
    ("203", "nnUNetTrainer_UDA_GRL_MMD", STOCK, "3d_fullres", ALL_TERMS),
    ("203", "nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET, "3d_fullres", NONE),
    ("203", "nnUNetTrainer_PFDAformer", TRANSUNET, "3d_fullres", ALL_TERMS),
    ("204", "nnUNetTrainer_UDA_GRL_MMD", STOCK, "3d_fullres", ALL_TERMS),
]


@pytest.mark.parametrize(
    ("dataset", "trainer", "plans", "configuration", "terms"), RUNS, ids=[f"{run[0]}-{run[1][14:]}-{run[3]}" for run in RUNS]
)
def test_a_run_learns_and_validates(train, dataset, trainer, plans, configuration, terms):
    """Every term sends gradient, the weights move, and `--npz` leaves one probability map per head beside every validation case."""
    fold = train(dataset, trainer, plans, configuration, export_validation_probabilities=True)
    logged = curves(fold)
    assert {name[9:] for name in logged if name.startswith("gradient_")} == set(terms)
    for term in terms:
        assert all(0 < value < float("inf") for value in logged[f"gradient_{term}"]), term
        assert np.isfinite(logged[f"loss_{term}"]).all()
    regions = dataset in ("202", "204")
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert set(summary["mean"]) == ({"(1, 2)", "2"} if regions else {"1", "2"})
    (file,) = (fold / "validation").glob("*.npz")
    probabilities = np.load(file)["probabilities"]
    assert probabilities.shape == ((2 if regions else 3), *SHAPE)
    if not regions:
        np.testing.assert_allclose(probabilities.astype(np.float32).sum(0), 1, atol=5e-3)
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(file.with_name(f"{file.stem}.nii.gz"))))
    assert set(np.unique(predicted)) <= {0, 1, 2}


def test_regions_are_refused_by_pf_daformers_loss(train, datasets):
    """The plans exist here, so the refusal comes from the labels alone."""
    folder = datasets / "nnUNet_preprocessed" / "Dataset201_Classes"
    before = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(json.dumps({**json.loads(before), "labels": REGIONS, "regions_class_order": [1, 2]}))
    try:
        with pytest.raises(NotImplementedError, match="region-based labels need an nnUNetTrainer_UDA_"):
            train("201", "nnUNetTrainer_PFDAformer", TRANSUNET)
    finally:
        (folder / "dataset.json").write_text(before)


def test_all_cases_as_one_fold(train):
    """`-f all`: trained and validated on every case."""
    fold = train("201", "nnUNetTrainer_PFDAformer", TRANSUNET, fold="all")
    assert fold.name == "fold_all"
    assert (fold / "checkpoint_final.pth").is_file()
    assert len(list((fold / "validation").glob("*.nii.gz"))) == 5


def test_validation_alone_and_with_the_best_checkpoint(train, monkeypatch):
    """`--val` and `--val --val_best` predict with the weights of the checkpoint they name."""
    from nnunet_da.training.trainer import DomainAdaptationTrainer

    model = ("201", "nnUNetTrainer_PFDAformer_MMD", TRANSUNET)
    fold = train(*model)
    used = {}
    original = DomainAdaptationTrainer.perform_actual_validation

    def look(self, save_probabilities=False):
        used.update({key: weight.clone() for key, weight in self.network.state_dict().items()})
        original(self, save_probabilities)

    monkeypatch.setattr(DomainAdaptationTrainer, "perform_actual_validation", look)
    for which, options in (("final", {}), ("best", {"val_with_best": True})):
        for file in (fold / "validation").iterdir():
            file.unlink()
        train(*model, only_run_validation=True, **options)
        saved = torch.load(fold / f"checkpoint_{which}.pth", weights_only=False)["network_weights"]
        assert all(torch.equal(used[key], saved[key]) for key in saved), which
        assert (fold / "validation" / "summary.json").is_file()


def test_best_configuration_ensemble_and_its_commands(train, datasets, monkeypatch):
    """nnUNetv2_find_best_configuration over 2d and 3d_fullres of one of our trainers, then nnUNetv2_ensemble of predicted target scans."""
    from nnunetv2.ensembling.ensemble import ensemble_folders
    from nnunetv2.evaluation.find_best_configuration import dumb_trainer_config_plans_to_trained_models_dict, find_best_configuration
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer, configurations = "nnUNetTrainer_UDA_MMD", ("2d", "3d_fullres")
    folds = [train("201", trainer, STOCK, configuration, export_validation_probabilities=True) for configuration in configurations]
    models = dumb_trainer_config_plans_to_trained_models_dict([trainer], list(configurations), [STOCK])
    best = find_best_configuration("Dataset201_Classes", models, num_processes=1, folds=(0,))
    names = {f"{trainer}__{STOCK}__{configuration}" for configuration in configurations}
    assert names < set(best["all_results"])
    assert any(name.startswith("ensemble___") for name in best["all_results"])
    text = (datasets / "nnUNet_results" / "Dataset201_Classes" / "inference_instructions.txt").read_text()
    assert f"-tr {trainer}" in text
    assert f"-p {STOCK}" in text
    for fold in folds:  # find_best_configuration calls nnUNetv2_accumulate_crossval_results for each
        assert (fold.parent / "crossval_results_folds_0" / "summary.json").is_file()

    outputs = []
    for fold in folds:
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"))
        predictor.initialize_from_trained_model_folder(str(fold.parent), (0,))
        outputs.append(str(datasets / f"predicted_{fold.parent.name}"))
        Path(outputs[-1]).mkdir()
        scans = str(datasets / "nnUNet_raw" / "Dataset211_TargetTwo" / "imagesTr")
        predictor.predict_from_files_sequential(scans, outputs[-1], save_probabilities=True)
    ensemble_folders(outputs, str(datasets / "ensembled"), num_processes=1)
    for case in range(3):
        maps = [np.load(Path(folder) / f"TargetTwo_{case}.npz")["probabilities"].astype(np.float32) for folder in outputs]
        expected = np.mean(maps, axis=0).argmax(0)
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(datasets / "ensembled" / f"TargetTwo_{case}.nii.gz")))
        np.testing.assert_array_equal(found, expected)


def test_pretrained_weights_start_a_run(train, datasets):
    """`-pretrained_weights` with a learning rate that moves nothing: the run ends with the weights it was given."""
    source_only = train("201", "nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET)
    file = datasets / "nnUNet_preprocessed" / "Dataset201_Classes" / f"{TRANSUNET}.json"
    plans = json.loads(file.read_text())
    still = {**plans["configurations"]["3d_fullres"]["nnunet_da"], "initial_lr": 1e-30, "lr_floor": 0.0, "seed": 8}
    plans["configurations"]["3d_fullres_still"] = {"inherits_from": "3d_fullres", "nnunet_da": still}
    file.write_text(json.dumps(plans))
    checkpoint = source_only / "checkpoint_final.pth"
    fold = train("201", "nnUNetTrainer_PFDAformer", TRANSUNET, "3d_fullres_still", pretrained_weights=str(checkpoint))
    given, got = (torch.load(one, weights_only=False)["network_weights"] for one in (checkpoint, fold / "checkpoint_final.pth"))
    assert all(torch.equal(given[key], got[key]) for key in got if ".seg_layers." not in key)
    assert os.path.isfile(fold / "validation" / "summary.json")

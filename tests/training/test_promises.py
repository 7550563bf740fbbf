"""What nnU-Net's trainer promises, kept by ours or refused by name. Whole runs are in test_promises_slow.py."""

import json
import os
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.logging import nnunet_logger

from nnunet_da.errors import UserError

TRANSUNET, STOCK = "PFDAformerDemoPlans", "UDAPlans"
BOTH_NETWORKS = [("nnUNetTrainer_UDA_GRL_MMD", STOCK), ("nnUNetTrainer_PFDAformer", TRANSUNET)]


def one_step(trainer):
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    batch = next(trainer.get_dataloaders()[0])
    return trainer.train_step(batch), batch


def source_folder():
    return Path(os.environ["nnUNet_preprocessed"]) / "Dataset101_A"


def relabel(change, **labels):
    """Change the preprocessed label maps of the source and its dataset.json, as if it had been preprocessed so."""
    base = source_folder()
    description = json.loads((base / "dataset.json").read_text())
    description |= labels
    (base / "dataset.json").write_text(json.dumps(description))
    classes = [value for name, value in description["labels"].items() if name not in ("background", "ignore")]
    classes = [tuple(value) if isinstance(value, list) else value for value in classes]
    if "ignore" in description["labels"]:
        classes.append((-1, *range(description["labels"]["ignore"])))  # stock's key for all annotated voxels
    for plans in (STOCK, TRANSUNET):
        folder = base / f"{plans}_3d_fullres"
        for case in nnUNetDatasetBlosc2.get_identifiers(str(folder)):
            data, labels_of_case, _, properties = nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)
            data, labels_of_case = data[:], labels_of_case[:]
            labels_of_case = change(labels_of_case).astype(np.int16)
            properties["class_locations"] = DefaultPreprocessor._sample_foreground_locations(labels_of_case, classes)
            for file in folder.glob(f"{case}*"):
                file.unlink()
            nnUNetDatasetBlosc2.save_case(data, labels_of_case, properties, str(folder / case))


# --- deep supervision


@pytest.mark.parametrize("enabled", [True, False])
def test_deep_supervision_on_and_off(make_trainer, enabled):
    trainer = make_trainer("nnUNetTrainer_UDA_GRL_MMD", STOCK, deep_supervision=enabled)
    numbers, batch = one_step(trainer)
    assert isinstance(batch["target"], list) is enabled
    for term in ("seg", "adv", "mmd"):
        assert np.isfinite(numbers[f"gradient_{term}"])
        assert numbers[f"gradient_{term}"] > 0, term
    received = [layer.weight.grad is not None and bool(layer.weight.grad.any()) for layer in trainer.network.decoder.seg_layers]
    used = len(received) - 1 if enabled else 1  # stock gives the lowest resolution the weight 0
    assert received == [False] * (len(received) - used) + [True] * used


# --- weights from elsewhere


@pytest.mark.parametrize(("name", "plans"), BOTH_NETWORKS)
def test_pretrained_weights_are_really_loaded(make_trainer, tmp_path, name, plans):
    """`-pretrained_weights`, from a source-only run of another seed; nnU-Net leaves segmentation layers out, so the heads stay new too."""
    source_only = make_trainer(name.replace("GRL_MMD", "SourceOnly") if "UDA" in name else f"{name}_SourceOnly", plans, seed=1)
    source_only.get_dataloaders()
    file = tmp_path / "pretrained.pth"
    source_only.save_checkpoint(str(file))
    trainer = make_trainer(name, plans, initialize=False, seed=2)
    maybe_load_checkpoint(trainer, False, False, str(file))
    given, got = source_only.network.state_dict(), trainer.network.state_dict()
    assert set(given) == set(got)
    for key, weight in got.items():
        if ".seg_layers." not in key:
            assert torch.equal(weight, given[key]), key
    assert any(not torch.equal(got[key], given[key]) for key in got if ".seg_layers." in key)
    trainer.on_train_start()
    assert all(torch.equal(weight, got[key]) for key, weight in trainer.network.state_dict().items())


def test_pretrained_weights_of_another_network_are_refused(make_trainer, tmp_path):
    other = make_trainer("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET)
    other.save_checkpoint(str(tmp_path / "other.pth"))
    with pytest.raises(AssertionError, match="pretrained"):  # stock nnU-Net's own message
        maybe_load_checkpoint(make_trainer("nnUNetTrainer_UDA_GRL_MMD", STOCK, initialize=False), False, False, str(tmp_path / "other.pth"))


def test_disabled_checkpointing_writes_none(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))  # others may leave theirs in the common folder
    trainer = make_trainer("nnUNetTrainer_PFDAformer", TRANSUNET, initialize=False, save_every=1)
    trainer.disable_checkpointing = True
    trainer.run_training()
    assert not list(Path(trainer.output_folder).glob("*.pth"))
    assert (Path(trainer.output_folder) / "curves.csv").is_file()


# --- logging


class FakeRun:
    def __init__(self):
        self.config, self.summary, self.step, self.logged = {}, {}, 0, []

    def log(self, values, step):
        self.logged += [(name, step, value) for name, value in values.items()]


@pytest.mark.parametrize("name", ["nnUNetTrainer_PFDAformer", "nnUNetTrainer_PFDAformer_SourceOnly"])
def test_every_curve_reaches_wandb(make_trainer, monkeypatch, name):
    """nnUNet_wandb_enabled=1; a stand-in for the module takes the calls."""
    run, options = FakeRun(), {}
    fake = types.SimpleNamespace(init=lambda **given: options.update(given) or run)
    monkeypatch.setattr(nnunet_logger, "wandb", fake)
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    monkeypatch.setenv("nnUNet_wandb_mode", "offline")
    monkeypatch.setenv("nnUNet_wandb_project", "femur")
    trainer = make_trainer(name, TRANSUNET, initialize=False)
    trainer.run_training()
    assert (options["project"], options["mode"], options["dir"]) == ("femur", "offline", trainer.output_folder)
    assert run.config["hparas"]["num_epochs"] == 2
    assert run.config["plans"]["plans_name"] == TRANSUNET
    for curve in (*trainer.curve_names, "train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice", "lrs"):
        logged = {step: value for key, step, value in run.logged if key == curve}
        assert set(logged) == {0, 1}, curve
        assert list(logged.values()) == trainer.logger.get_value(curve, None)


def test_wandb_that_is_not_installed_is_named(make_trainer, monkeypatch):
    monkeypatch.setattr(nnunet_logger, "wandb", None)
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    with pytest.raises(RuntimeError, match="pip install wandb"):
        make_trainer("nnUNetTrainer_UDA_SourceOnly", STOCK, initialize=False)


# --- labels


def halves(labels):
    """The second half along x is not annotated."""
    labels = labels.copy()
    labels[..., labels.shape[-1] // 2 :] = 2
    return labels


IGNORE = {"labels": {"background": 0, "bone": 1, "ignore": 2}}


@pytest.mark.parametrize(
    ("name", "plans"), [("nnUNetTrainer_UDA_SourceOnly", STOCK), ("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET), *BOTH_NETWORKS]
)
def test_ignored_voxels_teach_nothing(make_trainer, centres_copy, name, plans):
    """The loss does not see what the network says there, and the step still sends every term's gradient."""
    relabel(halves, **IGNORE)
    trainer = make_trainer(name, plans)
    assert trainer.label_manager.num_segmentation_heads == 2
    numbers, batch = one_step(trainer)
    assert all(np.isfinite(value) for value in numbers.values())
    assert all(numbers[f"gradient_{term}"] > 0 for term in ("seg", *trainer.terms))
    labels = batch["target"]
    full = labels[0] if isinstance(labels, list) else labels
    assert (full == 2).any()
    logits = trainer.network(batch["data"][:, : trainer.num_input_channels])
    outputs = logits if isinstance(logits, (list, tuple)) else [logits]
    for one in outputs:
        one.retain_grad()
    trainer.loss(logits, labels).backward()
    assert not outputs[0].grad[(full == 2).expand_as(outputs[0])].any()
    assert outputs[0].grad[(full != 2).expand_as(outputs[0])].any()


@pytest.mark.parametrize(("name", "plans"), [("nnUNetTrainer_UDA_GRL_MMD", STOCK)])
def test_a_batch_without_annotation_keeps_the_loss_finite(make_trainer, centres_copy, name, plans):
    relabel(halves, **IGNORE)
    trainer = make_trainer(name, plans)
    batch = next(trainer.get_dataloaders()[0])
    for labels in batch["target"]:
        labels.fill_(2)
    numbers = trainer.train_step(batch)
    assert all(np.isfinite(value) for value in numbers.values())
    assert numbers["gradient_seg"] == 0
    assert numbers["gradient_mmd"] > 0


def loaders_behind(trainer, monkeypatch):
    """The stock loaders that a trainer makes: with which data, and how they draw."""
    made = []
    original = trainer._batches

    def record(dataset, *arguments):
        batches = original(dataset, *arguments)
        made.append((dataset, stock_loader(batches)))
        return batches

    monkeypatch.setattr(trainer, "_batches", record)
    trainer.get_dataloaders()
    return made


def stock_loader(batches):
    while not hasattr(batches, "get_bbox"):
        batches = getattr(batches, "loader", None) or batches.data_loader
    return batches


def test_an_ignore_label_does_not_tell_the_domains_apart(make_trainer, centres_copy, monkeypatch):
    """Stock centres random source patches on annotated voxels. Patches that enter the alignment are drawn by the target's law instead."""
    relabel(halves, **IGNORE)
    trainer = make_trainer("nnUNetTrainer_UDA_GRL_MMD", STOCK)
    (_, source), (_, target), (_, validation) = loaders_behind(trainer, monkeypatch)
    locations = source._data.load_case(source.indices[0])[3]["class_locations"]
    corners = []
    for loader, where in ((source, locations), (target, {})):
        loader.patch_size, loader.need_to_pad = [4, 4, 4], np.array([0, 0, 0])
        np.random.seed(0)
        corners.append([loader.get_bbox(np.array([20, 28, 28]), False, where)[0] for _ in range(50)])
    assert corners[0] == corners[1]
    assert validation.has_ignore  # as in stock nnU-Net


def test_source_only_draws_as_stock_with_an_ignore_label(make_trainer, centres_copy, monkeypatch):
    relabel(halves, **IGNORE)
    trainer = make_trainer("nnUNetTrainer_UDA_SourceOnly", STOCK)
    assert [loader.has_ignore for _, loader in loaders_behind(trainer, monkeypatch)] == [True, True]


def test_regions_train_one_sigmoid_each(make_trainer, centres_copy):
    """`whole` holds both labels, `core` one of them; the labels reach the loss as one channel per region."""

    def core(labels):
        labels = labels.copy()
        labels[:, : labels.shape[1] // 2] *= 2
        return labels

    relabel(core, labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    for name in ("nnUNetTrainer_UDA_GRL_MMD", "nnUNetTrainer_UDA_SourceOnly"):
        trainer = make_trainer(name, STOCK)
        numbers, batch = one_step(trainer)
        full = batch["target"][0].bool()
        assert full.shape[1] == trainer.label_manager.num_segmentation_heads == 2
        assert not (full[:, 1] & ~full[:, 0]).any()  # core lies in whole
        assert all(np.isfinite(value) for value in numbers.values())
        assert all(numbers[f"gradient_{term}"] > 0 for term in ("seg", *trainer.terms))
        with torch.no_grad():
            outcome = trainer.validation_step(next(trainer.get_dataloaders()[1]))
        assert len(outcome["tp_hard"]) == 2
    with pytest.raises(NotImplementedError, match="region-based labels need an nnUNetTrainer_UDA_"):
        make_trainer("nnUNetTrainer_PFDAformer", TRANSUNET, initialize=False)


# --- configurations


@pytest.mark.parametrize("name", ["nnUNetTrainer_UDA_GRL_MMD", "nnUNetTrainer_UDA_SourceOnly"])
def test_a_cascade_is_refused_by_name(make_trainer, centres_copy, name):
    file = source_folder() / f"{STOCK}.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_lowres"] = {"inherits_from": "3d_fullres"}
    plans["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    file.write_text(json.dumps(plans))
    with pytest.raises(NotImplementedError, match="cascade"):
        make_trainer(name, STOCK, initialize=False)


def test_plans_hold_no_cascade_that_could_not_be_trained(two_centres):
    configurations = json.loads((source_folder() / f"{STOCK}.json").read_text())["configurations"]
    assert {"2d", "3d_fullres"} <= set(configurations)
    assert not any("previous_stage" in one or "next_stage" in one for one in configurations.values())


def test_pf_daformer_needs_its_own_network_in_2d_too(two_centres, monkeypatch):
    from nnunetv2.run.run_training import get_trainer_from_args

    from nnunet_da import paths

    monkeypatch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
    with pytest.raises(UserError, match="needs plans with"):
        get_trainer_from_args("101", "2d", 0, "nnUNetTrainer_PFDAformer", STOCK, device=torch.device("cpu"))

"""Training from a trained nnU-Net: the same logits before the first step, and models that do not fit are refused."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nnunet_da.cli.main import main
from nnunet_da.errors import UserError
from nnunet_da.preprocessing import preprocess
from nnunet_da.trained_model import read_model
from nnunet_da.training.initial_weights import check_held_out, start_from, weight_versions

SHORT = {"num_epochs": 1, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "seed": 7}
ADAPT = "nnUNetTrainer_UDA_GRL_MMD"


def stock_trainer(fold=0):
    """Stock nnU-Net's own trainer, one epoch of two steps long."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    folder = Path(os.environ["nnUNet_preprocessed"]) / "Dataset101_A"
    plans, description = (json.loads((folder / name).read_text()) for name in ("UDAPlans.json", "dataset.json"))
    torch.manual_seed(1)
    trainer = nnUNetTrainer({**plans, "continue_training": False}, "3d_fullres", fold, description, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
    return trainer


@pytest.fixture
def checkpoint(two_centres, tmp_path):
    """A function fold, changes of the checkpoint -> file of a stock model that was initialised and never trained."""

    def make(fold=0, change=None):
        trainer = stock_trainer(fold)
        trainer.initialize()
        file = tmp_path / f"fold_{fold}.pth"
        trainer.save_checkpoint(str(file))
        if change is not None:
            content = torch.load(file, weights_only=False)
            change(content)
            torch.save(content, file)
        return file

    return make


def logits(network):
    images = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    network.eval()
    with torch.no_grad():
        outputs = network(images)
    return outputs if isinstance(outputs, list) else [outputs]


@pytest.mark.slow
def test_from_a_stock_model_to_an_adapted_one(centres_copy, make_trainer):
    """Train stock nnU-Net, plan, preprocess, start, adapt."""
    stock = stock_trainer()
    stock.run_training()
    file = Path(stock.output_folder) / "checkpoint_final.pth"
    command = ["plan", "-d", "101", "-t", "102", "--preset", "uda_finetune", "--processes", "1"]
    overrides = [part for name, value in SHORT.items() for part in ("--set", f"{name}={value}")]
    assert main([*command, "--from-checkpoint", str(file).replace("fold_0", "fold_{fold}"), *overrides]) == 0
    preprocess("101", "UDAFinetunePlans", "3d_fullres", processes=1)

    trainer = make_trainer(ADAPT, "UDAFinetunePlans")
    before = logits(trainer.network)
    start_from(trainer)
    of_stock = logits(stock.network)
    assert len(of_stock) > 1  # deep supervision: every output
    assert all(map(torch.equal, logits(trainer.network), of_stock))
    assert not any(map(torch.equal, before, of_stock))
    assert trainer.optimizer.param_groups[0]["lr"] == 1e-3
    trainer.run_training()
    adapted = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
    assert adapted["network_weights"].keys() == torch.load(file, weights_only=False)["network_weights"].keys()
    assert trainer.logger.get_value("lrs", step=0) == 1e-3


@pytest.mark.parametrize("trainer_name", [ADAPT, "nnUNetTrainer_UDA_SourceOnly"])
def test_training_starts_from_the_checkpoint(checkpoint, make_trainer, trainer_name):
    file = checkpoint()
    trainer = make_trainer(trainer_name, "UDAPlans", initialize=False, init_checkpoint=str(file))
    trainer.on_train_start()
    weights = torch.load(file, weights_only=False)["network_weights"]
    assert all(torch.equal(value, weights[name]) for name, value in trainer.network.state_dict().items())


def test_without_the_setting_nothing_happens(make_trainer):
    trainer = make_trainer(ADAPT, "UDAPlans")
    versions = weight_versions(trainer.network)
    start_from(trainer)
    assert weight_versions(trainer.network) == versions


def test_the_log_says_what_was_loaded(checkpoint, make_trainer):
    trainer = make_trainer(ADAPT, "UDAPlans", init_checkpoint=str(checkpoint()))
    start_from(trainer)
    log = Path(trainer.log_file).read_text()
    assert "nnUNetTrainer, fold 0 of Dataset101_A" in log
    assert "WARNING" not in log


# --- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plans, configuration: configuration.update(spacing=[9.0, 2.0, 2.0]), ("spacing", "[9.0, 2.0, 2.0]", "[2.5, 2.0, 2.0]")),
        (lambda plans, configuration: configuration.update(normalization_schemes=["ZScoreNormalization"]), ("ZScoreNormalization",)),
        (lambda plans, configuration: plans["foreground_intensity_properties_per_channel"]["0"].update(std=1e4), ("std of channel 0",)),
        (lambda plans, configuration: configuration["architecture"]["arch_kwargs"].update(conv_bias=False), ("network", "conv_bias")),
    ],
)
def test_a_model_with_another_network_or_preprocessing(checkpoint, make_trainer, change, words):
    def change_content(content):
        plans = content["init_args"]["plans"]
        change(plans, plans["configurations"]["3d_fullres"])

    trainer = make_trainer(ADAPT, "UDAPlans", init_checkpoint=str(checkpoint(change=change_content)))
    with pytest.raises(UserError) as raised:
        start_from(trainer)
    for word in (*words, "uda_finetune"):
        assert word in str(raised.value)


def test_a_model_that_knows_the_target_labels(checkpoint, make_trainer):
    def of_target(content):
        content["init_args"]["plans"]["dataset_name"] = "Dataset102_B"

    trainer = make_trainer(ADAPT, "UDAPlans", init_checkpoint=str(checkpoint(change=of_target)))
    with pytest.raises(UserError, match="trained on the target Dataset102_B"):
        start_from(trainer)


def test_a_missing_checkpoint_is_named(make_trainer, tmp_path):
    trainer = make_trainer(ADAPT, "UDAPlans", init_checkpoint=str(tmp_path / "fold_{fold}.pth"))
    with pytest.raises(UserError, match=r"fold_0\.pth must be a checkpoint, there is no such file"):
        start_from(trainer)


def test_pretrained_weights_at_the_same_time(checkpoint, make_trainer):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    file = checkpoint()
    trainer = make_trainer(ADAPT, "UDAPlans", init_checkpoint=str(file))
    trainer.untouched_weights = weight_versions(trainer._bare_network())
    start_from(trainer)
    start_from(trainer)  # its own loading is no other's
    load_pretrained_weights(trainer.network, str(file), verbose=False)
    with pytest.raises(UserError, match="-pretrained_weights"):
        start_from(trainer)


def test_the_placeholder_stands_for_the_fold(checkpoint, make_trainer):
    pattern = str(checkpoint(fold=1)).replace("fold_1", "fold_{fold}")
    trainer = make_trainer(ADAPT, "UDAPlans", fold=1, init_checkpoint=pattern)
    start_from(trainer)
    assert "fold 1 of Dataset101_A" in Path(trainer.log_file).read_text()


def model_of(dataset_name, fold):
    return SimpleNamespace(dataset_name=dataset_name, fold=fold, file=Path("model.pth"))


@pytest.mark.parametrize(
    ("dataset_name", "model_fold", "fold", "warning"),
    [
        ("Dataset101_A", 3, 3, None),
        ("Dataset101_A", 3, "all", None),
        ("Dataset101_A", "all", "all", None),
        ("Dataset101_A", "all", 3, "not held out"),
        ("Dataset007_Elsewhere", 0, 3, "Dataset007_Elsewhere"),
    ],
)
def test_validation_cases_stay_held_out(dataset_name, model_fold, fold, warning):
    warnings = check_held_out(model_of(dataset_name, model_fold), "Dataset101_A", fold)
    assert len(warnings) == (warning is not None)
    assert all(warning in text for text in warnings)


def test_a_model_of_another_fold_has_seen_the_validation_cases():
    with pytest.raises(UserError, match=r"fold 3 must .* model\.pth is of fold 0 .*fold_\{fold\}"):
        check_held_out(model_of("Dataset101_A", 0), "Dataset101_A", 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("decoder.seg_layers.0.bias"), ("1 missing", "decoder.seg_layers.0.bias")),
        (lambda weights: weights.update(extra=torch.zeros(1)), ("1 unexpected", "extra")),
        (lambda weights: weights.update({"decoder.seg_layers.0.bias": torch.zeros(7)}), ("1 of another shape", "(7,) instead of (2,)")),
    ],
)
def test_weights_that_do_not_fit_are_named_and_none_is_loaded(checkpoint, make_trainer, change, words):
    """The segmentation layers too, which stock -pretrained_weights leaves out."""
    file = checkpoint(change=lambda content: change(content["network_weights"]))
    trainer = make_trainer(ADAPT, "UDAPlans", init_checkpoint=str(file))
    versions = weight_versions(trainer._bare_network())
    with pytest.raises(UserError) as raised:
        start_from(trainer)
    for word in words:
        assert word in str(raised.value)
    assert weight_versions(trainer._bare_network()) == versions


def test_names_of_wrapped_networks(checkpoint):
    def wrap(content):
        content["network_weights"] = {f"module._orig_mod.{name}": value for name, value in content["network_weights"].items()}

    plain, wrapped = read_model(checkpoint()).weights, read_model(checkpoint(change=wrap)).weights
    assert plain.keys() == wrapped.keys()

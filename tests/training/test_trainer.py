"""A whole short training: curves, checkpoints, prediction by stock code, and what is refused."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from nnunet_da.errors import UserError

TRANSUNET, STOCK = "PFDAformerDemoPlans", "UDAPlans"
PLOT = LocalLogger.plot_progress_png
GRL_MMD_CURVES = {"loss_seg", "loss_adv", "loss_mmd", "gradient_seg", "gradient_adv", "gradient_mmd", "domain_accuracy", "grl_strength"}


@pytest.fixture
def train(make_trainer):
    def run(name, plans, **changes):
        trainer = make_trainer(name, plans, initialize=False, **changes)
        trainer.run_training()
        return trainer

    return run


def read_curves(trainer):
    with (Path(trainer.output_folder) / "curves.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return {term: [float(row["value"]) for row in rows if row["term"] == term] for term in {row["term"] for row in rows}}


def test_training_logs_every_term_once_per_epoch(train, monkeypatch):
    monkeypatch.setattr(LocalLogger, "plot_progress_png", PLOT)
    trainer = train("nnUNetTrainer_PFDAformer", TRANSUNET)
    curves = read_curves(trainer)
    assert set(curves) >= GRL_MMD_CURVES | {"train_losses", "val_losses", "mean_fg_dice", "lrs"}
    for term, values in curves.items():
        assert len(values) == 2, term
        assert all(map(math.isfinite, values)), term
    assert all(0 <= value <= 1 for value in curves["domain_accuracy"])
    assert curves["grl_strength"] == [1, 1]
    total = curves["loss_seg"][0] + 0.1 * curves["loss_adv"][0] + 0.1 * curves["loss_mmd"][0]
    assert curves["train_losses"][0] == pytest.approx(total, rel=1e-4)
    assert (Path(trainer.output_folder) / "progress.png").is_file()


def test_source_only_logs_the_supervised_term_alone(train):
    curves = read_curves(train("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET))
    assert {term for term in curves if term.startswith(("loss_", "gradient_"))} == {"loss_seg", "gradient_seg"}


def test_same_seed_same_run_and_other_seed_other_run(train):
    weights = [train("nnUNetTrainer_PFDAformer", TRANSUNET, seed=seed).network.state_dict() for seed in (1, 1, 2)]
    same, other = ([torch.equal(weights[0][key], weights[i][key]) for key in weights[0]] for i in (1, 2))
    assert all(same)
    assert not all(other)


def test_ganin_strength_follows_the_global_step(train):
    curves = read_curves(train("nnUNetTrainer_UDA_GRL", TRANSUNET, deep_supervision=False, grl_schedule="ganin", num_epochs=2))
    steps = [2 / (1 + math.exp(-10 * step / 4)) - 1 for step in range(4)]  # two epochs of two iterations
    assert curves["grl_strength"] == pytest.approx([(steps[0] + steps[1]) / 2, (steps[2] + steps[3]) / 2], rel=1e-5)


def test_head_rate_follows_the_networks_schedule(train):
    trainer = train("nnUNetTrainer_UDA_GRL", TRANSUNET, deep_supervision=False, head_lr=0.02, initial_lr=0.1)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**0.9)  # stock's poly schedule, epoch 1 of 2
    assert trainer.heads_optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.5**0.9)


def test_checkpoint_keeps_stock_keys_and_restores_the_head(train, make_trainer):
    trainer = train("nnUNetTrainer_PFDAformer", TRANSUNET)
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    stock = {
        "network_weights",
        "optimizer_state",
        "grad_scaler_state",
        "logging",
        "_best_ema",
        "current_epoch",
        "init_args",
        "trainer_name",
    }
    assert set(checkpoint) == stock | {"inference_allowed_mirroring_axes", "nnunet_da"}
    assert not any("classifier" in key for key in checkpoint["network_weights"])
    assert checkpoint["current_epoch"] == 2
    again = make_trainer("nnUNetTrainer_PFDAformer", TRANSUNET)
    again.load_checkpoint(str(file))
    for key, weight in trainer.heads.state_dict().items():
        assert torch.equal(again.heads.state_dict()[key], weight)
    assert again.heads_optimizer.state_dict()["state"].keys() == trainer.heads_optimizer.state_dict()["state"].keys()
    assert not list(Path(trainer.output_folder).glob(".*"))  # nothing half-written is left


def test_checkpoint_of_stock_nnunet_is_refused(train, make_trainer):
    trainer = train("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET)
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    del checkpoint["nnunet_da"]
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match="checkpoint of nnunet_da"):
        make_trainer("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET).load_checkpoint(str(file))


@pytest.mark.parametrize("axes", [[], [0, 1]])
def test_prediction_mirrors_the_planned_axes(train, axes):
    """Stock prediction fails on an empty tuple: none must be None."""
    trainer = train("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET, mirror_axes=axes)
    assert trainer.inference_allowed_mirroring_axes == (tuple(axes) or None)


def test_validation_leaves_deep_supervision_off(make_trainer):
    trainer = make_trainer("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET)
    trainer.set_deep_supervision_enabled(True)  # stock validation does so at its end
    assert trainer.network.decoder.deep_supervision is False


# --- what the terms see


def test_forced_source_samples_do_not_enter_the_alignment(make_trainer):
    """Stock nnU-Net forces foreground into the last third of a batch; the target has no foreground to force."""
    seen = {}
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", STOCK)

    def record(source, target):
        seen.update(source=source.cases, target=target.cases)
        return {"mmd": source.pooled.sum() * 0 + target.pooled.sum()}

    trainer.adaptation_losses = record
    batch = next(trainer.get_dataloaders()[0])
    trainer.train_step(batch)
    assert len(batch["data"]) == 3
    assert seen["source"] == list(batch["keys"])[:2]
    assert seen["target"] == list(batch["keys_target"])


def test_terms_must_be_those_the_trainer_names(make_trainer):
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", STOCK)
    trainer.adaptation_losses = lambda source, target: {"coral": source.pooled.sum()}
    with pytest.raises(ValueError, match="coral"):
        trainer.train_step(next(trainer.get_dataloaders()[0]))


# --- refusals


def test_pf_daformer_refuses_another_network(make_trainer):
    with pytest.raises(UserError, match="TransUNet3D"):
        make_trainer("nnUNetTrainer_PFDAformer", STOCK)


def test_missing_target_cache_is_named(make_trainer, centres_copy):
    trainer = make_trainer("nnUNetTrainer_PFDAformer_GRL", TRANSUNET)
    folder = Path(trainer.preprocessed_dataset_folder_base)
    (folder / f"{TRANSUNET}_3d_fullres_target_Dataset102_B.json").unlink()
    with pytest.raises(UserError, match="nnunet-da preprocess"):
        trainer.get_dataloaders()


def test_source_only_needs_no_target(make_trainer, centres_copy):
    import shutil

    trainer = make_trainer("nnUNetTrainer_PFDAformer_SourceOnly", TRANSUNET)
    shutil.rmtree(Path(trainer.preprocessed_dataset_folder_base) / f"{TRANSUNET}_3d_fullres_target_Dataset102_B")
    next(trainer.get_dataloaders()[0])


def test_stale_target_cache_is_refused(make_trainer, centres_copy):
    file = centres_copy / "nnUNet_preprocessed" / "Dataset101_A" / f"{TRANSUNET}.json"
    plans = json.loads(file.read_text())
    plans["foreground_intensity_properties_per_channel"]["0"]["std"] *= 2
    file.write_text(json.dumps(plans))
    with pytest.raises(UserError, match="other ones"):
        make_trainer("nnUNetTrainer_PFDAformer_GRL", TRANSUNET).get_dataloaders()


def test_a_batch_too_small_to_align_is_refused(make_trainer):
    with pytest.raises(UserError, match="at least 2"):
        make_trainer("nnUNetTrainer_UDA_MMD", STOCK, oversample_foreground_percent=0.9).get_dataloaders()


def test_unknown_setting_in_the_plans_is_refused(make_trainer):
    with pytest.raises(UserError, match="w_mdm"):
        make_trainer("nnUNetTrainer_PFDAformer", TRANSUNET, w_mdm=1)


def test_target_without_cases_is_refused(make_trainer):
    with pytest.raises(UserError, match="plan with -t"):
        make_trainer("nnUNetTrainer_UDA_MMD", STOCK, target_datasets={}).get_dataloaders()

"""A run that alignment ruined, trained for real: the alarm fires. Its source-only run stays silent."""

import json

import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args

from nnunet_da import paths
from nnunet_da.cli.main import main
from nnunet_da.planning import PlanRequest, plan
from nnunet_da.preprocessing import preprocess

pytestmark = pytest.mark.slow


def train(trainer_name, configuration="3d_fullres"):
    trainer = get_trainer_from_args("101", configuration, 0, trainer_name, "PFDAformerDemoPlans", device=torch.device("cpu"))
    trainer.run_training()
    trainer.perform_actual_validation()
    return trainer.output_folder


def test_a_harmful_run_raises_the_alarm_and_source_only_does_not(make_centre, nnunet_folders, monkeypatch, capsys):
    torch.set_num_threads(1)
    monkeypatch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    make_centre(101, "A", cases=20, seed=1)
    make_centre(102, "B", cases=6, seed=2, labels=False, offset_hu=60)
    settings = {"num_epochs": 4, "iterations_per_epoch": 20, "val_iterations_per_epoch": 1, "seed": 3, "initial_lr": 3e-3}
    options = {"patch_size": [16, 16, 16], "spacing_mm": [2.5, 2.0, 2.0]}
    plan(PlanRequest("101", ["102"], "pf_daformer_demo", overrides=settings, **options))
    preprocess("101", "PFDAformerDemoPlans", "3d_fullres", processes=1)
    _, harmful = plan(PlanRequest("101", ["102"], "pf_daformer_demo", overrides={"w_mmd": 1e8}, variant="harm"))
    source_only, ruined = train("nnUNetTrainer_PFDAformer_SourceOnly"), train("nnUNetTrainer_PFDAformer_MMD", harmful)
    few = ["--patches-per-case", "2", "--permutations", "40"]

    assert main(["diagnose", ruined, *few]) == 1
    assert "negative transfer" in capsys.readouterr().err
    found = json.loads((nnunet_folders / ruined / "diagnosis" / "diagnosis.json").read_text())
    print(found["negative_transfer"], found["findings"])
    assert found["comparable"]
    assert found["negative_transfer"]["status"] == "ALARM"
    assert found["negative_transfer"]["difference"] < -0.02
    assert any("lower w_mmd" in finding for finding in found["findings"])

    assert main(["diagnose", source_only, *few]) == 0
    assert "this is the source-only run" in capsys.readouterr().out

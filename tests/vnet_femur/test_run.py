"""The whole protocol on a small phantom: ten folds, two of them trained by stock commands, the hold-out scored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_da import paths

pytestmark = pytest.mark.slow
CASES, FOLDS = 24, ("0", "1")  # twelve of each sex with this seed: the least that ten folds and a hold-out need
LENGTH = ("num_epochs=3", "iterations_per_epoch=25", "val_iterations_per_epoch=2", "l2_weight=1e-5")
TRAINER, PLANS = "nnUNetTrainer_VNetFemur", "VNetFemurPlans"


def run(command, *arguments):
    """A program of the environment, with our trainers."""
    environment = {
        **os.environ,
        "nnUNet_extTrainer": str(paths.trainers_dir()),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
    }
    program = (Path(sys.executable).parent / command,) if command.startswith("nnUNetv2") else ("-m", "nnunet_da.cli.main")
    done = subprocess.run([sys.executable, *program, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return done.stdout


def test_two_of_ten_folds(nnunet_folders):
    window = ("--window-mm", 150, 126, 126, "--pixel-mm", 4, "--slice-scale", 1.6)
    run("nnunet-da", "phantom", "-d", 301, "--name", "Femur", "--centre", "rochester", "--train", CASES, "--test", 0, "--seed", 14, *window)
    dataset, output = nnunet_folders / "nnUNet_raw" / "Dataset301_Femur", nnunet_folders / "hold_out"
    run("nnunet-da", "vnet-femur", "split", "-d", 301, "--table", dataset / "phantom.csv")
    settings = [word for setting in LENGTH for word in ("--set", setting)]
    grid = ("--patch-size", 16, 16, 16, "--spacing", 8, 8, 8)  # the whole scan in one patch
    run("nnunet-da", "plan", "-d", 301, "--preset", "vnet_femur", "-tr", TRAINER, *settings, *grid, "--processes", 1)
    run("nnunet-da", "preprocess", "-d", 301, "-p", PLANS, "--processes", 1)
    for fold in FOLDS:
        run("nnUNetv2_train", 301, "3d_fullres", fold, "-tr", TRAINER, "-p", PLANS, "-device", "cpu")
    run("nnunet-da", "vnet-femur", "hold-out", "-d", 301, "-o", output)
    few = ("-device", "cpu", "-npp", 1, "-nps", 1, "--disable_tta")
    for name, folds in (*((f"fold_{fold}", (fold,)) for fold in FOLDS), ("ensemble", FOLDS)):
        model = ("-d", 301, "-c", "3d_fullres", "-tr", TRAINER, "-p", PLANS, "-f", *folds)
        run("nnUNetv2_predict", *model, "-i", output / "images", "-o", output / "predictions" / name, *few)
    shown = run("nnunet-da", "vnet-femur", "score", "-d", 301, "-p", output / "predictions", "-o", output / "scores")
    print(shown)
    assert "mean ± SD of 2 folds" in shown
    assert "Cohort all: 2 of 10 fold models." in shown
    assert "R² identity" in shown

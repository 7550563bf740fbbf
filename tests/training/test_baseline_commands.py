"""Stock commands on the baselines, each in a process of its own, as a user types them: plan, preprocess, train, predict."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_da import paths

pytestmark = pytest.mark.slow
SHORT = ("num_epochs=1", "iterations_per_epoch=2", "val_iterations_per_epoch=1")
SMALL = ("--spacing", "2.5", "2", "2", "--patch-size")
# the preset vnet_femur is trained in tests/vnet_femur
ARMS = [
    ("nnUNetTrainer_Stock", "resenc_m", "StockResEncMPlans", ()),
    ("nnUNetTrainer_StockDA5", "stock", "StockPlans", ()),
    ("nnUNetTrainer_SegFormer3D", "segformer3d", "SegFormer3DPlans", (*SMALL, "32", "32", "32")),
    ("nnUNetTrainer_SwinUNETR", "swin_unetr", "SwinUNETRPlans", (*SMALL, "32", "32", "64")),
    ("nnUNetTrainer_VNetFemur", "vnet_milletari", "VNetMilletariPlans", (*SMALL, "32", "16", "16")),
]


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
    done = subprocess.run([sys.executable, *program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return done.stdout


@pytest.mark.parametrize(("trainer", "preset", "plans", "options"), ARMS, ids=[f"{arm[0][14:]}-{arm[1]}" for arm in ARMS])
def test_plan_train_and_predict_without_a_target(make_centre, nnunet_folders, trainer, preset, plans, options):
    make_centre(101, "A", cases=5, seed=1)
    settings = [word for setting in SHORT for word in ("--set", setting)]
    run("nnunet-da", "plan", "-d", "101", "--preset", preset, "-tr", trainer, *settings, *options, "--processes", "1")
    run("nnunet-da", "preprocess", "-d", "101", "-p", plans, "-c", "3d_fullres", "--processes", "1")
    model = ("-tr", trainer, "-p", plans)
    shown = run("nnUNetv2_train", "101", "3d_fullres", "0", *model, "-device", "cpu")
    assert f"from: {paths.trainers_dir()}" in shown
    fold = nnunet_folders / "nnUNet_results" / "Dataset101_A" / f"{trainer}__{plans}__3d_fullres" / "fold_0"
    assert (fold / "checkpoint_final.pth").is_file()
    assert (fold / "validation" / "summary.json").is_file()
    scans, output = nnunet_folders / "nnUNet_raw" / "Dataset101_A" / "imagesTr", nnunet_folders / "predictions"
    few = ("-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta")
    run("nnUNetv2_predict", "-d", "101", "-c", "3d_fullres", *model, "-f", "0", "-i", str(scans), "-o", str(output), *few)
    assert len(list(output.glob("A_*.nii.gz"))) == 5

"""The rivals from end to end, each command in a process of its own, as a user types it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_da import paths

pytestmark = pytest.mark.slow
FEW = ("-device", "cpu", "-npp", "1", "-nps", "1")


@pytest.fixture
def run(centres_copy):
    """Runs a stock command or one of ours; its output."""

    def run_command(command, *arguments):
        environment = {
            **os.environ,
            "PYTHONPATH": str(paths.PACKAGE_DIR.parent),
            "nnUNet_extTrainer": str(paths.trainers_dir()),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            "OMP_NUM_THREADS": "1",
        }
        program = ("-m", "nnunet_da.cli.main") if command == "nnunet-da" else (str(Path(sys.executable).parent / command),)
        done = subprocess.run([sys.executable, *program, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
        return done.stdout

    return run_command


def predicted(centres, run, model, output):
    scans = centres / "nnUNet_raw" / "Dataset102_B" / "imagesTr"
    run("nnUNetv2_predict_from_modelfolder", "-m", str(model), "-i", str(scans), "-o", str(output), "-f", "0", *FEW)
    return sorted(file.name for file in output.glob("B_*.nii.gz"))


@pytest.mark.parametrize("trainer", ["nnUNetTrainer_UDA_HistogramMatching", "nnUNetTrainer_UDA_Fourier"])
def test_stock_commands_train_and_predict(run, centres_copy, trainer):
    run("nnUNetv2_train", "101", "3d_fullres", "0", "-tr", trainer, "-p", "UDAPlans", "-device", "cpu")
    model = centres_copy / "nnUNet_results" / "Dataset101_A" / f"{trainer}__UDAPlans__3d_fullres"
    curves = (model / "fold_0" / "curves.csv").read_text()
    assert ",restyled," in curves
    assert ",target_entropy," in curves
    assert (model / "fold_0" / "validation" / "summary.json").is_file()
    assert len(predicted(centres_copy, run, model, centres_copy / "predictions")) == 4


def test_adapted_batch_norm_predicts(run, centres_copy):
    folder = centres_copy / "nnUNet_preprocessed" / "Dataset101_A"
    plans = json.loads((folder / "PFDAformerDemoPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["norm"] = "batch"
    (folder / "PFDAformerDemoPlans.json").write_text(json.dumps(plans))
    trainer = "nnUNetTrainer_PFDAformer_SourceOnly"
    run("nnUNetv2_train", "101", "3d_fullres", "0", "-tr", trainer, "-p", "PFDAformerDemoPlans", "-device", "cpu")
    model = centres_copy / "nnUNet_results" / "Dataset101_A" / f"{trainer}__PFDAformerDemoPlans__3d_fullres"
    run("nnunet-da", "adapt-bn", str(model), "-t", "102", "-o", str(centres_copy / "adapted"), "--device", "cpu")
    adapted = centres_copy / "adapted" / "Dataset101_A" / model.name
    assert len(predicted(centres_copy, run, adapted, centres_copy / "predictions")) == 4


def test_self_training_to_prediction(run, centres_copy):
    """The lines that `pseudo-label` prints are run as they stand."""
    trainer = "nnUNetTrainer_UDA_SourceOnly"
    run("nnUNetv2_train", "101", "3d_fullres", "0", "-tr", trainer, "-p", "UDAPlans", "-device", "cpu")
    model = centres_copy / "nnUNet_results" / "Dataset101_A" / f"{trainer}__UDAPlans__3d_fullres"
    options = ("-t", "102", "-o", "105", "--name", "SelfTrained", "--confidence", "0", "--no-mirroring", "--device", "cpu")
    printed = run("nnunet-da", "pseudo-label", str(model), *options).splitlines()
    commands = [line.split(": ", 1)[1].replace("FOLD", "0").split() for line in printed if line.startswith(("next", "then"))]
    assert [command[0] for command in commands] == ["nnunet-da", "nnUNetv2_train"]
    run(*commands[0], "--processes", "1")
    run(*commands[1], "-device", "cpu")
    again = centres_copy / "nnUNet_results" / "Dataset105_SelfTrained" / model.name
    summary = json.loads((again / "fold_0" / "validation" / "summary.json").read_text())
    assert all(Path(case["reference_file"]).name.startswith("A_") for case in summary["metric_per_case"])
    assert len(predicted(centres_copy, run, again, centres_copy / "predictions")) == 4
    shutil.rmtree(centres_copy / "predictions")

"""Stock commands on our trainers, each in a process of its own, as a user types them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_da import paths

pytestmark = pytest.mark.slow


@pytest.fixture(params=["checkout", "wheel"])
def stock(request, centres_copy):
    """Runs a stock command with our trainers, as this checkout or an installed wheel has them; its output."""
    python, trainers = sys.executable, paths.trainers_dir()
    if request.param == "wheel":
        venv = request.getfixturevalue("venv")
        python = venv / "bin" / "python"
        trainers = next(venv.glob("lib/python*/site-packages/nnunet_da/trainers"))

    def run(command, *arguments):
        environment = {
            **os.environ,
            "nnUNet_extTrainer": str(trainers),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            "OMP_NUM_THREADS": "1",
        }
        program = Path(sys.executable).parent / command  # a Python script: stock nnU-Net is shared, our package is not
        done = subprocess.run([python, program, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
        if command == "nnUNetv2_train":
            assert f"from: {trainers}" in done.stdout
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("trainer", "plans"), [("nnUNetTrainer_PFDAformer", "PFDAformerDemoPlans"), ("nnUNetTrainer_UDA_GRL_MMD", "UDAPlans")]
)
def test_train_validate_predict_evaluate(stock, centres_copy, trainer, plans):
    model = ("-tr", trainer, "-p", plans)
    stock("nnUNetv2_train", "101", "3d_fullres", "0", *model, "-device", "cpu")
    fold = centres_copy / "nnUNet_results" / "Dataset101_A" / f"{trainer}__{plans}__3d_fullres" / "fold_0"
    assert (fold / "checkpoint_final.pth").is_file()
    assert (fold / "curves.csv").is_file()
    shutil.rmtree(fold / "validation")
    stock("nnUNetv2_train", "101", "3d_fullres", "0", *model, "-device", "cpu", "--val")
    assert (fold / "validation" / "summary.json").is_file()

    scans, output = centres_copy / "nnUNet_raw" / "Dataset102_B" / "imagesTr", centres_copy / "predictions"
    few = ("-device", "cpu", "-npp", "1", "-nps", "1")
    stock("nnUNetv2_predict", "-d", "101", "-c", "3d_fullres", *model, "-f", "0", "-i", str(scans), "-o", str(output), *few)
    assert len(list(output.glob("B_*.nii.gz"))) == 4

    labels = centres_copy / "nnUNet_raw" / "Dataset101_A" / "labelsTr"
    predicted = centres_copy / "source"
    shutil.copytree(labels, predicted)
    files = ("-djfile", str(output / "dataset.json"), "-pfile", str(output / "plans.json"))
    stock("nnUNetv2_evaluate_folder", str(labels), str(predicted), *files, "-np", "1")
    assert json.loads((predicted / "summary.json").read_text())["foreground_mean"]["Dice"] == 1

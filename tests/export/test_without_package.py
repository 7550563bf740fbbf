"""A UDA model trained here, exported, installed by the stock command and used where this package cannot be imported."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.cli.main import main

pytestmark = pytest.mark.slow
COMMANDS = Path(sys.executable).parent  # stock nnU-Net's commands are Python scripts, any interpreter that sees nnU-Net runs them


@pytest.fixture(scope="module")
def without_package(tmp_path_factory) -> Path:
    """The interpreter of a venv that sees every installed package but ours: an editable install leaves our data there, too."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    for installed in Path(sysconfig.get_path("purelib")).iterdir():
        if "nnunet_da" not in installed.name and installed.suffix != ".pth":
            (site_packages / installed.name).symlink_to(installed)
    return folder / "bin" / "python"


def run(python: Path | str, *command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """With nothing of the tests' own environment but where programs are, in a folder without our sources."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1", **environment}
    return subprocess.run([python, *command], cwd=folder, env=clean, capture_output=True, text=True, check=False)


def succeed(*command, **options) -> None:
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]


def predict(python: Path | str, trainer: str, scans: Path, output: Path, **environment: str) -> None:
    model = ("-d", "Dataset101_A", "-tr", trainer, "-p", "UDAPlans", "-c", "3d_fullres", "-f", "0", "-i", str(scans), "-o", str(output))
    few = ("-device", "cpu", "-npp", "1", "-nps", "1", "--save_probabilities")
    succeed(python, str(COMMANDS / "nnUNetv2_predict"), *model, *few, folder=output.parent, **environment)


def test_predictions_stay_bitwise(centres_copy, tmp_path, without_package):
    trainer = "nnUNetTrainer_UDA_GRL_MMD"
    folders = {name: str(centres_copy / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    here = {"folder": tmp_path, **folders, "nnUNet_extTrainer": str(paths.trainers_dir()), "nnUNet_n_proc_DA": "0"}
    train = ("101", "3d_fullres", "0", "-tr", trainer, "-p", "UDAPlans", "-device", "cpu")
    succeed(sys.executable, str(COMMANDS / "nnUNetv2_train"), *train, **here)
    scans = centres_copy / "nnUNet_raw" / "Dataset102_B" / "imagesTr"
    for file in sorted(scans.glob("*.nii.gz"))[2:]:
        file.unlink()  # two are enough
    del here["folder"], here["nnUNet_n_proc_DA"]
    predict(sys.executable, trainer, scans, tmp_path / "before", **here)

    results, archive = centres_copy / "nnUNet_results" / "Dataset101_A" / f"{trainer}__UDAPlans__3d_fullres", tmp_path / "model.zip"
    assert main(["export", str(results), "-o", str(archive)]) == 0

    away = {"nnUNet_results": str(tmp_path / "away")}  # no nnUNet_raw, no nnUNet_extTrainer: the user has the model alone
    (tmp_path / "away").mkdir()
    importing = run(without_package, "-c", "import nnunet_da", folder=tmp_path, **away)
    assert "ModuleNotFoundError: No module named 'nnunet_da'" in importing.stderr
    install = str(COMMANDS / "nnUNetv2_install_pretrained_model_from_zip")
    succeed(without_package, install, str(archive), folder=tmp_path, **away)
    assert [path.name for path in (tmp_path / "away" / "Dataset101_A").iterdir()] == ["nnUNetTrainer__UDAPlans__3d_fullres"]
    predict(without_package, "nnUNetTrainer", scans, tmp_path / "after", **away)

    for scan in scans.glob("*_0000.nii.gz"):
        case = scan.name.removesuffix("_0000.nii.gz")
        before, after = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / when / f"{case}.nii.gz"))) for when in ("before", "after"))
        assert np.array_equal(before, after)
        probabilities = [np.load(tmp_path / when / f"{case}.npz")["probabilities"] for when in ("before", "after")]
        assert probabilities[0].std() > 1e-4  # a map of one label everywhere would say little
        assert np.array_equal(*probabilities)

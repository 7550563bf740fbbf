"""Plain nnU-Net, nothing of ours trained or predicted: its own folders, evaluated and reported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nnunet_da.cli.main import main

pytestmark = pytest.mark.slow


def stock(command: str, *arguments: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "nnUNet_extTrainer"},
        **{"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1"},
    }
    program = Path(sys.executable).parent / command
    done = subprocess.run([sys.executable, program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]


def test_a_stock_training_is_evaluated_and_reported(make_centre, nnunet_folders, tmp_path):
    raw = make_centre(101, "A", cases=5)
    stock("nnUNetv2_plan_and_preprocess", "-d", "101", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
    stock("nnUNetv2_train", "101", "3d_fullres", "0", "-tr", "nnUNetTrainer_1epoch", "-device", "cpu")
    validation = next((nnunet_folders / "nnUNet_results").rglob("fold_0")) / "validation"
    study = tmp_path / "study"
    assert main(["evaluate", "-r", str(raw / "labelsTr"), "-p", str(validation), "-o", str(study / "stock"), "--only-predicted"]) == 0

    theirs = json.loads((validation / "summary.json").read_text())["metric_per_case"][0]["metrics"]["1"]
    ours = json.loads((study / "stock" / "summary.json").read_text())["metric_per_case"][0]["metrics"]["1"]
    assert {key: ours[key] for key in theirs} == theirs
    assert set(pd.read_csv(study / "stock" / "metrics.csv")["metric"]) >= {"dice", "hd95_mm", "asd_mm", "nsd_1mm"}

    assert main(["report", str(study)]) == 0
    assert "nnUNetTrainer_1epoch" in (study / "report.html").read_text(encoding="utf-8")

"""A whole study by its command: one that is killed inside a training ends with the tables of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nnunet_da.study.layout import Layout

SMALL = {"train": 5, "test": 2, "seed": 1, "window_mm": [176, 160, 160], "pixel_mm": 5, "slice_scale": 2}
STUDY = {
    "name": "whole",
    "phantom": [
        {"id": 101, "name": "A", "centre": "tulane", **SMALL},
        {"id": 102, "name": "B", "centre": "rochester", "severity": 2, **SMALL},
    ],
    "source": 101,
    "targets": [102],
    "preset": "uda_small",
    "patch_size": [32, 32, 32],
    "settings": {"num_epochs": 3, "iterations_per_epoch": 3, "val_iterations_per_epoch": 1, "save_every": 1, "target_score_batches": 1},
    "references": ["zero_weight"],
    "arms": [{"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"}],
    "radiomics": False,
    "mirroring": False,
    "device": "cpu",
}
FINAL = ("study_arms.csv", "study_contrasts.csv", "study_non_inferiority.csv", "study_failures.csv", "study_answer.md")


def tables(folder: Path) -> dict[str, bytes]:
    """What is the same in two runs of a study: neither clock, nor folders."""
    layout = Layout(folder)
    found = [layout.results / name for name in FINAL] + sorted((folder / "evaluation").glob("*/*/*/metrics.csv"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


@pytest.mark.slow
def test_a_study_killed_inside_a_training_ends_with_the_same_tables(tmp_path, nnunet_folders):
    file = tmp_path / "whole.yaml"
    file.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    command = [sys.executable, "-m", "nnunet_da.cli.main", "study", str(file), "--cores", "2", "-o"]
    subprocess.run([*command, str(unbroken)], check=True)

    first = subprocess.Popen([*command, str(killed)])
    log, end = killed / "logs/train/mmd.seed0_fold0.log", time.monotonic() + 600
    while not (log.is_file() and "Epoch 1" in log.read_text()):
        assert first.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    subprocess.run([*command, str(killed)], check=True)
    assert "--c" in next(line for line in reversed(log.read_text().splitlines()) if line.startswith("$ ")).split()
    one, other = tables(unbroken), tables(killed)
    assert len(one) == len(FINAL) + 2 * 2
    assert one == other

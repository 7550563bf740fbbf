"""A stock `nnUNetv2_train` that is killed ten times and continued with `--c` ends bitwise like one that was not."""

import json
import os
import re
import signal
import subprocess
import sysconfig
import time
from contextlib import suppress

import numpy as np
import pytest
import torch

from nnunet_da import paths

KILLS = 10
DURING_START = (0, 5)  # kills before the first step of that process
EPOCHS = 30
NAME, PLANS = "nnUNetTrainer_PFDAformer", "KilledPlans"


@pytest.fixture
def command(two_centres, tmp_path):
    """results folder, arguments -> a training process with one worker, a process group of its own."""
    folder = two_centres / "nnUNet_preprocessed" / "Dataset101_A"
    plans = json.loads((folder / "PFDAformerDemoPlans.json").read_text())
    plans["plans_name"] = PLANS
    settings = {"num_epochs": EPOCHS, "iterations_per_epoch": 3, "val_iterations_per_epoch": 1, "save_every": 1}
    plans["configurations"]["3d_fullres"]["nnunet_da"].update(settings)
    (folder / f"{PLANS}.json").write_text(json.dumps(plans))

    def start(results, *arguments):
        environment = {
            **os.environ,
            "nnUNet_results": str(results),
            "nnUNet_extTrainer": str(paths.trainers_dir()),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        train = [f"{sysconfig.get_path('scripts')}/nnUNetv2_train", "101", "3d_fullres", "0", "-tr", NAME, "-p", PLANS, "-device", "cpu"]
        log = (tmp_path / "log.txt").open("w")
        return subprocess.Popen([*train, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True)

    return start


def fold(results):
    return results / "Dataset101_A" / f"{NAME}__{PLANS}__3d_fullres" / "fold_0"


def saved(results, kind):
    return torch.load(fold(results) / f"checkpoint_{kind}.pth", weights_only=False)


def latest_epochs(results):
    file = fold(results) / "checkpoint_latest.pth"
    return torch.load(file, weights_only=False)["current_epoch"] if file.is_file() else 0


def wait_for_epochs(process, log, count):
    """Seconds until the process's log shows the `count`-th epoch it begins."""
    started = time.monotonic()
    while len(re.findall(r"Epoch \d+ ?\n", log.read_text())) < count:
        assert process.poll() is None, f"the training ended too early: {log.read_text()[-2000:]}"
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.mark.slow
def test_ten_kills_leave_no_trace(command, tmp_path):
    whole, broken, log = tmp_path / "whole", tmp_path / "broken", tmp_path / "log.txt"
    process = command(whole)
    start_s = wait_for_epochs(process, log, 1)
    epoch_s = wait_for_epochs(process, log, 11) / 10
    assert process.wait() == 0
    rng = np.random.default_rng(0)
    reached = []
    for kill in range(KILLS):
        process = command(broken, *(["--c"] if kill else []))
        if kill in DURING_START:
            time.sleep(rng.uniform(0.1, 0.9) * start_s)
        else:
            wait_for_epochs(process, log, rng.integers(1, 4))
            time.sleep(rng.uniform(0, 1) * epoch_s)
        assert process.poll() is None
        process.kill()
        process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a worker may outlive it, as in stock nnU-Net
        assert not (fold(broken) / "checkpoint_final.pth").exists(), "killed in training, not after it"
        reached.append(latest_epochs(broken))
    print(f"start {start_s:.1f} s, epoch {epoch_s:.2f} s; epochs in the checkpoint after each kill: {reached}")
    assert len(set(reached)) > 5  # the training did advance between kills
    assert command(broken, "--c").wait() == 0
    for kind in ("final", "best"):
        one, other = saved(whole, kind), saved(broken, kind)
        for key in ("network_weights", "nnunet_da", "optimizer_state", "current_epoch", "_best_ema"):
            assert_equal(one[key], other[key])
        curves = [{key: value for key, value in run["logging"].items() if "timestamps" not in key} for run in (one, other)]
        assert repr(curves[0]) == repr(curves[1])
    assert saved(broken, "final")["current_epoch"] == EPOCHS


def assert_equal(one, other):
    """Nested containers of tensors and plain values, to the bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other

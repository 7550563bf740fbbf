"""A stock `nnUNetv2_train` that is killed ten times and continued with `--c` ends bitwise like one that was not."""

import json
import os
import signal
import subprocess
import sysconfig
import time

import numpy as np
import pytest
import torch

from nnunet_da import paths

KILLS = 10
EPOCHS = 14
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
            "OMP_NUM_THREADS": "1",
        }
        train = [f"{sysconfig.get_path('scripts')}/nnUNetv2_train", "101", "3d_fullres", "0", "-tr", NAME, "-p", PLANS, "-device", "cpu"]
        log = (tmp_path / "log.txt").open("a")
        return subprocess.Popen([*train, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True)

    return start


def final(results):
    folder = results / "Dataset101_A" / f"{NAME}__{PLANS}__3d_fullres" / "fold_0"
    return torch.load(folder / "checkpoint_final.pth", weights_only=False)


def latest_epochs(results):
    file = results / "Dataset101_A" / f"{NAME}__{PLANS}__3d_fullres" / "fold_0" / "checkpoint_latest.pth"
    return torch.load(file, weights_only=False)["current_epoch"] if file.is_file() else 0


@pytest.mark.slow
def test_ten_kills_leave_no_trace(command, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    started = time.monotonic()
    assert command(whole).wait() == 0
    seconds = time.monotonic() - started
    rng = np.random.default_rng(0)
    moments, reached = [], []
    for kill in range(KILLS):
        process = command(broken, *(["--c"] if kill else []))
        # from the first imports to well within the training, which takes about half of the time
        moment = rng.uniform(0, 0.75) * seconds if kill % 3 else rng.uniform(0.3, 0.6) * seconds
        time.sleep(moment)
        finished = process.poll() is not None
        os.kill(process.pid, signal.SIGKILL) if not finished else None
        process.wait()
        os.killpg(process.pid, signal.SIGKILL) if not finished else None  # its worker outlives it, as in stock nnU-Net
        moments.append(round(moment, 1))
        reached.append(latest_epochs(broken))
        if finished:
            break
    print(f"killed after {moments} s of about {seconds:.0f} s, epochs in the checkpoint then: {reached}")
    assert len(moments) == KILLS
    assert not finished
    assert len(set(reached)) > 3  # the training did advance between kills
    assert command(broken, "--c").wait() == 0
    one, other = final(whole), final(broken)
    assert_equal(one["network_weights"], other["network_weights"])
    assert_equal(one["nnunet_da"], other["nnunet_da"])
    assert_equal(one["optimizer_state"], other["optimizer_state"])
    curves = [{key: value for key, value in run["logging"].items() if "timestamps" not in key} for run in (one, other)]
    assert repr(curves[0]) == repr(curves[1])
    assert len(curves[0]["train_losses"]) == EPOCHS


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

"""Two ranks with different data, gloo on the CPU, take the steps of one process with the joint batch."""

import copy
import json
import os
import runpy
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch.testing import assert_close

from nnunet_da import paths
from nnunet_da.errors import UserError
from nnunet_da.training.distributed import (
    average_gradients,
    broadcast_module,
    check_ranks,
    gather_cases,
    gather_features,
    joint_norms,
    mean_over_ranks,
)

SCRIPT = Path(__file__).with_name("ranks.py")
STEPS = 5
train, joint_loss = (runpy.run_path(str(SCRIPT))[name] for name in ("train", "joint_loss"))
COUNTS = [(2, 3), (3, 0), (0, 0)]  # samples of the two ranks


def run_ranks(folder: Path, backend: str = "gloo", script: Path = SCRIPT, world_size: int = 2, limit_s: float = 400) -> list[dict]:
    """Run the script once per rank; where one fails or hangs, end the others and fail with its last words."""
    outputs = [(folder / f"{rank}.txt").open("w") for rank in range(world_size)]
    command = [sys.executable, str(script), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen([*command, str(rank), str(world_size), backend], stdout=output, stderr=output, env=environment)
        for rank, output in enumerate(outputs)
    ]
    deadline = time.monotonic() + limit_s
    try:
        while any(process.poll() is None for process in processes) and not any(process.poll() for process in processes):
            assert time.monotonic() < deadline, f"ranks took longer than {limit_s} s"
            time.sleep(0.1)
    finally:
        for process, output in zip(processes, outputs, strict=True):
            process.kill()
            process.wait()
            output.close()
    words = "\n".join((folder / f"{rank}.txt").read_text()[-2000:] for rank in range(world_size))
    assert all(process.returncode == 0 for process in processes), words
    return [torch.load(folder / f"{rank}.pt", map_location="cpu") for rank in range(world_size)]


def split(batch: dict, start: int, stop: int) -> dict:
    """Samples start to stop of both domains; labels are a list of scales with deep supervision."""

    def part(value):
        is_scales = isinstance(value, list) and torch.is_tensor(value[0])
        return [scale[start:stop] for scale in value] if is_scales else value[start:stop]

    return {key: part(value) for key, value in batch.items()}


def write_plans(preprocessed: Path, plans: str, name: str, settings: dict, architecture: dict, **configuration) -> str:
    """Plans changed in more than the settings."""
    content = json.loads((preprocessed / "Dataset101_A" / f"{plans}.json").read_text()) | {"plans_name": name}
    content["configurations"]["3d_fullres"] |= configuration
    content["configurations"]["3d_fullres"]["nnunet_da"] |= settings
    content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= architecture
    (preprocessed / "Dataset101_A" / f"{name}.json").write_text(json.dumps(content))
    return name


@pytest.fixture(scope="module")
def runs(two_centres, tmp_path_factory):
    """The same trainings by two ranks and by one process: five steps of two methods, one step of batches that do not divide by two."""
    folder, preprocessed = tmp_path_factory.mktemp("ranks"), two_centres / "nnUNet_preprocessed"
    uda, pf = "nnUNetTrainer_UDA_GRL_MMD", "nnUNetTrainer_PFDAformer"
    loud, small = {"w_adv": 0.7, "w_mmd": 0.4}, {"features_per_stage": [8, 16, 32]}
    recomputed = {"activation_checkpointing": True}
    plans = {
        "uda": write_plans(preprocessed, "UDAPlans", "UDARanks", loud, small, batch_size=4, batch_dice=True),
        "pf": write_plans(preprocessed, "PFDAformerDemoPlans", "PFRanks", loud, recomputed, batch_size=4),
        "uneven": write_plans(preprocessed, "UDAPlans", "UnevenRanks", loud, small, batch_size=3),
        "unseeded": write_plans(preprocessed, "UDAPlans", "UnseededRanks", {"seed": None}, small, batch_size=4),
    }
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job, one = functions_job(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
        for training, name in plans.items():
            trainer = get_trainer_from_args("101", "3d_fullres", 0, pf if training == "pf" else uda, name, device=torch.device("cpu"))
            with in_double():
                trainer.initialize()
            weights_as_with_ranks(trainer.loss)
            start = copy.deepcopy(trainer.network.state_dict())
            loader, _ = trainer.get_dataloaders()
            batches = [doubled(next(loader)) for _ in range(STEPS if training in ("uda", "pf") else 1)]
            shares = [[split(batch, *share) for batch in batches] for share in ((0, 2), (2, 4))]
            job["trainings"][training] = (type(trainer).__name__, name, shares)
            with in_double():
                one[training] = train(trainer, batches) | {"start": start}
        torch.save(job, folder / "job.pt")
        return SimpleNamespace(one=one, ranks=run_ranks(folder), job=job)


def functions_job() -> dict:
    features = [[torch.randn(n[rank], 5, dtype=torch.float64) for n in COUNTS] for rank in range(2)]
    return {"features": features, "weight": torch.randn(5, 4, dtype=torch.float64), "trainings": {}}


@contextmanager
def in_double():
    """A network amplifies the rounding of one step a thousandfold within five: in float32 even one process, its weights nudged by 6e-8,
    ends 1e-3 away from itself."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def doubled(batch: dict) -> dict:
    return batch | {key: batch[key].double() for key in ("data", "data_target")}


def weights_as_with_ranks(loss) -> None:
    """nnU-Net weighs the coarsest scale of deep supervision 1e-6 instead of 0 where there are ranks."""
    if isinstance(loss, DeepSupervisionWrapper):
        first, *others, _ = loss.weight_factors
        weights = [1.0, *(weight / first for weight in others), 1e-6]
        loss.weight_factors = tuple(weight / sum(weights) for weight in weights)


def largest_difference(a: dict, b: dict) -> float:
    assert list(a) == list(b)
    return max((a[key].double() - b[key].double()).abs().max().item() for key in a)


@pytest.mark.slow
@pytest.mark.parametrize("training", ["uda", "pf"])
def test_two_ranks_equal_one_process_after_five_steps(runs, training):
    one, (first, second) = runs.one[training], (rank[training] for rank in runs.ranks)
    for part in ("network", "heads", "heads_optimizer"):
        difference = largest_difference(one[part], first[part])
        assert difference < 1e-6, f"{part} differ by {difference}"
        assert largest_difference(first[part], second[part]) == 0
    assert largest_difference(one["start"], one["network"]) > 1e-3  # it did train


@pytest.mark.slow
@pytest.mark.parametrize("training", ["uda", "pf", "uneven"])
def test_logged_numbers_are_those_of_the_joint_batch(runs, training):
    """Also where one rank has two source samples to align and the other none: 3 samples, the last one with forced foreground."""
    for one, first, second in zip(runs.one[training]["numbers"], *(rank[training]["numbers"] for rank in runs.ranks), strict=True):
        assert first == second
        for name, value in one.items():
            if training == "uneven" and name in ("loss", "loss_seg", "gradient_seg"):
                continue  # the mean of the ranks' means, as in stock nnU-Net
            assert first[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.slow
def test_unseeded_ranks_stay_equal(runs):
    """They start from different weights and draw different dropout masks."""
    first, second = (rank["unseeded"] for rank in runs.ranks)
    for part in ("network", "heads", "heads_optimizer"):
        assert largest_difference(first[part], second[part]) == 0


def check_gather(ranks: list[dict], job: dict) -> None:
    for index, counts in enumerate(COUNTS):
        weight = job["weight"].clone().requires_grad_()
        joint = torch.cat([features[index] for features in job["features"]]) @ weight
        joint_loss(joint).backward()
        for rank in ranks:
            result = rank["gather"][index]
            assert_close(result["joint"], joint.detach())
            assert_close(result["gradient"].T, weight.grad)
            assert result["cases"] == [str(n) for n in counts for _ in range(n)]


def check_heads(ranks: list[dict]) -> None:
    first, second = (rank["heads"] for rank in ranks)
    assert largest_difference(first, second) == 0
    assert first["1.running_mean"].tolist() == [1, 1]


@pytest.mark.slow
def test_gather_keeps_order_and_gradient_of_unequal_and_empty_ranks(runs):
    check_gather(runs.ranks, runs.job)


@pytest.mark.slow
def test_heads_start_like_those_of_rank_0(runs):
    check_heads(runs.ranks)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_same_over_nccl(tmp_path):
    job = functions_job()
    torch.save(job, tmp_path / "job.pt")
    ranks = run_ranks(tmp_path, "nccl")
    check_gather(ranks, job)
    check_heads(ranks)


def test_one_process_alone_needs_no_group():
    layer, x = torch.nn.Linear(2, 1), torch.randn(3, 2)
    layer(x).sum().backward()
    before = layer.weight.grad.clone()
    broadcast_module(layer)
    average_gradients(layer)
    assert torch.equal(layer.weight.grad, before)
    assert gather_features(x) is x
    assert gather_cases(["a"]) == ["a"]
    assert torch.equal(mean_over_ranks(x), x)
    assert joint_norms({"a": torch.tensor([3.0, 4.0])})["a"] == 5


def test_what_stock_cannot_train_on_several_gpus_is_refused(monkeypatch):
    check_ranks(3, batch_dice=True, deep_supervision=False, seg_layers=3)  # one process may
    monkeypatch.setattr("nnunet_da.training.distributed.world_size", lambda: 2)
    check_ranks(4, batch_dice=True, deep_supervision=True, seg_layers=3)
    check_ranks(3, batch_dice=False, deep_supervision=False, seg_layers=1)
    with pytest.raises(UserError, match="batch of 3 on 2 GPUs"):
        check_ranks(3, batch_dice=True, deep_supervision=True, seg_layers=3)
    with pytest.raises(NotImplementedError, match="2 of 3 segmentation layers"):
        check_ranks(4, batch_dice=True, deep_supervision=False, seg_layers=3)


def test_a_rank_that_dies_ends_the_others(tmp_path):
    """The test of these tests: they fail with the reason instead of hanging."""
    script = tmp_path / "script.py"
    script.write_text("import sys, time\nif sys.argv[2] == '0': sys.exit('rank 0 is lost')\ntime.sleep(100)")
    before = time.monotonic()
    with pytest.raises(AssertionError, match="rank 0 is lost"):
        run_ranks(tmp_path, script=script)
    assert time.monotonic() - before < 50

"""One rank of a training: `python ranks.py FOLDER RANK WORLD_SIZE BACKEND`. Run by test_distributed.py, not a test itself.

FOLDER holds job.pt (see `main`); each rank writes FOLDER/RANK.pt. nnU-Net wants CUDA wherever there are ranks: with gloo `on_cpu` undoes
that; with nccl only the functions run, each rank on its GPU.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as nnunet_module
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnunet_da.training.distributed import average_gradients, broadcast_module, gather_cases, gather_features


def main(folder: Path, rank: int, world_size: int, backend: str) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float64)
    nnunet_module.DDP = lambda network, device_ids: DistributedDataParallel(network)
    store = f"file://{folder / 'store'}"
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=world_size, timeout=timedelta(seconds=180))
    job = torch.load(folder / "job.pt", weights_only=False)
    device = torch.device("cpu")
    if backend == "nccl":
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    features = [x.to(device) for x in job["features"][rank]]
    results = {"gather": gather(features, job["weight"].to(device)), "heads": heads(rank, device)}
    for name, (trainer_name, plans, batches) in job["trainings"].items():
        torch.manual_seed(rank)  # what the trainer does not seed differs between ranks
        results[name] = train(on_cpu(trainer_name, plans), batches[rank])
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def on_cpu(name: str, plans: str) -> Any:
    """An initialised trainer in a process group, found by stock look-up."""
    trainer = get_trainer_from_args("101", "3d_fullres", 0, name, plans)
    trainer.device, trainer.grad_scaler = torch.device("cpu"), None
    trainer.initialize()
    assert isinstance(trainer.network, DistributedDataParallel)
    return trainer


def train(trainer: Any, batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers of each step and all weights after the last."""
    numbers = [{name: float(value) for name, value in trainer.train_step(batch).items()} for batch in batches]
    optimizer = trainer.heads_optimizer.state_dict()["state"]
    return {
        "network": trainer._bare_network().state_dict(),
        "heads": trainer.heads.state_dict(),
        "heads_optimizer": {f"{i}.{key}": value for i, state in optimizer.items() for key, value in state.items()},
        "numbers": numbers,
    }


def gather(features: list[torch.Tensor], weight: torch.Tensor) -> list[dict[str, Any]]:
    """For each set of inputs: what all ranks see, and the gradient of a loss of it after averaging over ranks as DDP does."""
    results = []
    for x in features:
        layer = nn.Linear(*weight.shape, bias=False, dtype=weight.dtype, device=weight.device)
        layer.weight.data.copy_(weight.T)
        joint = gather_features(layer(x))
        joint_loss(joint).backward()
        average_gradients(layer)
        results.append({"joint": joint.detach(), "gradient": layer.weight.grad, "cases": gather_cases([str(len(x))] * len(x))})
    return results


def joint_loss(features: torch.Tensor) -> torch.Tensor:
    """A loss in which every sample's gradient depends on all samples; 0 without samples."""
    return (features @ features.T).exp().sum().add(1).log()


def heads(rank: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Weights and buffers that start different on every rank, after `broadcast_module`."""
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(device)
    module[1].running_mean.fill_(rank + 1)
    broadcast_module(module)
    return module.state_dict()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

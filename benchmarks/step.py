"""What alignment costs: one training step against a plain forward and backward of the same network.

Plain: encoder on all samples, decoder and supervised loss on the source, one backward; no alignment, no gradient norms, no logging.
Stock: a stock nnU-Net step on as many samples as both domains have together. All in one process, rounds interleaved, medians.

usage: python benchmarks/step.py [--rounds 5] [--device cpu]
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ARMS = (
    ("nnUNetTrainer_PFDAformer", "pf_daformer_demo", {"patch_size": [48, 48, 48]}),
    ("nnUNetTrainer_PFDAformer", "pf_daformer_small", {"patch_size": [64, 64, 64]}),
    ("nnUNetTrainer_UDA_GRL_MMD", "uda", {"spacing_mm": [5.0, 4.0, 4.0]}),
)
LIMIT = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"device {device}, torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rounds} rounds, medians in s")
    print(f"{'trainer':28}{'preset':20}{'batch':>8}{'step':>9}{'plain':>9}{'stock':>9}{'step/plain':>12}{'step/stock':>12}")
    with tempfile.TemporaryDirectory() as folder:
        _make_centres(Path(folder))
        for name, preset, changes in ARMS:
            trainer, stock = _trainers(Path(folder), name, preset, changes, device)
            batch = _batch(trainer)
            step, plain, alike = _medians(
                [
                    lambda t=trainer, b=batch: t.train_step(b),
                    lambda t=trainer, b=batch: _plain(t, b),
                    lambda s=stock, b=batch: _stock(s, b),
                ],
                options.rounds,
                device,
            )
            size = f"{len(batch['data'])}+{len(batch['data_target'])}"
            print(f"{name:28}{preset:20}{size:>8}{step:9.3f}{plain:9.3f}{alike:9.3f}{step / plain:12.3f}{step / alike:12.3f}")
    print(f"limit for step/plain: {LIMIT}")


def _make_centres(folder: Path) -> None:
    from nnunet_da.phantom.cohort import Window, centre
    from nnunet_da.phantom.dataset import write_dataset

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
        os.environ[name] = str(folder / name)
    window = Window(size_mm=(150.0, 128.0, 128.0), pixel_mm=2.0)
    write_dataset(folder / "nnUNet_raw", 101, "A", centre("tulane"), 3, 0, 0, window=window)
    write_dataset(folder / "nnUNet_raw", 102, "B", centre("rochester"), 2, 0, 1, labels=False, window=window)


def _trainers(folder: Path, name: str, preset: str, changes: dict[str, Any], device: torch.device) -> tuple[Any, Any]:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnunet_da import paths
    from nnunet_da.datasets import read_json
    from nnunet_da.planning import PlanRequest, plan

    os.environ["nnUNet_extTrainer"] = str(paths.trainers_dir())
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        file, configuration = plan(PlanRequest("101", ["102"], preset, {"seed": 0}, **changes))
        built = []
        for trainer_class in (recursive_find_trainer_class_by_name(name), nnUNetTrainer):
            plans = read_json(file, "plans") | {"continue_training": False}
            dataset_json = read_json(folder / "nnUNet_raw" / "Dataset101_A" / "dataset.json", "dataset.json")
            _dataset_folder(folder, plans, configuration)
            trainer = trainer_class(plans, configuration, 0, dataset_json, device)
            trainer.enable_deep_supervision = plans["configurations"][configuration]["nnunet_da"]["deep_supervision"]
            trainer.initialize()
            built.append(trainer)
    return built[0], built[1]


def _dataset_folder(folder: Path, plans: dict[str, Any], configuration: str) -> None:
    """Trainers look for one preprocessed case to learn the file type; no real one is needed."""
    cases = folder / "nnUNet_preprocessed" / "Dataset101_A" / plans["configurations"][configuration]["data_identifier"]
    cases.mkdir(exist_ok=True)
    (cases / "a.b2nd").touch()


def _batch(trainer: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    patch, n = tuple(trainer.configuration_manager.patch_size), trainer.batch_size
    images = [torch.cat([torch.randn(n, 1, *patch, generator=generator), torch.ones(n, 1, *patch)], dim=1) for _ in range(2)]
    labels = (torch.rand(n, 1, *patch, generator=generator) > 0.8).short()
    target: Any = labels
    if trainer.enable_deep_supervision:
        scales = trainer._get_deep_supervision_scales()
        sizes = [[round(p * s) for p, s in zip(patch, scale, strict=True)] for scale in scales]
        target = [torch.nn.functional.interpolate(labels.float(), size=size).short() for size in sizes]
    return {"data": images[0], "target": target, "keys": ["a"] * n, "data_target": images[1], "keys_target": ["b"] * n}


def _plain(trainer: Any, batch: dict[str, Any]) -> None:
    images = torch.cat([batch["data"], batch["data_target"]])[:, :1].to(trainer.device)
    labels = trainer._to_device(batch["target"])
    trainer.optimizer.zero_grad(set_to_none=True)
    network = trainer._bare_network()
    with torch.autocast("cuda") if trainer.device.type == "cuda" else contextlib.nullcontext():
        skips = network.encoder(images)
        loss = trainer.loss(network.decoder([skip[: len(batch["data"])] for skip in skips]), labels)
    loss.backward()


def _stock(trainer: Any, batch: dict[str, Any]) -> None:
    """A stock step on source and target samples alike: the labels of the source stand in for the target's."""
    twice = [torch.cat([t, t]) for t in batch["target"]] if isinstance(batch["target"], list) else torch.cat([batch["target"]] * 2)
    trainer.train_step({"data": torch.cat([batch["data"], batch["data_target"]])[:, :1], "target": twice})


def _medians(functions: list[Callable[[], Any]], rounds: int, device: torch.device) -> list[float]:
    times: list[list[float]] = [[] for _ in functions]
    for round_number in range(rounds + 2):  # two to warm up
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if round_number >= 2:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()

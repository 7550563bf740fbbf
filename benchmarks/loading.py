"""Loaders and start-up on two phantom centres: samples per second, steps with their batches, time to the first step."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from step import SOURCE_ONLY_LIMIT
from table import Case, Row
from timing import interleaved
from workload import CONFIGURATION, Setup, build_on_centres, make_centres, quiet

OURS, SOURCE_ONLY, STOCK = "nnUNetTrainer_UDA_GRL_MMD", "nnUNetTrainer_UDA_SourceOnly", "nnUNetTrainer"
ROUNDS, WARM_UP_BATCHES = 4, 12  # a loader with workers hands out up to eight stored batches before it shows its pace
DONE = "first step done"
RUN_AND_TELL = f"""
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

def tell(self, stock=nnUNetTrainer.on_train_epoch_start):
    step = self.train_step
    self.train_step = lambda batch: (step(batch), print({DONE!r}, flush=True))[0]
    stock(self)

nnUNetTrainer.on_train_epoch_start = tell
run_training_entry()
"""
_plans_name = cache(make_centres)


def loader_cases(setup: Setup) -> list[Case]:
    """Throughput at 0, 1 and 2 workers, and source-only against stock with the loader in the step."""
    throughput = [Case(f"loader, {n} workers", partial(_throughput, setup, n)) for n in (0, 1, 2)]
    return [*throughput, Case("source-only with batches", partial(_steps_with_batches, setup))]


def start_cases(setup: Setup) -> list[Case]:
    """Time to the first step of a fresh `nnUNetv2_train`, imports included."""
    return [Case("start", partial(_start, setup))]


def _throughput(setup: Setup, workers: int) -> list[Row]:
    os.environ["nnUNet_n_proc_DA"] = str(workers)
    trainers = [build_on_centres(name, _plans_name(), setup.device) for name in (OURS, STOCK)]
    if workers:
        paces: list[list[float]] = [[], []]
        for _ in range(ROUNDS):  # one at a time: workers of both would share the cores
            for trainer, pace in zip(trainers, paces, strict=True):
                pace.append(_pace_with_workers(trainer, setup.seconds / (2 * ROUNDS)))
    else:
        loaders = [_loaders(trainer)[0] for trainer in trainers]
        paces = interleaved([partial(next, loader) for loader in loaders], setup.device, setup.seconds)
    samples = trainers[0].batch_size
    ours, stock = [[2 * samples / t for t in paces[0]], [samples / t for t in paces[1]]]
    on = f"{samples}+{samples} of {_patch(trainers[0])}, {workers} workers{' per domain' if workers else ''}"
    row = Row.compare("paired loader / stock loader, per sample", on, ours, stock, unit="/s")
    row.numbers["batches_per_second"] = {"ours": [1 / t for t in paces[0]], "stock": [1 / t for t in paces[1]]}
    return [row]


def _pace_with_workers(trainer: Any, seconds: float) -> float:
    """Seconds per batch of a fresh loader, its stored batches used up."""
    from nnunet_da.training.loaders import finish

    loaders = _loaders(trainer)
    try:
        for _ in range(WARM_UP_BATCHES):
            next(loaders[0])
        start, batches = time.perf_counter(), 0
        while batches < 5 or time.perf_counter() - start < seconds:
            next(loaders[0])
            batches += 1
        return (time.perf_counter() - start) / batches
    finally:
        for loader in loaders:
            finish(loader)


def _steps_with_batches(setup: Setup) -> list[Row]:
    """Source-only and stock, each step with loading and augmenting the same batch in this process."""
    os.environ["nnUNet_n_proc_DA"] = "0"
    trainers = [build_on_centres(name, _plans_name(), setup.device) for name in (SOURCE_ONLY, STOCK)]
    ours, stock = interleaved([_seeded_step(trainer) for trainer in trainers], setup.device, setup.seconds, rounds=(10, 200))
    on = f"small U-Net, {trainers[0].batch_size} of {_patch(trainers[0])}, batch included"
    return [Row.compare("source-only step / stock step", on, ours, stock, SOURCE_ONLY_LIMIT)]


def _seeded_step(trainer: Any) -> Callable[[], None]:
    """The n-th call draws and augments alike whatever the trainer: its settings name no seed, so it follows the global states."""
    loader, seeds = _loaders(trainer)[0], itertools.count()

    def step() -> None:
        seed = next(seeds)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        trainer.train_step(next(loader))

    return step


def _start(setup: Setup) -> list[Row]:
    seconds: dict[str, list[float]] = {STOCK: [], SOURCE_ONLY: [], OURS: []}
    for _ in range(ROUNDS):
        for name, taken in seconds.items():
            taken.append(_seconds_to_first_step(name, setup.device))
    return [
        Row.compare("time to first step / stock", f"{name}, small U-Net, 1 worker", seconds[name], seconds[STOCK])
        for name in (SOURCE_ONLY, OURS)
    ]


def _seconds_to_first_step(name: str, device: torch.device) -> float:
    command = [sys.executable, "-c", RUN_AND_TELL, "101", CONFIGURATION, "0", "-tr", name, "-p", _plans_name(), "-device", device.type]
    environment = os.environ | {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "0"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if DONE in line:
                return time.perf_counter() - start
        raise RuntimeError(f"{name} ended before its first step: {' '.join(lines[-3:])}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


def _loaders(trainer: Any) -> tuple[Any, Any]:
    with quiet():
        return trainer.get_dataloaders()


def _patch(trainer: Any) -> str:
    return "x".join(map(str, trainer.configuration_manager.patch_size))

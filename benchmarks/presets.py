"""What a preset costs on a GPU: iterations per second and peak memory of its trainer's own step, on random batches."""

from functools import partial
from typing import Any

import torch
from table import Case, Row
from timing import figure, interleaved, timed
from workload import Setup, build, preset_plans, random_batch

PRESETS, NORMS = ("pf_daformer", "pf_daformer_paper"), ("batch", "instance")
TINY: dict[str, Any] = {
    "patch_size": (32, 32, 32),
    "base_channels": 4,
    "vit_patch": 2,
    "depth": 1,
    "width": 32,
    "heads": 4,
    "mlp_width": 64,
}
GIB = 2**30


def cases(setup: Setup) -> list[Case]:
    """Every preset, norm and compile mode, those without compilation first."""
    return [
        Case(f"{preset} {norm} {_mode(compiled)}", partial(_measure, setup, preset, norm, compiled))
        for compiled in setup.compiled
        for preset in PRESETS
        for norm in NORMS
    ]


def _measure(setup: Setup, preset: str, norm: str, compiled: bool) -> list[Row]:
    changes = {} if setup.size == "full" else TINY
    trainer = build("nnUNetTrainer_PFDAformer", preset_plans(preset, norm=norm, **changes), setup.device, compiled)
    batch = random_batch(trainer)
    first = timed(lambda: trainer.train_step(batch), setup.device)
    (steps,) = interleaved([lambda: trainer.train_step(batch)], setup.device, setup.seconds)
    rate = figure([1 / seconds for seconds in steps])
    memory = _peak_memory(setup.device)
    patch, n = "x".join(map(str, trainer.configuration_manager.patch_size)), trainer.batch_size
    on = f"{preset}, {norm} norm, {n}+{n} of {patch}, {_mode(compiled)}"
    measured = f"{memory['allocated_gib']:.1f} GiB, first step {first:.0f} s" if memory else f"first step {first:.1f} s"
    return [Row(f"iterations per s, {measured}", on, f"{rate:.2f}", numbers={"seconds": steps, "first_step_s": first, **memory})]


def _peak_memory(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    return {"allocated_gib": torch.cuda.max_memory_allocated() / GIB, "reserved_gib": torch.cuda.max_memory_reserved() / GIB}


def _mode(compiled: bool) -> str:
    return "compiled" if compiled else "eager"

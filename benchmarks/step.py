"""Steps: ours against a plain forward and backward, source-only against stock nnU-Net, adaptation against source-only."""

import contextlib
from functools import partial
from typing import Any

import torch
from table import Case, Row
from timing import interleaved
from workload import Setup, build, preset_plans, random_batch

STEP_LIMIT, SOURCE_ONLY_LIMIT = 1.05, 1.02
SIZES: dict[str, dict[str, tuple[int, int, int] | None]] = {  # patches by preset, None for the preset's own
    "tiny": {"pf_daformer_demo": (16, 16, 16), "uda": (16, 16, 16)},
    "small": {"pf_daformer_demo": (48, 48, 48), "uda": (32, 32, 32), "pf_daformer_small": (64, 64, 64)},
    "full": {"pf_daformer": None, "uda": (128, 128, 128)},
}


def cases(setup: Setup) -> list[Case]:
    """Every comparison of steps, per preset and compile mode."""
    made = []
    for compiled in setup.compiled:
        for preset, patch in SIZES[setup.size].items():
            made.append(Case(f"step {preset}", partial(_against_plain, setup, preset, patch, compiled)))
            if preset != "pf_daformer_small":  # its steps take seconds, and it shows nothing the others do not
                made.append(Case(f"source-only {preset}", partial(_against_stock, setup, preset, patch, compiled)))
    preset, patch = next(iter(SIZES[setup.size].items()))
    return [*made, Case(f"adaptation {preset}", partial(_against_source_only, setup, preset, patch))]


def _against_plain(setup: Setup, preset: str, patch: Any, compiled: bool) -> list[Row]:
    trainer = build(_family(preset), preset_plans(preset, patch), setup.device, compiled)
    batch = random_batch(trainer)
    ours, plain = interleaved([lambda: trainer.train_step(batch), lambda: _plain(trainer, batch)], setup.device, setup.seconds)
    return [Row.compare("step / plain forward and backward", _describe(preset, trainer, 2, compiled), ours, plain, STEP_LIMIT)]


def _plain(trainer: Any, batch: dict[str, Any]) -> None:
    """Encoder on all samples, decoder and supervised loss on the source, one backward; no optimiser, alignment, norms or logging."""
    domains = [batch[name].to(trainer.device, non_blocking=True) for name in ("data", "data_target")]
    images = torch.cat(domains)[:, : trainer.num_input_channels]
    labels = batch["target"]
    to_device = partial(torch.Tensor.to, device=trainer.device, non_blocking=True)
    labels = [to_device(part) for part in labels] if isinstance(labels, list) else to_device(labels)
    trainer.optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cuda") if trainer.device.type == "cuda" else contextlib.nullcontext():
        logits, _ = trainer.network(images, n_labelled=len(batch["data"]), with_features=True)
        loss = trainer.loss(logits, labels)
    loss.backward()


def _against_stock(setup: Setup, preset: str, patch: Any, compiled: bool) -> list[Row]:
    """The same network, weights and batch through both trainers' own train_step."""
    plans = preset_plans(preset, patch)
    trainer, stock = (build(name, plans, setup.device, compiled) for name in ("nnUNetTrainer_UDA_SourceOnly", "nnUNetTrainer"))
    trainer.network.load_state_dict(stock.network.state_dict())
    batch = random_batch(stock, target=False)
    ours, theirs = interleaved([lambda: trainer.train_step(batch), lambda: stock.train_step(batch)], setup.device, setup.seconds)
    return [Row.compare("source-only step / stock step", _describe(preset, trainer, 1, compiled), ours, theirs, SOURCE_ONLY_LIMIT)]


def _against_source_only(setup: Setup, preset: str, patch: Any) -> list[Row]:
    """What adapting costs: twice the samples in the encoder, as many in the decoder."""
    plans = preset_plans(preset, patch)
    trainer, source_only = (build(_family(preset) + arm, plans, setup.device) for arm in ("", "_SourceOnly"))
    both, alone = random_batch(trainer), random_batch(trainer, target=False)
    functions = [lambda: trainer.train_step(both), lambda: source_only.train_step(alone)]
    ours, theirs = interleaved(functions, setup.device, setup.seconds)
    return [Row.compare("adaptation step / source-only step", _describe(preset, trainer, 2, False), ours, theirs)]


def _family(preset: str) -> str:
    return "nnUNetTrainer_PFDAformer" if preset.startswith("pf_daformer") else "nnUNetTrainer_UDA_GRL_MMD"


def _describe(preset: str, trainer: Any, domains: int, compiled: bool) -> str:
    patch = "x".join(map(str, trainer.configuration_manager.patch_size))
    samples = "+".join([str(trainer.batch_size)] * domains)
    return f"{preset}, {samples} of {patch}{', compiled' if compiled else ''}"

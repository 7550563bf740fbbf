"""Checkpoints: stock keys untouched, everything of ours under one key, written whole or not at all."""

from pathlib import Path
from typing import Any

import torch

from nnunet_da import __version__
from nnunet_da.errors import UserError
from nnunet_da.settings import PLANS_KEY, settings_to_dict


def save_atomically(trainer: Any, file: Path) -> None:
    """Write a checkpoint that stock nnU-Net reads to a temporary name, then rename it."""
    scaler = trainer.grad_scaler
    checkpoint = {
        "network_weights": trainer._bare_network().state_dict(),
        "optimizer_state": trainer.optimizer.state_dict(),
        "grad_scaler_state": None if scaler is None else scaler.state_dict(),
        "logging": trainer.logger.get_checkpoint(),
        "_best_ema": trainer._best_ema,
        "current_epoch": trainer.current_epoch + 1,
        "init_args": trainer.my_init_kwargs,
        "trainer_name": type(trainer).__name__,
        "inference_allowed_mirroring_axes": trainer.inference_allowed_mirroring_axes,
        PLANS_KEY: our_state(trainer),
    }
    temporary = file.with_name(f".{file.name}.part")
    torch.save(checkpoint, temporary)
    temporary.replace(file)


def our_state(trainer: Any) -> dict[str, Any]:
    """What stock nnU-Net does not know: heads, their optimiser, the settings that trained them."""
    optimizer = trainer.heads_optimizer
    return {
        "version": __version__,
        "settings": settings_to_dict(trainer.settings),
        "heads": trainer.heads.state_dict(),
        "heads_optimizer": None if optimizer is None else optimizer.state_dict(),
    }


def load_ours(trainer: Any, file: Path) -> None:
    """Restore heads and their optimiser from a checkpoint whose stock part is loaded already.

    Raises:
        UserError: the checkpoint was not written by a trainer of this package.
    """
    checkpoint = torch.load(file, map_location=trainer.device, weights_only=False)
    if PLANS_KEY not in checkpoint:
        raise UserError(f"{file} must be a checkpoint of nnunet_da, it is one of {checkpoint.get('trainer_name')}: train with that trainer")
    state = checkpoint[PLANS_KEY]
    trainer.heads.load_state_dict(state["heads"])
    if trainer.heads_optimizer is not None:
        trainer.heads_optimizer.load_state_dict(state["heads_optimizer"])

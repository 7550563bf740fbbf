"""Checkpoints: stock keys untouched, everything of ours under one key, written whole or not at all, and read back exactly."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunet_da import __version__
from nnunet_da.checkpoints import check_weights, read_checkpoint
from nnunet_da.errors import UserError
from nnunet_da.settings import PLANS_KEY, settings_from_dict, settings_to_dict

FORMAT = 1  # of what stands under our key; raised when a run of before could not be continued
FINAL, LATEST, PREVIOUS, BEST = (f"checkpoint_{name}.pth" for name in ("final", "latest", "previous", "best"))
BEFORE = "checkpoint_final_before.pth"  # of an earlier training in the same folder
# what preprocessing, task and network follow from, beside the configuration
PLANS_KEYS = ("dataset_name", "foreground_intensity_properties_per_channel", "transpose_forward", "transpose_backward")
TASK_KEYS = ("channel_names", "labels", "regions_class_order")


def save_atomically(trainer: Any, file: Path) -> None:
    """Write a checkpoint that stock nnU-Net reads to a temporary name, then rename it; the latest before it is kept as `previous`.

    Raises:
        UserError: it could not be written; checkpoints that were there still are.
    """
    temporary, state = file.with_name(f".{file.name}.part"), _state(trainer)
    try:
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        _make_room(file, trainer.last_checkpoint)
        temporary.replace(file)
        _sync_folder(file.parent)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(
            f"{file} could not be written ({error}): free disk space, then continue with --c from the checkpoints before it, which are kept"
        ) from error
    if file.name == LATEST or trainer.last_checkpoint is None:
        trainer.last_checkpoint = file.name


def readable_checkpoint(file: Path, report: Callable[[str], None], fall_back: bool) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, or with `fall_back` the one before it where it is damaged.

    Raises:
        UserError: none of them can be read.
    """
    names = (FINAL, LATEST, PREVIOUS, BEST)
    older = names[names.index(file.name) + 1 :] if fall_back and file.name in names else ()
    for candidate in (file, *(file.with_name(name) for name in older if file.with_name(name).is_file())):
        try:
            return candidate, read_checkpoint(candidate)
        except UserError as error:
            if not fall_back:
                raise
            report(f"WARNING: {error}")
    raise UserError(f"no checkpoint of {file.parent} can be read: train anew, without --c")


def check_continues(trainer: Any, checkpoint: dict[str, Any], file: Path) -> None:
    """Refuse to continue what another trainer, checkpoint format, or other plans began.

    Raises:
        UserError: as above, with both values.
    """
    name = type(trainer).__name__
    if PLANS_KEY not in checkpoint:
        raise UserError(
            f"{file} must be a checkpoint of nnunet_da, it is one of {checkpoint['trainer_name']}: train with that trainer,"
            " or start from its weights with the setting init_checkpoint"
        )
    if checkpoint["trainer_name"] != name:
        raise UserError(f"{file} must be a checkpoint of {name}, it is one of {checkpoint['trainer_name']}: train with that trainer")
    state = checkpoint[PLANS_KEY]
    if state.get("format") != FORMAT:
        raise UserError(
            f"{file} must be of checkpoint format {FORMAT}, which nnunet_da {__version__} writes, it is of {state.get('format')} by"
            f" nnunet_da {state.get('version')}: continue with that version, or start from its weights with the setting init_checkpoint"
        )
    if state.get("version") != __version__:
        trainer.print_to_log_file(
            f"WARNING: nnunet_da {state.get('version')} began this run and {__version__} continues it: it may end otherwise"
        )
    changed = _changes(checkpoint, trainer)
    if changed:
        raise UserError(
            f"a run must be continued with the plans it began with, but {'; '.join(changed)}: undo that, or train a variant"
            " (`nnunet-da plan --name`)"
        )


def restore(trainer: Any, checkpoint: dict[str, Any], file: Path) -> None:
    """Put a checkpoint of this trainer back: weights, optimisers, curves, and the place in the training.

    Raises:
        UserError: the weights are another network's.
    """
    state = checkpoint[PLANS_KEY]
    load_weights(trainer._bare_network(), checkpoint["network_weights"], file)
    load_weights(trainer.heads, state["heads"], file)
    trainer.my_init_kwargs = checkpoint["init_args"]
    trainer.current_epoch = checkpoint["current_epoch"]
    trainer.epoch_outputs = list(state["epoch_outputs"])
    trainer.logger.load_checkpoint(checkpoint["logging"])
    trainer._best_ema = checkpoint["_best_ema"]
    trainer.bad_steps = state["bad_steps"]
    trainer.inference_allowed_mirroring_axes = checkpoint["inference_allowed_mirroring_axes"]
    trainer.optimizer.load_state_dict(checkpoint["optimizer_state"])
    if trainer.heads_optimizer is not None:
        trainer.heads_optimizer.load_state_dict(state["heads_optimizer"])
    if trainer.grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
        trainer.grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])


def load_weights(module: nn.Module, weights: dict[str, torch.Tensor], file: Path) -> None:
    """Load weights strictly.

    Raises:
        UserError: names or shapes differ, with the first of them.
    """
    check_weights(weights, {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}, file)
    module.load_state_dict(weights)


def _state(trainer: Any) -> dict[str, Any]:
    """Of a whole epoch, or within one, where the epoch's steps so far go along and its curves are left out."""
    scaler = trainer.grad_scaler
    within = trainer.within_epoch
    epochs = trainer.current_epoch + (0 if within else 1)
    logged = {key: values[:epochs] for key, values in trainer.logger.get_checkpoint().items()}
    return {
        "network_weights": trainer._bare_network().state_dict(),
        "optimizer_state": trainer.optimizer.state_dict(),
        "grad_scaler_state": None if scaler is None else scaler.state_dict(),
        "logging": logged,
        "_best_ema": _best_score(trainer._best_ema, logged["ema_fg_dice"]),
        "current_epoch": epochs,
        "init_args": trainer.my_init_kwargs,
        "trainer_name": type(trainer).__name__,
        "inference_allowed_mirroring_axes": trainer.inference_allowed_mirroring_axes,
        PLANS_KEY: {
            "format": FORMAT,
            "version": __version__,
            "settings": settings_to_dict(trainer.settings),
            "heads": trainer.heads.state_dict(),
            "heads_optimizer": None if trainer.heads_optimizer is None else trainer.heads_optimizer.state_dict(),
            "epoch_outputs": trainer.epoch_outputs if within else [],
            "bad_steps": trainer.bad_steps,
        },
    }


def _best_score(best: float | None, scores: list[float]) -> float | None:
    """As stock nnU-Net updates it, which it does only after it has saved the latest checkpoint."""
    return scores[-1] if scores and (best is None or scores[-1] > best) else best


def _changes(checkpoint: dict[str, Any], trainer: Any) -> list[str]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans, configuration = checkpoint["init_args"]["plans"], checkpoint["init_args"]["configuration"]
    began = PlansManager(plans).get_configuration(configuration).configuration
    now = trainer.configuration_manager.configuration
    settings = settings_to_dict(settings_from_dict(checkpoint[PLANS_KEY]["settings"]))
    pairs = [("setting", settings, settings_to_dict(trainer.settings)), ("planned", began, now)]
    for kind, keys, before, after in (
        ("planned", PLANS_KEYS, plans, trainer.plans_manager.plans),
        ("dataset.json's", TASK_KEYS, checkpoint["init_args"]["dataset_json"], trainer.dataset_json),
    ):
        pairs.append((kind, {key: before.get(key) for key in keys}, {key: after.get(key) for key in keys}))
    return [
        f"{kind} '{key}' was {before.get(key)} and is {after.get(key)}"
        for kind, before, after in pairs
        for key in sorted(before.keys() | after.keys())
        if key != PLANS_KEY and before.get(key) != after.get(key)
    ]


def _make_room(file: Path, last: str | None) -> None:
    """Before a new latest checkpoint keep the one before, unless that is the damaged one that was passed over for the previous.

    What stands there when a fresh run saves for the first time is an earlier training's: `--c` must not take it for this run's.
    """
    final, latest, previous = (file.with_name(name) for name in (FINAL, LATEST, PREVIOUS))
    if last is None:
        for old, name in ((final, BEFORE), (latest, PREVIOUS)):
            if old.exists():
                old.replace(old.with_name(name))
    elif file == latest and latest.exists() and last != PREVIOUS:
        _keep_as(latest, previous)


def _sync_folder(folder: Path) -> None:
    """Have the new names on the disk, where the system lets a folder be opened."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _keep_as(file: Path, name: Path) -> None:
    """A second name for a file, so that there is no moment without it; a copy where the file system has no hard links."""
    temporary = name.with_name(f".{name.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file, temporary)
    except OSError:
        shutil.copyfile(file, temporary)
    temporary.replace(name)

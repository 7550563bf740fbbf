"""Start a training from a trained nnU-Net: all its weights, segmentation layers included."""

from typing import Any

from torch import nn

from nnunet_da.errors import UserError
from nnunet_da.trained_model import FOLD, TrainedModel, check_fits, check_unlabelled, checkpoint_of_fold, read_model
from nnunet_da.training.checkpoint import load_weights


def start_from(trainer: Any) -> None:
    """Load the weights of the setting `init_checkpoint` into a fresh trainer's network; without the setting, do nothing.

    Stock `-pretrained_weights` leaves the segmentation layers out and checks no more than shapes. Here the model must have the run's
    task, network and preprocessing, and must not have trained on the run's validation cases.

    Args:
        trainer: initialised, before its first step. Its `untouched_weights`, where it has them, are `weight_versions` of the bare network
            as it was initialised, and show that other weights were loaded since.

    Raises:
        UserError: the checkpoint is missing or unreadable, holds another model, trained on this run's validation cases or on a target
            dataset, or `-pretrained_weights` is given too.
    """
    pattern = trainer.settings.init_checkpoint
    if pattern is None:
        return
    network = trainer._bare_network()
    untouched = getattr(trainer, "untouched_weights", None)
    if untouched is not None and untouched != weight_versions(network):
        raise UserError(f"weights must come from one file, the plans name init_checkpoint {pattern}: leave -pretrained_weights out")
    model = read_model(checkpoint_of_fold(pattern, trainer.fold))
    plans, configuration = trainer.plans_manager.plans, trainer.configuration_manager.configuration
    check_fits(model, plans, configuration, trainer.dataset_json, trainer.plans_manager.dataset_name)
    check_unlabelled(model, trainer.settings.target_datasets)
    warnings = check_held_out(model, trainer.plans_manager.dataset_name, trainer.fold)
    load_weights(network, model.weights, model.file)
    trainer.untouched_weights = weight_versions(network)
    trainer.print_to_log_file(f"Initial weights: all {len(model.weights)} tensors of {model}")
    for warning in [*warnings, *_patch_warning(model, configuration)]:
        trainer.print_to_log_file(f"WARNING: {warning}")


def check_held_out(model: TrainedModel, dataset_name: str, fold: int | str) -> list[str]:
    """Refuse a model of another fold of the same dataset: it was trained on cases that this run validates on.

    Returns:
        Warnings where that cannot be known, or holds of a model of all cases.

    Raises:
        UserError: as above.
    """
    if model.dataset_name != dataset_name:
        return [
            f"the model was trained on {model.dataset_name}: cases of it among {dataset_name}'s validation cases make validation too good"
        ]
    if model.fold == fold or fold == "all":
        return []
    if model.fold == "all":
        return [f"the model was trained on all cases of {dataset_name}: the validation cases of fold {fold} are not held out"]
    raise UserError(
        f"fold {fold} must start from a model that has not seen its validation cases, {model.file} is of fold {model.fold} and the same"
        f" dataset: plan with {FOLD} in the path, such as .../fold_{FOLD}/checkpoint_final.pth"
    )


def weight_versions(network: nn.Module) -> list[int]:
    """How often each weight was written in place: a list that changes when weights are loaded or trained."""
    return [parameter._version for parameter in network.parameters()]


def _patch_warning(model: TrainedModel, configuration: dict[str, Any]) -> list[str]:
    trained, planned = list(model.configuration["patch_size"]), list(configuration["patch_size"])
    return [] if trained == planned else [f"the model was trained on patches of {trained} voxels, these plans have {planned}"]

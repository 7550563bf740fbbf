"""Plans of a trained model for another run: its network and its preprocessing, our settings."""

import copy
import shutil
from typing import Any

from nnunet_da import paths
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import UserError
from nnunet_da.planning_from_fingerprint import extract_fingerprint
from nnunet_da.presets import TRANSUNET3D, PlanRequest, Preset
from nnunet_da.settings import PLANS_KEY, AdaptationSettings, settings_to_dict
from nnunet_da.trained_model import TrainedModel, any_checkpoint, check_task, check_unlabelled, read_model


def model_to_start_from(request: PlanRequest, preset: Preset, source: RawDataset, targets: list[RawDataset]) -> TrainedModel:
    """The model that a recipe for trained models starts from, fit for the source.

    Raises:
        UserError: none is named, it cannot be read, it has another network than the recipe is for, or other channels or labels than
            the source, or it was trained on a target.
    """
    pattern = request.overrides.get("init_checkpoint")
    if not isinstance(pattern, str):
        raise UserError(
            f"the preset {request.preset} starts from a trained model, none is named:"
            " add --from-checkpoint .../fold_{fold}/checkpoint_final.pth"
        )
    if request.patch_size is not None or request.spacing_mm is not None:
        raise UserError(f"the preset {request.preset} keeps the model's patch and spacing: leave --patch-size and --spacing out")
    model = read_model(any_checkpoint(pattern))
    _check_network(model, request.preset, preset)
    check_task(model, source.description, source.name)
    check_unlabelled(model, [target.name for target in targets])
    return model


def settings_of_model(model: TrainedModel) -> dict[str, Any]:
    """Settings that follow the model: outputs that it was trained at, axes that it was mirrored along."""
    deep = model.network_name != TRANSUNET3D and "NoDeepSupervision" not in model.trainer_name
    if model.settings is not None:
        deep = bool(model.settings["deep_supervision"])
    return {"deep_supervision": deep, "mirror_axes": model.mirror_axes}


def plans_from_model(
    model: TrainedModel, source: RawDataset, preset: Preset, settings: AdaptationSettings, request: PlanRequest
) -> dict[str, Any]:
    """The model's plans with one configuration, for this dataset, with preprocessed data of its own.

    Its `data_identifier` is new: preprocessing it never touches data that the user preprocessed for the model.

    Raises:
        UserError: a batch too small to align, or deep supervision of a network that has none.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    if settings.deep_supervision and model.network_name == TRANSUNET3D:
        raise UserError(f"the network of {model.file} has no deep supervision: leave deep_supervision false")
    name, configuration = model.configuration_name, copy.deepcopy(model.configuration)
    configuration.pop("next_stage", None)
    configuration["data_identifier"] = f"{preset.plans_name}_{name}"
    configuration["batch_size"] = request.batch_size_of(name, configuration["batch_size"], preset)
    settings.check_batch(configuration["batch_size"])
    configuration[PLANS_KEY] = settings_to_dict(settings)
    return {
        **copy.deepcopy(model.plans),
        "dataset_name": source.name,
        "plans_name": preset.plans_name,
        "image_reader_writer": _reader(model, source),
        "foreground_intensity_properties_per_channel": PlansManager(model.plans).foreground_intensity_properties_per_channel,
        "configurations": {name: configuration},
    }


def prepare_folder(source: RawDataset, processes: int) -> None:
    """What stock training expects beside the plans: fingerprint (for its records alone), dataset.json and given splits."""
    extract_fingerprint(source, processes, clean=False)
    folder = paths.nnunet_preprocessed() / source.name
    shutil.copyfile(source.folder / "dataset.json", folder / "dataset.json")
    splits = source.folder / "splits_final.json"
    if splits.is_file() and not (folder / splits.name).exists():
        shutil.copyfile(splits, folder / splits.name)


def _check_network(model: TrainedModel, preset_name: str, preset: Preset) -> None:
    if model.configuration.get("previous_stage") is not None:
        raise UserError(f"{model.file} is the second stage of a cascade, which is not adapted: start from a 3d_fullres or 2d model")
    if preset.checkpoint_network == "stock" and model.network_name == TRANSUNET3D:
        raise UserError(
            f"the rates of the preset {preset_name} are for stock nnU-Net's optimiser, {model.file} holds a TransUNet3D:"
            " plan with --preset pf_daformer_finetune"
        )
    if preset.checkpoint_network not in ("stock", model.network_name):
        raise UserError(
            f"the preset {preset_name} is for {preset.checkpoint_network}, {model.file} holds a {model.network_name}:"
            " plan with --preset uda_finetune"
        )


def _reader(model: TrainedModel, source: RawDataset) -> str:
    """The model's image reader where it reads this dataset's files, else the one that nnU-Net takes for them."""
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json, recursive_find_reader_writer_by_name

    planned = str(model.plans["image_reader_writer"])
    if source.file_ending.lower() in recursive_find_reader_writer_by_name(planned).supported_file_endings:
        return planned
    image = str(next(iter(source.training_images().values()))[0])
    return str(determine_reader_writer_from_dataset_json(source.description, image, verbose=False).__name__)

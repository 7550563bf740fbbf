"""A trained nnU-Net, as its checkpoint describes it: plans, task, fold; and whether it fits the plans of a run."""

import glob
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_da.checkpoints import read_checkpoint
from nnunet_da.errors import UserError
from nnunet_da.settings import PLANS_KEY

FOLD = "{fold}"
WRAPPERS = ("module.", "_orig_mod.")  # what DDP and torch.compile put before the names of weights
CT_STATISTICS = ("mean", "std", "percentile_00_5", "percentile_99_5")  # what CTNormalization reads
NO_WEIGHTS = ("activation_checkpointing", "dropout", "dropout_op", "dropout_op_kwargs")  # arguments that may differ
REPLAN = "plan with a preset that takes the plans from the checkpoint, such as uda_finetune"


@dataclass(frozen=True)
class TrainedModel:
    """The parts of a nnU-Net checkpoint that say what was trained.

    Attributes:
        file: the checkpoint.
        weights: of the network, under the names of the bare network.
        plans: all plans it was trained with.
        configuration_name: of these plans.
        configuration: that configuration with what it inherits, in today's format.
        fold: number, or "all".
        dataset_json: the task: channels and labels.
        trainer_name: class of the trainer.
        epochs: how many it trained.
        mirror_axes: patch axes that it was mirrored along.
        settings: of the trainer of this package that made it, None for any other.
    """

    file: Path
    weights: dict[str, Tensor]
    plans: dict[str, Any]
    configuration_name: str
    configuration: dict[str, Any]
    fold: int | str
    dataset_json: dict[str, Any]
    trainer_name: str
    epochs: int
    mirror_axes: list[int]
    settings: dict[str, Any] | None

    @property
    def network_name(self) -> str:
        return str(self.configuration["architecture"]["network_class_name"])

    @property
    def dataset_name(self) -> str:
        return str(self.plans["dataset_name"])

    def __str__(self) -> str:
        return f"{self.file} ({self.trainer_name}, fold {self.fold} of {self.dataset_name}, {self.epochs} epochs)"


def read_model(file: Path) -> TrainedModel:
    """Read a checkpoint of any nnU-Net trainer.

    Raises:
        UserError: no such file, no checkpoint of nnU-Net, or one that does not say what was trained.
    """
    checkpoint = read_checkpoint(file)
    init_args = checkpoint["init_args"]
    return TrainedModel(
        file,
        {_bare(name): value for name, value in checkpoint["network_weights"].items()},
        init_args["plans"],
        init_args["configuration"],
        _resolved(init_args["plans"], init_args["configuration"], file),
        init_args["fold"],
        init_args["dataset_json"],
        checkpoint["trainer_name"],
        checkpoint.get("current_epoch", 0),
        list(checkpoint.get("inference_allowed_mirroring_axes") or ()),
        checkpoint.get(PLANS_KEY, {}).get("settings"),
    )


def checkpoint_of_fold(pattern: str, fold: int | str) -> Path:
    """The file that `init_checkpoint` means for a fold: `{fold}` stands for its number, or for `all`."""
    return Path(pattern.replace(FOLD, str(fold)))


def any_checkpoint(pattern: str) -> Path:
    """The file of the first fold that is there; planning needs one, training each fold's own.

    Raises:
        UserError: none of them is there.
    """
    if FOLD not in pattern:
        return Path(pattern)
    found = sorted(glob.glob(glob.escape(pattern).replace(FOLD, "*")))
    if not found:
        raise UserError(f"init_checkpoint must name a checkpoint of each fold, no file is there for {pattern}: correct the path")
    return Path(found[0])


def check_task(model: TrainedModel, dataset_json: dict[str, Any], dataset_name: str) -> None:
    """Refuse a dataset whose channels or labels are not the model's.

    Raises:
        UserError: as above, with both values.
    """
    of_model, of_dataset = _task(model.dataset_json), _task(dataset_json)
    for key in of_model:
        if of_model[key] != of_dataset[key]:
            raise UserError(
                f"{dataset_name} must have the {key} that the model in {model.file} was trained on, {_text(of_model[key])},"
                f" it has {_text(of_dataset[key])}: convert the dataset so, or start from a model of these {key}"
            )


def check_unlabelled(model: TrainedModel, targets: Iterable[str]) -> None:
    """Refuse a model that learned from the labels of a dataset which is to be adapted to without them.

    Raises:
        UserError: as above.
    """
    if model.dataset_name in targets:
        raise UserError(
            f"target labels must not be used in training, but the model in {model.file} was trained on the target {model.dataset_name}:"
            " start from a model of other data"
        )


def check_fits(
    model: TrainedModel, plans: dict[str, Any], configuration: dict[str, Any], dataset_json: dict[str, Any], dataset_name: str
) -> None:
    """Refuse a run with another task, network or preprocessing than the model's.

    A network trained on other intensities or voxels would load without complaint and be wrong from the first step. A different patch
    size is let in where the network takes it.

    Args:
        model: to start from.
        plans: of the run.
        configuration: of the run, with what it inherits.
        dataset_json: of the run.
        dataset_name: of the run.

    Raises:
        UserError: as above, with both values.
    """
    check_task(model, dataset_json, dataset_name)
    _refuse_difference("network", _network(model.configuration), _network(configuration), model, plans)
    of_model, of_run = _preprocessing(model.plans, model.configuration), _preprocessing(plans, configuration)
    _refuse_difference("preprocessing", of_model, of_run, model, plans)


def same_values(one: Any, other: Any) -> bool:
    """Equality of JSON values; numbers may differ in the sixth digit."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_values(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same_values, one, other))
    return bool(one == other)


def _refuse_difference(what: str, of_model: dict[str, Any], of_run: dict[str, Any], model: TrainedModel, plans: dict[str, Any]) -> None:
    for key in dict.fromkeys((*of_model, *of_run)):
        here, there = of_run.get(key), of_model.get(key)
        if not same_values(here, there):
            raise UserError(
                f"the plans {plans['plans_name']} must have the {what} of the model in {model.file}, but '{key}' is {_text(here)} in the"
                f" plans and {_text(there)} in the model: {REPLAN}"
            )


def _task(dataset_json: dict[str, Any]) -> dict[str, Any]:
    channels = dataset_json.get("channel_names", dataset_json.get("modality", {}))
    labels = {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in dataset_json["labels"].items()}
    in_order = [str(channels[key]).casefold() for key in sorted(channels, key=int)]
    return {"channels": in_order, "labels": labels, "regions_class_order": dataset_json.get("regions_class_order")}


def _network(configuration: dict[str, Any]) -> dict[str, Any]:
    architecture = configuration["architecture"]
    arguments = {key: value for key, value in architecture["arch_kwargs"].items() if key not in NO_WEIGHTS}
    return {"network_class_name": architecture["network_class_name"], **arguments}


def _preprocessing(plans: dict[str, Any], configuration: dict[str, Any]) -> dict[str, Any]:
    keys = ("spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data")
    schemes, properties = configuration["normalization_schemes"], _intensities(plans)
    statistics = {
        f"{name} of channel {channel}": properties[str(channel)][name]
        for channel, scheme in enumerate(schemes)
        if scheme == "CTNormalization"
        for name in CT_STATISTICS
    }
    return {**{key: configuration[key] for key in keys}, "transpose_forward": plans["transpose_forward"], **statistics}


def _intensities(plans: dict[str, Any]) -> dict[str, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    return dict(PlansManager(plans).foreground_intensity_properties_per_channel)


def _resolved(plans: dict[str, Any], configuration_name: str, file: Path) -> dict[str, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    try:
        configuration = PlansManager(plans).get_configuration(configuration_name).configuration
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"the plans in {file} must be those of nnU-Net v2, they cannot be read ({error}): use another model") from error
    return {key: value for key, value in configuration.items() if key != "inherits_from"}


def _bare(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.removeprefix(WRAPPERS[0]).removeprefix(WRAPPERS[1])
    return name


def _text(value: Any) -> str:
    return str(value) if len(str(value)) <= 120 else f"{str(value)[:117]}..."

"""What leaves the house: named keys alone, so that nothing new that a run may hold slips through."""

import re
from collections.abc import Iterator
from typing import Any

from nnunet_da.errors import UserError

DESCRIPTION_KEYS = (
    "channel_names",
    "modality",  # channel_names of old datasets
    "labels",
    "regions_class_order",
    "numTraining",
    "file_ending",
    "overwrite_image_reader_writer",
)
PLANS_KEYS = (
    "plans_name",
    "original_median_spacing_after_transp",
    "original_median_shape_after_transp",
    "image_reader_writer",
    "transpose_forward",
    "transpose_backward",
    "experiment_planner_used",
    "label_manager",
    "foreground_intensity_properties_per_channel",
    "foreground_intensity_properties_by_modality",  # the same in old plans
)
CONFIGURATION_KEYS = (
    "data_identifier",
    "preprocessor_name",
    "batch_size",
    "patch_size",
    "median_image_size_in_voxels",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    *(f"resampling_fn_{what}{suffix}" for what in ("data", "seg", "probabilities") for suffix in ("", "_kwargs")),
    "architecture",
    "batch_dice",
    "previous_stage",
)
_PATH = re.compile(r"""^(?:/|~/|\\\\|[A-Za-z]:[\\/])|[\s'"=:(,](?:~?/[\w.@+-]+/|[A-Za-z]:[\\/])""")


def clean_description(description: dict[str, Any]) -> dict[str, Any]:
    """The part of `dataset.json` that prediction reads: no name, description, reference or list of cases."""
    return _only(DESCRIPTION_KEYS, description)


def clean_plans(plans: dict[str, Any], configuration: str, resolved: dict[str, Any], dataset_name: str) -> dict[str, Any]:
    """Plans of one configuration that inherits nothing and has no settings of ours.

    Args:
        plans: the run's.
        configuration: its name.
        resolved: the configuration with all that it inherits.
        dataset_name: `DatasetXXX_NAME` the model is installed under.
    """
    kept = _only(PLANS_KEYS, plans)
    return {"dataset_name": dataset_name, **kept, "configurations": {configuration: _only(CONFIGURATION_KEYS, resolved)}}


def clean_checkpoint(
    checkpoint: dict[str, Any], trainer: str, fold: str, plans: dict[str, Any], description: dict[str, Any]
) -> dict[str, Any]:
    """The weights and what stock prediction asks of a checkpoint: no optimiser, heads, curves, times or device.

    Args:
        checkpoint: as read.
        trainer: name of the trainer that shall build the network.
        fold: "0", "1", ... or "all".
        plans: cleaned.
        description: cleaned.
    """
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    return {
        "network_weights": checkpoint["network_weights"],
        "init_args": {
            "plans": plans,
            "configuration": checkpoint["init_args"]["configuration"],
            "fold": int(fold) if fold.isdecimal() else fold,
            "dataset_json": description,
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": None if axes is None else tuple(int(axis) for axis in axes),
    }


def refuse_paths(content: Any, what: str) -> None:
    """See that no text in nested dictionaries and lists names a place on this machine.

    Raises:
        UserError: one does.
    """
    for text in _texts(content):
        if _PATH.search(text):
            raise UserError(f"{what} must name no place on this machine to be taken away, got '{text}': correct it in the run's own file")


def _only(keys: tuple[str, ...], content: dict[str, Any]) -> dict[str, Any]:
    return {key: content[key] for key in keys if key in content}


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _texts(value)

"""Preset and source fingerprint to plans, by stock nnU-Net's planner."""

import contextlib
import inspect
import io
import math
import pydoc
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.datasets import RawDataset, image_size
from nnunet_da.errors import UserError
from nnunet_da.planning_trainers import aligns
from nnunet_da.presets import PlanRequest, Preset
from nnunet_da.settings import PLANS_KEY, AdaptationSettings, settings_to_dict

LEFT_RIGHT_AXIS = 2  # x of a (Z, Y, X) array before nnU-Net's transposition


def plans_from_fingerprint(source: RawDataset, preset: Preset, settings: AdaptationSettings, request: PlanRequest) -> dict[str, Any]:
    """Plans of the preset for the source: its fingerprint, spacing, intensities; nothing of a target enters.

    Raises:
        UserError: a batch too small to align.
    """
    plans = _stock_plans(source, preset, request)
    kept = ("3d_fullres",) if preset.network else ("2d", "3d_fullres", "3d_lowres")
    plans["configurations"] = {name: plans["configurations"][name] for name in kept if name in plans["configurations"]}
    _set_padding(plans, preset)
    for name, configuration in plans["configurations"].items():
        configuration.pop("next_stage", None)
        _set_resampling(configuration, preset)
        configuration["batch_size"] = request.batch_size_of(name, configuration["batch_size"], preset)
        check_batch(configuration["batch_size"], preset, settings, request.trainer)
        if name == "3d_fullres":
            _set_network(configuration, plans["transpose_forward"], preset, request)
        configuration[PLANS_KEY] = {**settings_to_dict(settings), "mirror_axes": _mirror_axes(plans, name, preset, settings)}
    return plans


def check_batch(batch_size: int | None, preset: Preset, settings: AdaptationSettings, trainer: str | None) -> None:
    """Refuse a batch too small for what is trained: to align with, or at all. None is the planner's.

    Raises:
        UserError: as above.
    """
    if batch_size is not None and (preset.needs_target or (trainer is not None and aligns(trainer))):
        settings.check_batch(batch_size)
    elif batch_size is not None and batch_size < 1:
        raise UserError(f"the batch must hold 1 sample or more, got a batch of {batch_size}: correct --batch-size")


def check_geometry(preset: Preset, request: PlanRequest, settings: AdaptationSettings, source: RawDataset) -> None:
    """Refuse patch, spacing, deep supervision and scans that the preset's network cannot take.

    Raises:
        UserError: as above.
    """
    if request.spacing_mm is not None:
        if preset.spacing_mm == "native":
            raise UserError(f"the preset {request.preset} keeps native voxels: leave --spacing out or choose another preset")
        if len(request.spacing_mm) != 3 or not all(0 < value < math.inf for value in request.spacing_mm):
            raise UserError(f"the spacing must be three positive numbers Z Y X in mm, got {request.spacing_mm}")
    patch_size = request.patch_size or preset.patch_size
    if preset.network and patch_size and settings.deep_supervision and not _has_deep_supervision(preset.network, patch_size):
        raise UserError(f"the network of the preset {request.preset} has no deep supervision: leave deep_supervision false")
    if request.patch_size is not None:
        _check_patch_size(preset, request.patch_size)
    if preset.network is not None:
        _check_network(preset, request, source)
    first = next(iter(source.training_images().values()))[0]
    if min(image_size(first)) == 1:
        raise UserError(f"presets plan 3D images, {first.name} of {source.name} has one slice: use a dataset of volumes")


def extract_fingerprint(source: RawDataset, processes: int, clean: bool) -> None:
    """The source's fingerprint by stock nnU-Net, into its preprocessed folder; one that is there is kept unless `clean`."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset

    with contextlib.redirect_stdout(io.StringIO()), paths.one_worker_at_least():
        extract_fingerprint_dataset(source.dataset_id, num_processes=processes, clean=clean, verbose=False)


def _check_patch_size(preset: Preset, patch_size: list[int]) -> None:
    if preset.network is None:
        raise UserError("the patch size of a preset with a stock network follows from the network's planning: leave --patch-size out")
    if len(patch_size) != 3 or min(patch_size) < 1:
        raise UserError(f"the patch size must be three positive numbers Z Y X, got {patch_size}")


def _check_network(preset: Preset, request: PlanRequest, source: RawDataset) -> None:
    """The forward of a training step on no memory at all: the network knows which patches, channels and batches it can take."""
    import torch

    assert preset.network is not None
    patch_size, batch_size = request.patch_size or preset.patch_size, request.batch_size or preset.batch_size
    assert patch_size is not None
    assert batch_size is not None
    try:
        network = _without_memory(_network_for(preset.network, patch_size), source.num_channels)
        with torch.no_grad():
            network.train()(torch.empty(batch_size, source.num_channels, *patch_size, device="meta"))
    except (ValueError, RuntimeError) as error:
        advice = ""
        if "when training" in str(error):  # torch's words where a norm layer has one value to normalise
            advice = "; one coarsest cell is too little to train its norm layers on: plan a larger patch or batch"
        raise UserError(
            f"the patch {patch_size} with a batch of {batch_size} does not fit the preset {request.preset}: {error}{advice}"
        ) from error


def _has_deep_supervision(network: dict[str, Any], patch_size: list[int]) -> bool:
    try:
        _without_memory(_network_for(network, patch_size), deep_supervision=True)
    except (NotImplementedError, TypeError):  # it says so itself, or knows no such argument
        return False
    return True


def _without_memory(network: dict[str, Any], channels: int = 1, deep_supervision: bool | None = None) -> Any:
    """The network of an architecture entry as stock nnU-Net builds it, for two classes, on the meta device."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    names = network["network_class_name"], network["arch_kwargs"], network["_kw_requires_import"]
    with torch.device("meta"):
        return get_network_from_plans(*names, channels, 2, allow_init=False, deep_supervision=deep_supervision)


def _network_for(network: dict[str, Any], patch_size: list[int]) -> dict[str, Any]:
    """The architecture entry of a preset; a network that is built for one patch is told which."""
    if "patch_size" not in inspect.signature(pydoc.locate(network["network_class_name"])).parameters:  # type: ignore[arg-type]
        return network
    return {**network, "arch_kwargs": {**network["arch_kwargs"], "patch_size": patch_size}}


def _stock_plans(source: RawDataset, preset: Preset, request: PlanRequest) -> dict[str, Any]:
    """Fingerprint and plans by stock nnU-Net, caught before it writes them."""
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    planner_class = recursive_find_python_class(
        str(Path(nnunetv2.__path__[0]) / "experiment_planning"), preset.planner, "nnunetv2.experiment_planning"
    )
    planner_without_saving = type(planner_class.__name__, (planner_class,), {"save_plans": lambda self, plans: None})
    extract_fingerprint(source, request.processes, clean=request.overwrite)
    spacing = request.spacing_mm or (preset.spacing_mm if isinstance(preset.spacing_mm, list) else None)
    with contextlib.redirect_stdout(io.StringIO()), paths.one_worker_at_least():
        planner = planner_without_saving(source.name, plans_name=preset.plans_name, overwrite_target_spacing=spacing)
        plans = planner.plan_experiment()
    recursive_fix_for_json_export(plans)
    return plans


def _set_padding(plans: dict[str, Any], preset: Preset) -> None:
    """CTNormalization subtracts `mean`, and padding is zero after it: the mean decides which HU the padding stands for."""
    if preset.padding_hu == "mean":
        return
    for channel in plans["foreground_intensity_properties_per_channel"].values():
        channel["fingerprint_mean"] = channel["mean"]
        channel["mean"] = channel["percentile_00_5"] if preset.padding_hu == "lowest" else float(preset.padding_hu)


def _set_resampling(configuration: dict[str, Any], preset: Preset) -> None:
    for kind in ("data", "seg", "probabilities"):
        if preset.spacing_mm == "native":
            configuration[f"resampling_fn_{kind}"] = "no_resampling_hack"
            configuration[f"resampling_fn_{kind}_kwargs"] = {}
        else:
            configuration[f"resampling_fn_{kind}_kwargs"]["force_separate_z"] = preset.force_separate_z


def _set_network(configuration: dict[str, Any], transpose_forward: list[int], preset: Preset, request: PlanRequest) -> None:
    patch = request.patch_size or preset.patch_size
    if patch is not None:
        configuration["patch_size"] = [patch[axis] for axis in transpose_forward]
    if preset.network is not None:
        configuration["architecture"] = _network_for(preset.network, configuration["patch_size"])
        configuration["batch_dice"] = False


def _mirror_axes(plans: dict[str, Any], name: str, preset: Preset, settings: AdaptationSettings) -> list[int] | None:
    if settings.mirror_axes is not None or preset.mirror == "all":
        return settings.mirror_axes
    axes = [axis for axis in plans["transpose_forward"]][(1 if name == "2d" else 0) :]
    return [patch_axis for patch_axis, axis in enumerate(axes) if axis != LEFT_RIGHT_AXIS]

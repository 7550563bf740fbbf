"""Preset and source fingerprint to a plans file that stock nnU-Net trains with.

The target contributes its name and its number of channels, nothing else: fingerprint, spacing, intensities and splits are the source's.
"""

import contextlib
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.datasets import RawDataset, find_dataset, image_size, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.integrity import check_readable
from nnunet_da.settings import PLANS_KEY, AdaptationSettings, settings_from_dict, settings_from_plans, settings_to_dict

TRANSUNET3D = "nnunet_da.networks.transunet3d.TransUNet3D"
LEFT_RIGHT_AXIS = 2  # x of a (Z, Y, X) array before nnU-Net's transposition


@dataclass(frozen=True)
class Preset:
    """One recipe of the folder `plans/`.

    Attributes:
        comment: what it reproduces and where it departs.
        plans_name: name of the plans file.
        planner: stock planner that gives spacing, readers and (without `network`) the network.
        network: architecture entry of the plans, None for the stock network.
        patch_size: (Z, Y, X) voxels, None for the planner's.
        batch_size: samples per domain.
        spacing_mm: "source" for the source fingerprint's, "native" for no resampling, or (Z, Y, X) mm.
        force_separate_z: whether slices are resampled apart from the plane, None for nnU-Net's rule per case.
        padding_hu: HU that padding stands for: "mean" as in stock nnU-Net, "lowest" for the clipped air, or a number.
        mirror: axes that may be mirrored: "all" or "no_left_right".
        settings: everything of `AdaptationSettings` that differs from its defaults.
    """

    comment: str
    plans_name: str
    batch_size: int
    planner: str = "ExperimentPlanner"
    network: dict[str, Any] | None = None
    patch_size: list[int] | None = None
    spacing_mm: str | list[float] = "source"
    force_separate_z: bool | None = False
    padding_hu: str | float = "mean"
    mirror: str = "all"
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanRequest:
    """What the user asks of `plan`, beyond the preset.

    Attributes:
        source: id or name of the labelled dataset.
        targets: ids or names of the unlabelled datasets.
        preset: name of the recipe.
        overrides: settings by name.
        patch_size: (Z, Y, X) voxels.
        batch_size: samples per domain.
        spacing_mm: (Z, Y, X).
        variant: adds a configuration `3d_fullres_<variant>` to existing plans.
        trainer: checked against the preset's network.
        processes: for the fingerprint.
        overwrite: replace plans of that name.
    """

    source: str
    targets: list[str]
    preset: str
    overrides: dict[str, Any] = field(default_factory=dict)
    patch_size: list[int] | None = None
    batch_size: int | None = None
    spacing_mm: list[float] | None = None
    variant: str | None = None
    trainer: str | None = None
    processes: int = 2
    overwrite: bool = False


def preset_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(file.stem for file in paths.plans_dir().glob("*.json"))


def load_preset(name: str) -> Preset:
    """Read a recipe of the folder `plans/`.

    Raises:
        UserError: no recipe of that name.
    """
    if name not in preset_names():
        raise UserError(f"the preset must be one of {', '.join(preset_names())}, got '{name}'")
    return Preset(**read_json(paths.plans_dir() / f"{name}.json", f"the preset {name} must be readable"))


def plan(request: PlanRequest) -> tuple[Path, str]:
    """Write the plans of a source and its targets, or add a variant to them.

    Returns:
        The plans file and the configuration to train.

    Raises:
        UserError: any unfit input; nothing is written then.
    """
    preset = load_preset(request.preset)
    source, targets = find_dataset(request.source), [find_dataset(target) for target in request.targets]
    check_domains(source, targets)
    _check_trainer(request.trainer, preset)
    file = paths.nnunet_preprocessed() / source.name / f"{preset.plans_name}.json"
    if request.variant is not None:
        return file, _add_variant(file, request.variant, source, targets, request)
    settings = _settings(preset.settings, request, targets)
    settings.check_batch(preset.batch_size if request.batch_size is None else request.batch_size)
    _check_geometry(preset, request, settings, source)
    if file.exists() and not request.overwrite:
        raise UserError(
            f"plans {file.name} of {source.name} exist already: give --name NAME to add a variant, or --overwrite to replace them"
        )
    check_readable(source, targets, request.processes)
    plans = _plans(source, preset, settings, request)
    if file.exists():
        kept = read_json(file, "existing plans must be readable")["configurations"]
        plans["configurations"] = {**{n: c for n, c in kept.items() if "inherits_from" in c}, **plans["configurations"]}
    write_json(plans, file)
    return file, "3d_fullres"


def check_domains(source: RawDataset, targets: list[RawDataset]) -> None:
    """Refuse targets that are the source, come twice, or have other channels.

    Raises:
        UserError: as above, or no target at all.
    """
    if not targets:
        raise UserError("at least one target dataset is needed, got none: give it with -t")
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise UserError(f"each target dataset must be named once, got {', '.join(names)}")
    for target in targets:
        if target.name == source.name:
            raise UserError(f"source and target must be different datasets, got {source.name} for both: give the unlabelled one with -t")
        if target.num_channels != source.num_channels:
            raise UserError(
                f"target {target.name} must have {source.num_channels} channel(s) like the source {source.name},"
                f" it has {target.num_channels}: convert it with the same channels"
            )
        target.training_images()
    source.training_labels()


def _settings(base: dict[str, Any], request: PlanRequest, targets: list[RawDataset]) -> AdaptationSettings:
    if "preset" in request.overrides:
        raise UserError("setting 'preset' is chosen with --preset, not with --set")
    cases: dict[str, list[str] | None] = {target.name: None for target in targets}
    settings = settings_from_dict({"target_datasets": cases, **base, **request.overrides, "preset": request.preset})
    _check_target_cases(settings, targets)
    return settings


def _check_target_cases(settings: AdaptationSettings, targets: list[RawDataset]) -> None:
    by_name = {target.name: target for target in targets}
    if set(settings.target_datasets) != set(by_name):
        named = ", ".join(settings.target_datasets) or "none"
        raise UserError(f"setting 'target_datasets' must name the targets given with -t ({', '.join(by_name)}), got {named}")
    for name, cases in settings.target_datasets.items():
        if cases == []:
            raise UserError(f"setting 'target_datasets' must name cases of {name}, or null for all of them, got an empty list")
        unknown = sorted(set(cases or []) - set(by_name[name].training_images()))
        if unknown:
            raise UserError(f"setting 'target_datasets' must name training cases of {name}, got '{unknown[0]}', which it does not have")


def _check_trainer(trainer: str | None, preset: Preset) -> None:
    if trainer is None:
        return
    known = sorted(file.stem for file in paths.trainers_dir().glob("nnUNetTrainer_*.py"))
    if trainer not in known:
        raise UserError(f"the trainer must be one of {', '.join(known)}, got '{trainer}'")
    network = preset.network["network_class_name"] if preset.network else "the stock network"
    if trainer.startswith("nnUNetTrainer_PFDAformer") and network != TRANSUNET3D:
        raise UserError(f"{trainer} needs a preset with TransUNet3D such as pf_daformer, this preset plans {network}: choose a UDA trainer")


def _check_geometry(preset: Preset, request: PlanRequest, settings: AdaptationSettings, source: RawDataset) -> None:
    """Refuse patch, spacing, deep supervision and scans that the preset's network cannot take."""
    if request.spacing_mm is not None:
        if preset.spacing_mm == "native":
            raise UserError(f"the preset {request.preset} keeps native voxels: leave --spacing out or choose another preset")
        if len(request.spacing_mm) != 3 or not all(0 < value < math.inf for value in request.spacing_mm):
            raise UserError(f"the spacing must be three positive numbers Z Y X in mm, got {request.spacing_mm}")
    if preset.network is not None and settings.deep_supervision:
        raise UserError(f"the network of the preset {request.preset} has no deep supervision: leave deep_supervision false")
    if request.patch_size is not None:
        _check_patch(preset, request.preset, request.patch_size)
    first = next(iter(source.training_images().values()))[0]
    if min(image_size(first)) == 1:
        raise UserError(f"presets plan 3D images, {first.name} of {source.name} has one slice: use a dataset of volumes")


def _check_patch(preset: Preset, name: str, patch_size: list[int]) -> None:
    """Build the network on no memory at all: it knows which patches it can take."""
    if preset.network is None:
        raise UserError("the patch size of a preset with a stock network follows from the network's planning: leave --patch-size out")
    if len(patch_size) != 3 or min(patch_size) < 1:
        raise UserError(f"the patch size must be three positive numbers Z Y X, got {patch_size}")
    import torch

    from nnunet_da.networks import TransUNet3D

    try:
        with torch.device("meta"):
            TransUNet3D(1, 2, **{**preset.network["arch_kwargs"], "patch_size": patch_size})
    except ValueError as error:
        raise UserError(f"the patch {patch_size} does not fit the preset {name}: {error}") from error


def _add_variant(file: Path, variant: str, source: RawDataset, targets: list[RawDataset], request: PlanRequest) -> str:
    """A configuration that is its parent but for the settings given now."""
    if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", variant):
        raise UserError(f"a variant's name must consist of letters, digits and single underscores, got '{variant}'")
    if request.patch_size is not None or request.batch_size is not None or request.spacing_mm is not None:
        raise UserError("a variant shares patch, batch and spacing with its parent: leave --patch-size, --batch-size and --spacing out")
    plans = read_json(file, f"a variant needs the plans {file.name} of {source.name}, made by `nnunet-da plan` without --name")
    check_plans(plans, source.name, "3d_fullres")
    name, parent = f"3d_fullres_{variant}", plans["configurations"]["3d_fullres"]
    if name in plans["configurations"] and not request.overwrite:
        raise UserError(f"configuration {name} exists already in {file.name}: choose another --name, or --overwrite it")
    planned = settings_from_plans(parent)
    if set(planned.target_datasets) != {target.name for target in targets}:
        raise UserError(
            f"a variant shares the preprocessed targets of its parent ({', '.join(planned.target_datasets)}),"
            f" got {', '.join(target.name for target in targets)}: make plans of their own for other targets"
        )
    settings = _settings(settings_to_dict(planned), request, targets)
    settings.check_batch(parent["batch_size"])
    if settings.deep_supervision and not planned.deep_supervision:
        raise UserError("a variant cannot switch deep supervision on where its parent has none: leave deep_supervision out")
    plans["configurations"][name] = {"inherits_from": "3d_fullres", PLANS_KEY: settings_to_dict(settings)}
    write_json(plans, file)
    return name


def check_plans(plans: dict[str, Any], dataset_name: str, configuration_name: str) -> None:
    """Refuse what is no plans file, plans of another dataset, and an absent configuration.

    Raises:
        UserError: as above.
    """
    missing = [key for key in ("dataset_name", "plans_name", "configurations") if key not in plans]
    if missing:
        raise UserError(f"a plans file must hold '{missing[0]}', this one does not: name a file that `nnunet-da plan` made")
    if plans["dataset_name"] != dataset_name:
        raise UserError(
            f"plans {plans['plans_name']} must be those of {dataset_name}, they are of {plans['dataset_name']}:"
            " moving plans between datasets needs 'dataset_name' rewritten, plan again instead"
        )
    if configuration_name not in plans["configurations"]:
        raise UserError(f"the configuration must be one of {', '.join(plans['configurations'])}, got '{configuration_name}'")


def _plans(source: RawDataset, preset: Preset, settings: AdaptationSettings, request: PlanRequest) -> dict[str, Any]:
    plans = _stock_plans(source, preset, request)
    kept = ("3d_fullres",) if preset.network else ("2d", "3d_fullres", "3d_lowres")
    plans["configurations"] = {name: plans["configurations"][name] for name in kept if name in plans["configurations"]}
    _set_padding(plans, preset)
    for name, configuration in plans["configurations"].items():
        configuration.pop("next_stage", None)
        _set_resampling(configuration, preset)
        configuration["batch_size"] = _batch_size(configuration["batch_size"], name, preset, request)
        settings.check_batch(configuration["batch_size"])
        if name == "3d_fullres":
            _set_network(configuration, plans["transpose_forward"], preset, request)
        configuration[PLANS_KEY] = {**settings_to_dict(settings), "mirror_axes": _mirror_axes(plans, name, preset, settings)}
    return plans


def _stock_plans(source: RawDataset, preset: Preset, request: PlanRequest) -> dict[str, Any]:
    """Fingerprint and plans by stock nnU-Net, caught before it writes them."""
    import nnunetv2
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    planner_class = recursive_find_python_class(
        str(Path(nnunetv2.__path__[0]) / "experiment_planning"), preset.planner, "nnunetv2.experiment_planning"
    )
    planner_without_saving = type(planner_class.__name__, (planner_class,), {"save_plans": lambda self, plans: None})
    with contextlib.redirect_stdout(io.StringIO()), paths.one_worker_at_least():
        extract_fingerprint_dataset(source.dataset_id, num_processes=request.processes, clean=request.overwrite, verbose=False)
        spacing = request.spacing_mm or (preset.spacing_mm if isinstance(preset.spacing_mm, list) else None)
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


def _batch_size(planned: int, name: str, preset: Preset, request: PlanRequest) -> int:
    """Per domain: what the user says, else the preset's; 2d keeps a larger one of the planner."""
    if request.batch_size is not None:
        return request.batch_size
    return max(planned, preset.batch_size) if name == "2d" else preset.batch_size


def _set_network(configuration: dict[str, Any], transpose_forward: list[int], preset: Preset, request: PlanRequest) -> None:
    patch = request.patch_size or preset.patch_size
    if patch is not None:
        configuration["patch_size"] = [patch[axis] for axis in transpose_forward]
    if preset.network is not None:
        arguments = {**preset.network["arch_kwargs"], "patch_size": configuration["patch_size"]}
        configuration["architecture"] = {**preset.network, "arch_kwargs": arguments}
        configuration["batch_dice"] = False


def _mirror_axes(plans: dict[str, Any], name: str, preset: Preset, settings: AdaptationSettings) -> list[int] | None:
    if settings.mirror_axes is not None or preset.mirror == "all":
        return settings.mirror_axes
    axes = [axis for axis in plans["transpose_forward"]][(1 if name == "2d" else 0) :]
    return [patch_axis for patch_axis, axis in enumerate(axes) if axis != LEFT_RIGHT_AXIS]

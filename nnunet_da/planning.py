"""From a source, its targets (none for a baseline) and a preset to a plans file that stock nnU-Net trains with.

The target contributes its name and its number of channels, nothing else: fingerprint, spacing, intensities and splits are the source's,
or those of the trained model that the preset starts from.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.datasets import RawDataset, find_dataset, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.integrity import check_readable
from nnunet_da.planning_from_fingerprint import check_batch, check_geometry, plans_from_fingerprint
from nnunet_da.planning_trainers import check_trainer
from nnunet_da.presets import TRANSUNET3D, PlanRequest, Preset, load_preset, preset_names
from nnunet_da.settings import PLANS_KEY, AdaptationSettings, settings_from_dict, settings_from_plans, settings_to_dict

__all__ = ["TRANSUNET3D", "PlanRequest", "Preset", "check_domains", "check_plans", "load_preset", "plan", "preset_names"]


def plan(request: PlanRequest) -> tuple[Path, str]:
    """Write the plans of a source and its targets, or add a variant to them.

    Returns:
        The plans file and the configuration to train.

    Raises:
        UserError: any unfit input; no plans are written then.
    """
    preset, request = load_preset(request.preset), _with_absolute_path(request)
    source, targets = find_dataset(request.source), [find_dataset(target) for target in request.targets]
    check_domains(source, targets, preset.needs_target)
    check_trainer(request.trainer, preset.network_name, aligns=bool(targets))
    file = paths.nnunet_preprocessed() / source.name / f"{preset.plans_name}.json"
    if request.variant is not None:
        return file, _add_variant(file, request.variant, source, targets, request)
    if file.exists() and not request.overwrite:
        raise UserError(
            f"plans {file.name} of {source.name} exist already: give --name NAME to add a variant, or --overwrite to replace them"
        )
    plans = (_from_model if preset.checkpoint_network else _from_fingerprint)(preset, source, targets, request)
    name = _base_configuration(plans)
    if file.exists():
        kept = read_json(file, "existing plans must be readable")["configurations"]
        plans["configurations"] = {**{n: c for n, c in kept.items() if c.get("inherits_from") == name}, **plans["configurations"]}
    write_json(plans, file)
    return file, name


def _from_fingerprint(preset: Preset, source: RawDataset, targets: list[RawDataset], request: PlanRequest) -> dict[str, Any]:
    settings = _settings(preset.settings, request, targets)
    check_batch(preset.batch_size if request.batch_size is None else request.batch_size, preset, settings, request.trainer)
    check_geometry(preset, request, settings, source)
    check_readable(source, targets, request.processes)
    plans = plans_from_fingerprint(source, preset, settings, request)
    _check_start(settings, plans, _base_configuration(plans), source)
    return plans


def _from_model(preset: Preset, source: RawDataset, targets: list[RawDataset], request: PlanRequest) -> dict[str, Any]:
    from nnunet_da.planning_from_model import model_to_start_from, plans_from_model, prepare_folder, settings_of_model

    model = model_to_start_from(request, preset, source, targets)
    settings = _settings({**preset.settings, **settings_of_model(model)}, request, targets)
    plans = plans_from_model(model, source, preset, settings, request)
    check_readable(source, targets, request.processes)
    prepare_folder(source, request.processes)
    return plans


def _with_absolute_path(request: PlanRequest) -> PlanRequest:
    """Training may run in another folder than planning."""
    start = request.overrides.get("init_checkpoint")
    if not isinstance(start, str):
        return request
    return replace(request, overrides={**request.overrides, "init_checkpoint": str(Path(start).expanduser().absolute())})


def _base_configuration(plans: dict[str, Any]) -> str:
    """The configuration that variants inherit from: 3d_fullres, or the one that a model gave."""
    configurations = plans.get("configurations", {})
    own = [name for name, configuration in configurations.items() if "inherits_from" not in configuration]
    return "3d_fullres" if "3d_fullres" in own or not own else own[0]


def _check_start(settings: AdaptationSettings, plans: dict[str, Any], name: str, source: RawDataset) -> None:
    """Refuse plans whose `init_checkpoint` holds another model, as training would."""
    if settings.init_checkpoint is None:
        return
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_da.trained_model import any_checkpoint, check_fits, check_unlabelled, read_model

    configuration = PlansManager(plans).get_configuration(name).configuration
    model = read_model(any_checkpoint(settings.init_checkpoint))
    check_unlabelled(model, settings.target_datasets)
    check_fits(model, plans, configuration, source.description, source.name)


def check_domains(source: RawDataset, targets: list[RawDataset], needs_target: bool = True) -> None:
    """Refuse targets that are the source, come twice, or have other channels.

    Raises:
        UserError: as above, or no target at all where one is needed.
    """
    if needs_target and not targets:
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
        named, given = (", ".join(names) or "none" for names in (settings.target_datasets, by_name))
        raise UserError(f"setting 'target_datasets' must name the targets given with -t ({given}), got {named}")
    for name, cases in settings.target_datasets.items():
        if cases == []:
            raise UserError(f"setting 'target_datasets' must name cases of {name}, or null for all of them, got an empty list")
        unknown = sorted(set(cases or []) - set(by_name[name].training_images()))
        if unknown:
            raise UserError(f"setting 'target_datasets' must name training cases of {name}, got '{unknown[0]}', which it does not have")


def _add_variant(file: Path, variant: str, source: RawDataset, targets: list[RawDataset], request: PlanRequest) -> str:
    """A configuration that is its parent but for the settings given now."""
    if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", variant):
        raise UserError(f"a variant's name must consist of letters, digits and single underscores, got '{variant}'")
    if request.patch_size is not None or request.batch_size is not None or request.spacing_mm is not None:
        raise UserError("a variant shares patch, batch and spacing with its parent: leave --patch-size, --batch-size and --spacing out")
    plans = read_json(file, f"a variant needs the plans {file.name} of {source.name}, made by `nnunet-da plan` without --name")
    base = _base_configuration(plans)
    check_plans(plans, source.name, base)
    name, parent = f"{base}_{variant}", plans["configurations"][base]
    if name in plans["configurations"] and not request.overwrite:
        raise UserError(f"configuration {name} exists already in {file.name}: choose another --name, or --overwrite it")
    planned = settings_from_plans(parent)
    if set(planned.target_datasets) != {target.name for target in targets}:
        raise UserError(
            f"a variant shares the preprocessed targets of its parent ({', '.join(planned.target_datasets) or 'none'}),"
            f" got {', '.join(target.name for target in targets) or 'none'}: make plans of their own for other targets"
        )
    settings = _settings(settings_to_dict(planned), request, targets)
    check_batch(parent["batch_size"], load_preset(request.preset), settings, request.trainer)
    if settings.deep_supervision and not planned.deep_supervision:
        raise UserError("a variant cannot switch deep supervision on where its parent has none: leave deep_supervision out")
    plans["configurations"][name] = {"inherits_from": base, PLANS_KEY: settings_to_dict(settings)}
    _check_start(settings, plans, name, source)
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

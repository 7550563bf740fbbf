"""Plans and preprocessed data of a study's arms, so that nothing but the method differs."""

import json
from collections.abc import Sequence
from pathlib import Path

from nnunet_da import paths
from nnunet_da.datasets import RawDataset, find_dataset, id_of, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.merging import merge_datasets, move_plans, plans_of_merged, splits_of
from nnunet_da.outputs import write_whole
from nnunet_da.planning import plan
from nnunet_da.preprocessing import preprocess
from nnunet_da.presets import PlanRequest, load_preset
from nnunet_da.settings import PLANS_KEY, settings_from_dict, settings_from_plans, settings_to_dict
from nnunet_da.study.arms import Arm
from nnunet_da.study.layout import CONFIGURATION, Layout, Run
from nnunet_da.study.locks import lock
from nnunet_da.study.study import JOINT_ID, JOINT_NAME, PSEUDO_NAME, Study

SPLITS = "splits_final.json"


def prepare_preset(study: Study, preset: str) -> None:
    """Plan a preset on the source's fingerprint, fix the folds, preprocess source and targets.

    Raises:
        UserError: whatever `plan` and `preprocess` refuse, or a fold that there is not.
    """
    file, source = study.file, find_dataset(study.source)
    request = PlanRequest(
        source=study.source,
        targets=study.targets,
        preset=preset,
        overrides=file.settings,
        patch_size=file.patch_size if load_preset(preset).network else None,
        batch_size=file.batch_size,
        spacing_mm=file.spacing_mm,
        overwrite=True,
    )
    plans, configuration = plan(request)
    if configuration != CONFIGURATION:
        raise UserError(f"a study trains {CONFIGURATION}, the preset {preset} plans {configuration}: choose another preset")
    _fix_folds(source, study.file.folds)
    preprocess(study.source, plans.stem, CONFIGURATION, processes=2)


def merge_targets(study: Study) -> None:
    """The labelled cases of several targets in one dataset, once for the oracle and the joint arm.

    Raises:
        UserError: datasets that do not fit.
    """
    first, *others = [find_dataset(name) for name in study.targets]
    for merged, other in zip(study.merged, others, strict=True):
        first = merge_datasets(first, other, id_of(merged), merged.split("_", 1)[1], overwrite=True).dataset


def prepare_labelled_target(study: Study, arm: Arm) -> None:
    """The dataset that an oracle or joint arm trains on, with the source's plans moved to it, preprocessed by stock nnU-Net.

    Raises:
        UserError: datasets that do not fit, or a fold that there is not.
    """
    source, plans_name = find_dataset(study.source), load_preset(arm.preset).plans_name
    labelled = find_dataset(study.labelled_target)
    if arm.kind == "joint":
        merged = merge_datasets(source, labelled, JOINT_ID, JOINT_NAME, overwrite=True)
        plans_of_merged(plans_name, source, merged.dataset, list(merged.added.values()), CONFIGURATION)
        dataset = merged.dataset
    else:
        move_plans(plans_name, source, labelled, CONFIGURATION, overwrite=True)
        dataset = labelled
    _fix_folds(dataset, study.file.folds)
    preprocess(dataset.name, plans_name, CONFIGURATION, processes=2)


def configure_run(study: Study, layout: Layout, arm: Arm, run: Run) -> None:
    """Add the configuration of a run to the plans of the dataset it trains on: the preset's, but for settings and seed.

    Raises:
        UserError: a setting that cannot be, or one that the parent's data do not serve; a fold that there is not.
    """
    _fix_folds(find_dataset(study.dataset(arm, run)), [run.fold])
    file = layout.preprocessed / study.dataset(arm, run) / f"{study.plans(arm)}.json"
    with lock(layout.folder / "locks" / f"{file.parent.name}_{file.stem}.lock"):
        _add_configuration(file, study.configuration(arm, run), {**arm.settings, "seed": run.seed})


def prepare_pseudo_labels(study: Study, layout: Layout, arm: Arm, run: Run) -> None:
    """Predict the target's training scans with the parent's model, and make the sure ones training cases beside the source's.

    Raises:
        UserError: no scan that the model is sure of.
    """
    from nnunet_da.pseudo_labels import SelfTrainingRequest, pseudo_label

    request = SelfTrainingRequest(
        study.model(study.arm(str(arm.parent)), run, layout),
        study.targets[0],
        study.pseudo_id(arm, run),
        PSEUDO_NAME,
        folds=(str(run.fold),),
        mirroring=study.file.mirroring,
        device=study.device,
        confidence=arm.confidence,
        overwrite=True,
    )
    made = pseudo_label(request)
    configure_run(study, layout, arm, run)
    preprocess(made.dataset.name, made.plans_name, CONFIGURATION, processes=2)


def _add_configuration(file: Path, name: str, overrides: dict[str, object]) -> None:
    plans = read_json(file, "an arm needs the plans of its dataset")
    parent = plans["configurations"][CONFIGURATION]
    planned = settings_from_plans(parent)
    settings = settings_from_dict({**settings_to_dict(planned), **overrides})
    if settings.deep_supervision and not planned.deep_supervision:
        raise UserError(f"an arm cannot switch deep supervision on where its preset has none: take it out of the settings of {name}")
    plans["configurations"][name] = {"inherits_from": CONFIGURATION, PLANS_KEY: settings_to_dict(settings)}
    write_json(plans, file)


def _fix_folds(dataset: RawDataset, folds: Sequence[int]) -> None:
    """Write the folds that stock training would make itself, before several trainings at a time do so."""
    splits = splits_of(dataset)
    missing = [fold for fold in folds if fold >= len(splits)]
    if missing:
        raise UserError(f"{dataset.name} has the folds 0 to {len(splits) - 1}, the study asks for fold {missing[0]}: correct 'folds'")
    file = paths.nnunet_preprocessed() / dataset.name / SPLITS
    if not file.exists():
        write_whole(file, json.dumps(splits, indent=4) + "\n")

"""Plans of one dataset for another, with nothing planned anew: the same network and preprocessing, so that two arms are comparable."""

import copy
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from nnunet_da import paths
from nnunet_da.datasets import RawDataset, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.outputs import write_whole
from nnunet_da.planning import check_plans
from nnunet_da.planning_from_fingerprint import extract_fingerprint
from nnunet_da.settings import PLANS_KEY

SPLITS, FINGERPRINT = "splits_final.json", "dataset_fingerprint.json"
Split = dict[str, list[str]]  # one fold as in nnU-Net's splits_final.json: {"train": cases, "val": cases}


def plans_of_merged(
    plans_name: str,
    source: RawDataset,
    merged: RawDataset,
    added: Collection[str],
    configuration: str | None = None,
    *,
    targets: Literal["keep", "drop"] = "drop",
) -> str:
    """Move the source's plans to a merged dataset; every fold validates on the source's cases of that fold, and trains on all added ones.

    Args:
        plans_name: of the source.
        source: whose plans and folds they are.
        merged: by `merge_datasets`.
        added: names of the cases that are not the source's.
        configuration: the only one to take (with what it inherits from), None for all.
        targets: whether methods that look at unlabelled targets shall find them in the settings.

    Returns:
        The name of the plans, which is the same.

    Raises:
        UserError: no such plans or configuration, or a source that cannot be split.
    """
    splits = [{"train": sorted([*fold["train"], *added]), "val": list(fold["val"])} for fold in splits_of(source)]
    return move_plans(plans_name, source, merged, configuration, targets=targets, splits=splits, fingerprint="copy", overwrite=True)


def oracle_plans(
    plans_name: str, source: RawDataset, target: RawDataset, configuration: str | None = None, *, overwrite: bool = False
) -> str:
    """Move the source's plans onto a labelled target as `<Plans>From<SourceId>`; the target's own plans, folds and data stay.

    Returns:
        The name of the plans.

    Raises:
        UserError: no such plans or configuration, a target with other channels or labels or without labels, or plans of that name.
    """
    target.training_labels()
    name = f"{plans_name}From{source.dataset_id:03d}"
    return move_plans(plans_name, source, target, configuration, new_plans_name=name, overwrite=overwrite)


def move_plans(
    plans_name: str,
    from_dataset: RawDataset,
    to_dataset: RawDataset,
    configuration: str | None = None,
    *,
    new_plans_name: str | None = None,
    targets: Literal["keep", "drop"] = "drop",
    splits: list[Split] | None = None,
    fingerprint: Literal["copy", "extract"] = "extract",
    overwrite: bool = False,
) -> str:
    """Write plans for a dataset that are another's but for the dataset's name, ready for stock preprocessing and training.

    Beside them go what stock training asks for: dataset.json, folds and a fingerprint (a record alone: nothing is planned from it).

    Args:
        plans_name: of `from_dataset`.
        from_dataset: whose plans they are.
        to_dataset: of the same channels, labels and file ending.
        configuration: the only one to take (with what it inherits from), None for all.
        new_plans_name: under which the preprocessed data stand too; None for the same.
        targets: "drop" the unlabelled targets of the settings, or "keep" those that are not `to_dataset`.
        splits: folds to write, None for the dataset's own.
        fingerprint: where the dataset has none, "copy" the other's, or "extract" its own by stock nnU-Net, which takes a while.
        overwrite: replace plans of that name.

    Returns:
        The name of the plans.

    Raises:
        UserError: as for `oracle_plans`; nothing is written then.
    """
    _check_pair(from_dataset, to_dataset)
    name, here, there = new_plans_name or plans_name, _folder(from_dataset), _folder(to_dataset)
    plans = read_json(here / f"{plans_name}.json", f"{from_dataset.name} needs the plans {plans_name}")
    check_plans(plans, from_dataset.name, configuration or next(iter(plans.get("configurations", {})), ""))
    file = there / f"{name}.json"
    if file.exists() and not overwrite:
        raise UserError(f"plans {file.name} of {to_dataset.name} exist already: choose another name, or replace them with --overwrite")
    moved = _moved(plans, name, to_dataset.name, configuration, targets)
    there.mkdir(exist_ok=True)
    shutil.copyfile(to_dataset.folder / "dataset.json", there / "dataset.json")
    _give_fingerprint(from_dataset, to_dataset, fingerprint)
    _give_splits(to_dataset, splits)
    write_json(moved, file)
    return name


def splits_of(dataset: RawDataset) -> list[Split]:
    """Folds of a dataset: of its splits_final.json where there is one, else those that stock nnU-Net will make.

    Raises:
        UserError: unreadable folds, or too few cases for nnU-Net's own.
    """
    preprocessed = paths.optional(paths.nnunet_preprocessed)
    for folder in ([preprocessed / dataset.name] if preprocessed else []) + [dataset.folder]:
        file = folder / SPLITS
        if file.is_file():
            return _read_splits(dataset, file)
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    cases = sorted(dataset.training_images())
    if len(cases) < 5:
        raise UserError(f"{dataset.name} needs 5 cases for nnU-Net's five folds, it has {len(cases)}: add cases, or a {SPLITS}")
    return [{key: [str(case) for case in fold[key]] for key in ("train", "val")} for fold in generate_crossval_split(cases)]


def lineage(configurations: dict[str, Any], name: str) -> list[str]:
    """A configuration and those that it inherits from, the first ones first."""
    chain = [name]
    while (parent := configurations[chain[0]].get("inherits_from")) is not None:
        chain.insert(0, parent)
    return chain


def _check_pair(from_dataset: RawDataset, to_dataset: RawDataset) -> None:
    if from_dataset.name == to_dataset.name:
        raise UserError(f"plans move between two datasets, got {from_dataset.name} for both: name another one")
    for key in ("channel_names", "labels", "regions_class_order", "file_ending"):
        here, there = from_dataset.description.get(key), to_dataset.description.get(key)
        if here != there:
            raise UserError(
                f"{to_dataset.name} must have the '{key}' of {from_dataset.name} to be trained on its plans, {here}, got {there}:"
                " convert it so"
            )


def _moved(plans: dict[str, Any], name: str, dataset_name: str, configuration: str | None, targets: str) -> dict[str, Any]:
    moved = copy.deepcopy(plans)
    configurations = moved["configurations"]
    if configuration is not None:
        configurations = {key: configurations[key] for key in lineage(configurations, configuration)}
    for key, one in configurations.items():
        if "data_identifier" in one and name != plans["plans_name"]:
            one["data_identifier"] = f"{name}_{key}"
        if PLANS_KEY in one:
            kept = one[PLANS_KEY].get("target_datasets", {}) if targets == "keep" else {}
            one[PLANS_KEY]["target_datasets"] = {target: cases for target, cases in kept.items() if target != dataset_name}
    return {**moved, "dataset_name": dataset_name, "plans_name": name, "configurations": configurations}


def _give_fingerprint(from_dataset: RawDataset, to_dataset: RawDataset, how: str) -> None:
    if (_folder(to_dataset) / FINGERPRINT).is_file():
        return
    original = _folder(from_dataset) / FINGERPRINT
    if how == "copy" and original.is_file():
        shutil.copyfile(original, _folder(to_dataset) / FINGERPRINT)
    else:  # another dataset's, under its name, would mislead whoever plans it later
        extract_fingerprint(to_dataset, processes=2, clean=False)


def _give_splits(dataset: RawDataset, splits: list[Split] | None) -> None:
    """Folds where training looks for them: the given ones, or the dataset's own that came with its scans."""
    file, own = _folder(dataset) / SPLITS, dataset.folder / SPLITS
    if splits is not None:
        write_whole(file, json.dumps(splits, indent=2) + "\n")
    elif own.is_file() and not file.exists():
        shutil.copyfile(own, file)


def _read_splits(dataset: RawDataset, file: Path) -> list[Split]:
    try:
        splits = [{key: [str(case) for case in fold[key]] for key in ("train", "val")} for fold in json.loads(file.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} must hold folds as nnU-Net writes them, it cannot be read ({error!r}): restore it") from error
    cases = set(dataset.training_images())
    unknown = sorted({case for fold in splits for key in fold for case in fold[key]} - cases)
    if unknown:
        raise UserError(f"{file} must name cases of {dataset.name}, it has no '{unknown[0]}': remake the folds")
    return splits


def _folder(dataset: RawDataset) -> Path:
    return paths.nnunet_preprocessed() / dataset.name

"""From a results folder to a model folder or zip that can be given away."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_da.checkpoints import check_weights, read_checkpoint
from nnunet_da.datasets import write_json
from nnunet_da.errors import UserError
from nnunet_da.export.clean import clean_checkpoint, clean_description, clean_plans, refuse_paths
from nnunet_da.export.files import MODEL_CHECKPOINT, check_free, first_existing, put, write_zip
from nnunet_da.export.network import Needs, builds_what_plans_name, planned_shapes, trainer_for
from nnunet_da.export.readme import README, ModelCard, readme
from nnunet_da.export.run import Run, find_run
from nnunet_da.settings import PLANS_KEY


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        file: the zip, or the model folder.
        dataset: `DatasetXXX_NAME` it is installed under.
        folder_name: `TRAINER__PLANS__CONFIGURATION`.
        needs: whose code must be installed for it beside nnU-Net's.
    """

    file: Path
    dataset: str
    folder_name: str
    needs: Needs


def export_model(
    run_folder: Path,
    output: Path,
    *,
    folds: list[str] | None = None,
    checkpoint: str = "final",
    dataset_name: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a cleaned copy of a run in the layout of `nnUNet_results`: DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION/fold_X/...

    Every checkpoint is written as `checkpoint_final.pth`, which is what stock prediction takes unasked. Two exports of a run are equal
    byte for byte.

    Args:
        run_folder: results folder of our trainers or of nnU-Net's own.
        output: a name with `.zip`, or a folder to hold DatasetXXX_NAME/... such as another nnUNet_results.
        folds: "0", "1", ... or "all"; None for every numbered one.
        checkpoint: "final", "best" or "latest".
        dataset_name: `DatasetXXX_NAME` to install the model under, None for the source dataset's.
        overwrite: replace an earlier export.

    Raises:
        UserError: no run, a fold or checkpoint that is missing or damaged, weights of another network, a text that names a place on this
            machine, or an output that is in the way.
    """
    run = find_run(run_folder, folds, checkpoint)
    first = read_checkpoint(next(iter(run.checkpoints.values())))
    card = _card(run, first, checkpoint, _dataset_name(run, dataset_name))
    _check_card(card)
    model = Path(card.plans["dataset_name"]) / card.folder_name
    zipped = output.suffix == ".zip"
    place = output if zipped else output / model
    if place.absolute().is_relative_to(run_folder.absolute()):
        raise UserError(f"the export must not lie inside the run {run_folder}, got {output}: choose another output with -o")
    check_free(place, overwrite)
    with tempfile.TemporaryDirectory(prefix=".nnunet-da-export-", dir=first_existing(place.parent.absolute())) as temporary:
        scratch = Path(temporary)
        _write_model(scratch / "root" / model, run, card, first)
        if zipped:
            write_zip(scratch / "root", scratch / "zip")
        put(scratch / "zip" if zipped else scratch / "root" / model, place, scratch)
    return Exported(place, card.plans["dataset_name"], card.folder_name, card.needs)


def _card(run: Run, first: dict[str, Any], checkpoint: str, dataset_name: str) -> ModelCard:
    """All that the model is, from the first fold: stock prediction asks that one, too."""
    configuration, trained_by = first["init_args"]["configuration"], first["trainer_name"]
    resolved = _resolved(run, configuration)
    ours = first.get(PLANS_KEY, {})
    trainer, needs = trainer_for(trained_by, resolved["architecture"]["network_class_name"])
    return ModelCard(
        trained_by=trained_by,
        trainer=trainer,
        needs=needs,
        preset=ours.get("settings", {}).get("preset", ""),
        checkpoint=checkpoint,
        plugin=ours.get("version", ""),
        configuration=configuration,
        folds=tuple(run.checkpoints),
        plans=clean_plans(run.plans, configuration, resolved, dataset_name),
        description=clean_description(run.description),
    )


def _check_card(card: ModelCard) -> None:
    """Names make paths and command lines, so they are plain; and nothing names a place."""
    for name in (card.trainer, card.trained_by, card.plans["plans_name"], card.configuration):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(f"names of trainer, plans and configuration must be of letters, digits, '_', '.' and '-', got '{name}'")
    for what, content in (("the plans", card.plans), ("dataset.json", card.description), ("the preset", [card.preset, card.plugin])):
        refuse_paths(content, what)


def _write_model(folder: Path, run: Run, card: ModelCard, first: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    epochs = set()
    for number, (fold, file) in enumerate(run.checkpoints.items()):
        checkpoint = first if number == 0 else read_checkpoint(file)
        _check_checkpoint(checkpoint, card, file)
        cleaned = clean_checkpoint(checkpoint, card.trainer, fold, card.plans, card.description)
        (folder / f"fold_{fold}").mkdir()
        _save(cleaned, folder / f"fold_{fold}" / MODEL_CHECKPOINT)
        epochs |= {int(checkpoint["current_epoch"])} if "current_epoch" in checkpoint else set()
    write_json(card.plans, folder / "plans.json")
    write_json(card.description, folder / "dataset.json")
    (folder / README).write_text(readme(card, epochs))


def _check_checkpoint(checkpoint: dict[str, Any], card: ModelCard, file: Path) -> None:
    trainer, configuration = checkpoint["trainer_name"], checkpoint["init_args"]["configuration"]
    if (trainer, configuration) != (card.trained_by, card.configuration):
        raise UserError(
            f"all folds must be of {card.trained_by} and {card.configuration}, {file} is of {trainer} and {configuration}:"
            " choose others with --folds"
        )
    if card.needs != "foreign" and builds_what_plans_name(card.trainer):
        check_weights(checkpoint["network_weights"], planned_shapes(card.plans, card.configuration, card.description), file)


def _save(checkpoint: dict[str, Any], file: Path) -> None:
    try:
        with file.open("wb") as stream:  # torch writes the name of a file into it, of a stream it knows none
            torch.save(checkpoint, stream)
    except RuntimeError as error:
        raise UserError(f"the export could not be written ({error}): free disk space, nothing was left behind") from error


def _resolved(run: Run, configuration: str) -> dict[str, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    if configuration not in run.plans.get("configurations", {}):
        raise UserError(
            f"the plans of {run.folder} must hold the configuration {configuration} of its checkpoints: put its own plans.json back"
        )
    return PlansManager(run.plans).get_configuration(configuration).configuration


def _dataset_name(run: Run, asked: str | None) -> str:
    name = asked or run.plans["dataset_name"]
    if not re.fullmatch(r"Dataset\d{3}_[\w.-]+", name):
        raise UserError(f"the dataset's name must be like Dataset101_CENTRE, got '{name}': give one with --dataset-name")
    return name

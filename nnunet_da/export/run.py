"""A training's results folder: found, complete, and listed by fold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_da.datasets import read_json
from nnunet_da.errors import UserError

CHECKPOINTS = ("final", "best", "latest")
NEEDED = {
    "plans.json": {"dataset_name": str, "plans_name": str, "configurations": dict},
    "dataset.json": {"labels": dict, "file_ending": str},
}


@dataclass(frozen=True)
class Run:
    """One results folder of nnU-Net.

    Attributes:
        folder: usually `nnUNet_results/DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION`.
        plans: its `plans.json`.
        description: its `dataset.json`.
        checkpoints: fold ("0", "1", ... or "all") -> the checkpoint to take.
    """

    folder: Path
    plans: dict[str, Any]
    description: dict[str, Any]
    checkpoints: dict[str, Path]


def find_run(folder: Path, folds: list[str] | None = None, checkpoint: str = "final") -> Run:
    """Look a run up and see that every checkpoint asked for is there.

    Args:
        folder: the results folder.
        folds: which folds, None for every numbered one, or for `fold_all` where there is no other.
        checkpoint: one of `CHECKPOINTS`.

    Raises:
        UserError: no results folder, or a fold or checkpoint is missing.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"the checkpoint must be one of {', '.join(CHECKPOINTS)}, got '{checkpoint}'")
    plans, description = _results_file(folder, "plans.json"), _results_file(folder, "dataset.json")
    present = _folds_in(folder)
    chosen = list(dict.fromkeys(folds)) if folds else [fold for fold in present if fold != "all"] or present
    if not chosen:
        raise UserError(f"{folder} must hold a folder fold_0, fold_1, ... or fold_all, found none: train a fold first")
    return Run(folder, plans, description, {fold: _checkpoint(folder, fold, present, checkpoint) for fold in chosen})


def _results_file(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise UserError(
            f"a run must be a results folder of nnU-Net, DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION with {name} and folds in it,"
            f" {folder} has no {name}: name the folder above the folds"
        )
    content = read_json(folder / name, f"the run needs its {name}")
    for key, kind in NEEDED[name].items():
        if not isinstance(content.get(key), kind):
            raise UserError(
                f"{folder / name} must hold '{key}' as nnU-Net writes it, got {content.get(key)!r}: put the run's own file back"
            )
    return content


def _folds_in(folder: Path) -> list[str]:
    names = [path.name.removeprefix("fold_") for path in folder.glob("fold_*") if path.is_dir()]
    return sorted((name for name in names if name.isdecimal()), key=int) + [name for name in names if name == "all"]


def _checkpoint(folder: Path, fold: str, present: list[str], checkpoint: str) -> Path:
    if fold not in present:
        raise UserError(f"fold {fold} must be trained in {folder}, found {', '.join(present) or 'no fold'}: choose others with --folds")
    file = folder / f"fold_{fold}" / f"checkpoint_{checkpoint}.pth"
    if not file.is_file():
        names = ", ".join(name for name in CHECKPOINTS if file.with_name(f"checkpoint_{name}.pth").is_file())
        raise UserError(
            f"fold {fold} must have {file.name}, found {names or 'no checkpoint'}: finish its training, leave it out with --folds,"
            " or choose another with --checkpoint"
        )
    return file

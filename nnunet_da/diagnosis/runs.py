"""Trained runs: read from their checkpoint, matched with their source-only run, and compared before anything is concluded."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_da.checkpoints import read_checkpoint
from nnunet_da.errors import UserError
from nnunet_da.preprocessing import preprocessing_hash
from nnunet_da.settings import PLANS_KEY, AdaptationSettings

if TYPE_CHECKING:
    from nnunet_da.training.alignment import Alignment

PLACES = {"bottleneck": "the encoder's output", "encoder": "the encoder's second stage", "output": "the network's output"}  # in words
SOURCE_ONLY = "SourceOnly"  # a source-only trainer is named nnUNetTrainer_<family>_SourceOnly
# settings that a source-only run ignores: they may differ between two comparable runs
IGNORED_BY_SOURCE_ONLY = {
    "target_datasets", "preset", "grl_schedule", "grl_lambda_max", "classifier_input", "mmd_bandwidths", "align_at", "pooling",
    "mask_padding", "head_lr", "save_every", "target_score_batches", "shuffle_domains", "restyle_probability", "fourier_window",
    "fourier_mix", "l2_weight",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One trained fold.

    Attributes:
        folder: `TRAINER__PLANS__CONFIGURATION/fold_X`.
        content: its checkpoint, see `read_checkpoint`.
        kind: which checkpoint, final or best.
    """

    folder: Path
    content: dict[str, Any] = field(repr=False)
    kind: str = "final"

    @property
    def trainer(self) -> str:
        return self.content["trainer_name"]

    @property
    def plans(self) -> dict[str, Any]:
        return self.content["init_args"]["plans"]

    @property
    def configuration_name(self) -> str:
        return self.content["init_args"]["configuration"]

    @property
    def dataset_json(self) -> dict[str, Any]:
        return self.content["init_args"]["dataset_json"]

    @property
    def fold(self) -> int | str:
        return self.content["init_args"]["fold"]

    @property
    def dataset_name(self) -> str:
        return self.plans["dataset_name"]

    @property
    def is_source_only(self) -> bool:
        return self.trainer.endswith(f"_{SOURCE_ONLY}")

    @property
    def name(self) -> str:
        """Where the run stands in nnUNet_results."""
        return "/".join(self.folder.resolve().parts[-3:])

    @property
    def summary_file(self) -> Path:
        """What the final validation wrote, in stock nnU-Net's format."""
        return self.folder / "validation" / "summary.json"

    @property
    def curves_file(self) -> Path:
        return self.folder / "curves.csv"

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The plans configuration with everything inherited."""
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        return PlansManager(self.plans).get_configuration(self.configuration_name).configuration

    @property
    def settings(self) -> dict[str, Any]:
        """All settings; those that an older version did not have yet with their defaults."""
        return dataclasses.asdict(AdaptationSettings()) | self.content[PLANS_KEY]["settings"]

    @property
    def alignment(self) -> "Alignment":
        """Which features the run aligns; of a source-only run, which it would."""
        from nnunet_da.training.alignment import Alignment

        regions = any(isinstance(value, (list, tuple)) and len(value) > 1 for value in self.dataset_json["labels"].values())  # as nnU-Net
        return Alignment(self.settings["align_at"], self.settings["pooling"], regions)

    @property
    def place(self) -> str:
        """Where the gradients of the curves were taken, in words; a source-only run takes them at the encoder's output."""
        return PLACES["bottleneck" if self.is_source_only else self.settings["align_at"]]

    def weight(self, term: str) -> float | None:
        """Weight of an alignment term, None where the settings have no such weight."""
        return self.settings.get(f"w_{term}")


def load_run(folder: Path, kind: str = "final") -> Run:
    """Read a fold that one of our trainers trained.

    Raises:
        UserError: no such fold or checkpoint, or it was trained by another trainer.
    """
    if not folder.is_dir():
        raise UserError(f"RUN must be a fold, such as nnUNet_results/DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION/fold_0, got {folder}")
    file = folder / f"checkpoint_{kind}.pth"
    if not file.is_file():
        present = ", ".join(sorted(path.name for path in folder.glob("checkpoint_*.pth"))) or "no checkpoint"
        raise UserError(f"{folder} must hold {file.name}, found {present}: name the fold of a finished training, or another --checkpoint")
    content = read_checkpoint(file)
    if PLANS_KEY not in content:
        raise UserError(f"{file} must come from a trainer of nnunet_da, it was written by {content['trainer_name']}: diagnose another run")
    return Run(folder, content, kind)


def find_source_only(run: Run) -> Path | None:
    """The fold of the source-only run that stands beside a run: the same plans and configuration, or the configuration it is a variant of.

    A variant differs from its parent in settings alone; whether in one that matters here is for `differences` to say.
    """
    for trainer in source_only_trainers(run.trainer):
        for configuration in _configuration_and_parents(run):
            folder = run.folder.resolve().parents[1] / f"{trainer}__{run.plans['plans_name']}__{configuration}" / f"fold_{run.fold}"
            if folder.is_dir():
                return folder
    return None


def source_only_trainers(trainer: str) -> list[str]:
    """Names under which the source-only trainer of a family may go, the nearest first: nnUNetTrainer_UDA_GRL -> ..., _UDA_SourceOnly."""
    parts = trainer.split("_")
    return ["_".join([*parts[:length], SOURCE_ONLY]) for length in range(len(parts), 1, -1)]


def differences(run: Run, other: Run) -> list[str]:
    """Everything in which two runs differ apart from alignment, in words; empty where they may be compared."""
    mine, theirs = _identity(run), _identity(other)
    found = [
        f"{name} is {mine.get(name)} here and {theirs.get(name)} there"
        for name in _keys(mine, theirs)
        if mine.get(name) != theirs.get(name)
    ]
    if run.settings["seed"] is None:
        found.append("the runs are not seeded (seed is null)")
    if not other.is_source_only:
        found.append(f"{other.trainer} is no source-only trainer")
    return found


def network_differences(run: Run, other: Run) -> list[str]:
    """What forbids showing the same scans to both networks: another network or other preprocessing."""
    found = []
    if run.configuration["architecture"] != other.configuration["architecture"]:
        found.append("the networks differ")
    if preprocessing_hash(run.plans, run.configuration) != preprocessing_hash(other.plans, other.configuration):
        found.append("the preprocessing differs")
    return found


def _identity(run: Run) -> dict[str, Any]:
    """What two comparable runs share, by name."""
    settings = {name: value for name, value in run.settings.items() if name not in IGNORED_BY_SOURCE_ONLY and not name.startswith("w_")}
    planned = {name: value for name, value in run.configuration.items() if name not in (PLANS_KEY, "inherits_from")}
    made_by = {name: run.content[PLANS_KEY].get(name) for name in ("version", "format")}
    return {
        "dataset": run.dataset_name,
        "fold": run.fold,
        **settings,
        **planned,
        "preprocessing": preprocessing_hash(run.plans, run.configuration)[:8],
        **{f"nnunet_da {name}": value for name, value in made_by.items()},
        "the number of trained epochs": run.content.get("current_epoch"),
    }


def _configuration_and_parents(run: Run) -> list[str]:
    names, configurations = [run.configuration_name], run.plans["configurations"]
    while (parent := configurations.get(names[-1], {}).get("inherits_from")) is not None:
        names.append(parent)
    return names


def _keys(*tables: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table))

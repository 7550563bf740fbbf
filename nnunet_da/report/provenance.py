"""Where an arm comes from: trainer, configuration and plans, found beside its predictions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_da.errors import UserError
from nnunet_da.report.files import read_json

SOURCE, TARGET, UNSEEN = "source", "target", "unseen"
ROLES = (SOURCE, TARGET)
SETTINGS_KEY = "nnunet_da"  # of a configuration in the plans
_PARENTS = 3  # nnUNetv2_predict leaves plans.json beside the predictions; fold_X/validation has it two folders up


@dataclass(frozen=True)
class Provenance:
    """How the predictions of an arm were made, as far as the files tell.

    Attributes:
        trainer: nnU-Net trainer, "" where unknown.
        configuration_name: of the plans, "" where unknown.
        plans: content of plans.json, empty where there is none.
    """

    trainer: str = ""
    configuration_name: str = ""
    plans: dict[str, Any] = field(default_factory=dict)

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration with everything it inherits; its own settings replace single settings of the parent."""
        return _with_inherited(self.plans.get("configurations", {}), self.configuration_name)

    @property
    def settings(self) -> dict[str, Any]:
        """What `plan` wrote for adaptation; empty for a stock configuration."""
        return self.configuration.get(SETTINGS_KEY) or {}

    @property
    def source(self) -> str:
        """Name of the dataset the model was trained on, "" where unknown."""
        return str(self.plans.get("dataset_name", ""))

    @property
    def targets(self) -> list[str]:
        """Names of the unlabelled datasets of adaptation."""
        configurations = self.plans.get("configurations", {}).values()
        return list(dict.fromkeys(name for entry in configurations for name in (entry.get(SETTINGS_KEY) or {}).get("target_datasets", {})))


def read_provenance(predictions: Iterable[Path], names: Iterable[str], trainer: str = "") -> Provenance:
    """Plans from the folders of predictions, trainer and configuration from a name `TRAINER__PLANS__CONFIGURATION`.

    Args:
        predictions: files of predictions.
        names: what the arm is called anywhere; the first that is nnU-Net's name of a results folder, or of a trainer, tells.
        trainer: what report.json says, a trainer or TRAINER__PLANS__CONFIGURATION; goes before `names`.
    """
    plans = _plans_near(predictions)
    known = next((name for name in (trainer, *names) if name.startswith("nnUNetTrainer")), trainer)
    parts = known.split("__")
    configurations = plans.get("configurations", {})
    configuration = parts[2] if len(parts) == 3 else next(iter(configurations)) if len(configurations) == 1 else ""
    return Provenance(parts[0], configuration if configuration in configurations else "", plans)


def role_of(domain: str, arms: Iterable[Provenance], stated: Mapping[str, str]) -> str:
    """ "source", "target", "unseen" (neither, though the source is known), or "" where nothing tells."""
    if domain in stated:
        return stated[domain]
    known = [arm for arm in arms if arm.source]
    if any(domain in arm.targets for arm in known):
        return TARGET
    if any(domain == arm.source for arm in known):
        return SOURCE
    return UNSEEN if known else ""


def _plans_near(predictions: Iterable[Path]) -> dict[str, Any]:
    folders = dict.fromkeys(folder for file in predictions for folder in list(file.resolve().parents)[:_PARENTS])
    for folder in folders:
        file = folder / "plans.json"
        if file.is_file():
            try:
                plans = read_json(file)
            except UserError:
                continue  # the numbers of a report do not need it
            if isinstance(plans.get("configurations"), dict):
                return plans
    return {}


def _with_inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    own = dict(configurations.get(name, {}))
    parent = own.pop("inherits_from", None)
    if not isinstance(parent, str) or parent == name or parent not in configurations:
        return own
    inherited = _with_inherited({key: value for key, value in configurations.items() if key != name}, parent)
    settings = {**(inherited.get(SETTINGS_KEY) or {}), **(own.get(SETTINGS_KEY) or {})}
    return {**inherited, **own, **({SETTINGS_KEY: settings} if settings else {})}

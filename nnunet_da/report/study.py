"""What a report is made of: the arms of a study folder, read and checked."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.metric_files import read_manifest, read_metrics
from nnunet_da.evaluation.results import MANIFEST_FILE, METRICS_FILE
from nnunet_da.report.answer import ANSWER_FILE, Answer, Notes, read_answer, read_cost, read_notes
from nnunet_da.report.comparison import Comparison, commands_of, read_comparison
from nnunet_da.report.diagnoses import DiagnosisRecord, read_diagnoses
from nnunet_da.report.files import read_json_if_there, read_table
from nnunet_da.report.provenance import ROLES, Provenance, read_provenance, role_of
from nnunet_da.report.radiomics import RadiomicsRecord, read_radiomics

CURVES_FILE, SETTINGS_FILE = "curves.csv", "report.json"
CURVE_COLUMNS = ("epoch", "term", "value")
OUTPUT_FOLDERS = ("figures", "tables")


@dataclass(frozen=True)
class CaseRecord:
    """Files of one scored case, as evaluation.json names them."""

    case: str
    domain: str
    reference: Path
    prediction: Path
    image: Path | None


@dataclass(frozen=True)
class Arm:
    """One method of the comparison.

    Attributes:
        name: as shown.
        metrics: metrics.csv of all its evaluations; undefined values are NaN.
        labels: label key -> name.
        cases: (domain, case) -> files; empty where no evaluation.json came along.
        failed: (domain or folder, case, reason) of what could not be scored.
        curves: columns epoch, term, value, run; empty where there are none.
        diagnoses: what `diagnose` wrote of its runs.
        aliases: what other files may call it: its folder and the methods of its evaluations.
        evaluations: folders of its evaluations, relative to the study.
        provenance: trainer, configuration and plans, as far as known.
        radiomics: what `radiomics` found, None where it did not run.
        versions: of what scored it.
        fields_of_view: domain -> the field of view that specificity counts, in words, where evaluation.json states it.
        commands: how it was evaluated.
        runs: trained models whose values `metrics` averages per case.
    """

    name: str
    metrics: pd.DataFrame
    labels: dict[str, str]
    cases: dict[tuple[str, str], CaseRecord]
    failed: list[tuple[str, str, str]]
    curves: pd.DataFrame
    diagnoses: list[DiagnosisRecord] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    evaluations: list[str] = field(default_factory=list)
    provenance: Provenance = field(default_factory=Provenance)
    radiomics: RadiomicsRecord | None = None
    versions: dict[str, str] = field(default_factory=dict)
    fields_of_view: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    runs: int = 1


@dataclass(frozen=True)
class Settings:
    """report.json: words around the numbers, all optional.

    Attributes:
        arms: folder name -> shown name, in the order of the report; arms not named here follow by name.
        trainers: folder name -> nnU-Net trainer (or TRAINER__PLANS__CONFIGURATION), where the files do not tell.
        roles: domain -> "source" or "target", where the plans beside the predictions do not tell.
    """

    title: str = "Segmentation report"
    note: str = ""
    demonstration: bool = False
    commands: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    trainers: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in {"title": str, "note": str, "demonstration": bool, "commands": list}.items():
            if not isinstance(getattr(self, name), kind):
                raise UserError(f"{SETTINGS_FILE}: '{name}' must be of type {kind.__name__}, got {getattr(self, name)!r}: correct it.")
        for name in ("versions", "arms", "trainers", "roles"):
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
                raise UserError(f"{SETTINGS_FILE}: '{name}' must be of type dict with texts, got {value!r}: correct it.")
        wrong = sorted(set(self.roles.values()) - set(ROLES))
        if wrong:
            raise UserError(f"{SETTINGS_FILE}: 'roles' must be {' or '.join(ROLES)}, got {wrong[0]!r}: correct it.")


@dataclass(frozen=True)
class Study:
    """Everything a report shows.

    Attributes:
        comparison: of these metrics, None where there is none.
        outdated: a sentence for every comparison that was left out because the metrics are no longer those that it compared.
        answer: what `study` declared and found, None where the folder holds none.
        cost: time and memory of its jobs, one row each; empty where the folder holds none.
        notes: what else it says of its arms.
    """

    settings: Settings
    arms: list[Arm]
    comparison: Comparison | None = None
    outdated: list[str] = field(default_factory=list)
    answer: Answer | None = None
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: Notes = field(default_factory=Notes)

    @property
    def domains(self) -> list[str]:
        return _in_order(domain for arm in self.arms for domain in arm.metrics["domain"])

    @property
    def labels(self) -> dict[str, str]:
        """Key -> name; "label 1" where nobody named it."""
        keys = _in_order(label for arm in self.arms for label in arm.metrics["label"])
        names = {key: name for arm in self.arms for key, name in arm.labels.items()}
        return {key: f"label {key}" if names.get(key, key) == key else names[key] for key in keys}

    @property
    def metric_names(self) -> list[str]:
        return _in_order(metric for arm in self.arms for metric in arm.metrics["metric"])

    @property
    def baseline(self) -> str:
        """The arm that the others are held against: the comparison's first, else the first."""
        return self.comparison.baseline if self.comparison else self.arms[0].name

    def role(self, domain: str) -> str:
        """ "source", "target", "unseen" or "" (not known), see `role_of`."""
        return role_of(domain, [arm.provenance for arm in self.arms], self.settings.roles)


def load_study(folder: Path) -> Study:
    """Read `folder`: one sub-folder per arm with evaluations anywhere below, or one evaluation itself.

    Beside a study's answer an arm may have several evaluations of one case, one per trained model: they are averaged per case.

    Raises:
        UserError: no evaluation was found, or a file is not what its verb writes.
    """
    if not folder.is_dir():
        raise UserError(f"a folder with one sub-folder per method was expected, but {folder} is none: check the path.")
    settings = _read_settings(folder / SETTINGS_FILE)
    taken = [name for name in OUTPUT_FOLDERS if _evaluations(folder / name)]
    if taken:
        raise UserError(f"{folder / taken[0]} is for the report's own files, but holds a {METRICS_FILE}: rename or remove that folder.")
    if (folder / METRICS_FILE).is_file():
        arms = [_load_arm(folder, _method_of(folder), folder, settings)]
    else:
        ordered = _arm_folders(folder, settings)
        arms = [_load_arm(path, settings.arms.get(name, name), folder, settings) for name, path in ordered.items()]
    names, notes = _names(arms), read_notes(folder)
    if notes.title and settings.title == Settings.title:
        settings = replace(settings, title=notes.title)
    compared = read_comparison(folder, names, {arm.name: arm.metrics for arm in arms})
    return Study(settings, arms, *compared, answer=read_answer(folder, names), cost=read_cost(folder, names), notes=notes)


def _names(arms: list[Arm]) -> dict[str, str]:
    """What other files may call an arm -> its shown name; a name that two arms share tells nothing."""
    aliases = [(alias, arm.name) for arm in arms for alias in dict.fromkeys([*arm.aliases, arm.name])]
    counted = Counter(alias for alias, _ in aliases)
    return {alias: name for alias, name in aliases if counted[alias] == 1} | {arm.aliases[0]: arm.name for arm in arms}


def _arm_folders(folder: Path, settings: Settings) -> dict[str, Path]:
    """Folder name -> folder, in the order of the report. Raises UserError."""
    folders = {path.name: path for path in sorted(folder.iterdir()) if path.name not in OUTPUT_FOLDERS and _evaluations(path)}
    unknown = [name for name in settings.arms if name not in folders]
    if not folders or unknown:
        what = f"the arms {unknown} of {SETTINGS_FILE}" if unknown else METRICS_FILE
        raise UserError(
            f"{what} was expected in sub-folders of {folder}, found {sorted(folders)}: run nnunet-da evaluate -o {folder}/METHOD first."
        )
    ordered = {name: folders[name] for name in [*settings.arms, *(name for name in folders if name not in settings.arms)]}
    shown = [settings.arms.get(name, name) for name in ordered]
    if len(set(shown)) < len(shown):
        raise UserError(f"{SETTINGS_FILE}: every arm needs a shown name of its own, got {', '.join(shown)}: correct its 'arms'.")
    return ordered


def _evaluations(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(METRICS_FILE)) if folder.is_dir() else []


def _load_arm(folder: Path, name: str, study: Path, settings: Settings) -> Arm:
    evaluations = _evaluations(folder)
    manifests = [(path, read_manifest(path / MANIFEST_FILE)) for path in evaluations if (path / MANIFEST_FILE).is_file()]
    cases: dict[tuple[str, str], CaseRecord] = {}
    for record in (record for path, manifest in manifests for record in _records(path, manifest)):
        cases.setdefault((record.domain, record.case), record)  # of several trained models, the first one's pictures
    metrics, runs = _metrics(folder, evaluations, averaged=(study / ANSWER_FILE).is_file())
    diagnoses = read_diagnoses(folder, name)
    names = [part for record in diagnoses for part in record.run.split("/")]  # a run is DATASET/TRAINER__PLANS__CONFIGURATION/FOLD
    aliases = _in_order([folder.resolve().name, *(str(manifest["method"]) for _, manifest in manifests if "method" in manifest)])
    return Arm(
        name,
        metrics,
        labels={key: str(label) for _, manifest in manifests for key, label in manifest.get("labels", {}).items()},
        cases=cases,
        failed=[(path.name, case, reason) for path, manifest in manifests for case, reason in manifest.get("failed", {}).items()],
        curves=_read_curves(folder),
        diagnoses=diagnoses,
        aliases=aliases,
        evaluations=[path.relative_to(study).as_posix() for path in evaluations],
        provenance=read_provenance(
            (record.prediction for record in cases.values()), [*aliases, *names], settings.trainers.get(folder.name, "")
        ),
        radiomics=read_radiomics(folder),
        versions=_versions(manifests),
        fields_of_view={domain: words for path, manifest in manifests for domain, words in _fields_of_view(path, manifest)},
        commands=commands_of(manifest for _, manifest in manifests),
        runs=runs,
    )


def _metrics(folder: Path, evaluations: Sequence[Path], averaged: bool) -> tuple[pd.DataFrame, int]:
    """All rows of an arm, and over how many trained models they are averaged; a case that one of them fails on is undefined.

    Raises:
        UserError: two evaluations scored one case, where they must not.
    """
    metrics = pd.concat([read_metrics(path / METRICS_FILE) for path in evaluations], ignore_index=True)
    place = ["domain", "case", "label", "metric"]
    repeated = metrics[metrics.duplicated(place)]
    if len(repeated) and not averaged:
        row = repeated.iloc[0]
        raise UserError(
            f"one value per domain, case, label and metric was expected in {folder}, got two of {row['metric']} "
            f"for case {row['case']} of {row['domain']}: remove the evaluation that is out of date."
        )
    if repeated.empty:
        return metrics, 1
    groups = metrics.groupby(place, sort=False)
    means = groups["value"].mean().where(groups["value"].count() == groups.size())
    return metrics.drop_duplicates(place).assign(value=means.to_numpy()).reset_index(drop=True), int(groups.size().max())


def _method_of(folder: Path) -> str:
    return str(read_manifest(folder / MANIFEST_FILE).get("method", folder.resolve().name))


def _read_curves(folder: Path) -> pd.DataFrame:
    files = sorted(folder.rglob(CURVES_FILE))
    tables = [
        read_table(file, ["term"], ["epoch", "value"], "nnUNetv2_train").assign(run=file.parent.relative_to(folder).as_posix())
        for file in files
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*CURVE_COLUMNS, "run"])


def _records(folder: Path, manifest: dict[str, Any]) -> list[CaseRecord]:
    try:
        return [
            CaseRecord(
                entry["case"],
                entry["domain"],
                folder / entry["reference"],
                folder / entry["prediction"],
                folder / entry["image"] if entry.get("image") else None,
            )
            for entry in manifest["cases"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder / MANIFEST_FILE} must be what nnunet-da evaluate writes, got no usable {error}: evaluate again."
        ) from error


def _versions(manifests: Iterable[tuple[Path, dict[str, Any]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, manifest in manifests:
        for entry in manifest["cases"]:
            versions = entry.get("versions", {})
            if not isinstance(versions, dict):
                raise UserError(
                    f"{path / MANIFEST_FILE} must be what nnunet-da evaluate writes, got versions = {versions!r}: evaluate again."
                )
            found |= versions
    return found


def _fields_of_view(folder: Path, manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """(domain, field of view in words) of one evaluation; nothing where it does not say."""
    stated = manifest.get("specificity_field_of_view")
    if stated is None:
        return []
    try:
        margin = "" if stated["margin_mm"] is None else f" of {float(stated['margin_mm']):g} mm"
        return [(domain, f"{stated['voxels']}{margin}") for domain in _in_order(entry["domain"] for entry in manifest["cases"])]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / MANIFEST_FILE} must be what nnunet-da evaluate writes, got specificity_field_of_view = {stated!r}: evaluate again."
        ) from error


def _read_settings(file: Path) -> Settings:
    found = read_json_if_there(file)
    unknown = sorted(set(found) - set(Settings.__dataclass_fields__))
    if unknown:
        raise UserError(f"{file} may hold {', '.join(Settings.__dataclass_fields__)}, got {', '.join(unknown)}: remove or correct it.")
    return Settings(**found)


def _in_order(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))

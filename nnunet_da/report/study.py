"""What a report is made of: the arms of a study folder, read and checked."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.results import COLUMNS, MANIFEST_FILE, METRICS_FILE
from nnunet_da.report.diagnoses import DiagnosisRecord, read_diagnoses

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
    """

    name: str
    metrics: pd.DataFrame
    labels: dict[str, str]
    cases: dict[tuple[str, str], CaseRecord]
    failed: list[tuple[str, str, str]]
    curves: pd.DataFrame
    diagnoses: list[DiagnosisRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """report.json: words around the numbers, all optional.

    Attributes:
        arms: folder name -> shown name, in the order of the report; arms not named here follow by name.
    """

    title: str = "Segmentation report"
    note: str = ""
    demonstration: bool = False
    commands: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = {"title": str, "note": str, "demonstration": bool, "commands": list, "versions": dict, "arms": dict}
        for name, kind in expected.items():
            if not isinstance(getattr(self, name), kind):
                raise UserError(f"{SETTINGS_FILE}: '{name}' must be of type {kind.__name__}, got {getattr(self, name)!r}: correct it.")


@dataclass(frozen=True)
class Study:
    """Everything a report shows."""

    settings: Settings
    arms: list[Arm]

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


def load_study(folder: Path) -> Study:
    """Read `folder`: one sub-folder per arm with evaluations anywhere below, or one evaluation itself.

    Raises:
        UserError: no evaluation was found, or a file is not what `evaluate` writes.
    """
    if not folder.is_dir():
        raise UserError(f"a folder with one sub-folder per method was expected, but {folder} is none: check the path.")
    settings = _read_settings(folder / SETTINGS_FILE)
    if (folder / METRICS_FILE).is_file():
        return Study(settings, [_load_arm(folder, _method_of(folder))])
    folders = {path.name: path for path in sorted(folder.iterdir()) if path.name not in OUTPUT_FOLDERS and _evaluations(path)}
    unknown = [name for name in settings.arms if name not in folders]
    if not folders or unknown:
        what = f"the arms {unknown} of {SETTINGS_FILE}" if unknown else METRICS_FILE
        raise UserError(
            f"{what} was expected in sub-folders of {folder}, found {sorted(folders)}: run nnunet-da evaluate -o {folder}/METHOD first."
        )
    if len(set(settings.arms.values())) < len(settings.arms):
        raise UserError(f"{SETTINGS_FILE}: every arm needs a shown name of its own, got {list(settings.arms.values())}: correct it.")
    ordered = [*settings.arms, *(name for name in folders if name not in settings.arms)]
    return Study(settings, [_load_arm(folders[name], str(settings.arms.get(name, name))) for name in ordered])


def _evaluations(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(METRICS_FILE)) if folder.is_dir() else []


def _load_arm(folder: Path, name: str) -> Arm:
    evaluations = _evaluations(folder)
    metrics = pd.concat([_read_metrics(path / METRICS_FILE) for path in evaluations], ignore_index=True)
    repeated = metrics[metrics.duplicated(["domain", "case", "label", "metric"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise UserError(
            f"one value per domain, case, label and metric was expected in {folder}, got two of {row['metric']} "
            f"for case {row['case']} of {row['domain']}: remove the evaluation that is out of date."
        )
    manifests = [(path, _read_json(path / MANIFEST_FILE)) for path in evaluations if (path / MANIFEST_FILE).is_file()]
    return Arm(
        name,
        metrics,
        labels={key: str(label) for _, manifest in manifests for key, label in manifest.get("labels", {}).items()},
        cases={(record.domain, record.case): record for path, manifest in manifests for record in _records(path, manifest)},
        failed=[(path.name, case, reason) for path, manifest in manifests for case, reason in manifest.get("failed", {}).items()],
        curves=_read_curves(folder),
        diagnoses=read_diagnoses(folder, name),
    )


def _method_of(folder: Path) -> str:
    manifest = _read_json(folder / MANIFEST_FILE) if (folder / MANIFEST_FILE).is_file() else {}
    return str(manifest.get("method", folder.resolve().name))


def _read_metrics(file: Path) -> pd.DataFrame:
    table = _read_table(file, COLUMNS)
    if table.empty:
        raise UserError(f"{file} must hold at least one value, got none: run nnunet-da evaluate again.")
    return table


def _read_curves(folder: Path) -> pd.DataFrame:
    files = sorted(folder.rglob(CURVES_FILE))
    tables = [_read_table(file, CURVE_COLUMNS).assign(run=file.parent.relative_to(folder).as_posix()) for file in files]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*CURVE_COLUMNS, "run"])


def _read_table(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV with at least these columns; `value` and `epoch` are numbers, all else text."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        missing = [column for column in columns if column not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        for column in {"epoch", "value"} & set(columns):
            table[column] = [float(text) if text else np.nan for text in table[column]]
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{file} must be a CSV with the columns {', '.join(columns)} and numbers as values, got: {reason}. Write it anew."
        ) from error
    return table[list(columns)]


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


def _read_settings(file: Path) -> Settings:
    if not file.is_file():
        return Settings()
    found = _read_json(file)
    unknown = sorted(set(found) - set(Settings.__dataclass_fields__))
    if unknown:
        raise UserError(f"{file} may hold {', '.join(Settings.__dataclass_fields__)}, got {', '.join(unknown)}: remove or correct it.")
    return Settings(**found)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} must be a JSON file, got {type(error).__name__}: {error}. Write it anew.") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} must hold a JSON object, got {type(found).__name__}. Write it anew.")
    return found


def _in_order(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))

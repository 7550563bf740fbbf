"""Read what `evaluate` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.results import COLUMNS, LAYOUT, MANIFEST_FILE, METRICS_FILE

UNIT = ["domain", "case", "label"]  # what is scored, and paired between methods


@dataclass(frozen=True)
class Run:
    """What one trained model scored.

    Attributes:
        folder: with one or more evaluations in it, or the metrics.csv itself.
        method: as evaluation.json names it, "" without one.
        labels: label key -> name.
        units: metric -> unit.
        values: one row per (domain, case, label), one column per metric; undefined is NaN.
        incomplete: metrics without a row (not even an empty value) for some (domain, case, label).
        fields_of_view: what specificity counted, as evaluation.json says it.
    """

    folder: Path
    method: str
    labels: dict[str, str]
    units: dict[str, str]
    values: pd.DataFrame
    incomplete: frozenset[str] = frozenset()
    fields_of_view: frozenset[str] = frozenset()


def read_run(folder: Path) -> Run:
    """Everything `evaluate` wrote for one model: a metrics.csv, or a folder with one or more of them anywhere below.

    Raises:
        UserError: nothing found, a file of another layout, or two values for one domain, case, label and metric.
    """
    files = [folder] if folder.is_file() else sorted(folder.rglob(METRICS_FILE))
    if not files:
        raise UserError(f"{METRICS_FILE} was expected in or below {folder}, found none: run nnunet-da evaluate -o {folder} first.")
    table = pd.concat([read_metrics(file) for file in files], ignore_index=True)
    repeated = table[table.duplicated([*UNIT, "metric"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise UserError(
            f"one value per domain, case, label and metric was expected in {folder}, got two of {row['metric']} for case {row['case']} "
            f"of {row['domain']}: name one method's folder, or remove the evaluation that is out of date."
        )
    manifests = [read_manifest(file.parent / MANIFEST_FILE) for file in files]
    methods = {str(manifest["method"]) for manifest in manifests if "method" in manifest}
    values, counts = _wide(table), table["metric"].value_counts()
    return Run(
        folder,
        method=methods.pop() if len(methods) == 1 else "",
        labels={key: str(name) for manifest in manifests for key, name in manifest.get("labels", {}).items()},
        units=dict(zip(table["metric"], table["unit"], strict=True)),
        values=values,
        incomplete=frozenset(counts.index[counts < len(values)]),
        fields_of_view=frozenset(
            str(manifest["specificity_field_of_view"]) for manifest in manifests if "specificity_field_of_view" in manifest
        ),
    )


def read_metrics(file: Path) -> pd.DataFrame:
    """One metrics.csv: text, and finite numbers or NaN in the column `value`. Raises UserError."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)} (columns: {', '.join(map(str, table.columns))})")
        if table.empty:
            raise ValueError("no value")
        table["value"] = [float(text) if text else np.nan for text in table["value"]]
        if np.isinf(table["value"]).any():
            raise ValueError("an infinite value")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} must be a metrics.csv of layout {LAYOUT} with the columns {', '.join(COLUMNS)}, got: {str(error).splitlines()[0]}. "
            "If an older version wrote it, run nnunet-da evaluate again."
        ) from error
    return table[list(COLUMNS)]


def read_manifest(file: Path) -> dict[str, Any]:
    """One evaluation.json, empty where there is no such file. Raises UserError."""
    if not file.is_file():
        return {}
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        layout = manifest["layout"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} must be what nnunet-da evaluate writes, got {type(error).__name__}: {error}. Evaluate again.") from error
    if layout != LAYOUT:
        raise UserError(f"{file} must have layout {LAYOUT}, got {layout}: run nnunet-da evaluate of this version again.")
    for name, kind in {"labels": dict, "cases": list, "failed": dict}.items():
        if not isinstance(manifest.get(name, kind()), kind):
            raise UserError(f"{file} must be what nnunet-da evaluate writes, got {name} = {manifest[name]!r}. Evaluate again.")
    return manifest


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """One row per (domain, case, label) and one column per metric, both in the order of the file."""
    order = pd.MultiIndex.from_frame(table[UNIT].drop_duplicates())
    return table.pivot(index=UNIT, columns="metric", values="value").loc[order, list(dict.fromkeys(table["metric"]))]

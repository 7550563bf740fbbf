"""Whether a comparison still belongs to the metrics: its counts and means, computed anew."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.metric_files import UNIT, read_run
from nnunet_da.evaluation.results import METRICS_FILE

Runs = Mapping[str, Sequence[pd.DataFrame]]


def wide_values(metrics: pd.DataFrame) -> pd.DataFrame:
    """metrics.csv with one row per (domain, case, label) and one column per metric."""
    return metrics.pivot(index=UNIT, columns="metric", values="value")


def runs_of(manifest: Mapping[str, Any], file: Path, study: Path, arms: Mapping[str, pd.DataFrame], names: Mapping[str, str]) -> Runs:
    """Method as shown -> its values, one table per seed; a method whose metrics cannot be found is left out.

    Args:
        manifest: comparison.json, which names the folders of each method and so its seeds; empty where there is none.
        file: of the manifest, which its folders are relative to.
        study: only folders in it count, for the report shows no others.
        arms: arm -> its metrics.csv, for a method of one seed whose folder is not in the study.
        names: method as `compare` names it -> arm as the report shows it.

    Raises:
        UserError: the manifest is not what `compare` writes.
    """
    try:
        recorded = {str(entry["name"]): [file.parent / folder for folder in entry["folders"]] for entry in manifest.get("methods", [])}
        left_out = [tuple(entry[column] for column in UNIT) for entry in manifest.get("left_out", [])]
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} must be what nnunet-da compare writes, got no usable {error}: compare again.") from error
    found = {name: [wide_values(metrics)] for name, metrics in arms.items()}
    for method, folders in recorded.items():
        name = names.get(method, method)
        if folders and all(_holds_metrics(folder, study) for folder in folders):
            found[name] = [read_run(folder).values for folder in folders]
        elif len(folders) > 1:
            found.pop(name, None)
    return {name: [table.drop(left_out, errors="ignore") for table in tables] for name, tables in found.items()}


def difference_from(table: pd.DataFrame, runs: Runs) -> str:
    """The first row of comparison.csv that the metrics do not give any more, in words; "" where all do, or none can be checked.

    n, mean_first and mean_second are computed as `compare` does: over the cases that all runs of all its methods have, several seeds of a
    method averaged per case, a case left out where a value is undefined.
    """
    methods = dict.fromkeys([*table["first"], *table["second"]])
    known = {name: runs[name] for name in methods if name in runs}
    if not known:
        return ""
    common = _common(values.index for tables in known.values() for values in tables)
    averaged = {name: sum(values.reindex(common) for values in tables) / len(tables) for name, tables in known.items()}
    return next(_differences(table, averaged), "")


def _differences(table: pd.DataFrame, averaged: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    for _, row in table.iterrows():
        if row["first"] in averaged and row["second"] in averaged:
            now = _counted(averaged[row["first"]], averaged[row["second"]], row)
            then = (row["n"], row["mean_first"], row["mean_second"])
            if not np.allclose(now, then, rtol=1e-6, atol=1e-9, equal_nan=True):
                place = f"{row['metric']} of {row['first']} and {row['second']} in {row['domain']}, label {row['label']}"
                yield f"{place} had {_words(*then)}, now {_words(*now)}"


def _words(n: float, mean_first: float, mean_second: float) -> str:
    return f"n = {n:.0f} and means {mean_first:.4g} and {mean_second:.4g}"


def _counted(first: pd.DataFrame, second: pd.DataFrame, row: pd.Series) -> tuple[float, float, float]:
    """n and both means of one row of comparison.csv."""
    here = (first.index.get_level_values("domain") == row["domain"]) & (first.index.get_level_values("label") == row["label"])
    x, y = (values.loc[here, row["metric"]] if row["metric"] in values else pd.Series(dtype=float) for values in (first, second))
    both = pd.concat([x, y], axis=1).dropna()
    return float(len(both)), float(both.iloc[:, 0].mean()), float(both.iloc[:, 1].mean())


def _common(indices: Iterable[pd.Index]) -> pd.Index:
    first, *others = indices
    for other in others:
        first = first.intersection(other, sort=False)
    return first


def _holds_metrics(folder: Path, study: Path) -> bool:
    inside = folder.resolve().is_relative_to(study.resolve())
    return inside and (folder.is_file() or any(folder.rglob(METRICS_FILE)))

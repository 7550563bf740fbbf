"""Covariates of cases from a table: what an adapted network may forget by mistake."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nnunet_da import paths
from nnunet_da.errors import UserError

PHANTOM_FILE = "phantom.csv"
MISSING = ("", "na", "n/a", "nan", "none", "null")  # spellings of an unknown value, in small letters
PHANTOM_COVARIATES = ("sex", "age_years", "trabecular_neck_mg_cm3", "head_radius_mm")  # anatomy; nothing measured on a label


@dataclass(frozen=True)
class Covariate:
    """One property of cases.

    Attributes:
        values: (N,) numbers or texts of the cases where it is known.
        known: (N_all,) bool, which cases these are.
        numeric: whether it is a number with more than two values.
    """

    name: str
    values: NDArray
    known: NDArray[np.bool_]
    numeric: bool


def read_covariates(file: Path | None, cases: list[tuple[str, str]]) -> list[Covariate]:
    """Covariates of cases from a CSV, or from what the phantom wrote into its datasets.

    Args:
        file: columns `case`, optionally `dataset` (needed where two datasets have a case of one name), and one per covariate.
        cases: (dataset, case) of every case.

    Raises:
        UserError: no such table, a case twice, or none of the cases in it.
    """
    table = _read(file) if file is not None else _phantom_table(sorted({dataset for dataset, _ in cases}))
    if table is None:
        return []
    rows = _rows(table, cases, file)
    names = [name for name in table.columns if name not in ("case", "dataset")]
    return [_covariate(name, [None if row is None else str(table[name].iloc[row]) for row in rows]) for name in names]


def _covariate(name: str, texts: list[str | None]) -> Covariate:
    stripped = [(text or "").strip() for text in texts]
    known = np.array([text.casefold() not in MISSING for text in stripped])
    present = [text for text, there in zip(stripped, known, strict=True) if there]
    try:
        numbers = np.array([float(text) for text in present])
        numeric = len(set(present)) > 2 and bool(np.isfinite(numbers).all())
    except ValueError:
        numeric = False
    return Covariate(name, numbers if numeric else np.array(present, dtype=str), known, numeric)


def _rows(table: pd.DataFrame, cases: list[tuple[str, str]], file: Path | None) -> list[int | None]:
    """The row of each case."""
    by_dataset = "dataset" in table
    keys: list = list(zip(table["dataset"], table["case"], strict=True)) if by_dataset else list(table["case"])
    wanted: list = cases if by_dataset else [case for _, case in cases]
    for what, items in (("the table", pd.Index(keys)), ("the datasets", pd.Index(wanted))):
        if items.has_duplicates:
            twice = items[items.duplicated()][0]
            raise UserError(f"covariates are matched by case, but {twice} stands twice in {what}: add a column 'dataset', or remove one")
    position = {key: row for row, key in enumerate(keys)}
    rows = [position.get(key) for key in wanted]
    if all(row is None for row in rows):
        raise UserError(f"{file} must have rows for the held-out cases, such as '{cases[0][1]}', it has none: correct its column 'case'")
    return rows


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} must be a CSV with the columns case, ..., it cannot be read ({error}): correct it") from error
    if "case" not in table or table.columns.difference(["case", "dataset"]).empty:
        raise UserError(f"{file} must have the column 'case' and one per covariate, it has {', '.join(table.columns)}: correct it")
    return table


def _phantom_table(datasets: list[str]) -> pd.DataFrame | None:
    try:
        files = [paths.nnunet_raw() / dataset / PHANTOM_FILE for dataset in datasets]
    except UserError:
        return None
    if not files or not all(file.is_file() for file in files):
        return None
    tables = [_read(file).assign(dataset=file.parent.name) for file in files]
    table = pd.concat(tables, ignore_index=True)
    return table[["dataset", "case", *(name for name in PHANTOM_COVARIATES if name in table)]]

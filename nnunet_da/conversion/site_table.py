"""The table `case,site[,patient][,more columns]` that says which case is from where."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.errors import UserError


@dataclass(frozen=True)
class Row:
    """One case: its site, who it is from (the case's own name where the table does not say), and what folds are balanced by."""

    site: str
    patient: str
    stratum: str


@dataclass(frozen=True)
class SiteTable:
    """Rows by case."""

    path: Path
    rows: Mapping[str, Row]
    has_patients: bool


def read_table(path: Path, stratify: str | None) -> SiteTable:
    """Read a CSV file, separated by commas or semicolons.

    Args:
        path: the file.
        stratify: the column to balance by, None for none.

    Raises:
        UserError: unreadable, a column missing, an empty field, a case twice, or a name that is a path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the table of sites cannot be read: {error}") from None
    lines = text.splitlines()
    header = lines[0] if lines else ""
    reader = csv.DictReader(lines, delimiter=";" if ";" in header and "," not in header else ",", skipinitialspace=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    has_patients = "patient" in columns
    needed = ["case", "site", *(["patient"] if has_patients else []), *([stratify] if stratify else [])]
    _refuse_missing_columns(path, needed, columns)
    rows: dict[str, Row] = {}
    for number, fields in enumerate(reader, start=2):
        values = [_field(fields, name, path, number) for name in needed]
        case, site = values[:2]
        if case in rows:
            raise UserError(f"{path} names the case '{case}' twice, the second time in line {number}: keep one")
        rows[case] = Row(site, values[2] if has_patients else case, values[-1] if stratify else "")
    if not rows:
        raise UserError(f"{path} must hold a line per case, got none below its header")
    return SiteTable(path, rows, has_patients)


def _refuse_missing_columns(path: Path, needed: Iterable[str], columns: list[str]) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        raise UserError(f"{path} needs the column '{missing[0]}', it has {', '.join(columns) or 'none'}: add it to the first line")


def _field(fields: Mapping[str, str | None], name: str, path: Path, line: int) -> str:
    value = (fields[name] or "").strip()
    if not value:
        raise UserError(f"{path} needs a value for '{name}' in line {line}, it is empty: fill it in")
    if name in ("case", "site") and (".." in value or "/" in value or "\\" in value):
        raise UserError(f"a {name} must be a plain name, {path} has the path '{value}' in line {line}: give the name alone")
    return value

"""The table `case,site[,patient][,more columns]` that says which case is from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.conversion.tables import read_table
from nnunet_da.errors import UserError


@dataclass(frozen=True)
class CaseRow:
    """One case: its site, who it is from (the case's own name where the table does not say), and what folds are balanced by."""

    site: str
    patient: str
    stratum: str


@dataclass(frozen=True)
class SiteTable:
    """Rows by case."""

    path: Path
    rows: Mapping[str, CaseRow]
    has_patients: bool


def read_site_table(path: Path, stratify: str | None) -> SiteTable:
    """Read the table of sites.

    Args:
        path: the file, as in `read_table`.
        stratify: the column to balance by, None for none.

    Raises:
        UserError: as `read_table`, a case twice, or a name that is a path.
    """
    table = read_table(path, "the table of sites", ["case", "site", *([stratify] if stratify else [])], ["patient"])
    rows: dict[str, CaseRow] = {}
    for row in table.rows:
        case, site = (_plain_name(row[name], name, path, row.line) for name in ("case", "site"))
        if case in rows:
            raise UserError(f"{path} names the case '{case}' twice, the second time in line {row.line}: keep one")
        rows[case] = CaseRow(site, row["patient"] or case, row[stratify] if stratify else "")
    if not rows:
        raise UserError(f"{path} must hold a line per case, got none below its header")
    return SiteTable(path, rows, "patient" in table)


def _plain_name(value: str, name: str, path: Path, line: int) -> str:
    if ".." in value or "/" in value or "\\" in value:
        raise UserError(f"a {name} must be a plain name, {path} has the path '{value}' in line {line}: give the name alone")
    return value

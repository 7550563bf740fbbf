"""Read small tables as spreadsheets save them: CSV with commas, semicolons or tabs."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.errors import UserError

SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """One line of a table: `row["Case"]` is its text in the column `case`, "" where the table has no such column."""

    line: int
    values: dict[str, str]  # by column, in lower case

    def __getitem__(self, column: str) -> str:
        return self.values.get(column.casefold(), "")


@dataclass(frozen=True)
class Table:
    """Rows in their order, and the columns as the file writes them."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __contains__(self, column: str) -> bool:
        return column.casefold() in map(str.casefold, self.columns)


def read_table(path: Path, what: str, needed: Sequence[str], filled: Sequence[str] = ()) -> Table:
    """Read a CSV file with a header.

    Spaces around names and values, empty lines, a byte order mark and the case of column names mean nothing; the separator is the one the
    header uses most.

    Args:
        path: the file, UTF-8.
        what: names it in errors, such as "the spacing table".
        needed: columns it must have, with a value in every row.
        filled: columns that must have a value in every row where the table has them.

    Raises:
        UserError: unreadable, a column missing or twice, a row longer than the header, or an empty value.
    """
    header, *body = _lines(path, what, needed) or [(1, [])]
    columns = tuple(name for name in header[1] if name)
    table = Table(path, columns, tuple(_row(path, line, header[1], cells) for line, cells in body))
    _refuse_wrong_columns(table, what, needed)
    for row in table.rows:
        for column in (*needed, *(name for name in filled if name in table)):
            if not row[column]:
                raise UserError(f"{path} needs a value for '{column}' in line {row.line}, it is empty: fill it in")
    return table


def _lines(path: Path, what: str, needed: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Line number and stripped cells of every line that is not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        header = next(filter(str.strip, lines), "")
        reader = csv.reader(lines, delimiter=max(SEPARATORS, key=header.count), skipinitialspace=True)
        found = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{what} {path} cannot be read ({error}): give a CSV in UTF-8 with the columns {', '.join(needed)}") from None
    return [(line, cells) for line, cells in found if any(cells)]


def _row(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if any(cells[len(header) :]):
        raise UserError(f"{path} has more values in line {line} than columns: put a value that holds the separator in quotes")
    return Row(line, {name.casefold(): cell for name, cell in zip(header, cells, strict=False) if name})


def _refuse_wrong_columns(table: Table, what: str, needed: Sequence[str]) -> None:
    names = [name.casefold() for name in table.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"{what} {table.path} has the column '{twice}' twice: keep one")
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(
            f"{what} {table.path} needs the column '{missing[0]}', it has {', '.join(table.columns) or 'none'}: its first line must name"
            f" the columns {', '.join(needed)}"
        )

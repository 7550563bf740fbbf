"""One table for all its forms: HTML, CSV, Markdown and LaTeX."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

BETTER, WORSE = "better", "worse"
MARKS = {BETTER: "▲", WORSE: "▼"}


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what stands in it.
        small: a second line, quieter.
        warn: a third line that must not be overlooked.
        best: whether it is the best of its kind.
        mark: "better" or "worse" than the baseline by a test, or "".
        notes: letters of footnotes.
    """

    text: str
    small: str = ""
    warn: str = ""
    best: bool = False
    mark: str = ""
    notes: str = ""

    @property
    def plain(self) -> str:
        """As text alone, in one line: all that the page shows but which is best."""
        parts = [self.text, MARKS.get(self.mark, ""), f"[{self.notes}]" if self.notes else ""]
        return " ".join(filter(None, [*parts, *(f"({line})" for line in (self.small, self.warn) if line)]))


@dataclass(frozen=True)
class Row:
    """One row; `own` sets our values apart from published ones."""

    header: Cell
    cells: list[Cell]
    own: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes:
        name: file name without ending.
        caption: above it.
        columns: titles, the first over the row headers.
        text_columns: how many columns after the first hold text and stand left.
        groups: (title or "", rows).
        footnotes: (letter, text).
        numbers: the unrounded values for the CSV; the text where None.
    """

    name: str
    caption: str
    columns: list[str]
    groups: list[tuple[str, list[Row]]]
    text_columns: int = 0
    footnotes: list[tuple[str, str]] = field(default_factory=list)
    numbers: pd.DataFrame | None = None

    @property
    def rows(self) -> Iterator[tuple[str, Row]]:
        """(group, row)."""
        return ((title, row) for title, rows in self.groups for row in rows)

    @property
    def text_titles(self) -> set[str]:
        """Titles of the columns that hold text."""
        return {"Group", *self.columns[: 1 + self.text_columns]}

    def readable(self) -> pd.DataFrame:
        """As text; the groups' titles become the first column."""
        entries = [[title, row.header.plain, *(cell.plain for cell in row.cells)] for title, row in self.rows]
        frame = pd.DataFrame(entries, columns=["Group", *self.columns])
        return frame if frame["Group"].any() else frame.drop(columns="Group")

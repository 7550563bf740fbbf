"""Read what other verbs wrote; say in one line what is wrong with it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError


def read_table(file: Path, text: Sequence[str], numbers: Sequence[str], writer: str, optional: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV with at least these columns, in this order; an empty number is NaN. More columns are left out.

    Args:
        text: columns that stay text.
        numbers: columns that become float64.
        writer: the command that writes such a file, for the error.
        optional: further columns of numbers, NaN where the file has none.

    Raises:
        UserError: unreadable, a column is missing, or a number is none.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        missing = [column for column in (*text, *numbers) if column not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        table = table.reindex(columns=[*text, *numbers, *optional], fill_value="")
        for column in (*numbers, *optional):
            table[column] = [float(entry) if entry else np.nan for entry in table[column]]
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{file} must be a CSV with the columns {', '.join((*text, *numbers))} and numbers as values, got: {reason}. "
            f"Write it anew with {writer}."
        ) from error
    return table


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} must be a JSON file, got {type(error).__name__}: {error}. Write it anew.") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} must hold a JSON object, got {type(found).__name__}. Write it anew.")
    return found


def read_json_if_there(file: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file. Raises UserError."""
    return read_json(file) if file.is_file() else {}

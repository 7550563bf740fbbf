"""Labels and regions of a nnU-Net dataset.json, and their masks."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_da.errors import UserError

Label = int | tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """What to score.

    Attributes:
        names: label or region (a tuple of label values) -> its name; foreground only, in the order of dataset.json.
        allowed_values: every value a label map may hold; None allows all (no dataset.json).
        ignore: the value of nnU-Net's ignore label, allowed in references alone.
    """

    names: dict[Label, str]
    allowed_values: frozenset[int] | None = None
    ignore: int | None = None

    @property
    def keys(self) -> dict[str, str]:
        """The key nnU-Net writes for a label ("1") or region ("(1, 2)") -> its name."""
        return {str(label): name for label, name in self.names.items()}


def labels_of_values(values: Iterable[int]) -> Labels:
    """Each non-zero value is a label named by its number."""
    return Labels({value: str(value) for value in sorted(set(values)) if value != 0})


def read_labels(dataset_json: Path) -> Labels:
    """Labels of a dataset.json by nnU-Net's own rules: one list of several values makes every entry a region.

    Raises:
        UserError: the file is not a dataset.json of nnU-Net v2, or names no foreground.
    """
    try:
        declared = json.loads(dataset_json.read_text(encoding="utf-8"))["labels"]
        values = {name: _values(declared[name]) for name in declared}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{dataset_json} must be a dataset.json of nnU-Net v2 with 'labels' as name: value, "
            f"got {type(error).__name__}: {error}. Name another file with --dataset-json."
        ) from error
    foreground = {name: value for name, value in values.items() if name != "ignore" and set(value) != {0}}
    if not foreground:
        raise UserError(f"{dataset_json} must name at least one foreground label, got {declared}. Name another file with --dataset-json.")
    ignore = values["ignore"][0] if "ignore" in values else None
    allowed = frozenset(value for name, entry in values.items() if name != "ignore" for value in entry) | {0}
    return Labels(_foreground(foreground, declared), allowed, ignore)


def mask_of(label_map: np.ndarray, label: Label) -> np.ndarray:
    """Boolean mask, same shape, of a label or of all labels of a region."""
    return label_map == label if isinstance(label, int) else np.isin(label_map, label)


def values_in(label_map: np.ndarray) -> set[int]:
    """The values a label map holds, plane by plane: sorting a whole volume would copy it."""
    return {int(value) for plane in label_map for value in np.unique(plane)}


def _values(entry: Any) -> tuple[int, ...]:
    entries = entry if isinstance(entry, list) else [entry]
    if not entries or any(isinstance(value, bool) or int(value) != float(value) for value in entries):
        raise ValueError(f"{entry!r} is not a whole number or a list of them")
    return tuple(int(value) for value in entries)


def _foreground(foreground: dict[str, tuple[int, ...]], declared: dict[str, object]) -> dict[Label, str]:
    """Labels, or regions where nnU-Net would train on regions: there a plain number stays a label and a list becomes a tuple."""
    if all(len(values) == 1 for values in foreground.values()):
        return {values[0]: name for name, values in sorted(foreground.items(), key=lambda item: item[1])}
    return {values if isinstance(declared[name], list) else values[0]: name for name, values in foreground.items()}

"""Labels and regions of a nnU-Net dataset.json, and their masks."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from nnunet_da.errors import UserError

Label = int | tuple[int, ...]
Box = tuple[slice, ...]
MOST_VALUES = 2**16


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


def find_dataset_json(predictions: Path, references: Path) -> Path | None:
    """The nearest dataset.json that nnU-Net left: with the predictions, with the model above `fold_X/validation`, with the references."""
    predictions, references = predictions.resolve(), references.resolve()
    folders = (predictions, predictions.parent, predictions.parent.parent, references, references.parent)
    return next((folder / "dataset.json" for folder in folders if (folder / "dataset.json").is_file()), None)


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


def boxes_of_values(label_map: np.ndarray) -> dict[int, Box]:
    """Value -> the smallest box that holds it, for every value of a label map but 0."""
    highest = int(label_map.max(initial=0))
    if highest > MOST_VALUES:  # one slot per possible value would fill the memory
        values, places = np.unique(label_map, return_inverse=True)
        found = boxes_of_values(places.reshape(label_map.shape) + 1)
        return {int(values[place - 1]): box for place, box in found.items() if values[place - 1] != 0}
    return {value: box for value, box in enumerate(ndimage.find_objects(label_map, highest), start=1) if box is not None}


def union(boxes: Iterable[Box], axes: int) -> Box:
    """The smallest box around all boxes; an empty one where there are none."""
    found = list(boxes)
    if not found:
        return (slice(0, 0),) * axes
    return tuple(slice(min(box[axis].start for box in found), max(box[axis].stop for box in found)) for axis in range(axes))


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

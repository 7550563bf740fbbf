"""The values of a label map as the dataset numbers them; slice by slice, so that a label takes no memory beyond its own bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.errors import UserError

LARGEST_LABEL = 65535


def renumbered(
    path: Path, label: sitk.Image, sources: Sequence[Sequence[str]], other_sources: Sequence[str], drop_others: bool
) -> sitk.Image:
    """The dataset's label values (uint8) for those of a label map; on the same voxels, its grid is not set.

    Args:
        path: for the errors.
        label: integers from 0, of any type.
        sources: per dataset value 1, 2, ... the values of the map it is made of.
        other_sources: values that become background.
        drop_others: whether values that nobody named do too.

    Raises:
        UserError: fractions, values below 0 or of more than 16 bits, a source that is no number, or values nobody named.
    """
    voxels = sitk.GetArrayViewFromImage(label)
    present = _present_values(path, voxels)
    value_of = {_number(source): value for value, group in enumerate(sources, start=1) for source in group}
    if not drop_others:
        _refuse_unnamed(path, present, {0, *value_of, *map(_number, other_sources)})
    table = np.zeros(max(present) + 1, np.uint8)
    for source in value_of.keys() & set(present):
        table[source] = value_of[source]
    renumbered = np.empty(voxels.shape, np.uint8)
    for target, plane in zip(renumbered, voxels, strict=True):
        target[...] = table[plane.astype(np.intp)]
    return sitk.GetImageFromArray(renumbered)


def _present_values(path: Path, voxels: np.ndarray) -> list[int]:
    low, high = float(voxels.min()), float(voxels.max())
    fractions = np.issubdtype(voxels.dtype, np.floating) and any((plane != np.rint(plane)).any() for plane in voxels)
    if low < 0 or high > LARGEST_LABEL or fractions:
        raise UserError(f"a label map must hold integers from 0, {path} holds values from {low:g} to {high:g}: is it an image?")
    counts = np.zeros(int(high) + 1, np.int64)
    for plane in voxels:
        counts += np.bincount(plane.astype(np.intp).ravel(), minlength=len(counts))
    return np.flatnonzero(counts).tolist()


def _refuse_unnamed(path: Path, present: Iterable[int], named: set[int]) -> None:
    unknown = [value for value in present if value not in named]
    if unknown:
        raise UserError(
            f"the label {path} holds values nobody named: {', '.join(map(str, unknown[:8]))}: name them with --label NAME=VALUE, "
            "or make them background with --drop-other-labels"
        )


def _number(source: str) -> int:
    if not source.isdecimal():
        raise UserError(f"a label map has numbers, no names: give --label NAME=VALUE with its value, got '{source}'")
    return int(source)

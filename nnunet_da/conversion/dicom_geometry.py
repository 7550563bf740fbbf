"""Whether the slices of one series make one volume: equal, parallel, evenly spaced, stacked along their normal."""

from collections.abc import Sequence

import numpy as np

from nnunet_da.conversion.dicom_headers import SliceHeader
from nnunet_da.errors import UserError

SAME_PLACE_MM = 0.01  # closer slices are at one position: no CT has thinner ones
UNEVEN = 0.05  # of the slice distance: what rounded positions and a jittering table leave
FAR_APART = 5  # slices: a copy seldom loses so many in a row
SIDEWAYS_PIXELS = 0.25  # drift from the first slice to the last
SAME_DIRECTION = 1e-4  # per direction cosine; headers round them to 6 digits


def stacked(slices: Sequence[SliceHeader]) -> tuple[list[SliceHeader], float]:
    """Slices of one series, sorted along their normal, and their distance in mm.

    Raises:
        UserError: fewer than two slices, unequal or unparallel ones, two at one position, a gap, uneven distances, or a tilted gantry.
    """
    _refuse_unequal(slices)
    normal = slices[0].normal
    heights = np.array([np.dot(header.position_mm, normal) for header in slices])
    order = np.argsort(heights, kind="stable")
    ordered, gaps = [slices[index] for index in order], np.diff(heights[order])
    if len(ordered) < 2:
        raise UserError(f"a volume needs at least 2 slices, found only {slices[0].path}: name the folder that holds all of them")
    _refuse_same_position(ordered, gaps)
    _refuse_uneven(ordered, gaps)
    _refuse_tilted(ordered)
    return ordered, float(gaps.mean())


def _refuse_unequal(slices: Sequence[SliceHeader]) -> None:
    first = slices[0]
    for header in slices[1:]:
        if (header.rows, header.columns) != (first.rows, first.columns):
            _refuse_differing(first, header, "size", f"{first.columns} x {first.rows}", f"{header.columns} x {header.rows}")
        if not np.allclose(header.pixel_mm, first.pixel_mm, rtol=1e-4, atol=0):
            _refuse_differing(first, header, "pixel spacing", f"{first.pixel_mm} mm", f"{header.pixel_mm} mm")
        if not np.allclose(_directions(header), _directions(first), rtol=0, atol=SAME_DIRECTION):
            _refuse_differing(first, header, "orientation", f"{_directions(first)}", f"{_directions(header)}")


def _directions(header: SliceHeader) -> tuple[float, ...]:
    return header.row_direction + header.column_direction


def _refuse_differing(first: SliceHeader, other: SliceHeader, what: str, of_first: str, of_other: str) -> None:
    raise UserError(
        f"all slices of a series must have one {what}, but {first.path} has {of_first} and {other.path} has {of_other}: "
        "move the slices that do not belong (a scout?) to another folder"
    )


def _refuse_same_position(ordered: list[SliceHeader], gaps: np.ndarray) -> None:
    same = gaps < SAME_PLACE_MM
    if not same.any():
        return
    at = int(np.argmax(same))
    pair = f"{ordered[at].path} and {ordered[at + 1].path}"
    positions = int((~same).sum()) + 1
    if len(ordered) % positions == 0 and len(ordered) > positions and _equally_often(same, len(ordered) // positions):
        raise UserError(
            f"expected one slice per position, found {len(ordered) // positions} at each of {positions} (4D, or exported twice), "
            f"such as {pair}: keep one phase per folder"
        )
    raise UserError(f"expected one slice per position, found two: {pair}: move the copy away")


def _equally_often(same: np.ndarray, times: int) -> bool:
    """Whether every position has that many slices."""
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    return bool((np.diff([*starts, len(same) + 1]) == times).all())


def _refuse_uneven(ordered: list[SliceHeader], gaps: np.ndarray) -> None:
    usual = float(np.median(gaps))
    at = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[at] - usual) <= UNEVEN * usual:
        return
    missing = gaps[at] / usual - 1
    whole = round(missing) >= 1 and abs(missing - round(missing)) < 2 * UNEVEN
    kind = f"{round(missing)} slice(s) missing" if whole else "uneven distances"
    stacks = ", or two stacks in one series (then move one to another folder)" if missing >= FAR_APART else ""
    raise UserError(
        f"{kind}{stacks}: slices are {usual:.4g} mm apart, but {ordered[at].path} and {ordered[at + 1].path} are {gaps[at]:.4g} mm apart: "
        "copy the series again with all slices, or export it resampled"
    )


def _refuse_tilted(ordered: list[SliceHeader]) -> None:
    first, last = ordered[0], ordered[-1]
    way = np.subtract(last.position_mm, first.position_mm)
    along = float(np.dot(way, first.normal))
    sideways = float(np.linalg.norm(way - along * first.normal))
    if sideways > SIDEWAYS_PIXELS * min(first.pixel_mm):
        degrees = np.degrees(np.arctan2(sideways, along))
        raise UserError(
            f"slices must be stacked along their normal, but from {first.path} to {last.path} the stack leans by {degrees:.2f} degrees "
            "(gantry tilt): export it with the tilt corrected"
        )

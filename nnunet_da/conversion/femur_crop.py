"""The window around one proximal femur, by orientation: patient-left is +x in LPS, whatever the order of the array."""

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.scan import Placement
from nnunet_da.errors import UserError

LEFT, RIGHT = "left", "right"
MARGIN_VOXELS = 5  # between a label and the edge of the window


@dataclass(frozen=True)
class Window:
    """What to cut out of every slice, seen from a left femur; all slices are kept.

    Attributes:
        width_mm, height_mm: left-right and front-back.
        voxels: both edges in voxels, in place of mm.
        centre_width, centre_height: centre of the window as fractions of the field of view, from the patient's right and front.
    """

    width_mm: float = 160.0
    height_mm: float = 160.0
    voxels: int | None = None
    centre_width: float = 0.75
    centre_height: float = 0.5

    def __post_init__(self) -> None:
        if min(self.width_mm, self.height_mm) <= 0 or (self.voxels is not None and self.voxels < 1):
            raise UserError(f"a window must be larger than 0, got {self.width_mm:g} x {self.height_mm:g} mm, {self.voxels} voxels")
        if not (0 <= self.centre_width <= 1 and 0 <= self.centre_height <= 1):
            raise UserError(f"the window's centre must be fractions from 0 to 1, got {self.centre_width:g} {self.centre_height:g}")


@dataclass(frozen=True)
class Box:
    """First voxel and the voxel after the last one, along x and y; may reach beyond the image."""

    start: tuple[int, int]
    stop: tuple[int, int]

    def inside(self, size_xy: tuple[int, ...]) -> "Box":
        """The part within an image."""
        starts = [max(0, start) for start in self.start]
        stops = [min(size, stop) for size, stop in zip(size_xy, self.stop, strict=True)]
        if any(stop <= start for start, stop in zip(starts, stops, strict=True)):
            raise UserError(f"the window must lie in the field of view, but it spans {self.text()} of {size_xy} voxels: move its --centre")
        return Box((starts[0], starts[1]), (stops[0], stops[1]))

    def text(self) -> str:
        return f"x {self.start[0]}:{self.stop[0]} y {self.start[1]}:{self.stop[1]}"

    def holds(self, other: "Box") -> bool:
        return all(a <= b for a, b in zip(self.start, other.start, strict=True)) and all(
            a >= b for a, b in zip(self.stop, other.stop, strict=True)
        )


def to_lps(image: sitk.Image) -> sitk.Image:
    """Axes permuted and flipped so that x, y, z grow towards patient-left, posterior and superior as nearly as they can: no resampling."""
    return sitk.DICOMOrient(image, "LPS")


def expected_box(image: sitk.Image, window: Window, side: str) -> Box:
    """Where the window lies in an LPS image; the right one mirrors the left one. It is cut at the image's border last of all, by `inside`.

    Args:
        image: in LPS.
        window: size and centre.
        side: "left" or "right".
    """
    edges = [_axis(image, axis, window) for axis in (0, 1)]
    if side == RIGHT:
        width = image.GetSize()[0]
        edges[0] = (width - edges[0][1], width - edges[0][0])
    return Box((edges[0][0], edges[1][0]), (edges[0][1], edges[1][1]))


def _axis(image: sitk.Image, axis: int, window: Window) -> tuple[int, int]:
    size, spacing_mm = image.GetSize()[axis], image.GetSpacing()[axis]
    edge_mm, centre = ((window.width_mm, window.centre_width), (window.height_mm, window.centre_height))[axis]
    voxels = max(1, round(edge_mm / spacing_mm)) if window.voxels is None else window.voxels
    start = round(centre * size - voxels / 2)
    return start, start + voxels


def place_box(box: Box, label: np.ndarray) -> tuple[Box, np.ndarray, list[str]]:
    """Move, and if need be enlarge, a window so that it holds the label of its side with a margin.

    Parts of the label on the other half of the field of view that do not reach into the window are the other femur's: they do not count,
    and are background in what is returned.

    Args:
        box: the expected window.
        label: (Z, Y, X), above 0 is label.

    Returns:
        The window, cut at the border of the image, the label of this side, and warnings.

    Raises:
        UserError: the whole label belongs to the other side.
    """
    size_xy = label.shape[:0:-1]
    if not label.any():
        return box.inside(size_xy), label, []
    kept = label if box.holds(_bounds(label)) else _of_this_side(box, label)
    warnings = [] if kept is label else [f"{int((label > 0).sum() - (kept > 0).sum())} label voxels of the other side left out"]
    placed, moved = _around(box, _bounds(kept), size_xy)
    return placed.inside(size_xy), kept, warnings + moved


def crop(image: sitk.Image, box: Box) -> sitk.Image:
    """All slices of the box; positions in space stay."""
    return image[box.start[0] : box.stop[0], box.start[1] : box.stop[1], :]


def mirror(image: sitk.Image) -> sitk.Image:
    """Voxels in reverse along x on the same grid, so that a right femur looks like a left one."""
    flipped = sitk.Flip(image, (True, False, False))
    flipped.CopyInformation(image)
    return flipped


def placement(original: sitk.Image, start_xyz: tuple[int, int, int], mirrored: bool) -> Placement:
    """What `restore` needs to bring a crop of `to_lps(original)` back."""
    return Placement(original.GetSize(), original.GetSpacing(), original.GetOrigin(), original.GetDirection(), "LPS", start_xyz, mirrored)


def _bounds(label: np.ndarray) -> Box:
    columns, rows = (np.flatnonzero(label.any(axis=axes)) for axes in ((0, 1), (0, 2)))
    return Box((int(columns[0]), int(rows[0])), (int(columns[-1]) + 1, int(rows[-1]) + 1))


def _of_this_side(box: Box, label: np.ndarray) -> np.ndarray:
    """The label without the connected parts on the other half that do not reach into the window; the same array if there are none."""
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray((label > 0).astype(np.uint8)), True))
    reaching = np.unique(parts[:, box.start[1] : box.stop[1], box.start[0] : box.stop[0]])
    middle = label.shape[2] / 2
    voxels_per_column = np.stack([np.bincount(parts[:, :, x].ravel(), minlength=parts.max() + 1) for x in range(label.shape[2])], axis=1)
    centres = voxels_per_column @ (np.arange(label.shape[2]) + 0.5) / voxels_per_column.sum(axis=1)
    on_left = (box.start[0] + box.stop[0]) / 2 >= middle
    others = [part for part in range(1, len(centres)) if part not in reaching and (centres[part] >= middle) != on_left]
    if len(others) == len(centres) - 1:
        raise UserError(
            "the label must lie on the chosen side, but none of it reaches into the window and all of it lies on the other half of the "
            "field of view: choose the other --side, or move the window with --centre"
        )
    return np.where(np.isin(parts, others), 0, label) if others else label


def _around(box: Box, bounds: Box, size_xy: tuple[int, ...]) -> tuple[Box, list[str]]:
    edges, warnings = [], []
    for axis, name in enumerate(("left-right", "front-back")):
        span = box.start[axis], box.stop[axis]
        needed = max(0, bounds.start[axis] - MARGIN_VOXELS), min(size_xy[axis], bounds.stop[axis] + MARGIN_VOXELS)
        if needed[1] - needed[0] > span[1] - span[0]:
            warnings.append(f"window enlarged {name} from {span[1] - span[0]} to {needed[1] - needed[0]} voxels to hold the label")
            span = needed
        shift = max(0, needed[1] - span[1]) - max(0, span[0] - needed[0])
        if shift:
            warnings.append(f"window moved {name} by {shift} voxels to keep {MARGIN_VOXELS} around the label")
        edges.append((span[0] + shift, span[1] + shift))
    return replace(box, start=(edges[0][0], edges[1][0]), stop=(edges[0][1], edges[1][1])), warnings

"""The window around one proximal femur, by orientation: patient-left is +x in LPS, whatever the order of the array."""

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.label_parts import bounds_xy, own_parts
from nnunet_da.conversion.orientation import orientation_of
from nnunet_da.conversion.scan import Placement
from nnunet_da.errors import UserError

LEFT, RIGHT = "left", "right"
MARGIN_VOXELS = 5  # between a label and the edge of the window
WIDE = 0.6  # of the field's width: a window that is wider shows more than one half of the body, or the field less than two


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
        edges_mm = np.array([self.width_mm, self.height_mm])
        if not (np.isfinite(edges_mm) & (edges_mm > 0)).all() or (self.voxels is not None and self.voxels < 1):
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
    return image if orientation_of(image.GetDirection()) == "LPS" else sitk.DICOMOrient(image, "LPS")


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
    kept = label if box.holds(Box(*bounds_xy(label))) else own_parts(label, box.start, box.stop)
    left_out = 0 if kept is label else np.count_nonzero(label) - np.count_nonzero(kept)
    warnings = [f"{left_out} label voxels of the other side left out"] if left_out else []
    placed, moved = _around(box, Box(*bounds_xy(kept)), size_xy)
    return placed.inside(size_xy), kept, warnings + moved


def shows_one_hip(image: sitk.Image, expected: Box, placed: Box) -> bool:
    """Whether the field of view may be too narrow for two hips, so that it cannot tell which one it shows.

    Args:
        image: in LPS.
        expected: the window by its settings; one that reaches over the middle of the field is not on one side of it.
        placed: the window that is cut out.
    """
    width = image.GetSize()[0]
    across = expected.start[0] < width / 2 < expected.stop[0]
    return across or placed.stop[0] - placed.start[0] > WIDE * width


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

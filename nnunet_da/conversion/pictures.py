"""One picture per case: three planes in true proportions, the label's outline, the sides of the body.

Drawn with Pillow alone: nnU-Net changes matplotlib's settings for the whole process, and a worker draws in a few hundredths of a second.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont

from nnunet_da.conversion.checks import CaseFacts
from nnunet_da.conversion.orientation import oriented_view
from nnunet_da.conversion.scan import Loaded

PLANE, MARGIN, LINE = 270, 38, 24  # pixels: a plane's longest side, the border its letters stand in, a line of text
LETTER = 13  # pixels from a plane to the middle of its letters, far less than to those of the next plane
CELL = PLANE + 2 * MARGIN
WIDTH, HEADER = 3 * CELL, 4 * LINE + 8
BONE_WINDOW_HU = (-500.0, 1300.0)
GREYS = 40  # few, so that noise does not fill the file
OUTLINE = 2  # pixels
# Okabe and Ito's colours, told apart with every common colour blindness, and further ones for sets of many organs
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178), (160, 220, 120),
    (255, 128, 128), (150, 120, 255), (0, 220, 220), (190, 150, 100),
)  # fmt: skip
WARNING_COLOUR = (255, 176, 96)
# letters at the left, right, top and bottom of each plane, seen as radiologists do: the patient's right on the left
AXIAL, CORONAL, SAGITTAL = "RLAP", "RLSI", "APSI"


def draw_case(case: str, loaded: Loaded, facts: CaseFacts, channel_name: str, labels: Mapping[str, int]) -> bytes:
    """The first channel of a case as PNG.

    The planes go through the slices with most label voxels, without a label through the middle. They are turned as the image's direction
    says, so that the letters are the body's and not the file's.

    Args:
        case: its name.
        loaded: images and label; nothing of them is copied as a whole.
        facts: what was found in them.
        channel_name: "CT" is shown in a bone window, others between their 1st and 99th percentile.
        labels: names and values, for the legend.
    """
    picture = Image.new("RGB", (WIDTH, HEADER + CELL))
    _write_header(ImageDraw.Draw(picture), case, loaded, facts, labels)
    image, label = loaded.images[0], loaded.label
    grey = _in_body_order(image)
    outlined = None if label is None else _in_body_order(label)
    window = BONE_WINDOW_HU if channel_name.upper() == "CT" else _percentiles(grey)
    spacing = image.GetSpacing()[::-1] if image.GetDimension() == 2 else _body_spacing(image)
    for number, (plane, of_label, edges_mm, letters) in enumerate(_planes(grey, outlined, spacing)):
        pixels = _plane_pixels(plane, of_label, edges_mm, _scale(grey.shape, spacing), window)
        _paste_plane(picture, number * CELL, pixels, letters)
    return to_png(picture)


def to_png(picture: Image.Image) -> bytes:
    """PNG of a picture in the few colours these pictures use."""
    stream = io.BytesIO()
    picture.quantize(palette=_palette(), dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def fit(text: str, width: float, size: int, bold: bool = False) -> str:
    """The text, cut off where it would be wider than this many pixels."""
    if font(size, bold).getlength(text) <= width:
        return text
    while text and font(size, bold).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font matplotlib brings along; its name covers most alphabets."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _write_header(draw: ImageDraw.ImageDraw, case: str, loaded: Loaded, facts: CaseFacts, labels: Mapping[str, int]) -> None:
    image = facts.images[0]
    draw.text((8, 4), fit(case, WIDTH - 16, 18, bold=True), "white", font(18, bold=True))
    size, spacing = " x ".join(map(str, image.shape[::-1])), " x ".join(f"{edge:.3g}" for edge in image.spacing_mm[::-1])
    values = f"{image.minimum:g} to {image.maximum:g}{' HU' if image.below_air is not None else ''}"
    text = "   ".join(part for part in (_side(loaded), f"{size} voxels", f"{spacing} mm", values) if part)
    draw.text((8, 6 + LINE), fit(text, WIDTH - 16, 15), "white", font(15))
    _write_legend(draw, facts.label_voxels, labels)
    warnings = [*facts.label_warnings, *loaded.warnings, *(text for facts_of in facts.images for text in facts_of.warnings)]
    draw.text((8, 6 + 3 * LINE), fit("; ".join(warnings), WIDTH - 16, 15), WARNING_COLOUR, font(15))


def _side(loaded: Loaded) -> str:
    mirrored = loaded.placement is not None and loaded.placement.mirrored
    return ", ".join(part for part in (loaded.side, "mirrored" if mirrored else "") if part)


def _write_legend(draw: ImageDraw.ImageDraw, voxels: Mapping[int, int] | None, labels: Mapping[str, int]) -> None:
    names = {value: name for name, value in labels.items()}
    x = 8.0
    for value in (value for value in voxels or () if value):
        text = f"{names.get(value, value)}"
        width = 20 + font(15).getlength(text) + 14
        if x + width > WIDTH - 24:
            draw.text((x, 6 + 2 * LINE), "…", "white", font(15))
            return
        draw.rectangle((x, 11 + 2 * LINE, x + 12, 23 + 2 * LINE), fill=colour_of(value))
        draw.text((x + 18, 6 + 2 * LINE), text, "white", font(15))
        x += width


def colour_of(value: int) -> tuple[int, int, int]:
    """The colour of a label value's outline."""
    return COLOURS[(value - 1) % len(COLOURS)]


def _in_body_order(image: sitk.Image) -> np.ndarray:
    """A view of the voxels (I to S, A to P, R to L); of a 2D image (1, Y, X)."""
    voxels = sitk.GetArrayViewFromImage(image)
    return voxels[None] if voxels.ndim == 2 else oriented_view(voxels, image.GetDirection(), "LPS")


def _body_spacing(image: sitk.Image) -> tuple[float, ...]:
    """Spacing in mm along the axes of `_in_body_order`."""
    stand_in = np.empty([1 + axis for axis in range(3)], bool)  # its shape says where each axis goes
    order = [size - 1 for size in oriented_view(stand_in, image.GetDirection(), "LPS").shape]
    return tuple(image.GetSpacing()[::-1][axis] for axis in order)


def _planes(
    grey: np.ndarray, label: np.ndarray | None, spacing: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray | None, Sequence[float], str]]:
    """Plane, its label, edges of its pixels in mm (rows, columns), and its letters."""
    if len(spacing) == 2:
        yield grey[0], None if label is None else label[0], tuple(spacing), ""
        return
    z, y, x = _middle(grey.shape, label)
    up = slice(None, None, -1)  # the head on top
    for index, letters, edges in (
        ((z,), AXIAL, (spacing[1], spacing[2])),
        ((up, y), CORONAL, (spacing[0], spacing[2])),
        ((up, slice(None), x), SAGITTAL, (spacing[0], spacing[1])),
    ):
        yield grey[index], None if label is None else label[index], edges, letters


def _middle(shape: Sequence[int], label: np.ndarray | None) -> tuple[int, ...]:
    """Per axis the slice with most label voxels, without any the middle one."""
    if label is not None:
        counts = [np.zeros(size, np.int64) for size in shape]
        for z, plane in enumerate(label):
            inside = plane > 0
            counts[0][z] = inside.sum()
            counts[1] += inside.sum(axis=1)
            counts[2] += inside.sum(axis=0)
        if counts[0].any():
            return tuple(int(count.argmax()) for count in counts)
    return tuple(size // 2 for size in shape)


def _percentiles(grey: np.ndarray) -> tuple[float, float]:
    step = max(1, round((grey.size / 1e5) ** (1 / 3)))
    low, high = np.percentile(grey[::step, ::step, ::step], (1, 99))
    return float(low), float(high)


def _scale(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Pixels per mm, the same for all planes of a case."""
    return PLANE / max(size * edge for size, edge in zip(shape[-len(spacing) :], spacing, strict=True))


def _plane_pixels(
    plane: np.ndarray, label: np.ndarray | None, edges_mm: Sequence[float], scale: float, window: tuple[float, float]
) -> Image.Image:
    low, high = window
    share = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    height, width = (max(1, round(size * edge * scale)) for size, edge in zip(plane.shape, edges_mm, strict=True))
    grey = Image.fromarray((share * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR).convert("RGB")
    if label is None:
        return grey
    values = np.asarray(Image.fromarray(label.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST))
    pixels = np.array(grey)
    for value in np.unique(values[_outline(values)]):
        pixels[_outline(values) & (values == value)] = colour_of(int(value))
    return Image.fromarray(pixels)


def _outline(values: np.ndarray) -> np.ndarray:
    """Pixels of a label that lie at another value or the background, `OUTLINE` pixels wide, inside the label."""
    inner = np.zeros(values.shape, bool)
    padded = np.pad(values, OUTLINE, mode="edge")
    rows, columns = values.shape
    for step in range(1, OUTLINE + 1):
        for y, x in ((step, 0), (-step, 0), (0, step), (0, -step)):
            inner |= padded[OUTLINE + y : OUTLINE + y + rows, OUTLINE + x : OUTLINE + x + columns] != values
    return inner & (values > 0)


def _paste_plane(picture: Image.Image, left: int, pixels: Image.Image, letters: str) -> None:
    """Paste a plane in the middle of its cell and a letter at each of its sides."""
    x, y = left + CELL / 2, HEADER + CELL / 2
    picture.paste(pixels, (round(x - pixels.width / 2), round(y - pixels.height / 2)))
    beside, above = pixels.width / 2 + LETTER, pixels.height / 2 + LETTER
    draw = ImageDraw.Draw(picture)
    for letter, (right, down) in zip(letters, ((-beside, 0), (beside, 0), (0, -above), (0, above)), strict=False):
        draw.text((x + right, y + down), letter, "white", font(20, bold=True), anchor="mm")


@cache
def _palette() -> Image.Image:
    greys = [(round(255 * step / (GREYS - 1)),) * 3 for step in range(GREYS)]
    colours = [*greys, *COLOURS, WARNING_COLOUR]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in (*colours, *[(0, 0, 0)] * (256 - len(colours))) for channel in colour])
    return palette

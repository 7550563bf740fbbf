"""Pictures of a report: what they share, and how they are stored."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import LogFormatter, LogFormatterMathtext
from PIL import Image  # matplotlib needs it too

# Okabe and Ito's colours, told apart with every common colour blindness
ARM_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9", "#000000")
# as many that no two of 28 arms share colour and line, and no two of 56 colour and marker
ARM_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DOMAIN_COLOURS = ("#332288", "#CC3377", "#8C6D00", "#1A7F8E")  # none of the arms'
ARM_LINES = ("-", "--", "-.", ":")
DOTS_PER_INCH = 160
FONT = "DejaVu Sans"  # comes with matplotlib
# for names in scripts it lacks, where one of them is installed
FURTHER_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Microsoft YaHei", "Hiragino Sans", "Noto Sans Arabic")
_STYLE: Any = {
    "font.size": 10,
    "text.parse_math": False,  # names of cases, labels and domains may hold $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "nnunet-da",
}


@dataclass(frozen=True)
class Picture:
    """One figure, stored as PNG and SVG.

    Attributes:
        name: file name without ending.
        alternative: what a reader who cannot see it needs to know.
        caption: what stands below it.
        width, height: pixels of the PNG.
    """

    name: str
    png: bytes
    svg: bytes
    width: int
    height: int
    alternative: str
    caption: str = ""

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, for the time of drawing and saving them.

    It starts from matplotlib's defaults: nnU-Net's logger sets fonts of 2.5 times the size for the whole process.
    """
    with matplotlib.style.context(["default", _STYLE, {"font.family": _fonts()}]):
        yield


@cache
def _fonts() -> list[str]:
    """Each letter is drawn in the first that has it."""
    installed = set(fontManager.get_font_names())
    return [FONT, *(font for font in FURTHER_FONTS if font in installed)]


def to_picture(figure: Figure, name: str, alternative: str, caption: str = "", *, many_colours: bool = False) -> Picture:
    """Render a figure; the same figure gives the same bytes. `many_colours` keeps them all, where colours stand for numbers."""
    _write_powers_plainly(figure)
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    figure.set_layout_engine("none")  # what was laid out for the first stays: doing it again takes as long as drawing
    figure.savefig(svg, format="svg", dpi=DOTS_PER_INCH, metadata={"Date": None})
    width, height = (round(inches * DOTS_PER_INCH) for inches in figure.get_size_inches())
    stored = png.getvalue() if many_colours else _with_palette(png)
    return Picture(file_name(name), stored, svg.getvalue(), width, height, alternative, caption)


class _PlainNumbers(LogFormatter):
    """Labels the same ticks of a logarithmic axis as its parent, as 0.02 instead of 2e-02."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _write_powers_plainly(figure: Figure) -> None:
    """Numbers as 0.02 on logarithmic axes: matplotlib writes them as maths, which the style has switched off."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter(_PlainNumbers())
        if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
            axis.set_minor_formatter(_PlainNumbers())


def _with_palette(png: io.BytesIO) -> bytes:
    """The same picture with at most 256 colours: a third of the bytes, so that pages with many pictures open quickly."""
    stream = io.BytesIO()
    Image.open(png).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        stream, "PNG", optimize=True
    )
    return stream.getvalue()


def file_name(*parts: str) -> str:
    """A file name without spaces and special signs."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(parts)).strip("-.") or "figure"

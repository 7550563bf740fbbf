"""All cases of a conversion on a few pages, from their pictures."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from nnunet_da.conversion.pictures import CELL, HEADER, WARNING_COLOUR, WIDTH, fit, font, to_png
from nnunet_da.conversion.records import CaseRecord

COLUMNS, ROWS = 5, 8
TILE = (WIDTH // 2, CELL // 2)
CAPTION, GAP = 24, 10  # pixels
FIRST_PAGE = "contact_sheet.png"


def write_contact_sheets(folder: Path, records: Sequence[CaseRecord]) -> list[Path]:
    """Write conversion/contact_sheet.png and, for more cases than one page takes, contact_sheet_2.png and so on; drops pages of before.

    Args:
        folder: of the conversion.
        records: its cases, in the order of the pages; those without a picture are left out.
    """
    drawn = [(record, folder / name) for record in records for name in record.outputs if name.endswith(".png")]
    for old in (folder / "conversion").glob("contact_sheet*.png"):
        old.unlink()
    pages = []
    for number, start in enumerate(range(0, len(drawn), COLUMNS * ROWS), 1):
        page = folder / "conversion" / (FIRST_PAGE if number == 1 else f"contact_sheet_{number}.png")
        part = page.with_name(f".{page.name}.part")
        part.write_bytes(to_png(_page(drawn[start : start + COLUMNS * ROWS])))
        pages.append(part.replace(page))
    return pages


def _page(cases: Sequence[tuple[CaseRecord, Path]]) -> Image.Image:
    columns = min(COLUMNS, len(cases))
    rows = -(-len(cases) // columns)
    width, height = TILE[0] + GAP, TILE[1] + CAPTION + GAP
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), (24, 24, 24))
    for place, (record, picture) in enumerate(cases):
        _paste(page, (GAP + place % columns * width, GAP + place // columns * height), record, picture)
    return page


def _paste(page: Image.Image, corner: tuple[int, int], record: CaseRecord, picture: Path) -> None:
    with Image.open(picture) as opened:
        planes = opened.convert("RGB").crop((0, HEADER, WIDTH, HEADER + CELL)).resize(TILE, Image.Resampling.LANCZOS)
    page.paste(planes, (corner[0], corner[1] + CAPTION))
    warned = any(row["warnings"] for row in record.rows)
    mirrored = "mirrored" if record.rows[0].get("mirrored") else ""
    text = "  ".join(part for part in (record.case, record.rows[0]["side"], mirrored, "warning" if warned else "") if part)
    ImageDraw.Draw(page).text(
        (corner[0] + 2, corner[1] + 2), fit(text, TILE[0] - 4, 15, bold=True), WARNING_COLOUR if warned else "white", font(15, bold=True)
    )

"""conversion.csv: what each written file came from and what it holds."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnunet_da.conversion.checks import CaseFacts
from nnunet_da.conversion.dataset import Output
from nnunet_da.conversion.scan import Loaded, Scan
from nnunet_da.outputs import write_whole

LOG_COLUMNS = (
    "case",
    "split",
    "channel",
    "input",
    "output",
    "side",
    "spacing_mm",
    "shape",
    "intensity_min",
    "intensity_max",
    "below_air_percent",
    "label_input",
    "label_output",
    "label_voxels",
    "label_mm3",
    "warnings",
)


def log_rows(output: Output, scan: Scan, loaded: Loaded, facts: CaseFacts) -> Iterator[dict[str, str]]:
    """One row per image; spacing and shape in Z, Y, X, intensities in the image's unit (HU in a CT), label and notes beside channel 0."""
    for channel, image in enumerate(facts.images):
        row = dict.fromkeys(LOG_COLUMNS, "")
        source = scan.images[channel if len(scan.images) == len(facts.images) else 0]
        row |= {"case": scan.case, "split": scan.split, "channel": str(channel), "side": loaded.side}
        row |= {"input": str(source), "output": output.image_file(scan, channel)}
        row |= {"spacing_mm": " ".join(f"{edge:.6g}" for edge in image.spacing_mm), "shape": " ".join(map(str, image.shape))}
        row |= {"intensity_min": f"{image.minimum:g}", "intensity_max": f"{image.maximum:g}"}
        row["below_air_percent"] = "" if image.below_air is None else f"{100 * image.below_air:.4g}"
        first = channel == 0
        if first and facts.label_voxels is not None:
            row |= _label_columns(output, scan, facts.label_voxels, image.spacing_mm)
        row["warnings"] = "; ".join(image.warnings + (facts.label_warnings + loaded.warnings) * first)
        yield row | (dict(loaded.notes) if first else {})


def _label_columns(output: Output, scan: Scan, voxels: dict[int, int], spacing_mm: tuple[float, ...]) -> dict[str, str]:
    """Voxels per value with the background, volumes without; of a 2D image areas, in a column of their own."""
    size = math.prod(spacing_mm)
    return {
        "label_input": str(scan.label),
        "label_output": output.label_file(scan),
        "label_voxels": " ".join(f"{value}:{count}" for value, count in voxels.items()),
        f"label_mm{len(spacing_mm)}": " ".join(f"{value}:{count * size:.6g}" for value, count in voxels.items() if value),
    }


def write_log(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write the rows as CSV, the formats' own columns behind those of every format."""
    rows = list(rows)
    notes = dict.fromkeys(name for row in rows for name in row if name not in LOG_COLUMNS)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*LOG_COLUMNS, *notes], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())

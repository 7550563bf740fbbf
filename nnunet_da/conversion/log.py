"""conversion.csv: what each written file came from and what it holds."""

import csv
from collections.abc import Iterator
from pathlib import Path

from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.checks import CaseFacts

LOG_COLUMNS = (
    "case",
    "split",
    "channel",
    "input",
    "output",
    "spacing_mm",
    "shape",
    "intensity_min",
    "intensity_max",
    "label_input",
    "label_output",
    "label_voxels",
    "warnings",
)


def log_rows(case: Case, facts: CaseFacts, split: str, suffix: str, file_ending: str) -> Iterator[dict[str, str]]:
    """One row per image; spacing and shape in Z, Y, X, intensities in the image's unit (HU in a CT), the label beside channel 0."""
    for channel, (path, image) in enumerate(zip(case.images, facts.images, strict=True)):
        row = dict.fromkeys(LOG_COLUMNS, "")
        row |= {"case": case.name, "split": split, "channel": str(channel), "input": str(path)}
        row |= {"output": f"images{suffix}/{case.name}_{channel:04d}{file_ending}"}
        row |= {"spacing_mm": " ".join(f"{edge:.6g}" for edge in image.spacing_mm), "shape": " ".join(map(str, image.shape))}
        row |= {"intensity_min": f"{image.minimum:g}", "intensity_max": f"{image.maximum:g}"}
        if channel == 0 and facts.label_voxels is not None:
            counts = " ".join(f"{value}:{count}" for value, count in facts.label_voxels.items())
            row |= {"label_input": str(case.label), "label_output": f"labels{suffix}/{case.name}{file_ending}", "label_voxels": counts}
        yield row | {"warnings": "; ".join(image.warnings + facts.label_warnings * (channel == 0))}


def write_log(path: Path, rows: list[dict[str, str]]) -> None:
    """Write the rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

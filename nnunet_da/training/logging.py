"""Curves of an adaptation run: in nnU-Net's logger, and as a table that the report reads."""

import csv
from pathlib import Path
from typing import Any

STOCK_CURVES = ("train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice", "lrs")


def register(logger: Any, keys: list[str]) -> None:
    """Make nnU-Net's logger accept our keys; it refuses unknown ones."""
    curves = logger.local_logger.my_fantastic_logging
    for key in keys:
        curves.setdefault(key, [])


def write_curves(logger: Any, keys: list[str], file: Path) -> None:
    """Write `epoch, term, value`, one row per value, to a temporary name first."""
    curves = logger.local_logger.my_fantastic_logging
    temporary = file.with_name(f".{file.name}.part")
    with temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("epoch", "term", "value"))
        for key in (*STOCK_CURVES, *keys):
            writer.writerows((epoch, key, float(value)) for epoch, value in enumerate(curves[key]))
    temporary.replace(file)
